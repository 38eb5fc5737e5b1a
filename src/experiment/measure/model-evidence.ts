/**
 * What a capture that brings its model and its batches allows: the closed loop under each rule and the curvature before
 * the incident, within the time that is left. Loads the differentiation; imported only when it is needed.
 */

import type { Cause, Remedy } from '../../model/cause.ts';
import type { CurvatureEntry, RatioSpread } from '../../model/curvature.ts';
import { DiagError, diagError, reasonOf } from '../../model/errors.ts';
import { formatNumber } from '../../model/format-number.ts';
import type { ReplayEntry } from '../../model/replay.ts';
import type { Capture } from '../../read/captures/read.ts';
import type { RuleChoice } from '../../step/rules/choice.ts';
import { lastBefore, runExperiments } from '../cause/experiments.ts';
import { type Before, NOTHING_BEFORE } from '../cause/shorter-steps.ts';
import { prepareReplay } from '../replay/from-capture.ts';
import { steppersAt } from '../replay/under-rule.ts';
import { runClosedLoop } from './closed-loop.ts';
import { type CurvatureOptions, measureCurvature } from './curvature.ts';
import { newestBefore, type PlacedCheckpoint } from './placed-checkpoint.ts';
import {
  type CurvaturePoint,
  captureBatch,
  capturePoint,
  checkpointOfCapture,
  openCaptureModel,
} from './point.ts';
import { ratioSpread, ratiosUnderRules, SEARCH } from './ratios.ts';

export interface ModelEvidence {
  /** What the experiments say of the incident; null where there is none, or none was made. */
  readonly why: { readonly cause: Cause; readonly remedies: readonly Remedy[] } | null;
  readonly replay: readonly ReplayEntry[];
  readonly curvature: readonly CurvatureEntry[];
  readonly notes: readonly string[];
  readonly notRun: readonly { readonly id: string; readonly reason: string }[];
}

export interface Limits {
  readonly clock: () => number;
  /** Milliseconds on that clock after which nothing more is begun. */
  readonly deadline: number;
  readonly onProgress: (what: string) => void;
}

/** More checkpoints than these say no more about one incident. */
const CHECKPOINTS = 12;

/**
 * @param onsetStep where the loss left its band; curvature is measured there too, if it was recorded
 * @param checkpoints of the same run; the last ones before the onset come first
 * @param runBefore what the log has of the run right before the capture
 */
export async function modelEvidence(
  capture: Capture,
  rules: readonly RuleChoice[],
  onsetStep: number | null,
  checkpoints: readonly PlacedCheckpoint[],
  limits: Limits,
  runBefore: Before = NOTHING_BEFORE,
): Promise<ModelEvidence> {
  const gathered = new Gathering(capture, rules, onsetStep, limits);
  await gathered.attempt('closed-loop', () => gathered.closedLoops(checkpoints, runBefore));
  const points = gathered.pointsOfCapture();
  for (const at of points)
    await gathered.measure(`step ${at}`, undefined, () => capturePoint(capture, { at }));
  for (const at of points)
    await gathered.spread(`step ${at}`, capture.path, at, () => capturePoint(capture, { at }));
  await gathered.atCheckpoints(
    nearestFirst(
      checkpoints.filter(({ step }) => !points.has(step)),
      onsetStep,
    ),
  );
  return gathered.evidence();
}

/** The checkpoints up to the onset, the last of them first, and then those after it. */
function nearestFirst(
  checkpoints: readonly PlacedCheckpoint[],
  onsetStep: number | null,
): readonly PlacedCheckpoint[] {
  const isEarlier = ({ step }: PlacedCheckpoint): boolean => onsetStep === null || step <= onsetStep;
  return [
    ...checkpoints.filter(isEarlier).sort((a, b) => b.step - a.step),
    ...checkpoints.filter((one) => !isEarlier(one)).sort((a, b) => a.step - b.step),
  ];
}

/** What is found of a capture, experiment by experiment, within the time that is left. */
class Gathering {
  readonly #capture: Capture;
  readonly #rules: readonly RuleChoice[];
  readonly #onsetStep: number | null;
  readonly #limits: Limits;
  readonly #replay: ReplayEntry[] = [];
  readonly #curvature: CurvatureEntry[] = [];
  readonly #notes: string[] = [];
  readonly #notRun: { id: string; reason: string }[] = [];
  #why: ModelEvidence['why'] = null;
  /** Whether the closed loop without a rule is the recorded run. */
  #follows = true;
  /** Index of the onset among the steps; -1 where it was not recorded. */
  readonly #onset: number;
  /** Index of the first harmful step; null without an incident. */
  #incoming: number | null;
  /** Indices of the steps that tell what is usual: those before the incident, or the first ones without one. */
  #before: readonly number[];

  constructor(capture: Capture, rules: readonly RuleChoice[], onsetStep: number | null, limits: Limits) {
    this.#capture = capture;
    this.#rules = rules;
    this.#onsetStep = onsetStep;
    this.#limits = limits;
    this.#onset = capture.steps.findIndex(({ step }) => step === onsetStep);
    this.#incoming = this.#onset < 0 ? null : this.#onset;
    this.#before = lastBefore(this.#onset < 0 ? Math.min(4, capture.steps.length) : this.#onset);
  }

  /** Does some work; where it cannot be done, why not is kept. */
  async attempt(id: string, work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      if (!(error instanceof DiagError)) throw error;
      this.#notRun.push({ id, reason: reasonOf(error) });
    }
  }

  /** Says how far the closed loops are. @returns a function that throws budget-spent after the deadline */
  #loopProgress(): (what: string, done: number, total: number) => void {
    const { clock, deadline, onProgress } = this.#limits;
    let begun = { what: '', at: 0 };
    return (what, done, total) => {
      const now = clock();
      if (begun.what !== what) begun = { what, at: now };
      onProgress(`${what}, step ${done} of ${total}`);
      if (now < deadline || done >= total) return;
      // The clock of a part begins with its first call, when `done` is 1 as a rule.
      const each = (now - begun.at) / Math.max(1, done - 1);
      const more = done < 2 ? '' : ` (about ${formatNumber((each * (total - done)) / 1000, 'rough')} s more)`;
      throw diagError('budget-spent', { what: `${what} after ${done} of ${total} steps${more}` });
    };
  }

  /** The training again under each rule, and where there is an incident the experiments that tell its cause. */
  async closedLoops(checkpoints: readonly PlacedCheckpoint[], runBefore: Before): Promise<void> {
    const capture = this.#capture;
    const rules = this.#rules;
    const progress = this.#loopProgress();
    if (this.#onset < 0) {
      const { entries, notes, baseline } = await runClosedLoop(capture, {
        rules,
        clock: this.#limits.clock,
        progress: (done, total) => progress('the closed loop', done, total),
      });
      this.#replay.push(...entries);
      this.#notes.push(...notes, ...(baseline.follows ? [] : [baseline.why]));
      this.#follows = baseline.follows;
      return;
    }
    const model = await openCaptureModel(capture, undefined, {});
    try {
      const found = await runExperiments({
        capture,
        prepared: await prepareReplay(capture, 'float32'),
        model,
        rules,
        onset: this.#onset,
        before: runBefore,
        checkpointBefore: (step) => newestBefore(checkpoints, step),
        batch: (index) => captureBatch(capture, index),
        progress,
      });
      this.#why = found;
      this.#incoming = found.incoming;
      this.#before = found.before;
      this.#replay.push(...found.entries);
      this.#notes.push(...found.notes, ...(found.closedLoop?.notes ?? []));
      this.#notRun.push(...found.notRun);
      this.#follows = found.closedLoop?.baseline.follows ?? true;
    } finally {
      await model.objective.close();
    }
  }

  /** Steps of the capture at which curvature is measured: its first, the first harmful one and the onset. */
  pointsOfCapture(): ReadonlySet<number> {
    const { steps } = this.#capture;
    const harmful = this.#incoming === null ? null : steps[this.#incoming]!.step;
    return new Set(
      [steps[0]?.step, harmful, this.#onsetStep].filter(
        (at): at is number => at != null && steps.some(({ step }) => step === at),
      ),
    );
  }

  /** A product of a large model takes seconds, and how many a search needs is not known before: asked before each. */
  #beforeProduct(what: string): () => void {
    const { clock, deadline } = this.#limits;
    return () => {
      if (clock() >= deadline) throw diagError('budget-spent', { what });
    };
  }

  measure(
    where: string,
    operator: CurvatureOptions['operator'],
    open: () => Promise<CurvaturePoint>,
  ): Promise<void> {
    return this.attempt(`curvature at ${where}`, async () => {
      const beforeProduct = this.#beforeProduct(`the curvature at ${where}`);
      beforeProduct();
      this.#limits.onProgress(`curvature at ${where}`);
      const point = await open();
      try {
        const { entries, strayed, caveats } = await measureCurvature(point, {
          ...SEARCH,
          ...(operator === undefined ? {} : { operator }),
          beforeProduct,
        });
        // A learning rate that is not the run's shows in the closed loop alone, not in the loss at its first step.
        this.#curvature.push(...(this.#follows ? entries : entries.map(withoutLimit)));
        if (strayed !== null) this.#notes.push(`${where}: ${strayed}`);
        this.#notes.push(...caveats);
      } finally {
        await point.model.objective.close();
      }
    });
  }

  async #batchOf(index: number) {
    const { step } = this.#capture.steps[index]!;
    return { step, batch: await captureBatch(this.#capture, index) };
  }

  /** Adds to what was measured at a place how far its ratio spreads over batches, and at the first harmful step what rules make of it. */
  spread(where: string, name: string, step: number, open: () => Promise<CurvaturePoint>): Promise<void> {
    return this.attempt(`ratios on single batches at ${where}`, async () => {
      const at = this.#curvature.findIndex(
        (entry) => entry.checkpoint === name && entry.step === step && entry.stability.ratio !== null,
      );
      if (at < 0 || this.#before.length === 0) return;
      const beforeProduct = this.#beforeProduct(`the ratios on single batches at ${where}`);
      beforeProduct();
      this.#limits.onProgress(`ratios on single batches at ${where}`);
      const point = await open();
      try {
        const usual = [];
        for (const index of this.#before) usual.push(await this.#batchOf(index));
        const news = this.#incoming === null ? null : await this.#batchOf(this.#incoming);
        const found = await ratioSpread(point, usual, news, beforeProduct);
        this.#curvature[at] = { ...this.#curvature[at]!, spread: { ...found, rules: [] } };
        if (news === null || name !== this.#capture.path || step !== news.step) return;
        if (this.#why !== null) this.#why = { ...this.#why, cause: withRatio(this.#why.cause, found, step) };
        const prepared = await prepareReplay(this.#capture, 'float32');
        const steppers = await steppersAt(this.#capture, prepared, this.#rules, this.#incoming!);
        const under = await ratiosUnderRules(point, steppers, news.batch, beforeProduct);
        this.#curvature[at] = { ...this.#curvature[at]!, spread: { ...found, rules: under } };
      } finally {
        await point.model.objective.close();
      }
    });
  }

  /** Curvature over the checkpoints, and how far it spreads, for as many of them as count and the time allows. */
  async atCheckpoints(ordered: readonly PlacedCheckpoint[]): Promise<void> {
    const { clock, deadline } = this.#limits;
    // Over the checkpoints the ratio is what matters; the plain Hessian of another optimizer than gradient descent has none.
    const operator = this.#curvature.find(({ stability }) => stability.ratio !== null)?.operator;
    const taken = ordered.slice(0, CHECKPOINTS);
    for (const [i, one] of taken.entries()) {
      if (clock() >= deadline) {
        const left = taken.length - i;
        const what = left === 1 ? 'the last checkpoint' : `the last ${left} checkpoints`;
        this.#outOfTime('curvature at checkpoints', `the curvature at ${what}`);
        break;
      }
      await this.measure(nameOf(one), operator, () => this.#pointOf(one));
    }
    for (const one of taken) {
      if (clock() > deadline) {
        if (!this.#curvature.some(({ checkpoint }) => checkpoint === one.file.path)) continue;
        this.#outOfTime(
          'ratios on single batches at checkpoints',
          'the ratios on single batches at the checkpoints',
        );
        break;
      }
      await this.spread(nameOf(one), one.file.path, one.step, () => this.#pointOf(one));
    }
    if (ordered.length > CHECKPOINTS)
      this.#notRun.push({
        id: 'curvature',
        reason: `of ${ordered.length} checkpoints ${CHECKPOINTS} were measured: \`clippy-diag curvature --checkpoint FOLDER\` measures all`,
      });
  }

  #outOfTime(id: string, what: string): void {
    this.#notRun.push({ id, reason: reasonOf(diagError('budget-spent', { what })) });
  }

  async #pointOf({ file, learningRate }: PlacedCheckpoint): Promise<CurvaturePoint> {
    return checkpointOfCapture(await file.open(), this.#capture, learningRate);
  }

  evidence(): ModelEvidence {
    const curvature = this.#curvature;
    const notes = [...this.#notes];
    if (curvature.some(({ checkpoint }) => checkpoint !== this.#capture.path))
      notes.push(
        `curvature at checkpoints is that of the capture's first batch, of step ${this.#capture.steps[0]!.step}; at a step of the capture of its own`,
      );
    const unknown = curvature.flatMap(({ stability, step }) =>
      stability.learningRate === null ? [step!] : [],
    );
    if (unknown.length > 0)
      notes.push(
        `no learning rate is known at step ${[...new Set(unknown)].sort((a, b) => a - b).join(', ')}: the checkpoint holds none and the log has none or, over its attempts, several, so that the eigenvalue there has no ratio`,
      );
    return {
      why: this.#why,
      replay: this.#replay,
      curvature: curvature.sort((a, b) => a.step! - b.step!),
      notes,
      notRun: grouped(this.#notRun),
    };
  }
}

const nameOf = ({ file, step }: PlacedCheckpoint): string => `${file.path} (step ${step})`;

/** What failed for the same reason at many places, once. */
function grouped(notRun: ModelEvidence['notRun']): ModelEvidence['notRun'] {
  const ids = new Map<string, string[]>();
  for (const { id, reason } of notRun) ids.set(reason, [...(ids.get(reason) ?? []), id]);
  return [...ids].map(([reason, all]) => ({
    id: all.length < 3 ? all.join(' and ') : `${all[0]} and ${all.length - 1} more places`,
    reason,
  }));
}

/** A cause with the ratio on the incoming batch among its evidence, with those of the batches before. */
function withRatio(
  cause: Cause,
  { before, usual, incoming, unusual }: Omit<RatioSpread, 'rules'>,
  step: number,
): Cause {
  const known = before.flatMap(({ ratio }) => ratio ?? []);
  if (incoming?.ratio == null || known.length === 0) return cause;
  const batches = before.map(({ batchStep }) => batchStep).join(', ');
  return {
    ...cause,
    evidence: [
      ...cause.evidence,
      {
        id: 'curvature-ratio',
        statement: `at the weights of step ${step} the curvature on the batch of step ${incoming.batchStep} is ${formatNumber(incoming.ratio)} times what the learning rate tolerates, and ${formatNumber(Math.min(...known))} to ${formatNumber(Math.max(...known))} times on the batches of steps ${batches}${usual === null ? '; fewer than four came before, which say nothing of what is usual' : unusual ? '' : ': nothing unusual'}`,
        value: incoming.ratio,
        unit: 'ratio',
        usual,
        at: { step, batchStep: incoming.batchStep },
      },
    ],
  };
}

function withoutLimit({ criticalSharpness: _, ...entry }: CurvatureEntry): CurvatureEntry {
  return { ...entry, stability: { learningRate: entry.stability.learningRate, limit: null, ratio: null } };
}
