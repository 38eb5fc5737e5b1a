/** A placeholder with two values: `--vary python=old/bin/python,new/bin/python`. */
import { diagError } from '../../model/errors.ts';
import type { Dimension } from './dimension.ts';

const OURS = ['config', 'commit', 'data', 'versions', 'out', 'steps'];

/** @throws usage */
export function choiceOf(text: string): Dimension {
  const [, name, good, bad] = /^([a-zA-Z][\w-]{0,63})=([^,]+),([^,]+)$/.exec(text) ?? [];
  if (name === undefined || good === undefined || bad === undefined || OURS.includes(name))
    throw diagError('usage', {
      problem: `--vary ${text} is not NAME=GOOD,BAD`,
      hint: 'e.g. --vary python=old/bin/python,new/bin/python, and {python} in the command',
    });
  return {
    placeholder: name,
    ordered: false,
    changes: [{ kind: 'choice', name, good, bad }],
    write: async (chosen) => (chosen.length === 0 ? good : bad),
  };
}
