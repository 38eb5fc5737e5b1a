/** What pages of Parquet are compressed with: Node's own zlib where it has the codec, a package where it has not. */
import { brotliDecompressSync, gunzipSync } from 'node:zlib';
import type { Compressors } from 'hyparquet';

/**
 * The decompressors of Parquet's codecs (parquet-format, Compression.md), each of a page and its length by its header. They throw
 * where a page is damaged or longer than that.
 */
export async function parquetCodecs(): Promise<Compressors> {
  const packaged = await import('./packaged-codecs.ts');
  return {
    SNAPPY: packaged.decompressSnappy,
    // In memory of its own, as numbers are read where they lie.
    GZIP: (page, length) => new Uint8Array(gunzipSync(page, atMost(length))),
    BROTLI: (page, length) => new Uint8Array(brotliDecompressSync(page, atMost(length))),
    ZSTD: (page) => packaged.decompressZstd(page),
    LZ4: packaged.decompressLz4,
    LZ4_RAW: packaged.decompressLz4Raw,
  };
}

/** Node takes no limit of 0. */
const atMost = (length: number): { readonly maxOutputLength: number } => ({
  maxOutputLength: Math.max(1, length),
});
