/** The backends that can be asked for, fastest first: apart, since a command's flags need the names and no tfjs. */
export const BACKENDS = ['tfjs-node', 'wasm', 'cpu'] as const;
export type BackendName = (typeof BACKENDS)[number];
