import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { afterAll, expect, test } from 'vitest';
import { z } from 'zod';
import { gateConfigFrom } from '../../src/app/gate/config.ts';
import { loadGateConfig } from '../../src/app/gate/config-file.ts';
import { configSchema } from '../../src/app/gate/config-schema.ts';
import { thresholdsFor } from '../../src/app/gate/for-run.ts';
import { PRESETS } from '../../src/app/gate/presets.ts';
import { FINDINGS } from '../../src/judge/findings/registry.ts';
import type { FindingType } from '../../src/model/finding.ts';
import { isInRange } from '../../src/model/options.ts';
import { cpuTime } from '../support/cpu-time.ts';

const root = mkdtempSync(join(tmpdir(), 'clippy-diag-config-'));
afterAll(() => rmSync(root, { recursive: true }));

let folders = 0;
function folder(files: Readonly<Record<string, string>>): string {
  const path = join(root, `${folders++}`);
  mkdirSync(join(path, 'deep/er'), { recursive: true });
  for (const [name, text] of Object.entries(files)) writeFileSync(join(path, name), text);
  return path;
}

const EXAMPLE = `version: 1
extends: recommended
rules:
  non-finite-loss: error
  loss-spike: [error, { max: 2 }]
  "p95(grad_norm) < 5": warning
  "last(auc) >= 0.75": { severity: error, missing: error, from: 1000 }
expect: { steps: 20000 }
baseline: { file: .clippy-diag-baseline.json, tolerance: { relative: 0.05 } }
overrides:
  - runs: "nightly/**"
    rules: { loss-spike: off }
`;

test('reads the form of the documentation, from a folder above', async () => {
  const path = folder({ '.clippy-diag.yaml': EXAMPLE });
  const config = await loadGateConfig({ cwd: join(path, 'deep/er') });
  expect(config.path).toBe(join(path, '.clippy-diag.yaml'));
  expect([...config.rules.keys()]).toEqual([
    ...Object.keys(PRESETS.recommended.rules),
    'loss-spike',
    'p95(grad_norm) < 5',
    'last(auc) >= 0.75',
  ]);
  expect(config.rules.get('loss-spike')).toMatchObject({ severity: 'error', max: 2, missing: 'error' });
  expect(config.rules.get('last(auc) >= 0.75')).toMatchObject({
    from: 1000,
    to: Number.POSITIVE_INFINITY,
    threshold: { statistic: 'last', metric: 'auc', operator: '>=', limit: 0.75 },
  });
  expect(config.expect).toEqual({ steps: 20_000, runs: 1 });
  expect(config.baseline).toEqual({
    file: join(path, '.clippy-diag-baseline.json'),
    tolerance: { relative: 0.05, absolute: 0 },
    severity: 'error',
    ratchet: true,
  });
  expect(config.overrides[0]!.runs).toEqual(['nightly/**']);
  expect(config.overrides[0]!.rules.get('loss-spike')!.severity).toBe('off');
});

test('rules are in the order in which they were written, those of overrides too', () => {
  const rules = { 'p95(loss) < 9': 'error', drift: 'off', 'max(loss) < 99': 'error', 'loss-spike': 'note' };
  const config = gateConfigFrom({ version: 1, rules, overrides: [{ runs: 'a', rules }] });
  expect([...config.rules.keys()]).toEqual(Object.keys(rules));
  expect([...config.overrides[0]!.rules.keys()]).toEqual(Object.keys(rules));
});

test('package.json with our key, and JSON; a package.json without it is passed over', async () => {
  const body = { version: 1, rules: { 'loss-spike': 'error' } };
  const withKey = folder({ 'package.json': JSON.stringify({ 'clippy-diag': body }) });
  expect((await loadGateConfig({ cwd: withKey })).path).toBe(join(withKey, 'package.json'));
  const above = folder({ '.clippy-diag.json': JSON.stringify(body), 'deep/package.json': '{"name":"x"}' });
  expect((await loadGateConfig({ cwd: join(above, 'deep/er') })).path).toBe(join(above, '.clippy-diag.json'));
});

test('flags add to the file, or to recommended; --no-config leaves both out', async () => {
  const empty = folder({});
  const ids = async (options: object): Promise<string[]> => [
    ...(await loadGateConfig({ cwd: empty, ...options })).rules.keys(),
  ];
  expect(await ids({})).toEqual(Object.keys(PRESETS.recommended.rules));
  expect(await ids({ rules: ['last(loss) <= 0.2', 'loss-spike'] })).toEqual([
    ...Object.keys(PRESETS.recommended.rules),
    'last(loss) <= 0.2',
    'loss-spike',
  ]);
  expect(await ids({ rules: ['loss-spike'], search: false })).toEqual(['loss-spike']);
  const cwd = folder({ '.clippy-diag.yaml': 'version: 1\nrules: { loss-spike: off }' });
  expect(await ids({ cwd, rules: ['last(loss) <= 0.2'] })).toEqual(['loss-spike', 'last(loss) <= 0.2']);
  const flagWins = await loadGateConfig({ cwd, rules: ['loss-spike'] });
  expect(flagWins.rules.get('loss-spike')!.severity).toBe('error');
  await expect(loadGateConfig({ cwd: empty, search: false })).rejects.toMatchObject({
    code: 'gate-without-rules',
    exitCode: 2,
  });
});

test.each([
  ['', 'config-invalid'],
  ['version: 3', 'config-invalid'],
  ['version: 1', 'gate-without-rules'],
  ['version: 1\nrules: { loss-spike: off }', 'gate-without-rules'],
  ['version: 1\nrules: { loss-spkie: error }', 'config-unknown-rule'],
  ['version: 1\nrules: { __proto__: error, loss-spike: error }', 'config-unknown-rule'],
  ['version: 1\nextends: recommended\nexpect: { __proto__: 1 }', 'config-unknown-rule'],
  ['version: 1\nrules: { constructor: error }', 'config-unknown-rule'],
  ['version: 1\nrules: { healthy: error }', 'config-unknown-rule'],
  ['version: 1\nrules: { "last(loss) < .nan": error }', 'config-bad-threshold'],
  ['version: 1\nrules: { "lats(loss) < 1": error }', 'config-bad-threshold'],
  ['version: 1\nrules: { "last(loss) < 1": [error, { max: 2 }] }', 'config-bad-threshold'],
  ['version: 1\nrules: { "last(loss) < 1": { severity: error, from: 9, to: 3 } }', 'config-bad-threshold'],
  ['version: 1\nrules: { loss-spike: fatal }', 'config-invalid'],
  ['version: 1\nrules: { loss-spike: [error, { max: -1 }] }', 'config-invalid'],
  ['version: 1\nrules: { loss-spike: [error, { max: .nan }] }', 'config-invalid'],
  ['version: 1\nrules: { loss-spike: [error, { mxa: 1 }] }', 'threshold-unknown'],
  ['version: 1\nrules: { non-finite: [error, { mxa: 1 }] }', 'config-invalid'],
  ['version: 1\nrules: { "last(loss) < 1": [error, { driftRatio: 1 }] }', 'config-invalid'],
  ['version: 1\nrules: { drift: [error, { driftRatoi: 2 }] }', 'threshold-unknown'],
  ['version: 1\nrules: { drift: { severity: error, driftRatoi: 2 } }', 'threshold-unknown'],
  ['version: 1\nrules: { drift: [error, { driftRatio: 0.5 }] }', 'threshold-range'],
  ['version: 1\nrules: { drift: [error, { driftRatio: .inf }] }', 'threshold-range'],
  ['version: 1\nrules: { dead-run: [error, { zeros: 1.5 }] }', 'threshold-range'],
  ['version: 1\nrules: { drift: [error, { driftRatio: "2" }] }', 'threshold-range'],
  [
    'version: 1\nrules: { full-divergence: [error, { incidentRatio: 9 }], micro-divergence: [error, { incidentRatio: 10 }] }',
    'threshold-conflict',
  ],
  [
    'version: 1\nrules: { drift: error }\noverrides: [{ runs: a, rules: { drift: [error, { driftRatoi: 2 }] } }]',
    'threshold-unknown',
  ],
  ['version: 1\nextends: recomended', 'config-invalid'],
  ['version: 1\nextends: recommended\nruels: {}', 'config-invalid'],
  ['version: 1\nextends: recommended\nexpect: { steps: .inf }', 'config-invalid'],
  [
    'version: 1\nextends: recommended\nbaseline: { file: b.json, tolerance: { relative: .nan } }',
    'config-invalid',
  ],
  ['version: 1\nrules: { loss-spike: error, loss-spike: off }', 'config-syntax'],
  ['version: 1\nrules: [', 'config-syntax'],
  ['"version": 1\n  bad: indent', 'config-syntax'],
  [`version: 1\nrules: {} # ${'x'.repeat(1_000_001)}`, 'limit-exceeded'],
  [
    `a: &a [1,1,1,1,1,1,1,1,1]\n${[...'bcdefgh'].map((k, i) => `${k}: &${k} [${new Array(9).fill(`*${'abcdefg'[i]}`).join()}]`).join('\n')}`,
    'limit-exceeded',
  ],
])('refuses a config %#', async (text, code) => {
  const cpu = cpuTime();
  await expect(loadGateConfig({ cwd: folder({ '.clippy-diag.yaml': text }) })).rejects.toMatchObject({
    code,
  });
  expect(cpu()).toBeLessThan(5000);
});

test('names what was meant, and the place', async () => {
  const cwd = folder({ '.clippy-diag.yaml': 'version: 1\nrules: { loss-spkie: error }' });
  await expect(loadGateConfig({ cwd })).rejects.toThrow('there is no rule "loss-spkie"');
  await expect(loadGateConfig({ cwd })).rejects.toMatchObject({
    hint: expect.stringContaining('did you mean loss-spike?') as string,
    where: { path: join(cwd, '.clippy-diag.yaml') },
  });
  const broken = folder({ '.clippy-diag.yaml': 'version: 1\nrules:\n  a: [1\n  b: 2\n' });
  await expect(loadGateConfig({ cwd: broken })).rejects.toMatchObject({
    where: { line: expect.any(Number) as number },
  });
  await expect(loadGateConfig({ cwd, file: 'no.yaml' })).rejects.toMatchObject({
    code: 'file-missing',
    exitCode: 3,
  });
});

test('thresholds stand beside the options of their rule; overrides and flags replace them', async () => {
  const cwd = folder({
    '.clippy-diag.yaml': `version: 1
extends: recommended
rules:
  drift: [error, { driftRatio: 2, max: 1 }]
  dead-run: { severity: error, missing: skip, zeros: 20 }
overrides:
  - runs: "nightly/**"
    rules: { drift: [error, { driftRatio: 3 }] }
`,
  });
  const config = await loadGateConfig({
    cwd,
    thresholds: { 'dead-run': { zeros: 30 } },
  });
  expect(config.rules.get('drift')).toMatchObject({ severity: 'error', max: 1 });
  expect(config.rules.get('dead-run')).toMatchObject({ missing: 'skip', max: 0 });
  const of = (path: string) => thresholdsFor({ id: path, paths: [path] }, config);
  expect(of('weekly/log.csv')).toEqual({ drift: { driftRatio: 2 }, 'dead-run': { zeros: 30 } });
  expect(of('nightly/log.csv')).toEqual({ drift: { driftRatio: 3 }, 'dead-run': { zeros: 30 } });
});

test('a threshold that is none is named with its place and the nearest', async () => {
  const cwd = folder({ '.clippy-diag.yaml': 'version: 1\nrules: { drift: [error, { driftRatoi: 2 }] }' });
  await expect(loadGateConfig({ cwd })).rejects.toMatchObject({
    message: 'rules.drift.driftRatoi: drift has no threshold "driftRatoi"',
    hint: expect.stringContaining('did you mean driftRatio?') as string,
    where: { path: join(cwd, '.clippy-diag.yaml') },
    exitCode: 2,
  });
});

test('the schema knows every finding and threshold with its range', () => {
  const schema = z.toJSONSchema(configSchema, { io: 'input' }) as unknown as {
    $defs: { rules: { properties: Record<string, { anyOf: object[] }>; additionalProperties: object } };
  };
  const { properties } = schema.$defs.rules;
  expect(Object.keys(properties)).toEqual(Object.keys(FINDINGS));
  for (const { id, thresholds } of Object.values(FINDINGS) as FindingType[]) {
    const text = JSON.stringify(properties[id]);
    for (const { name } of thresholds) expect(text).toContain(`"${name}":`);
  }
  const validate = new Ajv2020({ strictTypes: false, strictTuples: false }).compile(schema);
  const judge = (rules: object): boolean => validate({ version: 1, rules });
  expect(judge({ drift: ['error', { driftRatio: 2, max: 1 }], 'last(loss) < 1': 'error' })).toBe(true);
  for (const [name, value] of [
    ['driftRatio', 0.5],
    ['driftRatoi', 2],
    ['driftRatio', '2'],
  ] as const)
    expect(judge({ drift: ['error', { [name]: value }] })).toBe(false);
});

test('the schema takes of each threshold what is in its range, and nothing else', () => {
  const schema = z.toJSONSchema(configSchema, { io: 'input' });
  const validate = new Ajv2020({ strictTypes: false, strictTuples: false }).compile(schema);
  for (const { id, thresholds } of Object.values(FINDINGS) as FindingType[])
    for (const { name, range, value } of thresholds)
      for (const number of [value, range.min, range.max, range.min - 1, range.max + 1, range.min + 0.5])
        if (Number.isFinite(number))
          expect(
            validate({ version: 1, rules: { [id]: ['error', { [name]: number }] } }),
            `${id} ${name} ${number}`,
          ).toBe(isInRange(range, number));
});

test.each([
  [{ unread: ['*'] }, { unread: [''] }],
  [{ overrides: [{ runs: 'a', rules: {} }] }, { overrides: [{ runs: '', rules: {} }] }],
  [{ overrides: [{ runs: ['a'], rules: {} }] }, { overrides: [{ runs: [''], rules: {} }] }],
  [{ baseline: { file: 'b' } }, { baseline: { file: '' } }],
])('a glob or a file of one character is one, of none is not: %j', (one, none) => {
  const config = (more: object) => gateConfigFrom({ version: 1, extends: 'recommended', ...more });
  expect(config(one).path).toBeNull();
  expect(() => config(none)).toThrow(expect.objectContaining({ code: 'config-invalid' }) as Error);
});

const FORM = 'schema/config.schema.json describes the form; `clippy-diag init` writes an example';
const KEYS = `keys are ${Object.keys(configSchema.shape).join(', ')}; `;
test.each([
  [{ ruels: {} }, / at its top: /, `did you mean rules? ${KEYS}${FORM}`],
  [{ version: 3 }, / at version: /, FORM],
  [
    { extends: 'recomended' },
    / at extends: /,
    `presets are ${Object.keys(PRESETS).join(', ')}, one or a list of them; ${FORM}`,
  ],
  [
    { rules: { drift: 'fatal' } },
    / at rules\.drift: /,
    `a rule is off, note, warning, error, or [severity, { option: value }]; ${FORM}`,
  ],
  [{ expect: { step: 1 } }, / at expect: /, FORM],
  [{ unread: 7 }, / at unread: /, FORM],
])('%j is told with its place and what may stand there', (more, message, hint) => {
  expect(() => gateConfigFrom({ version: 1, ...more })).toThrow(
    expect.objectContaining({ message: expect.stringMatching(message) as string, hint }) as Error,
  );
});

test('a gate without rules says whether there are none or all are off', () => {
  expect(() => gateConfigFrom({ version: 1 })).toThrow('the config has none');
  expect(() => gateConfigFrom({ version: 1, rules: { drift: 'off' } })).toThrow(
    'the config turns all of them off',
  );
});

test('a config that is a folder cannot be read', async () => {
  const cwd = folder({});
  await expect(loadGateConfig({ cwd, file: 'deep' })).rejects.toMatchObject({ code: 'file-unreadable' });
});

test('every preset is a config', () => {
  for (const name of Object.keys(PRESETS))
    expect(gateConfigFrom({ version: 1, extends: name }).rules.size).toBeGreaterThan(3);
});

test.each([
  ['64,001 bytes', `${'#'.repeat(63_990)}\nversion: 1`, 'limit-exceeded', /64000|64,000/],
  [
    '101 aliases',
    `version: 1\nx: &a [1]\ny: [${Array(101).fill('*a').join(', ')}]\n`,
    'limit-exceeded',
    /aliases in the config/,
  ],
  ['an alias of itself', 'version: 1\nrules: &a { drift: *a }\n', 'config-syntax', /inside of what it names/],
  ['an alias of what holds it', 'a: &a\n  b: &b [*a]\n  c: *b\n', 'config-syntax', /inside of what it names/],
  ['a merge key', 'version: 1\nx: &a { drift: error }\nrules: { <<: *a }\n', 'config-syntax', /merge keys/],
  [
    'a merge key of YAML 1.1',
    '%YAML 1.1\n---\nx: &a { drift: error }\nrules: { <<: *a }\n',
    'config-syntax',
    /merge keys/,
  ],
] as const)('YAML with %s is refused by a code', async (_name, text, code, message) => {
  const path = folder({ '.clippy-diag.yaml': text });
  await expect(loadGateConfig({ cwd: path })).rejects.toMatchObject({
    code,
    message: expect.stringMatching(message),
  });
});

test.each([
  ['.clippy-diag.json', '{"version": 1, "rules": {"drift": "error", "drift": "off"}}'],
  ['package.json', '{"clippy-diag": {"rules": {"drift": "error", "drift": "off"}}}'],
])('a key that stands twice in %s is refused', async (name, text) => {
  const path = folder({ [name]: text });
  await expect(loadGateConfig({ cwd: path })).rejects.toMatchObject({
    code: 'config-syntax',
    message: expect.stringContaining('"drift" twice'),
  });
});
