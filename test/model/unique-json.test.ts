import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { readTopology } from '../../src/differentiate/autodiff/layers-config.ts';
import { localObjective } from '../../src/differentiate/autodiff/open-objective.ts';
import { type JsonFault, parseUniqueJson } from '../../src/model/unique-json.ts';
import { openCapture } from '../../src/read/captures/read.ts';
import { openCheckpoint } from '../../src/read/checkpoints/registry.ts';
import { scratchFolders } from '../support/scratch.ts';

const scratch = scratchFolders('unique-json');

describe('parseUniqueJson', () => {
  const faultOf = (text: string): JsonFault | unknown => {
    let found: JsonFault | undefined;
    const value = (() => {
      try {
        return parseUniqueJson({ text, path: 'f', what: 'the header', maxDepth: 4 }, (fault) => {
          found = fault;
          return new Error(fault.problem);
        });
      } catch (error) {
        if (found === undefined) throw error;
        return undefined;
      }
    })();
    return found ?? value;
  };

  it.each([
    ['{"a": {"b": 1}, "b": ["a", "a"]}', { a: { b: 1 }, b: ['a', 'a'] }],
    ['{"a": 1, "\\u0061": 2}', { kind: 'key-twice', problem: 'the header holds the key "a" twice' }],
    ['{"a": 1', { kind: 'syntax', problem: expect.stringMatching(/^the header: /) as string }],
    // A text with both faults: the first one met is told.
    ['{"a": 1, "a": 2', { kind: 'key-twice' }],
  ])('%s', (text, expected) => {
    expect(faultOf(text)).toMatchObject(expected);
  });

  it('refuses depth before it parses', () => {
    expect(() => faultOf('[[[[['.padEnd(1000, '['))).toThrow(
      expect.objectContaining({ code: 'limit-exceeded' }) as Error,
    );
  });
});

describe('a file with a key twice gets the error, and the way out, of what it is', () => {
  const file = (name: string, content: string | Buffer): string => {
    const path = join(scratch(), name);
    writeFileSync(path, content);
    return path;
  };
  const header = Buffer.from('{"a":1,"a":2}');
  const size = Buffer.alloc(8);
  size.writeBigUInt64LE(BigInt(header.length));
  it.each([
    [
      'a checkpoint',
      'checkpoint-ambiguous',
      /save the checkpoint again/,
      () => openCheckpoint(file('w.safetensors', Buffer.concat([size, header]))),
    ],
    [
      'a capture',
      'capture-malformed',
      /docs\/captures\.md/,
      () => {
        const folder = join(scratch(), 'capture');
        mkdirSync(folder);
        writeFileSync(join(folder, 'capture.json'), '{"version":1,"version":1}');
        return openCapture(folder);
      },
    ],
    [
      'a model spec',
      'model-invalid',
      /docs\/autodiff\.md/,
      () => localObjective(file('m.json', '{"kind":1,"kind":1}'), [], 'x', {}),
    ],
    [
      'a layers model',
      'model-invalid',
      /docs\/autodiff\.md/,
      () => readTopology(file('model.json', '{"format":1,"format":1}')),
    ],
  ] as const)('%s', async (_, code, hint, open) => {
    await expect(open()).rejects.toMatchObject({
      code,
      message: expect.stringMatching(/(holds the|no) key .*"?(a|version|kind|format)"? .*twice/) as string,
      hint: expect.stringMatching(hint) as string,
    });
  });
});
