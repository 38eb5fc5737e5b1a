/** Reads and dates the entries of CHANGELOG.md. */

const HEADING = /^## /m;

/** The part of a version without its heading, or null where it has no dated heading. */
export function entryOf(changelog: string, version: string): string | null {
  for (const part of changelog.split(HEADING).slice(1)) {
    const [heading = '', ...lines] = part.split('\n');
    if (new RegExp(`^\\[${version.replaceAll('.', '\\.')}\\] - \\d{4}-\\d\\d-\\d\\d$`).test(heading))
      return lines.join('\n').trim();
  }
  return null;
}

/**
 * The changelog with what is unreleased under a version, and an empty part for what comes next.
 *
 * @param date the day of the release, as YYYY-MM-DD
 * @throws Error where nothing is unreleased, or the version has an entry already
 */
export function released(changelog: string, version: string, date: string): string {
  if (entryOf(changelog, version) !== null)
    throw new Error(`CHANGELOG.md has an entry for ${version} already`);
  const found = /^## Unreleased\n([\s\S]*?)(?=^## |(?![\s\S]))/m.exec(changelog);
  if (found === null || found[1]!.trim() === '')
    throw new Error('CHANGELOG.md says nothing under "## Unreleased"');
  return changelog.replace(found[0], () => `## Unreleased\n\n## [${version}] - ${date}\n${found[1]}`);
}
