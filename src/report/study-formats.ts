/** What a study is written as: one line each. */
import { countedPlain, formatNumber } from '../model/format-number.ts';
import { inert, inertName, inertOutput } from '../model/inert-text.ts';
import { toJson } from '../model/json.ts';
import { markdownTable } from '../model/markdown-table.ts';
import { SCHEMA_VERSION } from '../model/report.ts';
import { METRIC_NAMES, type StudyResult } from '../model/study.ts';
import { md } from './markdown.ts';
import { renderStudyHtml } from './study-html.ts';
import { bestLines, crashLines, studyLegend, studyTable } from './study-text.ts';

/** The document that `matrix STUDY.yaml --json` prints. */
export const studyDocument = (result: StudyResult) => ({ schemaVersion: SCHEMA_VERSION, ...result });

export const STUDY_FORMATS: Readonly<Record<string, (result: StudyResult) => string>> = {
  json: (result) => `${toJson(studyDocument(result))}\n`,
  html: renderStudyHtml,
  markdown: (result) => inertOutput(renderMarkdown(result)),
  csv: (result) => inertOutput(inert(renderCsv(result))),
  latex: (result) => inertOutput(inert(renderLatex(result))),
};

function renderMarkdown(result: StudyResult): string {
  const name = METRIC_NAMES[result.study.metric.name];
  const parts = result.study.models.flatMap((model) => {
    const { head, rows, names } = studyTable(result, model);
    return [
      `## ${md(model)}`,
      markdownTable(
        ['rule', ...head],
        rows.map((cells, r) => [md(names[r]!), ...cells.map(({ text }) => md(text))]),
      ).join('\n'),
      markdownTable(
        ['rule', `best ${name} that holds`, 'largest stable rate'],
        bestLines(result, model).map((cells) => cells.map(md)),
      ).join('\n'),
    ];
  });
  return `${[...parts, md(studyLegend(result)), ...[...crashLines(result), ...result.notes].map((note) => `- ${md(note)}`), `**${md(result.conclusion)}**`].join('\n\n')}\n`;
}

/** A text in CSV (RFC 4180). A spreadsheet would take what begins with = + - @ for a formula. */
const csvCell = (text: string): string => {
  const name = inertName(text);
  const safe = /^[=+\-@]/.test(name) ? `'${name}` : name;
  return /[",]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
};

/** One line for each cell and task. */
function renderCsv({ cells }: StudyResult): string {
  const shown = (value: number | null): string => (value === null ? '' : String(value));
  const lines = cells.flatMap((cell) =>
    Object.entries(cell.metrics).map(([task, { auc, logloss, rmse }]) =>
      [
        csvCell(cell.model),
        csvCell(cell.rule),
        csvCell(cell.label),
        String(cell.learningRate),
        String(cell.seed),
        cell.verdict,
        cell.class ?? '',
        shown(cell.onsetStep),
        shown(cell.finalLoss),
        csvCell(task),
        shown(auc),
        shown(logloss),
        shown(rmse),
      ].join(','),
    ),
  );
  return `${['model,rule,label,learning_rate,seed,verdict,class,onset_step,final_loss,task,auc,logloss,rmse', ...lines].join('\n')}\n`;
}

const LATEX: Readonly<Record<string, string>> = {
  '\\': '\\textbackslash{}',
  '~': '\\textasciitilde{}',
  '^': '\\textasciicircum{}',
  '±': '$\\pm$',
  '–': '--',
  '@': '@',
};
const latexText = (text: string): string =>
  inertName(text).replace(/[\\~^±–&%$#_{}]/g, (c) => LATEX[c] ?? `\\${c}`);

function renderLatex(result: StudyResult): string {
  return result.study.models
    .map((model) => {
      const { head, rows, names } = studyTable(result, model);
      const lines = rows.map(
        (cells, r) =>
          `${latexText(names[r]!)} & ${cells
            .map(({ text, best }) =>
              best ? `\\textbf{${latexText(text.replace('*', ''))}}` : latexText(text),
            )
            .join(' & ')} \\\\`,
      );
      return [
        `% ${latexText(model)}: ${METRIC_NAMES[result.study.metric.name]} of ${latexText(result.study.metric.task)}, ${countedPlain(result.study.seeds, 'seed')}, ${formatNumber(result.study.steps, 'lookup')} steps`,
        `\\begin{tabular}{l${'r'.repeat(head.length)}}`,
        '\\hline',
        `rule & ${head.map(latexText).join(' & ')} \\\\`,
        '\\hline',
        ...lines,
        '\\hline',
        '\\end{tabular}',
      ].join('\n');
    })
    .join('\n\n')
    .concat('\n');
}
