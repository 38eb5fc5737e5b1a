/** What CPython pickles, in every protocol, is read as what it was. */
import { spawnSync } from 'node:child_process';
import { expect, it } from 'vitest';
import { readPickle } from '../../src/read/checkpoints/pytorch/pickle.ts';
import { pythonWith } from '../support/python.ts';
import { toPlain } from './plain-pickle.ts';

const PROGRAM = `
import json, math, pickle, sys
from collections import OrderedDict
def plain(v):
    if isinstance(v, bool) or v is None or isinstance(v, str): return v
    if isinstance(v, int): return v if abs(v) < 2**53 else {"int": str(v)}
    if isinstance(v, float): return v if math.isfinite(v) else {"float": "NaN" if v != v else "Infinity" if v > 0 else "-Infinity"}
    if isinstance(v, (bytes, bytearray)): return {"bytes": list(v)}
    if isinstance(v, dict): return {"dict": [[plain(a), plain(b)] for a, b in v.items()]}
    name = "list" if isinstance(v, list) else "tuple" if isinstance(v, tuple) else "set"
    return {name: [plain(a) for a in v]}
shared = [1, 2]
values = [None, True, False, 0, 255, 256, 65535, 65536, -1, -128, -129, -32769, 2**31, -2**31, 2**53, -2**63, 2**64, 2**200, -2**200,
  -255, -256, 0.1, -0.0, 1e308, math.inf, -math.inf, math.nan, "", "ü\\u4e2d\\U0001f600", "a\\\\u0041\\n\\t'\\"", "x" * 300, (), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4),
  [], [1], list(range(2500)), {}, {"a": 1, 2: (3,)}, {i: str(i) for i in range(2500)}, OrderedDict(a=1, b=[2]), [shared, shared], {"__proto__": 1},
  [[[[[]]]]], {1}, frozenset([2]), set()]
binary = [b"", b"a\\x00\\xff", b"y" * 300, bytearray(b"abc")]
out = []
for protocol in range(6):
    for v in values + (binary if protocol > 2 else []):
        if protocol < 5 and isinstance(v, bytearray): continue
        out.append([pickle.dumps(v, protocol).hex(), plain(v)])
json.dump(out, sys.stdout)
`;

const python = pythonWith('pickle');

it.skipIf(python === undefined)(
  'reads what CPython writes, in every protocol (skipped without Python)',
  () => {
    const run = spawnSync(python!, ['-c', PROGRAM], { encoding: 'utf8', maxBuffer: 1e9 });
    const cases = JSON.parse(run.stdout) as [string, unknown][];
    expect(cases.length).toBeGreaterThan(250);
    const allowed = new Set(['collections OrderedDict', 'builtins set', 'builtins frozenset']);
    for (const [hex, expected] of cases) {
      const found = toPlain(readPickle(new Uint8Array(Buffer.from(hex, 'hex')), allowed, 't.pkl').value);
      // JSON has no -0, so it is told apart here.
      expect(found, hex.slice(0, 60)).toEqual(expected === 0 && Object.is(found, -0) ? -0 : expected);
    }
  },
);
