/** JSON inside of checkpoints: headers, indexes, configs. */

import { parseUniqueJson } from '../../model/unique-json.ts';
import { ambiguous, malformed } from './faults.ts';

/**
 * @param what named in errors ("a safetensors header")
 * @throws checkpoint-ambiguous (a key occurs twice), checkpoint-malformed, limit-exceeded
 */
export const parseCheckpointJson = (text: string, path: string, what: string, maxDepth: number): unknown =>
  parseUniqueJson({ text, path, what, maxDepth }, ({ kind, problem, cause }) =>
    kind === 'key-twice' ? ambiguous(problem, { path }) : malformed('JSON', problem, { path }, cause),
  );
