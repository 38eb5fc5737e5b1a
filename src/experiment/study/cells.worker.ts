/** A thread that trains cells. */
import { parentPort } from 'node:worker_threads';
import { type CellKey, createTrainer, type StudySetup } from './train-cell.ts';

export type CellRequest = { readonly setup: StudySetup } | { readonly cell: CellKey };

const port = parentPort!;
let trainer: ReturnType<typeof createTrainer> | undefined;
port.on('message', (request: CellRequest) => {
  if ('setup' in request) trainer = createTrainer(request.setup);
  else port.postMessage(trainer!.cell(request.cell));
});
