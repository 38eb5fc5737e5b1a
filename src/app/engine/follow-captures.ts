/** Whether captures hold the run that they say they recorded, and what their steps did. */

import { captureMismatch } from '../../judge/findings/capture-mismatch.ts';
import { STEP_FINDINGS } from '../../judge/findings/registry.ts';
import type { Column } from '../../model/column.ts';
import { DiagError, reasonOf } from '../../model/errors.ts';
import type { Finding, Outcome, ThresholdsInForce } from '../../model/finding.ts';
import type { Capture } from '../../read/captures/read.ts';

type CaptureFindingId = typeof captureMismatch.id | keyof typeof STEP_FINDINGS;

export interface CaptureLook {
  /** Of every finding that following a capture makes. */
  readonly outcomes: ReadonlyMap<CaptureFindingId, Outcome>;
  /** Captures that could not be followed, each with the reason. */
  readonly unread: readonly string[];
  /** Norms of the recorded updates of each capture that was followed. */
  readonly updates: readonly {
    readonly capture: Capture;
    readonly step: Column;
    readonly value: Column;
  }[];
}

const ids: readonly CaptureFindingId[] = [
  captureMismatch.id,
  ...(Object.keys(STEP_FINDINGS) as (keyof typeof STEP_FINDINGS)[]),
];

export const NO_CAPTURE: CaptureLook = {
  outcomes: new Map(
    ids.map((id) => [id, { kind: 'not-applicable', reason: 'no capture is in the folder of the log' }]),
  ),
  unread: [],
  updates: [],
};

/** Follows each capture through its recorded states, without any rule. */
export async function followCaptures(
  captures: readonly Capture[],
  thresholds: ThresholdsInForce,
  onProgress: (what: string) => void,
): Promise<CaptureLook> {
  if (captures.length === 0) return NO_CAPTURE;
  const { follow } = await import('../../experiment/replay/follow.ts');
  const { prepareReplay } = await import('../../experiment/replay/from-capture.ts');
  const { showSteps, walkedRun } = await import('../../experiment/replay/walk.ts');
  const findings = new Map<CaptureFindingId, Finding[]>(ids.map((id) => [id, []]));
  /** Findings that some capture could be looked at for, and why others could not. */
  const looked = new Set<CaptureFindingId>();
  const reasons = new Map<CaptureFindingId, string>([
    [captureMismatch.id, 'no capture keeps a snapshot of the parameters after its first step'],
  ]);
  const unread: string[] = [];
  const updates: CaptureLook['updates'][number][] = [];
  for (const capture of captures)
    try {
      onProgress(capture.path);
      const prepared = await prepareReplay(capture, 'float32');
      const watched = Object.values(STEP_FINDINGS).map(({ id, watch }) => ({
        id,
        watcher: watch(walkedRun(capture, prepared), (name) => thresholds(id, name)),
      }));
      const watchers = watched.flatMap(({ watcher }) => (typeof watcher === 'string' ? [] : [watcher]));
      const shown = showSteps(prepared, watchers);
      let snapshots = 0;
      const followed = await follow(capture, prepared, {
        ...shown,
        precision: 'float32',
        tolerance: (name) => thresholds(captureMismatch.id, name),
        visit: (index, step, tensors) => {
          // The first state is where the walk begins.
          if (index > 0 && step.parameters.size > 0) snapshots++;
          shown.visit(index, step, tensors);
        },
      });
      if (snapshots > 0 || followed.findings.length > 0) looked.add(captureMismatch.id);
      findings.get(captureMismatch.id)!.push(...followed.findings);
      for (const { id, watcher } of watched)
        if (typeof watcher === 'string') reasons.set(id, watcher);
        else {
          looked.add(id);
          findings.get(id)!.push(...watcher.findings());
        }
      updates.push({
        capture,
        step: Float64Array.from(followed.recorded, (_, i) => capture.steps[i]!.step),
        value: Float64Array.from(followed.recorded, ({ updateNorm }) => updateNorm),
      });
    } catch (error) {
      if (!(error instanceof DiagError)) throw error;
      unread.push(`${capture.path} could not be followed: ${reasonOf(error)}`);
    }
  const outcome = (id: CaptureFindingId): Outcome => {
    const found = findings.get(id)!;
    if (found.length > 0) return { kind: 'fail', findings: found };
    return looked.has(id)
      ? { kind: 'pass' }
      : { kind: 'not-applicable', reason: reasons.get(id) ?? 'no capture could be followed' };
  };
  return { outcomes: new Map(ids.map((id) => [id, outcome(id)])), unread, updates };
}
