/** Runs `curvature` and holds what it finds against float64 PyTorch: what the fast test and the long one share. */
import { readFileSync } from 'node:fs';
import { expect } from 'vitest';
import type { CurvatureEntry } from '../../src/model/curvature.ts';
import { type CliResult, cli } from '../support/cli.ts';

interface Spectrum {
  readonly largest: number[];
}
export type Point = Record<'hessian' | 'preconditioned', Spectrum>;
export const read = (path: string): unknown => JSON.parse(readFileSync(path, 'utf8'));
export const incident = read('fixtures/curvature/incident.json') as Record<string, Point>;
export const embeddings = read('fixtures/curvature/embeddings/expected.json') as Point & {
  gaussNewton: Spectrum;
  'block task/*': Spectrum;
  tasks: Record<string, Spectrum>;
};

export const capture = 'fixtures/incident/capture';
export const net = 'fixtures/curvature/embeddings';
export const files = (
  batch: readonly string[] = [`${net}/batch.safetensors`],
  more: readonly string[] = [],
  checkpoint = `${net}/checkpoint.safetensors`,
  model = `${net}/model.json`,
): string[] => [
  '--model',
  model,
  '--checkpoint',
  checkpoint,
  ...batch.flatMap((path) => ['--batch', path]),
  ...more,
];

export const curvature = (args: readonly string[]): Promise<CliResult> =>
  cli(['curvature', ...args, '--verbose']);

export async function measure(args: readonly string[]): Promise<CurvatureEntry[]> {
  const { code, out, err } = await curvature([...args, '--json']);
  expect([code, err]).toEqual([0, '']);
  return (JSON.parse(out) as { curvature: CurvatureEntry[] }).curvature;
}
export const tops = (entries: readonly CurvatureEntry[]): number[] =>
  entries.map((entry) => entry.eigenvalues[0]!.value);
export const near = (found: readonly number[], expected: readonly number[]): void => {
  expect(found).toHaveLength(expected.length);
  for (const [i, value] of expected.entries())
    expect(Math.abs(found[i]! / value - 1), `${found[i]} for ${value}`).toBeLessThan(1e-3);
};

/** The three largest eigenvalues of the preconditioned Hessian of the incident, by a method. */
export async function topThree(method: string): Promise<void> {
  const operator = ['--operator', 'preconditioned-hessian'];
  const [entry] = await measure([capture, '--top', '3', '--method', method, ...operator]);
  expect(entry!.method).toBe(method);
  near(
    entry!.eigenvalues.map(({ value }) => value),
    incident.capture!.preconditioned.largest,
  );
}

const KERAS = 'fixtures/curvature/keras-optimizers';
const keras = read(`${KERAS}/expected.json`) as Record<
  string,
  { hessian: number; preconditioned: number; limit: number }
>;
export const atKeras = (name: string, optimizer: string): Promise<CurvatureEntry[]> =>
  measure(
    files([`${KERAS}/batch.npz`], ['--optimizer', optimizer], `${KERAS}/${name}`, `${KERAS}/model.json`),
  );
/** A file of Keras by its name, and what the notes say of its optimizer. */
export async function isOfKeras(name: string, said: string): Promise<void> {
  const entries = await atKeras(name, name.replace(/^scaled-|\..*/g, ''));
  const { hessian, preconditioned, limit } = keras[name]!;
  near(tops(entries), [hessian, preconditioned]);
  near([entries[1]!.stability.limit!], [limit]);
  expect(entries[0]!.notes!.join()).toMatch(new RegExp(said));
}

export async function isRefused(args: readonly string[], code: number, id: string): Promise<void> {
  const result = await curvature(args);
  expect(result.err).toContain(`error[${id}]: `);
  expect(result.code).toBe(code);
  expect(result.out).toBe('');
  expect(result.err).not.toMatch(/\n\s+at .*:\d+:\d+/);
}
