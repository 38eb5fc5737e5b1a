/** The answer of the brief page in HTML: what happened, where, why, what to do, and what was tried. */
import type { Report, RunReport } from '../model/report.ts';
import type { Answer, Tried } from './answer.ts';
import { answerOf } from './brief-answer.ts';
import { badge, type Column, type Html, h, moodTone, type Piece, table } from './html-template.ts';
import { figuresOf, figureText, partsWithTried } from './tried.ts';

/** Text between backticks is code. */
export const ticked = (text: string): Piece[] =>
  text.split(/`([^`]*)`/).map((part, i) => (i % 2 === 1 ? h`<code>${part}</code>` : part));

const HOLDS = { true: badge('yes', 'good'), false: badge('no', 'bad'), null: badge('not known', 'warn') };

const triedColumns = (tried: readonly Tried[]): readonly Column<Tried>[] => [
  {
    title: 'tried',
    cell: ({ name, use }) => (use ? h`<b>${name}</b> ${badge('use this', 'good')}` : name),
  },
  { title: 'holds', cell: ({ holds }) => HOLDS[`${holds}`] },
  ...figuresOf(tried).map((figure) => ({
    title: figure.title,
    cell: (one: Tried) => figureText(figure, one, '–'),
    value: figure.value,
  })),
];

const paste = (code: string): Html =>
  h`<div class="paste"><pre tabindex="0" role="group" aria-label="line to paste"><code>${code}</code></pre><button type="button" class="copy" hidden>copy</button></div>`;

function partsOf(answer: Answer): Html | false {
  const { tried } = answer;
  const rows = partsWithTried(answer).map(({ label, text, code, after }) => ({
    label,
    body:
      label === 'Tried'
        ? h`<details class="tried"><summary>${text}</summary>${table('What was tried', triedColumns(tried), tried)}</details>`
        : h`${ticked(text)}${code !== undefined && paste(code)}${after !== undefined && h`<p class="after">${ticked(after)}</p>`}`,
  }));
  return (
    rows.length > 0 &&
    h`<dl class="parts">${rows.map(({ label, body }) => h`<div class="part"><dt>${label}</dt><dd>${body}</dd></div>`)}</dl>`
  );
}

/** The first line of a run: what happened, as its heading. */
export function answerTitle({ mood, title, change }: Answer): Html {
  const mark = { good: '✓', doubtful: '!', bad: '✗' }[mood];
  return h`<span class="toned ${moodTone(mood)}" aria-hidden="true">${mark}</span> <span class="toned ${moodTone(mood)}">${title}</span> <span class="change">${change}</span>`;
}

/**
 * The answer of a run, with its chart.
 *
 * @param level of its heading, 1 where the run is alone on the page; 0 where another element is its heading
 */
export function answerCard(
  run: RunReport,
  report: Report,
  id: string,
  level: 0 | 1,
  chart: Piece,
): { readonly answer: Answer; readonly html: Html } {
  const whole = answerOf(run, report);
  // Notes are among the findings, in the same words.
  const answer = { ...whole, parts: whole.parts.filter(({ label }) => label !== 'Noted') };
  // With nothing to tell but the verdict the chart takes the whole width.
  const bare = answer.parts.length === 0 && answer.tried.length === 0;
  const html = h`<div class="answer${bare ? ' bare' : ''}"><div class="words">
${level === 1 && h`<h1 id="${id}-title">${answerTitle(answer)}</h1>`}
<p class="meta">${answer.facts}</p>
${answer.checked !== null && h`<p class="meta">${answer.checked.join(' · ')}</p>`}
${partsOf(answer)}
</div>${chart}</div>`;
  return { answer, html };
}
