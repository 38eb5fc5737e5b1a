/** What `donate` gives away of a run: whole files, and counts of what stays with the giver. */

export interface DonatedFile {
  /** Relative to the folder of the donation, with `/`. */
  readonly path: string;
  readonly text: string;
}

/** Counts of what stays with the giver. */
export interface LeftOut {
  readonly series: number;
  readonly hyperparameters: number;
  readonly tensors: number;
}

export interface Donation {
  readonly files: readonly DonatedFile[];
  readonly left: LeftOut;
}
