/**
 * A log that is written, rotated and watched in random order, also while it is read: one run at every look, one message an incident over
 * rotation, truncation and restart of the watcher.
 */
import { appendFileSync, copyFileSync, existsSync, mkdirSync, renameSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { watchPath } from '../../src/app/engine/watch.ts';
import { DEFAULT_ALERTS, NO_ALERTS, updateAlerts } from '../../src/app/engine/watch-alerts.ts';
import { random as randomOf } from '../support/random.ts';
import { scratchFolders } from '../support/scratch.ts';

const newFolder = scratchFolders('rotations');
const options = { toolVersion: '0.1.0', now: () => new Date('2026-01-02T03:04:05Z') };
const settings = { classes: DEFAULT_ALERTS, delayMs: 0, clearMs: 600_000 };
const calm = (step: number): number => 0.5 + 2 * Math.exp(-step / 60) + 0.01 * Math.sin(step * 12.9898);

/** A log of one run, of which the loss is wrong from step `onset` on. */
class GrowingLog {
  private step = 0;
  private parts = 0;

  constructor(
    private readonly path: string,
    private readonly onset: number,
    private readonly wrong: (step: number) => number | string,
    private readonly isCopied: boolean,
  ) {}

  write(records: number): void {
    for (const end = this.step + records; this.step < end; this.step++) {
      const loss = this.step >= this.onset ? this.wrong(this.step) : calm(this.step);
      appendFileSync(this.path, `${JSON.stringify({ step: this.step, loss })}\n`);
    }
  }

  rotate(): void {
    const { path } = this;
    if (!existsSync(path)) return;
    for (let part = this.parts; part >= 1; part--) renameSync(`${path}.${part}`, `${path}.${part + 1}`);
    this.parts++;
    if (this.isCopied) {
      copyFileSync(path, `${path}.1`);
      truncateSync(path, 0);
    } else renameSync(path, `${path}.1`);
  }
}

const tick = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

it.each(
  Array.from({ length: 24 }, (_, i) => ({
    seed: i + 1,
    rotation: i % 2 === 0 ? 'moved' : 'copied and truncated',
    fate: i % 4 < 2 ? 'NaN' : 'high',
  })),
)('seed $seed: a log that is $rotation, $fate from one step on', async ({ seed, rotation, fate }) => {
  const random = randomOf(seed);
  const upTo = (most: number): number => 1 + Math.floor(random() * most);
  const folder = newFolder();
  mkdirSync(join(folder, 'run'));
  const wrong = (step: number): number | string => (fate === 'NaN' ? 'NaN' : calm(step) + 80);
  const log = new GrowingLog(
    join(folder, 'run/log.jsonl'),
    400 + Math.floor(random() * 20),
    wrong,
    rotation !== 'moved',
  );
  log.write(400);
  let watcher = watchPath(folder, options);
  let state = NO_ALERTS;
  const raised: string[] = [];
  const look = async (now: number, rotates: boolean): Promise<void> => {
    const looking = watcher.look();
    if (rotates) {
      for (let ticks = upTo(40); ticks > 0; ticks--) await tick();
      log.rotate();
      if (random() < 0.5) log.write(upTo(3));
      if (random() < 0.2) log.rotate();
    }
    const report = await looking;
    if (report === undefined) return;
    expect(report.runs.map(({ id }) => id)).toEqual(['run/log.jsonl']);
    const next = updateAlerts(state, report.runs, settings, now);
    ({ state } = next);
    raised.push(...next.raised.map((one) => one.class));
  };
  for (let k = 0; k < 60; k++) {
    const chance = random();
    if (chance < 0.4) log.write(upTo(3));
    else if (chance < 0.6) log.rotate();
    else if (chance < 0.62) watcher = watchPath(folder, options);
    else await look(5000 * k, random() < 0.5);
  }
  log.write(40);
  await look(1_000_000, false);
  await look(1_005_000, false);
  expect(raised).toEqual([fate === 'NaN' ? 'non-finite' : 'full-divergence']);
});
