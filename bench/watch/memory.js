/**
 * Loaded before a watcher of the soak (`node --expose-gc --import`): every CLIPPY_DIAG_SOAK_EVERY milliseconds a line in
 * CLIPPY_DIAG_SOAK_MEMORY says in bytes what the process has, and what of it is in use after a collection.
 */
import { appendFileSync } from 'node:fs';
import { constants, PerformanceObserver } from 'node:perf_hooks';

const { CLIPPY_DIAG_SOAK_MEMORY: file, CLIPPY_DIAG_SOAK_EVERY: every } = process.env;
let collections = 0;
new PerformanceObserver((list) => {
  for (const { detail } of list.getEntries())
    if (detail.kind === constants.NODE_PERFORMANCE_GC_MAJOR) collections++;
}).observe({ entryTypes: ['gc'] });
setInterval(() => {
  const { rss } = process.memoryUsage();
  globalThis.gc();
  const { heapUsed, heapTotal, arrayBuffers, external } = process.memoryUsage();
  const line = { at: Date.now(), rss, heapUsed, heapTotal, arrayBuffers, external, collections };
  appendFileSync(file, `${JSON.stringify(line)}\n`);
}, Number(every)).unref();
