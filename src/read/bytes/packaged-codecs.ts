/** The codecs of a package that Node does not have: of a module of their own, the build leaves out the others. */
export {
  decompressLz4,
  decompressLz4Raw,
  decompressSnappy,
  decompressZstd,
} from 'hyparquet-compressors';
