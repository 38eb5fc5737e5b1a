/** The commands that the README and docs/ show, and how each of them is run. */
import { pages } from '../support/doc-pages.ts';
import { TAKES_LONG } from '../support/example-lines.ts';

type Page = (typeof pages)[number];

interface Fence extends Page {
  readonly language: string;
}

/** Every fenced block of the pages; `text` is what stands between the fences. */
export const fences: readonly Fence[] = pages.flatMap(({ path, text }) =>
  [...text.matchAll(/^ *```(\w*)(?: file=\S+)?\n([\s\S]*?)^ *```$/gm)].map((m) => ({
    path,
    language: m[1]!,
    text: m[2]!,
  })),
);

/** The lines of the blocks of shell, those that go on as one, without the comments at their ends. */
const lines: readonly string[] = [
  ...new Set(
    fences
      .filter(({ language }) => language === 'sh')
      .flatMap(({ text }) => text.replaceAll(/\\\n\s*/g, '').split('\n'))
      .map((line) => line.replace(/\s+#.*/, '').trim())
      .filter((line) => line !== ''),
  ),
];

/** Lines that no test runs, and why. */
export const NOT_RUN: Readonly<Record<string, string>> = {
  'npm ci && npm test': 'runs the tests, this one among them',
  'docker build -f ci/Dockerfile -t clippy-diag .': 'needs a daemon, and an image of Node from a registry',
  'docker run --rm -v "$PWD:/work:ro" clippy-diag gate runs/': 'needs the image',
  'python3 bench/study/prepare_movielens.py ml-100k FOLDER/movielens.csv':
    'needs MovieLens 100K, which may not be redistributed',
  'python3 bench/study/prepare_census.py census-income.test.gz FOLDER/census.csv':
    'needs the census data, which are not shipped',
  'npx tsx bench/study/paper.ts FOLDER': 'trains for hours on the census data, which are not shipped',
  'clippy-diag bisect --good runs/a --commits v1..main --repository . -- python3 {commit}/train.py --steps {steps}':
    'needs a repository; test/experiment/bisect.test.ts makes one',
  'PYTHONPATH=python/src python3 bench/compare/pairs.py FOLDER': 'trains 240 networks for minutes',
  'PYTHONPATH=python/src python3 bench/compare/pairs.py OTHER 0-124 19': 'trains 250 networks for minutes',
  'npx tsx bench/compare/score.ts FOLDER': 'needs the pairs that pairs.py trains',
  'node bench/incidents/clippy-bench.js make cases': 'makes 129 trainings for 12 minutes',
  "node bench/incidents/clippy-bench.js score --cases cases --evidence log --tool 'node bench/incidents/adapters/clippy-diag.js {case}'":
    'needs the cases',
  'npm audit signatures': 'needs a release that is published',
  'npm run release -- --prepare 0.3.0 --owner some-lab': 'test/release/prepare.test.ts runs it in a copy',
  'npm install --package-lock-only && npm run docs': 'writes into this checkout',
  'npm run release -- --dry-run --tag v0.3.0': '.ci/run runs it, without a tag',
  "git commit -am 'release: 0.3.0' && git tag -s v0.3.0 -m v0.3.0": 'commits',
  'git push origin main v0.3.0': 'publishes',
  'npm login': 'needs an account',
  'clippy-diag analyze https://host/runs/train.jsonl': 'needs a server; test/sources has servers of its own',
  'clippy-diag analyze hf://USER/REPO/checkpoint-500': 'needs the Hub; test/sources has a look-alike',
  'clippy-diag gate s3://bucket/experiment-7/': 'needs a bucket; test/sources has a look-alike',
  'clippy-diag analyze wandb://ENTITY/PROJECT/RUN': 'needs W&B; test/sources has a look-alike',
  'clippy-diag watch http://HOST:6006/#timeseries':
    'needs a TensorBoard; test/sources/real-servers starts one',
  'npm run docs': 'writes into this checkout; test/docs/worked-examples.long.test.ts runs it in a copy',
  "npx vitest run --project 'fast*' test/contracts/rules test/rules test/replay/parity test/docs":
    'runs the tests, this one among them',
  "npx vitest run --project 'fast*' test/contracts/detectors test/contracts/findings": 'runs the tests',
  "npx vitest run --project 'fast*' test/reports/formats": 'runs the tests',
  "npx vitest run --project 'fast*' test/logs/printed-layouts": 'runs the tests',
  'python fixtures/parity/make_oracle.py soft-norm': 'makes the oracle of a rule that the page adds',
  'npm publish release/clippy-diag-0.3.0.tgz --access public': 'publishes',
  'npm view clippy-diag dist.attestations': 'needs a release that is published',
  'npm install clippy-diag @tensorflow/tfjs-node@4.22.0': 'its install script downloads 300 MB',
};
/** The build of the addon of tfjs-node takes TensorFlow's C library, 1 GB of a wheel; the page says when it was tried. */
const BUILT_ADDON = /^(mkdir -p deps|ln -s |g\+\+ )/;

const isTool = (line: string): boolean => /^(npx )?clippy-diag(@\S+)? /.test(line);
const isLong = (line: string): boolean => TAKES_LONG.test(line);

export const shown = {
  /** Run in memory, as `clippy-diag …`. */
  tool: lines.filter((line) => isTool(line) && !isLong(line) && !(line in NOT_RUN)).map(asTool),
  toolLong: lines.filter((line) => isTool(line) && isLong(line) && !line.includes('--queue')).map(asTool),
  /** Need a Redis. */
  queue: lines.filter((line) => isTool(line) && line.includes('--queue')),
  notRun: lines.filter((line) => line in NOT_RUN || BUILT_ADDON.test(line)),
  /** Install something, or run what was installed: test/docs/commands.long.test.ts. */
  others: lines.filter((line) => !isTool(line) && !(line in NOT_RUN) && !BUILT_ADDON.test(line)),
};

function asTool(line: string): string {
  return line.replace(/^(npx )?clippy-diag(@\S+)?/, 'clippy-diag');
}

/** What {@link shown}`.others` is, in the order in which it can be run. */
export const INSTALLS = {
  checkout: [
    'npm ci && node bin/run.js analyze fixtures/incident',
    'npm ci && npm run build:wheel && pip install python/dist/*.whl',
    'pip install ./python',
  ],
  registry: [
    'npm install bullmq@6 ioredis',
    'npm install clippy-diag @tensorflow/tfjs',
    'npm install --ignore-scripts @tensorflow/tfjs-node@4.22.0',
  ],
  /** Shown once the packages are published, and tried before that too. */
  published: ["pip install 'clippy-diag[cli]'"],
} as const;

/** `clippy-diag …` in the prose of the pages, as words; a name in capitals stands for something. */
export const inline: readonly (Page & { readonly words: readonly string[] })[] = pages.flatMap(
  ({ path, text }) =>
    [...text.replaceAll(/^ *```.*?^ *```$/gms, '').matchAll(/`(?:npx )?clippy-diag ([^`]+)`/g)].map((m) => ({
      path,
      text: m[1]!,
      words: m[1]!.trim().split(/\s+/),
    })),
);
