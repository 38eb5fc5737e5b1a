/** docs/README.md: the pages by the question of the reader, as the site has them (docs/site/questions.json). */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** Folders of generated pages, and what they hold. */
const GENERATED: Readonly<Record<string, string>> = {
  failures: 'Known failures that a log alone shows',
  findings: 'Findings',
  rules: 'Clipping rules',
  formats: 'Log formats',
  adr: 'Decisions',
};

/** @param docs the folder docs/ */
export function indexPage(docs: string): string {
  const questions = JSON.parse(readFileSync(join(docs, 'site/questions.json'), 'utf8')) as Record<
    string,
    readonly string[]
  >;
  const linkOf = (name: string): string[] => {
    const own = existsSync(join(docs, `${name}.md`));
    const path = join(docs, own ? '' : '..', `${name}.md`);
    if (!existsSync(path)) return [];
    const title = /^# (.*)$/m.exec(readFileSync(path, 'utf8'))?.[1] ?? name;
    return [`[${title}](${own ? '' : '../'}${name}.md)`];
  };
  const asked = new Set(Object.values(questions).flat());
  const rest = readdirSync(docs)
    .filter((file) => file.endsWith('.md') && file !== 'README.md')
    .map((file) => file.replace(/\.md$/, ''))
    .filter((name) => !asked.has(name));
  const sections = Object.entries({ ...questions, ...(rest.length === 0 ? {} : { More: rest }) });
  const folders = Object.entries(GENERATED).map(([folder, what]) => `- [${what}](${folder})`);
  return [
    '# Documentation',
    ...sections.map(([question, names]) => `## ${question}\n\n${names.flatMap(linkOf).map((link) => `- ${link}`).join('\n')}`),
    `## Reference\n\n${folders.join('\n')}`,
  ].join('\n\n').concat('\n');
}
