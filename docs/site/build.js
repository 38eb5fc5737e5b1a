/**
 * The docs as a static site: `npm run site`, into site/. Every page of docs/, the README as the first, a search that needs no
 * server, and a gallery of trainings that went wrong, with the page that `analyze` makes of each.
 */
import { execFileSync } from 'node:child_process';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Marked } from 'marked';

const root = fileURLToPath(new URL('../..', import.meta.url));
const site = resolve(root, process.argv[2] ?? 'site');

/** Real trainings among the fixtures (fixtures/README.md says by which script): name, input, and what is to be seen. */
const GALLERY = [
  [
    'incident',
    'incident',
    'A stream surges; the run never comes back. With gradients: what would have held it',
  ],
  [
    'one-task-lost',
    'logs/full-divergence-2',
    'The same surge, other seed: two tasks come back, one stays out',
  ],
  ['came-back', 'logs/micro-divergence', 'A jump that mends itself within six steps'],
  ['bad-record', 'logs/nan-bad-record', 'A label that is 1/0'],
  ['overflow', 'logs/nan-overflow', 'The exponential of a Poisson loss overflows'],
  ['replayed', 'captures/seed-2', 'Gradients around an incident, replayed under each clipping rule'],
  ['infinite', 'captures/nan', 'Gradients of a run that becomes infinite, then NaN'],
  ['keras-bad-batch', 'conventions/keras-bad-batch/run', 'A bad batch in Keras, by its stock callbacks'],
  ['keras-diverging', 'conventions/keras-diverging/run', 'A learning rate that is too high, in Keras'],
  ['ppo-lost', 'conventions/ppo-lost', 'Reinforcement learning that loses its policy'],
];

/** The anchor of a heading, as GitHub makes it. */
const anchorOf = (title) =>
  title
    .toLowerCase()
    .replace(/[^\p{L}\p{N} _-]/gu, '')
    .replaceAll(' ', '-');
const escaped = (text) =>
  text.replace(/[&<>"]/g, (c) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' })[c]);

const GENERATED = JSON.parse(readFileSync(join(root, 'docs/site/reference.json'), 'utf8'));

/** Guides by the question of a reader, in the order in which they help. One that no question names comes at the end. */
const QUESTIONS = JSON.parse(readFileSync(join(root, 'docs/site/questions.json'), 'utf8'));
const MORE = 'More';
const questionOf = (name) =>
  Object.keys(QUESTIONS).find((question) => QUESTIONS[question].includes(name)) ?? MORE;

/** A page: its Markdown below the project (`source`), its place below site/ (`target`), title, group and text. */
const pageOf = (source, target, group) => {
  const text = readFileSync(join(root, source), 'utf8');
  return { source, target, group, text, title: /^# (.*)$/m.exec(text)?.[1]?.replaceAll('`', '') ?? target };
};

const markdownOf = (folder) => readdirSync(join(root, 'docs', folder)).filter((name) => name.endsWith('.md'));
const nameOf = ({ source }) => basename(source, '.md');
const placeOf = (page) => QUESTIONS[page.group]?.indexOf(nameOf(page)) ?? 0;

const guides = [
  // README.md is this list for who reads the files.
  ...markdownOf('')
    .filter((name) => name !== 'README.md')
    .map((name) =>
      pageOf(join('docs', name), name.replace(/md$/, 'html'), questionOf(basename(name, '.md'))),
    ),
  ...['SECURITY', 'CONTRIBUTING'].map((name) => pageOf(`${name}.md`, `${name}.html`, questionOf(name))),
].sort((a, b) => placeOf(a) - placeOf(b));
const pages = [
  pageOf('README.md', 'index.html', ''),
  ...guides,
  ...Object.entries(GENERATED).flatMap(([folder, group]) =>
    markdownOf(folder).map((name) =>
      pageOf(join('docs', folder, name), join(folder, name.replace(/md$/, 'html')), group),
    ),
  ),
];
const GROUPS = [...Object.keys(QUESTIONS), MORE, ...Object.values(GENERATED)].filter((group) =>
  pages.some((page) => page.group === group),
);
const { repository } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
const repositoryUrl = repository.url.replace(/^git\+|\.git$/g, '');

/** Where a link of a page leads on the site; what is no page is in the repository. @throws where it leads nowhere */
function linkOf(page, href) {
  if (/^(https?:|mailto:)/.test(href)) return href;
  const [path, anchor] = href.split('#');
  const file = path === '' ? page.source : join(dirname(page.source), path);
  const to = pages.find(({ source }) => source === file);
  const headings = [...(to?.text ?? '').matchAll(/^#+ (.*)$/gm)].map(([, title]) => anchorOf(title));
  if (!existsSync(join(root, file)) || (anchor !== undefined && !headings.includes(anchor)))
    throw new Error(`${page.source} links to ${href}, which is not there`);
  if (to === undefined) return `${repositoryUrl}/blob/main/${file}`;
  return `${relative(dirname(page.target), to.target)}${anchor === undefined ? '' : `#${anchor}`}`;
}

/** Pictures of the pages, by their place on the site: the file below the project. */
const assets = new Map();

/** Where a picture of a page lies on the site. @throws where it is not there */
function assetOf(page, href) {
  const file = join(dirname(page.source), href);
  if (!existsSync(join(root, file))) throw new Error(`${page.source} shows ${href}, which is not there`);
  assets.set(basename(file), file);
  return basename(file);
}

function htmlOf(page) {
  const marked = new Marked({
    renderer: {
      heading({ tokens, depth, text }) {
        const anchor = anchorOf(text.replaceAll('`', ''));
        return `<h${depth} id="${anchor}"><a href="#${anchor}">${this.parser.parseInline(tokens)}</a></h${depth}>\n`;
      },
      link({ href, tokens }) {
        return `<a href="${escaped(linkOf(page, href))}">${this.parser.parseInline(tokens)}</a>`;
      },
      table(token) {
        const cells = (row, tag) =>
          `<tr>${row.map(({ tokens }) => `<${tag}>${this.parser.parseInline(tokens)}</${tag}>`).join('')}</tr>`;
        // A wide table scrolls by itself; a page never does sideways.
        return `<div class="wide" tabindex="0"><table><thead>${cells(token.header, 'th')}</thead><tbody>${token.rows
          .map((row) => cells(row, 'td'))
          .join('')}</tbody></table></div>\n`;
      },
      image({ href, text }) {
        return `<img src="${relative(dirname(page.target), assetOf(page, href))}" alt="${escaped(text)}">`;
      },
      html({ text }) {
        return text.trim().startsWith('<!--') ? '' : escaped(text);
      },
    },
  });
  return marked.parse(page.text, { async: false });
}

function framed(target, title, body) {
  const to = (path) => relative(dirname(target), path);
  const entry = (path, name) =>
    `<li><a href="${to(path)}"${path === target ? ' aria-current="page"' : ''}>${escaped(name)}</a></li>`;
  const groups = GROUPS.map((group) => {
    const own = pages.filter((page) => page.group === group);
    const open = group in QUESTIONS || own.some((page) => page.target === target);
    return `<details${open ? ' open' : ''}><summary>${group}</summary><ul>${own.map((page) => entry(page.target, page.title)).join('')}</ul></details>`;
  });
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>${escaped(title)}</title><link rel="icon" type="image/svg+xml" href="${to('favicon.svg')}"><link rel="stylesheet" href="${to('site.css')}"></head>
<body data-root="${to('.') || '.'}">
<a class="skip" href="#page">To the page</a>
<header><a class="name" href="${to('index.html')}">clippy-diag</a>
<input type="search" placeholder="Search the docs" aria-label="Search the docs" autocomplete="off">
<ol id="found" aria-live="polite" hidden></ol></header>
<div class="columns"><nav aria-label="Pages"><details class="menu" open><summary>Pages</summary><ul>${entry('index.html', 'Start')}${entry('gallery.html', 'Gallery')}</ul>${groups.join('')}</details></nav>
<main id="page">${body}</main></div>
<script src="${to('search-index.js')}" defer></script><script src="${to('site.js')}" defer></script>
</body></html>
`;
}

function write(target, text) {
  const file = join(site, target);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, text);
}

rmSync(site, { recursive: true, force: true });
for (const page of pages) write(page.target, framed(page.target, page.title, htmlOf(page)));
for (const [name, file] of assets) copyFileSync(join(root, file), join(site, name));
for (const name of ['site.css', 'site.js', 'favicon.svg'])
  copyFileSync(join(root, 'docs/site', name), join(site, name));

/** The first sentences of a page, without its marks. */
function aboutOf({ text }) {
  const paragraph =
    text
      .replace(/^```[\s\S]*?^```$/gm, '')
      .split(/\n{2,}/)
      .find((one) => /^[A-Za-z0-9`*[]/.test(one)) ?? '';
  const plain = paragraph
    .replace(/\[([^\]]*)\]\([^)]*\)/g, '$1')
    .replace(/[`*]/g, '')
    .replace(/\s+/g, ' ')
    .trim();
  return /^.{0,200}?[.:](?= |$)/.exec(plain)?.[0].replace(/:$/, '.') ?? plain.slice(0, 200);
}

/** For language models, as https://llmstxt.org has it: what there is, and each page with what it is about, by question. */
const { description } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
const listOf = (group) =>
  pages
    .filter((page) => page.group === group)
    .map((page) => `- [${page.title}](${page.target}): ${aboutOf(page)}\n`)
    .join('');
write(
  'llms.txt',
  `# clippy-diag\n\n> ${description}\n\nAn agent asks by \`clippy-diag mcp\` or \`clippy-diag analyze PATH --brief\`. "Cannot tell" is an answer.\n\n${GROUPS.map((group) => `## ${group}\n\n${listOf(group)}`).join('\n')}`,
);

/** A section is found by its own words, and led to by its own anchor. */
const sections = pages.flatMap((page) =>
  page.text.split(/^(?=#+ )/m).map((text) => {
    const title = /^#+ (.*)/.exec(text)?.[1]?.replaceAll('`', '') ?? page.title;
    return {
      page: page.title,
      title,
      to: `${page.target}#${anchorOf(title)}`,
      text: text.replace(/^#.*|[|`*#]/gm, ' ').replace(/\s+/g, ' '),
    };
  }),
);
const words = JSON.parse(readFileSync(join(root, 'docs/site/words.json'), 'utf8'));
const script = (name, value) => `var ${name} = ${JSON.stringify(value).replaceAll('<', '\\u003c')};\n`;
write('search-index.js', script('SECTIONS', sections) + script('WORDS', words));

const shown = GALLERY.map(([name, input, about]) => {
  const target = join(site, 'gallery', `${name}.html`);
  mkdirSync(dirname(target), { recursive: true });
  const line = execFileSync(
    process.execPath,
    ['bin/run.js', 'analyze', `fixtures/${input}`, '--quiet', '--report', `html:${target}`],
    { cwd: root, encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] },
  ).trim();
  if (!existsSync(target)) throw new Error(`no page of ${input}`);
  return `<li><a href="gallery/${name}.html">${escaped(about)}</a><br><code>${escaped(line)}</code></li>`;
});
write(
  'gallery.html',
  framed(
    'gallery.html',
    'Gallery',
    `<h1>Gallery</h1><p>Ten trainings that went wrong, each with the page that <code>clippy-diag analyze RUN --report html:page.html</code> makes of it. All were trained for real, by scripts in the repository; what they left is in <code>fixtures/</code>.</p><ol class="gallery">${shown.join('')}</ol>`,
  ),
);
console.log(`${pages.length} pages and ${shown.length} incidents in ${relative(process.cwd(), site)}`);
