/** Which axis of a kernel is its output, where the framework and the name tell. */
import type { Layout } from '../../model/checkpoint.ts';

/** A table of rows, not a kernel: its axes are (entry, feature) in every framework. */
const TABLE =
  /(?:^|[._/])(?:\w{0,64}emb(?:ed(?:ding)?s?)?|wte|wpe|lookup|\w{0,64}embeddings?)(?:_?(?:table|bag)s?)?(?:[._/]|$)/i;

/** Transposed convolutions keep the input axis first. */
const TRANSPOSED = /deconv|conv_?transpose|convt\d?[._]|upconv/i;

/**
 * Layout of a PyTorch tensor: `Linear` kernels are (out, in), `Conv2d` kernels (out, in, height, width). Vectors,
 * embedding tables, transposed convolutions and other ranks are `none`.
 */
export function layoutOfTorch(name: string, shape: readonly number[]): Layout {
  if (TABLE.test(name) || TRANSPOSED.test(name)) return 'none';
  return shape.length === 2 ? 'OI' : shape.length === 4 ? 'OIHW' : 'none';
}

/**
 * Layout of a Keras or TensorFlow tensor: dense kernels are (in, out), convolution kernels (height, width, in, out).
 * Depthwise and transposed convolutions, whose last axis is not the output, are `none`, and so are tables and other
 * ranks.
 */
export function layoutOfKeras(name: string, shape: readonly number[]): Layout {
  if (TABLE.test(name) || TRANSPOSED.test(name) || /depthwise|transpose/i.test(name)) return 'none';
  // Attention has biases of several axes.
  if (/(?:^|\/)bias$|(?:query|key|value)_dense\/vars\/1$/.test(name)) return 'none';
  return shape.length === 2 ? 'IO' : shape.length === 4 ? 'HWIO' : 'none';
}
