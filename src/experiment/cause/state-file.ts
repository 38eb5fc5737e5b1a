/** Remedies that put the optimizer's state back, with the file that has it: without one they say what nobody can do. */
import type { Cause, Remedy } from '../../model/cause.ts';

/** A checkpoint that holds the optimizer's state. */
interface StateFile {
  readonly step: number;
  readonly path: string;
}

export const withStateFile = (
  remedies: readonly Remedy[],
  cause: Cause,
  files: readonly StateFile[],
): readonly Remedy[] =>
  remedies.map((remedy) =>
    remedy.action === 'restore-optimizer-state' ? named(remedy, cause, files) : remedy,
  );

function named(remedy: Remedy, cause: Cause, files: readonly StateFile[]): Remedy {
  const { from, tried, statement } = remedy;
  const told = cause.evidence.filter(({ id }) => id === 'optimizer-state' || id === 'resume');
  const steps = [cause.step, cause.onsetStep, from?.step, ...told.map(({ at }) => at.step)];
  const changed = Math.min(...steps.filter((step) => step != null));
  // One that was saved at the step itself may hold what was changed.
  const [file = null] = files.filter(({ step }) => step < changed).sort((a, b) => b.step - a.step);
  const clause =
    file === null
      ? 'no checkpoint from before with it was given: without one, warm the learning rate up again'
      : `take it from ${file.path}, of step ${file.step}`;
  return {
    ...remedy,
    statement: statement.replace(/(; not tried)?$/, `; ${clause.replaceAll('$', '$$$$')}$1`),
    from: tried === null ? file && { step: file.step, path: file.path } : ofState(from, file),
  };
}

/** Where a file to go on from was named it is the one with the state: another would lose it again. */
const ofState = (from: Remedy['from'], file: StateFile | null): Remedy['from'] =>
  from === null || from.path === null ? from : { ...from, path: file?.path ?? null };

/**
 * The files that a rule of thumb may go back to: where the optimizer's state is to be put back, the one file that has it, and
 * none where none has. Another would lose the state again, and a second file would leave open which one is meant.
 */
export function restartFrom<T extends StateFile>(
  points: readonly T[],
  remedies: readonly Remedy[],
): readonly T[] {
  const put = remedies.find(({ action }) => action === 'restore-optimizer-state');
  return put === undefined ? points : points.filter(({ path }) => path === put.from?.path);
}
