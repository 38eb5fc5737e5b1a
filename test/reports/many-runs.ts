/** Reports of many runs, some of which broke: what a sweep of learning rates leaves behind. */
import { diagnoseRun } from '../../src/app/engine/report.ts';
import type { RunReport } from '../../src/model/report.ts';
import { makeRun, makeSeries } from '../support/make-report.ts';

/** @param points of each of three series */
export function manyRuns(count: number, points = 1000): RunReport[] {
  return Array.from({ length: count }, (_, i) => {
    const broken = i % 7 === 3 ? Math.floor(points * (0.4 + (i % 5) / 10)) : points;
    const noise = (k: number): number => Math.sin(k * 12.9898 + i * 78.233) * 0.02;
    const loss = Array.from({ length: points }, (_, k) =>
      k < broken
        ? 0.42 + 1.2 * Math.exp(-k / (points / 20)) + noise(k)
        : 2.5 + 80 * Math.exp(-(k - broken) / 20) + noise(k),
    );
    const run = makeRun(`run-${i}/log.jsonl`, [
      makeSeries('loss', 'loss', loss),
      makeSeries(
        'grad_norm',
        'grad_norm',
        loss.map((x, k) => 1 + x + noise(3 * k)),
      ),
      makeSeries(
        'lr',
        'learning_rate',
        loss.map((_, k) => 0.1 * Math.cos(k / points)),
      ),
    ]);
    const lr = [0.001, 0.003, 0.01, 0.03, 0.1][i % 5]!;
    return diagnoseRun({
      ...run,
      hyperparameters: new Map<string, string | number>([
        ['lr', lr],
        ['optimizer', i % 2 === 0 ? 'adam' : 'adagrad'],
        ['seed', i],
      ]),
    });
  });
}
