/**
 * Layouts as data: a line of a trainer, and what its numbers are. They say what words and numbers cannot tell. A
 * configuration holds such records (`layouts`), `teach` writes them; they run nothing.
 */

import type { FieldRole, LayoutField, TextLayout } from '../../../model/layout.ts';
import type { Described } from './cells.ts';
import { sameButForPrefix, sameNumbers } from './guess.ts';
import { type Named, nameSlots, type Use } from './names.ts';
import { type Template, Templates } from './templates.ts';

/** The template of one line. */
export function templateOf(line: string): Template | undefined {
  const templates = new Templates();
  const bytes = Buffer.from(line);
  templates.add(bytes, 0, bytes.length, 1);
  return templates.all()[0];
}

const describe = (template: Template): Described => ({
  template,
  named: nameSlots(template),
  rows: template.order.length,
});

const COUNTERS: readonly Use[] = ['step', 'epoch', 'batch', 'rank', 'none'];
const isCounter = (role: FieldRole): role is 'step' | 'epoch' | 'batch' | 'rank' | 'none' =>
  (COUNTERS as readonly string[]).includes(role);

const DEFAULT_NAMES: Readonly<Partial<Record<FieldRole, string>>> = {
  loss: 'loss',
  eval_loss: 'val loss',
  metric: 'accuracy',
};

/** A slot as a layout has it. */
function relabelled(named: Named, { name, role = 'none' }: LayoutField): Named {
  const called = name ?? DEFAULT_NAMES[role] ?? named.name;
  if (isCounter(role))
    return { ...named, name: called, use: role === 'none' ? 'value' : role, loss: undefined };
  const loss = role === 'loss' ? 'train' : role === 'eval_loss' ? 'eval' : undefined;
  return { ...named, name: called, use: 'value', loss };
}

/**
 * The tables of a text that are of a layout, their slots named by it: lines of the sample's shape, also with something
 * before them.
 */
export function tablesOf(layout: TextLayout, all: readonly Described[]): Described[] {
  const template = templateOf(layout.sample);
  if (template === undefined) return [];
  const base = describe(template);
  const size = base.named.length;
  return all
    .filter((one) => sameButForPrefix(one, base) && one.named.length >= size && sameNumbers(one, base))
    .map((one) => ({
      ...one,
      named: one.named.map((named, k) => {
        const at = k - (one.named.length - size) + 1;
        const field = layout.fields.find((candidate) => candidate.at === at);
        return field === undefined ? { ...named, loss: undefined } : relabelled(named, field);
      }),
    }));
}
