/** Which files are programs: they run with the rights of the user, so that only the user may name one. */

/** Whether a model file is a JavaScript module, by its name; whatever else a model is, it is computed and not run. */
export const isProgram = (path: string): boolean => /\.[cm]?js$/i.test(path);
