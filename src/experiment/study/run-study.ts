/** Runs the cells of a study, in this thread or in several, until none is missing or the time is up. */
import type { StudyCell, StudyInfo, StudyResult } from '../../model/study.ts';
import { compareCells } from './compare-cells.ts';
import type { OpenedStudy } from './open-study.ts';
import { cellsOf, idOf, nextCells, type Results, type Shard } from './plan.ts';
import type { Resume } from './results-file.ts';
import { concludeStudy, summarise } from './summary.ts';
import { type CellKey, createTrainer } from './train-cell.ts';

/** Something that trains cells: this thread, others, or other machines. */
export interface CellRunner {
  /**
   * Trains the cells and gives each result as it is there, in any order.
   *
   * @param goesOn whether another cell may begin
   */
  run(
    cells: readonly CellKey[],
    done: (cell: StudyCell) => Promise<void>,
    goesOn: () => boolean,
  ): Promise<void>;
  close(): Promise<void>;
}

export interface StudyOptions {
  readonly shard?: Shard;
  /** Results of an interrupted run, which are kept up. */
  readonly resume?: Resume;
  readonly runner: CellRunner;
  /** Whether another cell may begin. */
  goesOn?(): boolean;
  progress?(done: number, total: number): void;
}

/** Cells that are trained between two looks at the clock and the signals. */
export const localRunner = ({ setup }: Pick<OpenedStudy, 'setup'>): CellRunner => {
  const trainer = createTrainer(setup);
  return {
    async run(cells, done, goesOn) {
      for (const cell of cells) {
        if (!goesOn()) return;
        await done(trainer.cell(cell));
        // Signals and timers are heard between two cells.
        await new Promise((resolve) => setImmediate(resolve));
      }
    },
    close: async () => {},
  };
};

/** Trains what is missing. */
export async function runStudy(study: OpenedStudy, options: StudyOptions): Promise<Results> {
  const { runner, resume, shard } = options;
  const goesOn = options.goesOn ?? (() => true);
  const results = new Map(resume?.results ?? []);
  for (let cells = nextCells(study.info, results, shard); cells.length > 0 && goesOn(); ) {
    const before = results.size;
    const total = before + cells.length;
    await runner.run(
      cells,
      async (cell) => {
        const id = idOf(cell);
        // A queue may deliver one twice.
        if (results.has(id)) return;
        await resume?.add(cell);
        results.set(id, cell);
        options.progress?.(results.size, total);
      },
      goesOn,
    );
    if (results.size === before) break;
    cells = nextCells(study.info, results, shard);
  }
  return results;
}

/** What the results say. Cells in the order of the study, whatever order they were trained in. */
export function resultOf(
  info: StudyInfo,
  results: Results,
  notes: readonly string[],
  shard?: Shard,
): StudyResult {
  const trained = cellsOf(info).flatMap((key) => {
    const cell = results.get(idOf(key));
    return cell === undefined ? [] : [cell];
  });
  const missing = nextCells(info, results).length;
  // Which is best depends on all cells: a part is compared when it is merged.
  const cells = shard === undefined && missing === 0 ? compareCells(trained) : trained;
  const summary = summarise(info, cells, info.metric);
  return {
    study: info,
    ...(shard === undefined ? {} : { shard }),
    cells,
    missing,
    summary,
    conclusion:
      missing > 0
        ? `${missing} cells are missing, so that nothing is concluded.`
        : concludeStudy(summary, info.metric, cells),
    notes,
  };
}
