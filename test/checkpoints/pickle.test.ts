import { describe, expect, it } from 'vitest';
import { readPickle } from '../../src/read/checkpoints/pytorch/pickle.ts';
import { toPlain } from './plain-pickle.ts';

const none = new Set<string>();
const read = (bytes: Uint8Array, allowed: ReadonlySet<string> = none) =>
  readPickle(bytes, allowed, 't.pkl').value;
const bytesOf = (...parts: (string | number[])[]): Uint8Array =>
  Uint8Array.from(
    parts.flatMap((part) => (typeof part === 'string' ? [...Buffer.from(part, 'latin1')] : part)),
  );

describe('readPickle', () => {
  it('decodes integers that other readers get wrong', () => {
    // LONG1: length, two's complement; a sign bit in the last byte, and the padded form of positive ones.
    expect(read(bytesOf([0x8a, 1, 0xff], '.'))).toBe(-1);
    expect(read(bytesOf([0x8a, 2, 0x00, 0xff], '.'))).toBe(-256);
    expect(read(bytesOf([0x8a, 2, 0xff, 0x00], '.'))).toBe(255);
    expect(read(bytesOf([0x8a, 0], '.'))).toBe(0);
    expect(read(bytesOf([0x8b, 2, 0, 0, 0, 0, 0x80], '.'))).toBe(-32768);
    expect(read(bytesOf('I01\n.'))).toBe(true);
    expect(read(bytesOf('L-5L\n.'))).toBe(-5);
  });

  it.each([
    ['GLOBAL', bytesOf('cos\nsystem\n(S"id"\ntR.'), 'os.system'],
    ['STACK_GLOBAL', bytesOf([0x8c, 2], 'os', [0x8c, 6], 'system', [0x93], '.'), 'os.system'],
    ['INST', bytesOf('(S"id"\nios\nsystem\n.'), 'os.system'],
    ['the Python 2 builtins', bytesOf('c__builtin__\neval\n.'), '__builtin__.eval'],
    ['a dotted name', bytesOf([0x8c, 5], 'torch', [0x8c, 10], '_utils.foo', [0x93], '.'), 'torch._utils.foo'],
  ])('refuses a global that is not listed, by name: %s', (_, bytes, name) => {
    expect(() => read(bytes, new Set(['torch._utils foo', 'builtins getattr']))).toThrow(
      expect.objectContaining({ code: 'pickle-forbidden', message: expect.stringContaining(`"${name}"`) }),
    );
  });

  it('calls nothing: a listed global becomes a record', () => {
    const value = read(bytesOf('cbuiltins\nprint\n(I7\ntR.'), new Set(['builtins print']));
    expect(value).toEqual({ kind: 'call', callee: 'builtins print', args: [7] });
  });

  it('keeps persistent ids', () => {
    expect(read(bytesOf('Pabc\n.'))).toEqual({ kind: 'persistent', id: 'abc' });
    expect(toPlain(read(bytesOf('(I1\nI2\ntQ.')))).toEqual({ persistent: { tuple: [1, 2] } });
  });

  it.each([
    ['an endless row of values', bytesOf('N'.repeat(10_001)), /stack of a pickle is 10,001/],
    ['an endless row of marks', bytesOf('('.repeat(10_001)), /stack/],
    ['a memo beyond its limit', bytesOf('N', ...Array.from({ length: 100_001 }, () => [0x94]), '.'), /memo/],
    ['an endless program', bytesOf('N0'.repeat(500_001)), /opcodes of a pickle is 1,000,001/],
    ['a huge integer', bytesOf([0x8b, 0xff, 0xff, 0xff, 0x7f]), /integer length/],
    ['a negative length', bytesOf([0x8b, 0xff, 0xff, 0xff, 0xff]), /integer length/],
    ['a text of 2^63 bytes', bytesOf([0x8d, 0, 0, 0, 0, 0, 0, 0, 0x80]), /size in a pickle/],
  ])('ends at a limit: %s', (_, bytes, message) => {
    expect(() => read(bytes)).toThrow(
      expect.objectContaining({ code: 'limit-exceeded', message: expect.stringMatching(message) }),
    );
  });

  it.each([
    ['an empty stack', 'R'],
    ['a missing mark', 'Nt.'],
    ['a missing memo entry', 'h\x05.'],
    ['values left over', 'NN.'],
    ['a mark left open', '(N.'],
    ['an append to a number', 'K\x01Na.'],
    ['a key without a value', '(Nd.'],
    ['a call of a number', 'K\x01)R.'],
    ['state for a list', ']Nb.'],
    ['an extension code', '\x82\x01.'],
    ['an out-of-band buffer', '\x97.'],
    ['an unknown opcode', '\xff.'],
    ['protocol 6', '\x80\x06N.'],
    ['an integer that is none', 'I1e3\n.'],
    ['a float that is none', 'F0x1p3\n.'],
    ['a text that is not UTF-8', 'X\x01\0\0\0\xff.'],
  ])('refuses %s', (_, program) => {
    expect(() => read(bytesOf(program))).toThrow(expect.objectContaining({ code: 'checkpoint-malformed' }));
  });

  it('says where a pickle that was cut ends', () => {
    const whole = bytesOf('\x80\x02}q\0X\x01\0\0\0aq\x01G?\xb9\x99\x99\x99\x99\x99\x9as.');
    expect(toPlain(read(whole))).toEqual({ dict: [['a', 0.1]] });
    for (let length = 0; length < whole.length; length++)
      expect(() => read(whole.subarray(0, length))).toThrow(
        expect.objectContaining({ code: 'checkpoint-truncated' }),
      );
  });
});
