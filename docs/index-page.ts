/** docs/README.md: the pages by the question of the reader, as the site has them (docs/site/questions.json, reference.json). */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** @param docs the folder docs/ */
export function indexPage(docs: string): string {
  const read = (name: string): unknown => JSON.parse(readFileSync(join(docs, 'site', name), 'utf8'));
  const questions = read('questions.json') as Readonly<Record<string, readonly string[]>>;
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
  const folders = Object.entries(read('reference.json') as Readonly<Record<string, string>>).map(
    ([folder, what]) => `- [${what}](${folder})`,
  );
  return [
    '# Documentation',
    ...sections.map(
      ([question, names]) =>
        `## ${question}\n\n${names
          .flatMap(linkOf)
          .map((link) => `- ${link}`)
          .join('\n')}`,
    ),
    `## Reference\n\n${folders.join('\n')}`,
  ]
    .join('\n\n')
    .concat('\n');
}
