/** The rewind advice and the list of what to do next, from the remedies where experiments were made: a report never contradicts itself. */
import type { Remedy } from '../../model/cause.ts';
import type { RewindAdvice, RunVerdict } from '../../model/report.ts';

/**
 * @param otherwise the advice where nothing was tried
 * @param files checkpoints, with their steps
 * @returns null where nothing is needed, or the best remedy leaves out no batch
 */
export function wayBack(
  { lastGoodStep }: Pick<RunVerdict, 'lastGoodStep'>,
  remedies: readonly Remedy[],
  otherwise: RewindAdvice | null,
  files: readonly { readonly step: number; readonly path: string }[] = [],
): RewindAdvice | null {
  const [best] = remedies;
  if (best?.action === 'none-needed') return null;
  if (!remedies.some(({ tried }) => tried !== null)) return otherwise;
  const held = remedies.find(({ holds }) => holds === true);
  const skip = held?.skipSteps ?? null;
  if (held === undefined || skip === null || lastGoodStep === null || held.from === null) return null;
  const { step, path } = held.from;
  return {
    lastGoodStep,
    // The newest file before what was tried may be older than that.
    rewindToStep: files.find((file) => file.path === path)?.step ?? step,
    rewindToCheckpoint: path,
    skipSteps: skip,
    learningRateFactor: null,
    why: sentence(held),
  };
}

/** Remedies that hold, or else what may be tried, as sentences; at most three. */
export const remedyAdvice = (remedies: readonly Remedy[]): readonly string[] => {
  const held = remedies.filter(({ holds }) => holds === true);
  return (held.length > 0 ? held : remedies.filter(({ tried }) => tried === null)).slice(0, 3).map(sentence);
};

const sentence = ({ statement, from, paste }: Remedy): string => {
  const start = from === null || from.path === null ? '' : ` Go on from ${from.path}.`;
  const line = paste === null ? '' : ` In your script: \`${paste.replaceAll('\n', '; ')}\``;
  return `${statement[0]!.toUpperCase()}${statement.slice(1)}.${start}${line}`;
};
