/** The GitHub action, the GitLab template, the Jenkins stage and the pre-commit hook, as far as they run without those services. */
import { execFileSync, spawnSync } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { parse } from 'yaml';
import { type Framework, SNIPPETS, STARTER_CONFIG } from '../../src/app/engine/starter-files.ts';
import { gateConfigFrom } from '../../src/app/gate/config.ts';
import { cli } from '../support/cli.ts';
import { scratchFolders } from '../support/scratch.ts';
import { projectRoot } from '../support/shared-data.ts';

const read = (path: string): string => readFileSync(join(projectRoot, path), 'utf8');
const healthy = join(projectRoot, 'fixtures/logs/healthy/input.jsonl');
const diverged = join(projectRoot, 'fixtures/logs/full-divergence/input.jsonl');

const folder = scratchFolders('ci');

/** The fenced blocks of a language in a page. */
const blocks = (page: string, language: string): string[] =>
  [...read(page).matchAll(new RegExp(`^\`\`\`${language}\\n(.*?)^\`\`\``, 'gms'))].map((m) => m[1]!);

interface Action {
  readonly inputs: Record<string, { default?: string }>;
  readonly runs: {
    readonly steps: readonly {
      readonly id?: string;
      readonly env: Record<string, string>;
      readonly run: string;
    }[];
  };
}
const action = parse(read('action.yml')) as Action;
const gateStep = action.runs.steps.find(({ id }) => id === 'gate')!;
const { version } = JSON.parse(read('package.json')) as { version: string };

/** Runs the action's step as a runner would: inputs by the environment, files for summary and outputs. */
function runAction(inputs: Record<string, string>, more: Record<string, string> = {}) {
  const cwd = folder();
  const env: Record<string, string> = {};
  for (const [name, value] of Object.entries(gateStep.env)) {
    const input = /^\$\{\{ inputs\.([\w-]+) \}\}$/.exec(value)?.[1];
    env[name] = input === undefined ? projectRoot : (inputs[input] ?? action.inputs[input]!.default ?? '');
  }
  const files = { GITHUB_STEP_SUMMARY: join(cwd, 'summary.md'), GITHUB_OUTPUT: join(cwd, 'output') };
  writeFileSync(files.GITHUB_STEP_SUMMARY, 'before\n');
  const result = spawnSync('bash', ['-c', gateStep.run], {
    cwd,
    env: { ...process.env, ...env, PULL_REQUEST: '', ...files, ...more },
    encoding: 'utf8',
  });
  return {
    cwd,
    code: result.status,
    out: result.stdout,
    err: result.stderr,
    summary: readFileSync(files.GITHUB_STEP_SUMMARY, 'utf8'),
    output: readFileSync(files.GITHUB_OUTPUT, 'utf8'),
  };
}

test('the action annotates, appends a summary, writes reports and ends with the code', () => {
  const failed = runAction({
    paths: `${diverged}\n`,
    reports: '  sarif:a.sarif\njunit:b.xml\n',
    version: 'local',
  });
  expect([failed.code, failed.err]).toEqual([1, '']);
  expect(failed.out).toMatch(/^::error file=.*,line=401,title=clippy-diag%3A gate%3A full-divergence::/m);
  expect(failed.summary).toMatch(/^before\n# clippy-diag: full-divergence\n\n## Gate: failed/);
  expect(failed.output).toBe('exit-code=1\n');
  expect(readdirSync(failed.cwd)).toEqual(expect.arrayContaining(['a.sarif', 'b.xml']));
  const passed = runAction({ paths: healthy, rules: 'last(loss) <= 0.7', version: 'local' });
  expect([passed.code, passed.output]).toEqual([0, 'exit-code=0\n']);
});

test('the comment is written once, over the earlier one, and says where this run parts from the accepted one', () => {
  const tools = folder();
  // Stands for GitHub's own: keeps what it was asked, and answers with the id of an earlier comment if there is one.
  writeFileSync(
    join(tools, 'gh'),
    `#!/bin/bash\necho "$@" >>'${tools}/asked'\nfor a in "$@"; do case $a in body=@*) cp "\${a#body=@}" '${tools}/body';; esac; done\n[ "$2" = --paginate ] && echo "$EARLIER"\nexit "\${GH_CODE:-0}"\n`,
  );
  chmodSync(join(tools, 'gh'), 0o755);
  const asked = () => readFileSync(join(tools, 'asked'), 'utf8').trim().split('\n').at(-1);
  const run = (more: Record<string, string>, inputs: Record<string, string> = {}) =>
    runAction(
      { paths: diverged, 'compare-with': healthy, comment: 'true', version: 'local', ...inputs },
      { PATH: `${tools}:${process.env.PATH}`, GITHUB_REPOSITORY: 'o/r', PULL_REQUEST: '7', ...more },
    );
  const first = run({});
  expect([first.code, first.err]).toEqual([1, '']);
  expect(asked()).toMatch(/^api -X POST repos\/o\/r\/issues\/7\/comments /);
  const body = readFileSync(join(tools, 'body'), 'utf8');
  expect(body).toMatch(/^<!-- clippy-diag gate -->\n# clippy-diag: full-divergence/);
  expect(body).toContain('This run against the accepted one');
  expect(body).toMatch(/part at step \d+|differ from step \d+|step 400/);
  expect(first.summary).toContain(body.slice(body.indexOf('\n') + 1));
  run({ EARLIER: '99' });
  expect(asked()).toMatch(/^api -X PATCH repos\/o\/r\/issues\/comments\/99 /);
  // What GitHub refuses changes no verdict, and outside of a pull request nothing is asked.
  const refused = run({ GH_CODE: '1' }, { paths: healthy });
  expect([refused.code, refused.out]).toEqual([0, expect.stringContaining('::warning title=clippy-diag::')]);
  writeFileSync(join(tools, 'asked'), '');
  run({ PULL_REQUEST: '' });
  expect(asked()).toBe('');
});

test('what is pinned is this version, wherever it stands', () => {
  const pinned = [
    action.inputs.version!.default,
    ...['ci/gitlab.yml', 'ci/Jenkinsfile', 'ci/gate-once.sh', 'ci/Dockerfile', 'docs/ci.md'].flatMap((file) =>
      [
        ...read(file).matchAll(
          /(?:clippy-diag@(?:\$\{CLIPPY_DIAG_VERSION:-)?|VERSION(?:=|: )|rev: v|@v)(\d+\.\d+\.\d+)/g,
        ),
      ].map(([, found]) => found),
    ),
  ];
  expect(pinned.length).toBeGreaterThan(6);
  const lock = JSON.parse(read('package-lock.json')) as {
    version: string;
    packages: { '': { version: string } };
  };
  const python = /^__version__ = "(.*)"$/m.exec(read('python/src/clippy_diag/__init__.py'))?.[1];
  // The newest release of the changelog, which has its date.
  const released = /^## \[(\d+\.\d+\.\d+)\] - \d{4}-\d\d-\d\d$/m.exec(read('CHANGELOG.md'))?.[1];
  const all = [...pinned, lock.version, lock.packages[''].version, python, released];
  expect(new Set(all)).toEqual(new Set([version]));
});

/** A folder with what stands for npm's own npx: it runs the build of this checkout, whatever version is asked for. */
function withNpx(): { readonly cwd: string; readonly env: NodeJS.ProcessEnv } {
  const cwd = folder();
  const npx = join(cwd, 'npx');
  writeFileSync(npx, `#!/bin/sh\nshift 2\nexec '${process.execPath}' '${projectRoot}/bin/run.js' "$@"\n`);
  chmodSync(npx, 0o755);
  return { cwd, env: { ...process.env, PATH: `${cwd}:${process.env.PATH}` } };
}

test('the plain shell example ends with the code of the gate', () => {
  const { cwd, env } = withNpx();
  for (const [log, code, said] of [
    [healthy, 0, 'passed'],
    [diverged, 1, 'failed'],
    ['no-such-file', 3, 'error 3'],
  ] as const) {
    const result = spawnSync('sh', [join(projectRoot, 'ci/gate-once.sh'), log], {
      cwd,
      env,
      encoding: 'utf8',
    });
    expect([result.status, result.stdout]).toEqual([code, expect.stringContaining(`training gate: ${said}`)]);
  }
});

test('an npx that cannot install is no verdict, whatever page an earlier job left', () => {
  const cwd = folder();
  writeFileSync(join(cwd, 'npx'), '#!/bin/sh\necho "npm error code E404" >&2\nexit 1\n');
  chmodSync(join(cwd, 'npx'), 0o755);
  writeFileSync(join(cwd, 'clippy-diag.html'), 'of an earlier job');
  const PATH = `${cwd}:${process.env.PATH}`;
  const env = { ...process.env, PATH };
  const once = spawnSync('sh', [join(projectRoot, 'ci/gate-once.sh'), 'runs'], {
    cwd,
    env,
    encoding: 'utf8',
  });
  expect([once.status, once.stdout]).toEqual([
    3,
    'training gate: clippy-diag did not run, nothing was judged\n',
  ]);
  const inAction = runAction({ paths: healthy, version }, { PATH });
  expect([inAction.code, inAction.output]).toEqual([3, 'exit-code=3\n']);
  expect(inAction.out).toContain('::error title=clippy-diag::clippy-diag did not run');
});

test('the step of the Jenkins stage ends with the code of the gate, and writes what is published after it', () => {
  const pipeline = read('ci/Jenkinsfile');
  const named = (step: string) =>
    [...pipeline.matchAll(new RegExp(`^ *${step} '(.*)'$`, 'gm'))].map(([, value]) => value!);
  const steps = named('sh');
  const published = [...named('junit'), ...named('archiveArtifacts')];
  expect([steps.length, published.length]).toEqual([1, 2]);
  for (const [log, code] of [
    [healthy, 0],
    [diverged, 1],
  ] as const) {
    const { cwd, env } = withNpx();
    mkdirSync(join(cwd, 'runs'));
    copyFileSync(log, join(cwd, 'runs/log.jsonl'));
    const result = spawnSync('sh', ['-xec', steps[0]!], { cwd, env, encoding: 'utf8' });
    expect(result.status, result.stderr).toBe(code);
    for (const file of published) expect(readFileSync(join(cwd, file), 'utf8').length).toBeGreaterThan(100);
  }
});

test('inputs of the action are arguments, never commands or other flags', () => {
  const outside = folder();
  const proof = join(outside, 'pwned');
  const result = runAction({
    paths: `$(touch ${proof})\n\`touch ${proof}\`; touch ${proof}\n--exit-zero`,
    version: 'local',
  });
  expect(result.code).toBe(3);
  expect(readdirSync(outside)).not.toContain('pwned');
  expect(read('action.yml').slice(read('action.yml').indexOf('run: '))).not.toContain('${{');
});

test("the example for GitHub names the action's inputs", () => {
  const [workflow] = blocks('docs/ci.md', 'yaml');
  const { jobs } = parse(workflow!) as { jobs: { gate: { steps: { with?: Record<string, string> }[] } } };
  const given = jobs.gate.steps.at(-1)!.with!;
  expect(Object.keys(action.inputs)).toEqual(expect.arrayContaining(Object.keys(given)));
  const result = runAction({ ...given, paths: healthy, version: 'local' });
  expect(result.code).toBe(0);
});

test('the GitLab template runs, and its artifacts are what the gate writes', () => {
  const template = parse(read('ci/gitlab.yml')) as {
    '.clippy-diag-gate': {
      script: string[];
      artifacts: { paths: string[]; reports: Record<string, string> };
    };
  };
  const { script, artifacts } = template['.clippy-diag-gate'];
  const { cwd, env } = withNpx();
  const example = parse(blocks('docs/ci.md', 'yaml')[1]!) as { 'training-gate': { extends: string } };
  expect(example['training-gate'].extends).toBe('.clippy-diag-gate');
  const result = spawnSync('sh', ['-ec', script.join('\n')], {
    cwd,
    env: { ...env, CLIPPY_DIAG_VERSION: 'latest', CLIPPY_DIAG_PATHS: diverged },
    encoding: 'utf8',
  });
  expect([result.status, result.stderr]).toEqual([1, '']);
  for (const file of [...artifacts.paths, ...Object.values(artifacts.reports)])
    expect(readFileSync(join(cwd, file), 'utf8').length).toBeGreaterThan(100);
  expect(JSON.parse(readFileSync(join(cwd, artifacts.reports.codequality!), 'utf8'))[0]).toHaveProperty(
    'fingerprint',
  );
});

test('the pre-commit hook takes logs and judges them by the config', async () => {
  const [hook] = parse(read('.pre-commit-hooks.yaml')) as { id: string; entry: string; files: string }[];
  const example = parse(blocks('docs/ci.md', 'yaml')[2]!) as { repos: { hooks: { id: string }[] }[] };
  expect(example.repos[0]!.hooks[0]!.id).toBe(hook!.id);
  const files = new RegExp(hook!.files);
  const logs = [
    'a/log.jsonl',
    'metrics.csv',
    'events.out.tfevents.1.host',
    'c/trainer_state.json',
    'train_log2.tsv',
  ];
  for (const name of logs) expect(name).toMatch(files);
  // Data, which a gate could only fail.
  const data = [
    'products.csv',
    'train.jsonl',
    'catalog.csv',
    'price_history.csv',
    'log.py',
    'a/package.json',
    'README.md',
  ];
  for (const name of data) expect(name).not.toMatch(files);
  const cwd = folder();
  copyFileSync(healthy, join(cwd, 'a.jsonl'));
  writeFileSync(join(cwd, '.clippy-diag.yaml'), 'version: 1\nrules: { "last(loss) <= 0.2": error }\n');
  const [command, ...args] = hook!.entry.split(' ');
  expect(command).toBe('clippy-diag');
  expect((await cli([...args, 'a.jsonl'], { cwd })).code).toBe(1);
});

test('every config in the docs, and the one that init writes, is a config', () => {
  for (const text of blocks('docs/gate.md', 'yaml'))
    expect(gateConfigFrom(parse(text)).rules.size).toBeGreaterThan(3);
  expect(gateConfigFrom(parse(STARTER_CONFIG)).rules.has('loss-spike')).toBe(true);
  // What is commented out is one too.
  const config = gateConfigFrom(parse(STARTER_CONFIG.replace(/#(?! )/g, '')));
  expect([
    config.expect.steps,
    config.rules.has('last(loss) <= 0.2'),
    config.overrides.length,
    config.baseline?.tolerance.relative,
  ]).toEqual([20_000, true, 1, 0.05]);
});

test('init writes a config once, and prints programs', async () => {
  const cwd = folder();
  expect(await cli(['init'], { cwd })).toMatchObject({ code: 0, err: '' });
  expect(readFileSync(join(cwd, '.clippy-diag.yaml'), 'utf8')).toBe(STARTER_CONFIG);
  expect((await cli(['gate', healthy], { cwd })).code).toBe(0);
  expect((await cli(['init'], { cwd })).code).toBe(5);
  expect((await cli(['init', '--force'], { cwd })).code).toBe(0);
  for (const framework of Object.keys(SNIPPETS) as Framework[])
    expect(await cli(['init', '--framework', framework], { cwd })).toEqual(
      expect.objectContaining({ code: 0, err: '', out: SNIPPETS[framework] }),
    );
  expect((await cli(['init', '--framework', 'pytorch'], { cwd })).out).toBe(SNIPPETS.torch);
  const { out } = await cli(['init', '--framework', 'jax', '--json'], { cwd });
  expect(JSON.parse(out)).toMatchObject({ written: [], snippet: SNIPPETS.jax });
  expect(readdirSync(cwd)).toEqual(['.clippy-diag.yaml']);
});

test('the program of tfjs runs as printed, and its capture is analysed', async () => {
  const cwd = folder();
  // Imports are looked up from where a program lies: it is one of a package that has what it needs.
  symlinkSync(join(projectRoot, 'node_modules'), join(cwd, 'node_modules'));
  const entry = `import { clippyRecorder } from '${join(projectRoot, 'dist/experiment/recorder/tfjs-recorder.js')}';`;
  const program = SNIPPETS.tfjs.replace(/import .* from 'clippy-diag\/recorder';/, entry);
  expect(program).toContain(entry);
  writeFileSync(join(cwd, 'train.mjs'), program);
  execFileSync(process.execPath, ['train.mjs'], { cwd, stdio: 'pipe' });
  const result = await cli(['replay', 'capture', '--rule', 'global-norm:1'], { cwd });
  expect([result.code, result.err]).toEqual([0, '']);
});
