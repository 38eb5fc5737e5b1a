/**
 * Names come from strangers: over every command and every format of its output, none of them is a command to a CI
 * server, an escape sequence to a terminal, or markup.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { validateXML } from 'xmllint-wasm';
import type { OutputStream } from '../../src/app/cli/io.ts';
import { REPORT_FORMATS } from '../../src/report/registry.ts';
import { STUDY_FORMATS } from '../../src/report/study-formats.ts';
import { COMMANDS } from '../../src/run.ts';
import { fullReport, PLACES } from '../reports/full-report.ts';
import { cli } from '../support/cli.ts';
import { fileName, makeHostileWorld, NAMES } from '../support/hostile-world.ts';
import { scratchFolders } from '../support/scratch.ts';
import { projectRoot } from '../support/shared-data.ts';

const scratch = scratchFolders('hostile-names');

/** Whether the long project runs this. */
const LONG = process.env.CLIPPY_DIAG_FUZZ !== undefined;

/** GitHub: `::name` first on a line, blanks before it or not, and `##[name]`; Azure: `##vso[`. */
const CI_COMMAND = /^[^\S\n]*::|##(vso)?\[/m;
/** The annotations that the format `github` is there to print. */
const ANNOTATION = /^::(error|warning|notice) ([a-z]+=[^,:\n]*,)*title=[^,:\n]*(%3A)?[^,:\n]*::[^\r\n]+\n/gm;
/** What a terminal, or a reader of text, obeys or does not show: C0, DEL, C1, bidi, zero width, separators, no characters. */
const CONTROL =
  /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb\ufffe\uffff]|[\ud800-\udfff]/u;
/** What we write to a terminal ourselves: weights and colours; a line or a screen that is cleared, where a new line begins. */
const OWN_COLOUR = /\u001b\[(?:[012]|22|3\d|39|9[0-7])(?:;\d+)*m/g;
const OWN_SCREEN =
  /\r\u001b\[K|\u001b\[H\u001b\[J|\u001b\[\d+A\u001b\[J|\u001b\[2J|\u001b\[\?(?:7|25|1049)[hl]|\r(?=\n)/g;
const parsed = (text: string): string[] => {
  try {
    JSON.parse(text);
    return [];
  } catch (error) {
    return [`no JSON: ${(error as Error).message}: ${text.slice(0, 100)}`];
  }
};

/** What is wrong with a format besides commands and control characters. */
const FORMAT_FAULTS: Readonly<
  Record<string, (text: string) => readonly string[] | Promise<readonly string[]>>
> = {
  json: parsed,
  gitlab: parsed,
  sarif: parsed,
  'skip-list': parsed,
  html: (text) =>
    excerpts(
      text.replace(/<script[^>]*>[^<]*<\/script>/g, ''),
      /<(script>window|img|svg\/|!--<)|' onmouseover='/i,
      'markup',
    ),
  markdown: (text) =>
    excerpts(text, /<(script|img|svg|!--|b>)|(^|[^\\])\]\(|(^|\s)@someone|^\|(?! ---).*[^\\]`/im, 'markup'),
  async junit(text) {
    const schema = {
      fileName: 'junit.xsd',
      contents: readFileSync(join(projectRoot, 'test/reports/junit.xsd'), 'utf8'),
    };
    const { errors } = await validateXML({ xml: [{ fileName: 'a.xml', contents: text }], schema: [schema] });
    return errors.map(({ message }) => message);
  },
  csv: (text) => excerpts(text, /(^|,)"?[=+@]/m, 'a formula'),
  latex: (text) => excerpts(text, /(^|[^\\])[#&]pwned/, 'markup'),
};

interface Line {
  readonly args: readonly string[];
  readonly format?: string;
  readonly code?: number;
  readonly tty?: boolean;
}

/** Where a text has what it must not have, with what stands around it. */
const excerpts = (text: string, pattern: RegExp, what: string): string[] =>
  [...text.matchAll(new RegExp(pattern.source, `${pattern.flags}g`))].map(
    ({ index }) => `${what}: ${JSON.stringify(text.slice(Math.max(0, index - 30), index + 50))}`,
  );

const withoutOwn = (text: string): string => text.replace(OWN_COLOUR, '').replace(OWN_SCREEN, '\n');

/** Runs a command line and says what is wrong with its output. */
async function faultsOf({ args, format, code, tty }: Line, cwd: string): Promise<string[]> {
  const shown = { out: '', err: '' };
  const terminal = (name: 'out' | 'err'): OutputStream => ({
    isTTY: true,
    columns: 100,
    rows: 2000,
    write(text, done) {
      shown[name] += text;
      done?.();
    },
  });
  const result = await cli(args, {
    cwd,
    ...(tty === true
      ? { io: { stdout: terminal('out'), stderr: terminal('err') }, env: { FORCE_COLOR: '1' } }
      : {}),
  });
  const { out, err } = tty === true ? { out: withoutOwn(shown.out), err: withoutOwn(shown.err) } : result;
  const own = format === 'github' ? out.replace(ANNOTATION, '') : out;
  const faults = [
    ...(out + err === '' ? ['it prints nothing'] : []),
    ...(code === undefined || code === result.code ? [] : [`code ${result.code}: ${err}`]),
    ...excerpts(err, /^bug:.*\n.*/m, 'a bug'),
    ...excerpts(own, CI_COMMAND, 'a command'),
    ...excerpts(err, CI_COMMAND, 'a command in an error'),
    ...excerpts(out, CONTROL, 'a control character'),
    ...excerpts(err, CONTROL, 'a control character in an error'),
    ...(format === undefined ? [] : ((await FORMAT_FAULTS[format]?.(out)) ?? [])),
  ];
  return faults.slice(0, 3).map((fault) => `${args.join(' ')}${tty ? ' (terminal)' : ''}: ${fault}`);
}

/** What is run in a world of names, of which the first stands where there is room for one. */
function linesOf(name: string): Line[] {
  const run = join('runs', name);
  const capture = join(name, 'capture');
  const damaged = join(name, 'damaged');
  const both = (...args: string[]): Line[] => [{ args }, { args: [...args, '--json'], format: 'json' }];
  const shown = (...args: string[]): Line[] => [...both(...args), { args, tty: true }];
  const formats = Object.keys(REPORT_FORMATS);
  return [
    ...shown('analyze', 'runs'),
    ...shown('gate', 'runs', '--settle', '0'),
    ...shown('gate', 'runs', '--settle', '0', '--config', 'rules.json'),
    ...['wrong.json', 'wrong-key.json', 'wrong.yaml'].flatMap((config) =>
      both('gate', 'runs', '--config', config),
    ),
    ...formats.map((format) => ({
      args: ['gate', 'runs', '--settle', '0', '--report', `${format}:-`],
      format,
    })),
    ...formats.map((format) => ({ args: ['report', 'report.json', '--to', format], format })),
    ...shown('report', 'report.json'),
    ...both('report', 'wrong.json'),
    ...shown('inspect', 'runs'),
    ...shown('inspect', join(run, 'step-100.safetensors'), join(run, 'step-110.safetensors'), '--diff'),
    ...both('inspect', join(run, 'step-100.safetensors'), '--list'),
    ...both('resume', join(run, 'step-100.safetensors')),
    ...both('inspect', capture),
    ...both('inspect', damaged),
    ...both('inspect', damaged, '--check'),
    ...both('inspect', join(name, 'pickle.pt')),
    ...both('inspect', join(name, 'text.txt')),
    ...both('inspect', join(name, `${name}.csv`)),
    ...shown('chart', join(run, 'log.jsonl')),
    ...both('chart', join(run, 'log.jsonl'), '--metric', name),
    ...both('chart', join(run, 'log.jsonl'), '--metric', `${name} missing`),
    ...shown('watch', join(run, 'log.jsonl'), '--idle-exit', '1', '--state', 'state.json'),
    ...shown('replay', capture),
    ...shown('replay', damaged),
    ...both(
      'replay',
      capture,
      '--mode',
      'closed-loop',
      '--rule',
      'none',
      '--model',
      `${capture}/layers.json`,
    ),
    ...both('curvature', capture, '--model', `${capture}/layers.json`),
    ...both('matrix', 'wrong-study.json'),
    ...both('baseline', 'update', 'runs', '--settle', '0'),
    ...both('baseline', 'show', '--file', 'baseline.json'),
    ...both('baseline', 'show', '--file', `${name}.json`),
    ...both('strip-batches', damaged),
    ...both('donate', 'runs', damaged),
    ...both('teach', name),
    ...both('inspect', '--tokens', name),
    ...both('explain', name),
    ...both('mcp', '--allow', join(name, 'text.txt')),
    ...both('completion', name),
    ...both('init', '--dir', join('new', name)),
    ...both(name, '--budget', '0'),
    ...both('analyze', '--report', `${name}:x`, 'runs'),
    ...both('replay', capture, '--rule', name),
  ];
}

/** What takes seconds: in the long project for every name, of all names at once (`heavyLines`) here. */
const longLinesOf = (name: string): Line[] => [{ args: [name] }, { args: [name, '--json'], format: 'json' }];

/** What takes seconds; all names stand in it at once. */
const heavyLines = (name: string): Line[] => {
  const capture = join(name, 'capture');
  const loop = ['--rule', 'none', '--model', `${capture}/model.json`];
  return [
    // Everything that an analysis finds, once; the report of it in other places and formats.
    { args: ['analyze', capture, '--report', 'json:analysis.json'], tty: true, code: 0 },
    { args: ['report', 'analysis.json'], code: 0 },
    { args: ['report', 'analysis.json', '--to', 'json'], format: 'json', code: 0 },
    { args: ['analyze', capture, '--budget', '0'] },
    { args: ['analyze', capture, '--budget', '0', '--json'], format: 'json' },
    { args: ['replay', capture, '--mode', 'closed-loop', ...loop] },
    { args: ['matrix', capture, '--seeds', '1', '--learning-rate-multiplier', '1', ...loop] },
    {
      args: ['matrix', join(name, 'damaged'), '--seeds', '1', '--learning-rate-multiplier', '1', ...loop],
      code: 3,
    },
    { args: ['audit', capture] },
    { args: ['audit', capture, '--json'], format: 'json' },
    { args: ['who', '3', capture], code: 3 },
    { args: ['preflight', capture, '--seconds', '0.01'], code: 4 },
    { args: ['preflight', capture, '--seconds', '0.01', '--json'], format: 'json', code: 4 },
    { args: ['compare', capture, capture] },
    { args: ['compare', capture, capture, '--json'], format: 'json' },
    { args: ['compare', capture, capture, '--report', 'html:-'], format: 'html' },
    { args: ['donate', capture] },
    {
      args: [
        'bisect',
        '--good',
        capture,
        '--vary',
        `x=${name.replaceAll(',', '')},b`,
        '--',
        'node',
        '-e',
        '0',
        '{x}',
      ],
      code: 4,
    },
    { args: ['curvature', capture, '--task', 'each'] },
    { args: ['matrix', 'study.json', '--workers', '1'], code: 0 },
    { args: ['matrix', 'study.json', '--workers', '1', '--json'], format: 'json', code: 0 },
    { args: ['matrix', 'merge', 'shard.json'], code: 0 },
    ...Object.keys(STUDY_FORMATS).map((format) => ({
      args: ['matrix', 'merge', 'shard.json', '--report', `${format}:${format}.out`],
      format: 'text',
      code: 0,
    })),
  ];
};

/** A baseline and a report with the names in every place. */
function writeSaved(folder: string, name: string): void {
  const report = fullReport(Object.fromEntries(PLACES.map((place) => [place, name])));
  writeFileSync(
    join(folder, 'report.json'),
    REPORT_FORMATS.json.render(report, { width: 100, colour: false, ascii: false }),
  );
}

it('every command is in the table', () => {
  const ran = new Set([...linesOf('x'), ...heavyLines('x')].map(({ args: [first] }) => first));
  expect([...ran]).toEqual(expect.arrayContaining(Object.keys(COMMANDS).map((id) => id.split(':')[0])));
});

if (!LONG)
  describe('all names at once', () => {
    let folder: string;
    const name = fileName(NAMES[0]!);
    beforeAll(() => {
      folder = scratch();
      makeHostileWorld(folder);
      writeSaved(folder, NAMES[0]!);
    });
    it.each(heavyLines(name).map((line) => [line.args.join(' '), line] as const))('%s', async (_, line) => {
      if (line.args.includes('shard.json')) {
        const { out } = await cli(['matrix', 'study.json', '--workers', '1', '--json'], { cwd: folder });
        writeFileSync(join(folder, 'shard.json'), out);
      }
      expect(await faultsOf(line, folder)).toEqual([]);
    });
  });

/** One of each kind: what is first on a line, behind a line break, anywhere, in a terminal, in a table, in XML, in code. */
const KINDS = NAMES.filter((name) =>
  /^::error|^x\n|^##|^\u001b\[2|^\u009b|^\| a|^\]\]>|^__proto|^"><|^\u0000/.test(name),
);

/** Of every other kind the long project runs what is run here of these. */
const isHere = (k: number): boolean => k % 6 === 0;

describe.each(KINDS.map((one, k) => [one, k] as const).filter(([, k]) => LONG || isHere(k)))(
  '%j',
  (one, k) => {
    it('is text, whatever is run', async () => {
      const folder = scratch();
      makeHostileWorld(folder, [one, 'loss']);
      writeSaved(folder, one);
      const name = fileName(one);
      const lines = [...(LONG === isHere(k) ? [] : linesOf(name)), ...(LONG ? longLinesOf(name) : [])];
      const faults: string[] = [];
      for (const line of lines) faults.push(...(await faultsOf(line, folder)));
      expect(faults).toEqual([]);
    });
  },
);
