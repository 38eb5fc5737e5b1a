/** The oracle for plain numbers is Python's `float`. */
import { spawnSync } from 'node:child_process';
import { describe, expect, it } from 'vitest';
import { numberOfText } from '../../src/read/logs/number-text.ts';
import { pythonWith } from '../support/python.ts';
import { spellings } from './spellings.ts';

const python = pythonWith();
describe.skipIf(python === undefined)('numbers are those of Python', () => {
  it('plain spellings give the same double, and what Python refuses is refused', () => {
    const texts = [...spellings.keys()];
    // Decimals of all shapes, whole and damaged.
    let state = 7;
    const random = (below: number): number => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      return Math.floor((state / 2 ** 32) * below);
    };
    const ALPHABET = '0123456789..--++eEnaif_ ';
    for (let k = 0; k < 4_000; k++) {
      const digits = (n: number): string => Array.from({ length: n }, () => random(10)).join('');
      texts.push(
        `${['', '-', '+'][random(3)]}${digits(random(20))}.${digits(random(20))}e${random(700) - 350}`,
      );
      texts.push(Array.from({ length: 1 + random(8) }, () => ALPHABET[random(ALPHABET.length)]).join(''));
    }
    const program = [
      'import json, struct, sys',
      'def read(text):',
      '    try: return struct.pack(">d", float(text)).hex()',
      '    except ValueError: return None',
      'json.dump([read(text) for text in json.load(sys.stdin)], sys.stdout)',
    ].join('\n');
    const { stdout, status } = spawnSync(python!, ['-c', program], {
      input: JSON.stringify(texts),
      encoding: 'utf8',
      maxBuffer: 1 << 26,
    });
    expect(status).toBe(0);
    const theirs = JSON.parse(stdout) as (string | null)[];
    let both = 0;
    texts.forEach((text, k) => {
      const bits = theirs[k];
      const ours = numberOfText(text);
      if (bits === null || bits === undefined) {
        // Beyond Python: words of other runtimes, and what a tensor prints.
        if (ours !== undefined) expect(text).toMatch(/#|\(|∞|f\.0*|n\.0*|\.\d+f[-+]?\d+$/i);
        return;
      }
      if (ours === undefined) {
        expect(text).toMatch(/_/);
        return;
      }
      const value = Buffer.from(bits, 'hex').readDoubleBE();
      expect([text, ours]).toEqual([text, value]);
      both++;
    });
    expect(both).toBeGreaterThan(4_000);
  });
});
