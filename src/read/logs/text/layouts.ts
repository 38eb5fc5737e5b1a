/**
 * Layouts as data: a line of a trainer, and what its numbers are. They say what words and numbers cannot tell. A
 * configuration holds such records (`layouts`), `teach` writes them; they run nothing.
 */

import type { FieldRole, LayoutField, TextLayout } from '../../../model/layout.ts';
import { asSaid, asText } from './as-said.ts';
import type { Use } from './cells.ts';
import { type Described, describe } from './described.ts';
import { sameButForPrefix, sameNumbers } from './guess.ts';
import type { Named } from './names.ts';
import { type Template, Templates } from './templates.ts';

/** The template of one line. */
export function templateOf(line: string): Template | undefined {
  const templates = new Templates();
  const bytes = Buffer.from(line);
  templates.add(bytes, 0, bytes.length, 1);
  return templates.all()[0];
}

/** What a slot with a role that is no value is for. */
const USES: Readonly<Partial<Record<FieldRole, Use>>> = {
  step: 'step',
  epoch: 'epoch',
  batch: 'count',
  rank: 'rank',
  none: 'value',
};

const DEFAULT_NAMES: Readonly<Partial<Record<FieldRole, string>>> = {
  loss: 'loss',
  eval_loss: 'val loss',
  metric: 'accuracy',
};

/** A slot as a layout has it. */
function relabelled(named: Named, { name, role = 'none' }: LayoutField): Named {
  const called = name ?? DEFAULT_NAMES[role] ?? named.name;
  const use = USES[role];
  if (use !== undefined) return { ...named, name: called, use, loss: undefined };
  const loss = role === 'loss' ? 'train' : role === 'eval_loss' ? 'eval' : undefined;
  return { ...named, name: called, use: 'value', loss };
}

/**
 * The tables of a text that are of a layout, their slots named by it: lines of the sample's shape, also with something
 * before them.
 */
export function tablesOf(layout: TextLayout, all: readonly Described[]): Described[] {
  const template = templateOf(asSaid(asText(layout.sample)));
  if (template === undefined) return [];
  const base = describe(template);
  const size = base.slots.length;
  return all
    .filter((one) => sameButForPrefix(one, base) && one.slots.length >= size && sameNumbers(one, base))
    .map((one) => ({
      ...one,
      slots: one.slots.map((named, k) => {
        const at = k - (one.slots.length - size) + 1;
        const field = layout.fields.find((candidate) => candidate.at === at);
        return field === undefined ? { ...named, loss: undefined } : relabelled(named, field);
      }),
    }));
}
