/** A value in a table: of runs, of settings, of facts. */
export type Cell = string | number | boolean | null;
