/** A place in an input that a finding or an error points at. */
export interface SourceRef {
  readonly path: string;
  /** 1-based line of a text file. */
  readonly line?: number;
  /** 0-based offset of a byte in a binary file. */
  readonly byteOffset?: number;
  /** Name of a tensor in a checkpoint or capture. */
  readonly tensor?: string;
}
