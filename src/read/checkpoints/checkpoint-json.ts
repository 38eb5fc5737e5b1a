/** JSON inside of checkpoints: headers, indexes, configs. */

import { diagError } from '../../model/errors.ts';
import { parseUniqueJson } from '../../model/unique-json.ts';

/**
 * @param what named in errors ("a safetensors header")
 * @throws checkpoint-ambiguous (a key occurs twice), checkpoint-malformed, limit-exceeded
 */
export const parseCheckpointJson = (text: string, path: string, what: string, maxDepth: number): unknown =>
  parseUniqueJson({ text, path, what, maxDepth }, ({ kind, problem, cause }) =>
    kind === 'key-twice'
      ? diagError('checkpoint-ambiguous', { problem }, { path })
      : diagError('checkpoint-malformed', { format: 'JSON', problem }, { path }, cause),
  );
