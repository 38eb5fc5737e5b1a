/** Series of which a server kept a sample: what it left out may be the incident. */

/** The hyperparameter in which a source says that, and which points there are. */
export const sampledKey = (series: string): string => `${series}: sampled by the server`;
