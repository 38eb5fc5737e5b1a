/** Matches the tensors of a checkpoint or capture with a model's, by name, and moves values between their layouts. */
import type { Layout } from '../../model/checkpoint.ts';
import { diagError } from '../../model/errors.ts';
import { type GlobSyntax, type GlobWork, globWork, starsOf } from '../../model/glob.ts';
import { closest } from '../../model/nearest.ts';
import type { ParameterTensor } from './objective.ts';

/** Patterns of source names and what they become: each `*` matches text without `/` and `.`, in order. */
export type Rename = ReadonlyMap<string, string>;

export interface SourceTensor {
  readonly name: string;
  readonly shape: readonly number[];
  readonly layout: Layout;
  /** Whether the layout is what the framework usually has, not what the file says. */
  readonly layoutGuessed?: boolean;
}

/** Where the values of one tensor of the model come from. */
export interface Binding {
  /** Index into the source's list. */
  readonly source: number;
  /** Axes of the source in the order of the model's; undefined where they are the same. */
  readonly axes?: readonly number[];
}

/** A name without what containers put before it: captures `param/`, PyTorch checkpoints `model.`, `module.` … */
export const plainName = (name: string): string =>
  name.replace(/^(?:param\/|(?:state_dict|model_state_dict|model|module|_orig_mod)\.)+/, '');

const STARS: GlobSyntax = { stops: './', least: 1, paths: false };

/**
 * The name that a source's tensor has in the model: the first pattern that fits it or its plain name, else the latter.
 *
 * @throws limit-exceeded
 */
export function renamed(name: string, rename: Rename, work = globWork()): string {
  return applied(name, rename, work) ?? applied(plainName(name), rename, work) ?? plainName(name);
}

function applied(name: string, rename: Rename, work: GlobWork): string | undefined {
  for (const [pattern, replacement] of rename) {
    const stars = starsOf(name, pattern, STARS, work);
    if (stars === null) continue;
    let star = 0;
    return replacement.replace(/\*/g, () => stars[star++]!);
  }
  return undefined;
}

/**
 * Finds for each tensor of the model its source. PyTorch's kernels are turned, OI to IO and OIHW to HWIO; tables of rows
 * never. Where OI is only a guess, the kernels that are not square decide for all of them.
 *
 * @throws model-names (left-overs on either side, with the nearest names), model-shapes, limit-exceeded
 */
export function matchParameters(
  tensors: readonly ParameterTensor[],
  sources: readonly SourceTensor[],
  rename: Rename,
  path: string,
): Binding[] {
  const work = globWork(path);
  const names = sources.map(({ name }) => renamed(name, rename, work));
  const byName = new Map(names.map((name, i) => [name, i]));
  const missing = tensors.filter(({ name }) => !byName.has(name)).map(({ name }) => name);
  const wanted = new Set(tensors.map(({ name }) => name));
  const left = [...byName.keys()].filter((name) => !wanted.has(name));
  const twice: string[] = [];
  for (const [i, model] of names.entries())
    if (byName.get(model) !== i) twice.push(`${sources[i]!.name} (also ${model})`);
  if (missing.length > 0 || left.length > 0 || twice.length > 0)
    throw diagError(
      'model-names',
      {
        missing: shorten(missing, (name) =>
          left.length > 0 ? `${name} (nearest: ${closest(name, left)})` : name,
        ),
        left: shorten([...left, ...twice]),
      },
      { path },
    );
  const wrong: string[] = [];
  const fileIsOI = guessedOI(tensors, sources, byName);
  const bindings = tensors.map((tensor): Binding => {
    const source = byName.get(tensor.name)!;
    const { shape, layout, layoutGuessed } = sources[source]!;
    // Only kernels are turned: a table of rows has the same axes in every framework, whatever its name.
    const axes =
      tensor.layout === 'IO' && shape.length === 2 && (layoutGuessed ? fileIsOI : layout === 'OI')
        ? [1, 0]
        : layout === 'OIHW' && tensor.layout === 'HWIO'
          ? [2, 3, 1, 0]
          : undefined;
    const turned = axes === undefined ? shape : axes.map((axis) => shape[axis]!);
    if (turned.length !== tensor.shape.length || turned.some((size, i) => size !== tensor.shape[i]))
      wrong.push(`${tensor.name} is ${turned.join('×')} there and ${tensor.shape.join('×')} in the model`);
    return axes === undefined ? { source } : { source, axes };
  });
  if (wrong.length > 0) throw diagError('model-shapes', { wrong: shorten(wrong) }, { path });
  return bindings;
}

/**
 * Whether a file whose layouts are guesses has its kernels as OI: what one kernel is they all are. The kernels that are
 * not square decide; of square ones alone, the guess.
 */
function guessedOI(
  tensors: readonly ParameterTensor[],
  sources: readonly SourceTensor[],
  byName: ReadonlyMap<string, number>,
): boolean {
  const guesses = new Set<Layout>();
  let plain = 0;
  let turned = 0;
  for (const { name, shape, layout } of tensors) {
    const source = sources[byName.get(name)!]!;
    if (layout !== 'IO' || source.layoutGuessed !== true || source.shape.length !== 2) continue;
    guesses.add(source.layout);
    const [first, second] = source.shape;
    if (first === second) continue;
    if (first === shape[0] && second === shape[1]) plain++;
    else if (first === shape[1] && second === shape[0]) turned++;
  }
  if (plain > 0 && turned === 0) return false;
  return guesses.has('OI') || (plain === 0 && turned > 0 && !guesses.has('IO'));
}

const shorten = (names: readonly string[], shown = (name: string): string => name): readonly string[] => [
  ...names.slice(0, 8).map(shown),
  ...(names.length > 8 ? [`and ${names.length - 8} more`] : []),
];

type Numbers = Float32Array | Float64Array;

/** Values of the source into the model's place in `flat`. */
export function toModel(
  { offset, shape, size }: ParameterTensor,
  { axes }: Binding,
  sourceShape: readonly number[],
  values: ArrayLike<number>,
  flat: Numbers,
): void {
  if (axes === undefined) flat.set(values, offset);
  else if (shape.length === 2) {
    const [rows, columns] = shape as [number, number];
    for (let i = 0; i < rows; i++)
      for (let j = 0; j < columns; j++) flat[offset + i * columns + j] = values[j * rows + i]!;
  } else {
    const at = placeInSource(shape, axes, sourceShape);
    for (let i = 0; i < size; i++) flat[offset + i] = values[at(i)]!;
  }
}

/** The model's part of `flat` into an array of the source's layout. */
export function toSource(
  { offset, shape, size }: ParameterTensor,
  { axes }: Binding,
  sourceShape: readonly number[],
  flat: Numbers,
  values: Numbers,
): void {
  if (axes === undefined) values.set(flat.subarray(offset, offset + size));
  else if (shape.length === 2) {
    const [rows, columns] = shape as [number, number];
    for (let j = 0; j < columns; j++)
      for (let i = 0; i < rows; i++) values[j * rows + i] = flat[offset + i * columns + j]!;
  } else {
    const at = placeInSource(shape, axes, sourceShape);
    for (let i = 0; i < size; i++) values[at(i)] = flat[offset + i]!;
  }
}

/** Index in the source of the model's entry i. */
function placeInSource(
  shape: readonly number[],
  axes: readonly number[],
  sourceShape: readonly number[],
): (index: number) => number {
  const strides = sourceShape.map((_, axis) =>
    sourceShape.slice(axis + 1).reduce((product, n) => product * n, 1),
  );
  return (index) => {
    let rest = index;
    let at = 0;
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      at += (rest % shape[axis]!) * strides[axes[axis]!]!;
      rest = Math.floor(rest / shape[axis]!);
    }
    return at;
  };
}
