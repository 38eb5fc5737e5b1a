import * as Args from '@oclif/core/args';
import * as Flags from '@oclif/core/flags';
import { BACKENDS } from '../../differentiate/autodiff/backend-names.ts';
import type { ColumnMap } from '../../differentiate/autodiff/batches.ts';
import { EIGEN_METHODS } from '../../differentiate/curvature/top-eigenpairs.ts';
import {
  type CurvatureOptions,
  measureCurvature,
  parseOptimizer,
} from '../../experiment/measure/curvature.ts';
import {
  type CurvaturePoint,
  capturePoint,
  checkpointPoint,
  checkpointsAt,
} from '../../experiment/measure/point.ts';
import { recordedCurvature } from '../../experiment/replay/recorded.ts';
import { CURVATURE_OPERATORS, type CurvatureEntry, type LabelledDensity } from '../../model/curvature.ts';
import { DiagError, diagError, EXIT, type ExitCode, worstExitCode } from '../../model/errors.ts';
import { SCHEMA_VERSION } from '../../model/report.ts';
import { isCapture, openCapture } from '../../read/captures/read.ts';
import { briefCurvature } from '../../report/brief-steps.ts';
import { curvatureText } from '../../report/curvature-text.ts';
import { command } from '../cli/command.ts';
import { limitsOf, modelLimitFlags } from '../cli/model-limits.ts';
import { productsOn } from '../cli/progress.ts';
import { offlineFlag, withLocalPaths } from '../cli/remote-paths.ts';
import { terminalOptions } from '../cli/terminal-options.ts';

export default command({
  summary: 'Measure how sharp the loss is, against what the learning rate and the optimizer tolerate.',
  description:
    'At the first recorded step of a capture, or at a checkpoint with a model and a batch. For Adagrad, RMSProp and Adam the limit belongs to the preconditioned Hessian. A ratio above 1 is a risk, not a verdict.',
  examples: [
    '<%= config.bin %> <%= command.id %> fixtures/incident/capture',
    '<%= config.bin %> <%= command.id %> capture --at 399 --top 3 --task each',
    '<%= config.bin %> <%= command.id %> --model model.json --checkpoint runs/a --batch batch.npz --optimizer adagrad:learningRate=0.1',
  ],
  args: {
    capture: Args.string({ required: false, description: 'folder of a capture' }),
  },
  flags: {
    model: Flags.string({
      helpGroup: 'INPUT',
      description: 'model file; of a capture, instead of the one it names',
      helpValue: 'FILE',
    }),
    checkpoint: Flags.string({
      helpGroup: 'INPUT',
      description: 'checkpoint, or a folder of them',
      helpValue: 'PATH',
    }),
    batch: Flags.string({
      helpGroup: 'INPUT',
      description: 'npz, safetensors, CSV or Parquet file with inputs and labels (may be repeated)',
      helpValue: 'FILE',
      multiple: true,
      multipleNonGreedy: true,
    }),
    map: Flags.string({
      helpGroup: 'INPUT',
      description: 'columns of an input of the model, e.g. dense=x1,x2',
      helpValue: 'INPUT=NAMES',
      multiple: true,
      multipleNonGreedy: true,
    }),
    optimizer: Flags.string({
      helpGroup: 'INPUT',
      description: 'optimizer of a checkpoint, e.g. adam:learningRate=1e-3,beta2=0.99',
      helpValue: 'NAME:OPTIONS',
    }),
    at: Flags.integer({
      helpValue: 'STEP',
      helpGroup: 'INPUT',
      description: 'step of the capture; default its first',
    }),
    batches: Flags.integer({
      helpValue: 'N',
      helpGroup: 'INPUT',
      description: 'steps of the capture whose batches are averaged over (default 1)',
      min: 1,
    }),
    top: Flags.integer({
      helpValue: 'N',
      helpGroup: 'QUESTION',
      description: 'how many eigenvalues',
      default: 1,
      min: 1,
      max: 50,
    }),
    method: Flags.option({
      helpGroup: 'SOLVER',
      options: EIGEN_METHODS,
      description: 'eigenvalue solver',
      default: 'lanczos' as const,
    })(),
    operator: Flags.option({
      helpGroup: 'QUESTION',
      options: CURVATURE_OPERATORS,
      description: 'default: hessian, and preconditioned-hessian where the optimizer has a preconditioner',
    })(),
    tolerance: Flags.string({
      helpValue: 'X',
      helpGroup: 'SOLVER',
      description: 'relative residual of a converged pair',
      default: '1e-3',
    }),
    seed: Flags.integer({
      helpValue: 'N',
      helpGroup: 'SOLVER',
      description: 'seed of the random starts',
      default: 0,
    }),
    starts: Flags.integer({
      helpValue: 'N',
      helpGroup: 'SOLVER',
      description:
        'random starts that have to agree on the top; without it one, where its search excludes a larger eigenvalue, else two',
      min: 1,
      max: 20,
    }),
    thorough: Flags.boolean({
      helpGroup: 'SOLVER',
      description:
        'let every further start (two in all without --starts) search until it converges; without it each has as many products as the first took',
    }),
    'max-products': Flags.integer({
      helpValue: 'N',
      helpGroup: 'SOLVER',
      description: 'products in one search',
      default: 300,
      min: 1,
    }),
    block: Flags.string({
      helpGroup: 'QUESTION',
      description: 'tensors by name, * matches anything',
      helpValue: 'PATTERN',
    }),
    task: Flags.string({
      helpValue: 'TASK',
      helpGroup: 'QUESTION',
      description: "one task's part of the loss, or each",
    }),
    onset: Flags.integer({
      helpValue: 'STEP',
      helpGroup: 'OUTPUT',
      description: 'step of a divergence, marked in the chart over checkpoints',
    }),
    density: Flags.boolean({ helpGroup: 'QUESTION', description: 'also the trace and the spectral density' }),
    backend: Flags.option({
      helpGroup: 'SOLVER',
      options: BACKENDS,
      description: 'default: the fastest that loads',
    })(),
    'fast-math': Flags.boolean({
      helpGroup: 'SOLVER',
      description:
        'multiply matrices with fused multiply-add: a large net takes some 13 % less time, and last digits may differ on another processor',
    }),
    'rows-per-pass': Flags.integer({
      helpValue: 'N',
      helpGroup: 'SOLVER',
      description: 'rows in memory at a time',
      min: 1,
    }),
    ...modelLimitFlags('SOLVER'),
    ...offlineFlag,
    verbose: Flags.boolean({
      helpGroup: 'OUTPUT',
      description: 'show everything: every operator, how well each value is known, notes',
    }),
    ascii: Flags.boolean({ helpGroup: 'OUTPUT', description: 'draw with ASCII characters only' }),
  },

  async run({ args, flags }, io) {
    const progress = productsOn(io.stderr, io.now);
    const gathered = new Measured(searchOptions(flags), progress);
    const { capture } = args;
    const { model, checkpoint, batch } = flags;
    const named = Object.entries({ capture, model, checkpoint }).filter(([, path]) => path !== undefined);
    const paths = [...named.map(([, path]) => path!), ...(batch ?? [])];
    const { entries, density, notes } = await withLocalPaths(paths, flags, io, async ({ paths, shown }) => {
      const local = Object.fromEntries(named.map(([name], k) => [name, paths[k]!]));
      const there = {
        ...flags,
        ...local,
        ...(batch === undefined ? {} : { batch: paths.slice(named.length) }),
      };
      if (capture === undefined) await measureCheckpoints(gathered, there);
      else await measureCapture(gathered, local.capture!, there);
      return shown({ entries: gathered.entries, density: gathered.density, notes: gathered.notes });
    });
    const code = gathered.exitCode();
    if (flags.json) await io.printJson({ schemaVersion: SCHEMA_VERSION, curvature: entries, density, notes });
    else {
      const terminal = terminalOptions(io.stdout, io.env, flags.ascii);
      const short =
        flags.verbose || density !== null
          ? undefined
          : briefCurvature(entries, args.capture !== undefined, code !== EXIT.done, terminal, flags.onset);
      await io.print(short ?? curvatureText(entries, density, terminal, flags.onset));
      for (const note of notes) await io.remark(`note: ${note}`);
    }
    return code;
  },
});

/** What of the flags says which search is made. */
interface SearchFlags {
  readonly tolerance: string;
  readonly method: CurvatureOptions['method'];
  readonly top: number;
  readonly seed: number;
  readonly 'max-products': number;
  readonly thorough: boolean;
  readonly density: boolean;
  readonly starts?: number | undefined;
  readonly operator?: CurvatureOptions['operator'] | undefined;
  readonly block?: string | undefined;
  readonly task?: string | undefined;
}

/** @throws usage */
function searchOptions(flags: SearchFlags): CurvatureOptions {
  const tolerance = Number(flags.tolerance);
  if (!(tolerance > 0 && tolerance < 1))
    throw diagError('usage', {
      problem: `--tolerance ${flags.tolerance} is not between 0 and 1`,
      hint: 'e.g. 1e-3',
    });
  const { method, top, seed, thorough, density } = flags;
  const maxProducts = flags['max-products'];
  return {
    method,
    count: top,
    tolerance,
    seed,
    maxProducts,
    thorough,
    density,
    warm: new Map(),
    ...given(flags, 'starts', 'operator', 'block', 'task'),
  };
}

/** What was measured, point by point. */
class Measured {
  readonly entries: CurvatureEntry[] = [];
  readonly notes: string[] = [];
  density: LabelledDensity | null = null;
  /** The worst of what happened on the way. */
  code: ExitCode = EXIT.done;
  readonly #options: CurvatureOptions;
  readonly #progress: ReturnType<typeof productsOn>;

  constructor(options: CurvatureOptions, progress: ReturnType<typeof productsOn>) {
    this.#options = options;
    this.#progress = progress;
  }

  /** Measures at a point, and closes its model. @throws what `measureCurvature` throws */
  async add(point: CurvaturePoint, place = 0, places = 1): Promise<void> {
    try {
      const { entries, strayed, density } = await measureCurvature(point, {
        ...this.#options,
        ...this.#progress.next(place, places),
      });
      this.entries.push(...entries);
      if (strayed !== null) this.code = EXIT.inconclusive;
      this.density = density;
    } finally {
      this.#progress.end();
      await point.model.objective.close();
    }
  }

  exitCode(): ExitCode {
    const open = this.entries.some((entry) => entry.eigenvalues.some((pair) => !pair.converged));
    return open ? worstExitCode(this.code, EXIT.inconclusive) : this.code;
  }
}

type LimitFlags = Parameters<typeof limitsOf>[0];

/** What of the flags says where curvature is measured. */
interface PlaceFlags extends LimitFlags {
  readonly model?: string | undefined;
  readonly checkpoint?: string | undefined;
  readonly batch?: string[] | undefined;
  readonly map?: string[] | undefined;
  readonly optimizer?: string | undefined;
  readonly at?: number | undefined;
  readonly batches?: number | undefined;
  readonly backend?: (typeof BACKENDS)[number] | undefined;
  readonly 'fast-math': boolean;
  readonly 'rows-per-pass'?: number | undefined;
}

const openOptions = (flags: PlaceFlags) => ({
  limits: limitsOf(flags),
  ...given(flags, 'backend'),
  ...(flags['fast-math'] ? { fastMath: true } : {}),
  ...(flags['rows-per-pass'] === undefined ? {} : { rowsPerPass: flags['rows-per-pass'] }),
});

/** At a step of a capture, and what its recorder measured itself. @throws usage, and what reading and measuring throw */
async function measureCapture(measured: Measured, path: string, flags: PlaceFlags): Promise<void> {
  const foreign = (['checkpoint', 'batch', 'map', 'optimizer'] as const).filter(
    (name) => flags[name] !== undefined,
  );
  if (foreign.length > 0)
    throw diagError('usage', {
      problem: 'a capture brings its own parameters, batches and optimizer',
      hint: `leave --${foreign.join(', --')} out, or the capture`,
    });
  const capture = await openCapture(path);
  const recorded = recordedCurvature(capture.manifest);
  if (flags.model !== undefined || capture.manifest.model !== null || recorded.entries.length === 0)
    await measured.add(
      await capturePoint(capture, { ...openOptions(flags), ...given(flags, 'model', 'at', 'batches') }),
    );
  measured.entries.push(...recorded.entries);
  measured.notes.push(...recorded.notes);
}

/** At a checkpoint, or at each one of a folder. @throws usage, and what reading and measuring throw */
async function measureCheckpoints(measured: Measured, flags: PlaceFlags): Promise<void> {
  const { model, checkpoint, batch } = flags;
  if (model === undefined || checkpoint === undefined || batch === undefined)
    throw diagError('usage', {
      problem: 'neither a capture nor --model, --checkpoint and --batch',
      hint: 'name a capture, or all three',
    });
  if (flags.at !== undefined || flags.batches !== undefined)
    throw diagError('usage', {
      problem: '--at and --batches choose steps of a capture, and there is none',
      hint: 'name several files with --batch to average over them',
    });
  if (await isCapture(checkpoint))
    throw diagError('usage', {
      problem: `${checkpoint} is a capture`,
      hint: 'name it without --checkpoint',
    });
  const optimizer = flags.optimizer === undefined ? {} : parseOptimizer(flags.optimizer);
  const files = { ...openOptions(flags), model, batch, map: columnMap(flags.map ?? []), ...optimizer };
  const checkpoints = await checkpointsAt(checkpoint);
  let failed: DiagError | undefined;
  try {
    for (const [i, one] of checkpoints.entries())
      try {
        await measured.add(await checkpointPoint(one, files), i, checkpoints.length);
      } catch (error) {
        // A run that blew up leaves checkpoints without a finite loss; those before are what is asked about.
        if (!(error instanceof DiagError) || checkpoints.length === 1) throw error;
        failed ??= error;
        measured.notes.push(`${one.path} was not measured: ${error.code}: ${error.message}`);
        measured.code = worstExitCode(measured.code, error.exitCode);
      }
  } finally {
    for (const one of checkpoints) await one.close();
  }
  if (measured.entries.length === 0 && failed !== undefined) throw failed;
}

/** Some members of an object, without those that are undefined. */
function given<T extends object, K extends keyof T>(
  from: T,
  ...names: readonly K[]
): { [P in K]?: Exclude<T[P], undefined> } {
  return Object.fromEntries(
    names.flatMap((name) => (from[name] === undefined ? [] : [[name, from[name]]])),
  ) as { [P in K]?: Exclude<T[P], undefined> };
}

function columnMap(values: readonly string[]): ColumnMap {
  const map = new Map<string, string[]>();
  for (const value of values) {
    const equals = value.indexOf('=');
    if (equals <= 0 || equals === value.length - 1)
      throw diagError('usage', {
        problem: `--map ${value} is not INPUT=NAMES`,
        hint: 'e.g. --map dense=x1,x2',
      });
    map.set(value.slice(0, equals), value.slice(equals + 1).split(','));
  }
  return map;
}
