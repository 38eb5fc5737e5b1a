/** What a good and a bad side differ in, and how a mixture of both is written to the disk. */
import type { BisectChange } from '../../model/bisect.ts';

export interface Dimension {
  /** Its name in braces in the command. */
  readonly placeholder: string;
  readonly changes: readonly BisectChange[];
  /** Each change needs those before it. */
  readonly ordered: boolean;
  /**
   * Writes the good side with the chosen changes into a folder of ours.
   *
   * @param folder an empty folder of this trial
   * @returns what replaces the placeholder in the command
   */
  write(chosen: readonly number[], folder: string): Promise<string>;
}
