/** The likeliest mistakes on a command line, each with what a person would want to be told. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { cli } from '../support/cli.ts';
import { scratchFolders } from '../support/scratch.ts';
import { projectRoot } from '../support/shared-data.ts';

const scratch = scratchFolders('mistakes');
const incident = join(projectRoot, 'fixtures/incident');
const capture = join(projectRoot, 'fixtures/captures/seed-2');
const log = join(incident, 'log.jsonl');

/** A configuration of the gate in a file of its own. */
const config = (text: string, name = 'clippy-diag.yaml'): string => {
  const at = scratch();
  writeFileSync(join(at, name), text);
  return join(at, name);
};

/** What is typed, the exit code, and what the message says. */
const MISTAKES: Readonly<Record<string, readonly [() => string[], number, RegExp]>> = {
  'a command with a slip': [() => ['analize', log], 2, /did you mean analyze\?/],
  'a command with two letters turned round': [() => ['agte', log], 2, /did you mean gate\?/],
  'a command of another tool': [
    () => ['tensorboard'],
    2,
    /"tensorboard" is not a command\n {2}try: `clippy-diag --help`/,
  ],
  'a flag with a slip': [() => ['analyze', log, '--verbos'], 2, /did you mean --verbose\?/],
  'a flag of another command': [
    () => ['chart', log, '--fail-on', 'error'],
    2,
    /Nonexistent flag: --fail-on\n {2}try: --fail-on is a flag of analyze; see/,
  ],
  'a report format as a flag': [
    () => ['analyze', log, '--html', 'r.html'],
    2,
    /--html\n {2}try: --report html:FILE writes a report; see/,
  ],
  'the output flag of other programs': [
    () => ['gate', log, '--output=r.xml'],
    2,
    /try: --report FORMAT:FILE writes a report; see/,
  ],
  'a flag that nothing has': [() => ['chart', log, '--html'], 2, /--html\n {2}try: see `clippy-diag --help`/],
  'a flag without its value': [() => ['analyze', log, '--fail-on'], 2, /--fail-on expects/],
  'a severity with a slip': [() => ['analyze', log, '--fail-on', 'eror'], 2, /did you mean error\?/],
  'a severity that is too low to fail on': [
    () => ['analyze', log, '--fail-on', 'note'],
    2,
    /to be one of: warning, error/,
  ],
  'no path': [() => ['analyze'], 2, /Missing 1 required arg[\s\S]*files, folders and URLs/],
  'a path that is not there': [
    () => ['analyze', 'runs/nowhere.jsonl'],
    3,
    /runs\/nowhere\.jsonl does not exist/,
  ],
  'an empty folder': [() => ['analyze', scratch()], 3, /no-logs|no log/],
  'a budget that is no number': [() => ['analyze', log, '--budget', 'long'], 2, /--budget/],
  'a budget below zero': [() => ['analyze', log, '--budget', '-1'], 2, /--budget|Nonexistent flag/],
  'a clipping limit of zero': [
    () => ['analyze', log, '--clip-limit', '0'],
    2,
    /no positive number[\s\S]*--clip-limit 1/,
  ],
  'a log format with a slip': [() => ['inspect', log, '--format', 'jsnl'], 2, /did you mean jsonl\?/],
  'a log format that there is not': [
    () => ['inspect', log, '--format', 'xlsx'],
    2,
    /no log format "xlsx"[\s\S]*known: /,
  ],
  'a role with a slip': [
    () => ['analyze', log, '--map', 'los=task/click/loss'],
    2,
    /is not ROLE=NAME[\s\S]*roles are loss/,
  ],
  'a mapping without its name': [() => ['analyze', log, '--map', 'loss'], 2, /is not ROLE=NAME/],
  'a pattern without groups': [() => ['analyze', log, '--pattern', 'loss \\S+'], 2, /pattern/],
  'a report format with a slip': [
    () => ['analyze', log, '--report', 'htlm:r.html'],
    2,
    /did you mean html\?/,
  ],
  'a report without its format': [
    () => ['analyze', log, '--report', 'out/r.HTML'],
    2,
    /names no format\n {2}try: write it as html:out\/r\.HTML/,
  ],
  'a report without its file': [
    () => ['analyze', log, '--report', 'html'],
    2,
    /names no file\n {2}try: write it as html:FILE/,
  ],
  'a report into a folder that is not there': [
    () => ['analyze', log, '--report', `json:${join(scratch(), 'none', 'r.json')}`],
    5,
    /none/,
  ],
  'a report over the log': [
    () => {
      const at = join(scratch(), 'train.jsonl');
      writeFileSync(at, '{"step":1,"loss":1}\n{"step":2,"loss":1}\n');
      return ['analyze', at, '--report', `json:${at}`];
    },
    5,
    /output-is-input/,
  ],
  'two reports to one file': [
    () => {
      const at = join(scratch(), 'r');
      return ['analyze', log, '--report', `json:${at}`, '--report', `html:${at}`];
    },
    2,
    /two reports are to be written to/,
  ],
  'a column with a slip': [
    () => ['analyze', incident, '--budget', '0', '--where', 'clas=healthy'],
    2,
    /did you mean class\?/,
  ],
  'a column to sort by that there is not': [
    () => ['analyze', incident, '--budget', '0', '--sort', 'zzzzzz'],
    2,
    /no column "zzzzzz"\n {2}try: columns are run, class/,
  ],
  'a condition without a comparison': [
    () => ['analyze', incident, '--budget', '0', '--where', 'class'],
    2,
    /is not KEY=VALUE/,
  ],
  'a run with a slip': [
    () => ['analyze', join(projectRoot, 'fixtures/logs'), '--run', 'helthy/input.jsonl'],
    2,
    /did you mean healthy\/input\.jsonl\?/,
  ],
  'a page and one line of it': [() => ['analyze', log, '--quiet', '--verbose'], 2, /--quiet|--verbose/],
  'a series with a slip': [
    () => ['chart', log, '--metric', 'grad_nrm'],
    4,
    /no series "grad_nrm"[\s\S]*grad_norm/,
  ],
  'steps that the log does not have': [() => ['chart', log, '--from', '5000'], 4, /steps 0 to 599/],
  'a step that is no number': [() => ['chart', log, '--from', 'end'], 2, /--from/],
  'both scales': [() => ['chart', log, '--log', '--linear'], 2, /--linear|--log/],
  'a chart of a file that is not there': [() => ['chart', 'nowhere.csv'], 3, /nowhere\.csv does not exist/],
  'a replay of a run instead of its capture': [
    () => ['replay', incident],
    3,
    /did you mean .*fixtures\/incident\/capture\?/,
  ],
  'a replay of a log': [() => ['replay', log], 3, /log\.jsonl/],
  'a rule with a slip': [() => ['replay', capture, '--rule', 'clipy'], 2, /did you mean clippy\?/],
  'a rule that there is not': [
    () => ['replay', capture, '--rule', 'zzzz'],
    2,
    /no clipping rule "zzzz"\n {2}try: known: none/,
  ],
  'a preset with a slip': [() => ['replay', capture, '--rule', 'clippy:papr'], 2, /paper/],
  'an option of a rule with a slip': [
    () => ['replay', capture, '--rule', 'clippy:sigm=1'],
    2,
    /sigm[\s\S]*(did you mean|known: )/,
  ],
  'an option of a rule that is no number': [() => ['replay', capture, '--rule', 'global-norm:big'], 2, /big/],
  'curvature of a folder without a capture': [
    () => ['curvature', scratch()],
    3,
    /is a folder, not a regular file/,
  ],
  'a rule of the gate with a slip': [() => ['gate', log, '--rule', 'drft'], 2, /did you mean drift\?/],
  'a threshold that cannot be read': [() => ['gate', log, '--rule', 'last(loss) <<= 3'], 2, /last\(loss\)/],
  'a preset of the configuration with a slip': [
    () => ['gate', log, '--config', config('version: 1\nextends: recomended\n')],
    2,
    /at extends[\s\S]*clippy-diag\.yaml, line 2\n {2}try: presets are recommended, strict/,
  ],
  'a severity of the configuration with a slip, on its line': [
    () => ['gate', log, '--config', config('version: 1\nrules:\n  drift: eror\n')],
    2,
    /at rules\.drift[\s\S]*clippy-diag\.yaml, line 3\n {2}try: a rule is off, note, warning, error/,
  ],
  'a rule of the configuration with a slip, on its line': [
    () => ['gate', log, '--config', config('version: 1\nrules:\n  drift: error\n  loss-spik: error\n')],
    2,
    /no rule "loss-spik"[\s\S]*clippy-diag\.yaml, line 4\n {2}try: did you mean loss-spike\?/,
  ],
  'a threshold of the configuration with a slip, in another command': [
    () => [
      'analyze',
      log,
      '--config',
      config('version: 1\nrules:\n  drift:\n    severity: error\n    driftRation: 2\n'),
    ],
    2,
    /no threshold "driftRation"[\s\S]*clippy-diag\.yaml, line 5\n {2}try: did you mean driftRatio\?/,
  ],
  'a key of the configuration with a slip': [
    () => ['gate', log, '--config', config('version: 1\nrulez: { drift: error }\n')],
    2,
    /"rulez"[\s\S]*clippy-diag\.yaml[\s\S]*did you mean rules\?/,
  ],
  'a severity of the configuration with a slip': [
    () => ['gate', log, '--config', config('version: 1\nrules: { drift: eror }\n')],
    2,
    /rules\.drift[\s\S]*off, note, warning, error/,
  ],
  'a rule of the configuration with a slip': [
    () => ['gate', log, '--config', config('version: 1\nrules: { drft: error }\n')],
    2,
    /did you mean drift\?/,
  ],
  'a configuration that is no YAML': [
    () => ['gate', log, '--config', config('rules: [\n')],
    2,
    /line 2|line 1/,
  ],
  'a configuration that is not there': [() => ['gate', log, '--config', 'nowhere.yaml'], 3, /nowhere\.yaml/],
  'a page with a slip': [() => ['explain', 'full-divergance'], 2, /did you mean full-divergence\?/],
  'a page that there is not': [
    () => ['explain', 'qqqqqq'],
    2,
    /no page "qqqqqq"\n {2}try: known: `clippy-diag explain` lists all/,
  ],
  'a folder where a report is meant': [() => ['report', incident], 3, /folder/],
  'a log where a report is meant': [() => ['report', log], 3, /log\.jsonl/],
  'a report format to print with a slip': [
    () => {
      const at = join(scratch(), 'r.json');
      writeFileSync(at, '{}');
      return ['report', at, '--to', 'htlm'];
    },
    2,
    /did you mean html\?/,
  ],
  'a folder where a file is written': [
    () => {
      const at = join(scratch(), 'out');
      mkdirSync(at);
      return ['analyze', log, '--report', `json:${at}`];
    },
    5,
    /out/,
  ],
  'a study that is not there': [() => ['matrix', 'study.yml'], 3, /study\.yml/],
};

describe('the likeliest mistakes', () => {
  it.each(Object.entries(MISTAKES))('%s', async (_, [make, code, message]) => {
    const result = await cli(make());
    const said = result.err + result.out;
    expect(said).toMatch(message);
    expect(said).not.toMatch(/did you mean \?|undefined|\n\s+at .*:\d+:\d+/);
    expect({ code: result.code }).toEqual({ code });
  });

  it('are at least fifty', () => {
    expect(Object.keys(MISTAKES).length).toBeGreaterThanOrEqual(50);
  });

  it('a path alone means analyze', async () => {
    expect(await cli([log, '--quiet'])).toEqual(await cli(['analyze', log, '--quiet']));
  });
});
