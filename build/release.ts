/**
 * Makes and checks what a release publishes, into release/. Only the workflow of a tag uploads: docs/releasing.md.
 *
 *   npm run release -- --dry-run [--tag vVERSION] [--built]   packs, installs, runs and checks everything
 *   npm run release -- --prepare VERSION --owner OWNER        writes the version, the owner and the date into the files
 */
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { parseArgs } from 'node:util';
import { entryOf, released } from './changelog.ts';
import { Checks } from './checks.ts';
import { npm } from './pack.ts';
import { checkNpmPackage, run } from './release-npm.ts';
import { checkWheel } from './release-wheel.ts';
import { type Facts, facts, root, STAMPED, stamp, stampAll } from './stamp.ts';

/** Where the packages of a release lie. */
const FOLDER = join(root, 'release');
const PLACEHOLDER = 'OWNER';

/**
 * Checks that the files agree on version, owner and date, and that they are those of the tag.
 *
 * @param tag the tag that is released, as in `v0.3.0`; null before there is a tag
 */
function checkFacts(checks: Checks, known: Facts, tag: string | null): void {
  const behind = STAMPED.filter((path) => {
    const text = readFileSync(join(root, path), 'utf8');
    return stamp(path, text, known) !== text;
  });
  checks.that(
    behind.length === 0,
    `${STAMPED.length} files repeat version ${known.version} and owner ${known.owner}`,
    `npm run stamp is due: ${behind.join(', ')}`,
  );
  if (tag === null) {
    console.log(
      known.owner === PLACEHOLDER
        ? 'note no owner yet: npm run release -- --prepare VERSION --owner OWNER names one'
        : `note no tag yet: v${known.version} is due`,
    );
    return;
  }
  const changelog = readFileSync(join(root, 'CHANGELOG.md'), 'utf8');
  checks.that(
    tag === `v${known.version}`,
    `the tag is ${tag}`,
    `the tag is ${tag}, the version ${known.version}`,
  );
  checks.that(
    known.owner !== PLACEHOLDER,
    `the owner is ${known.owner}`,
    'build/release.json names no owner',
  );
  checks.that(
    known.published,
    'README installs from npm',
    'README does not install from npm: "published" is false',
  );
  checks.that(
    entryOf(changelog, known.version) !== null,
    `CHANGELOG.md has a dated entry for ${known.version}`,
    `CHANGELOG.md has no dated entry for ${known.version}`,
  );
}

/** What the packages are made of, as CycloneDX, with what is known against it. @returns the file, or null on Windows */
function checkSbom(checks: Checks): string | null {
  if (process.platform === 'win32') {
    console.log('note the bill of materials is made by a shell script, and not on Windows');
    return null;
  }
  const file = join(FOLDER, 'sbom.cdx.json');
  const { code, said } = run('bash', ['.ci/sbom', file], root);
  checks.that(code === 0, said.trim().split('\n').join('; '), `SBOM: ${said}`);
  return file;
}

/** Writes the two files of the mirror for pre-commit, whose hook installs this version from npm: docs/releasing.md. */
function writeMirror(version: string): void {
  const folder = join(FOLDER, 'pre-commit');
  mkdirSync(folder);
  const hooks = readFileSync(join(root, '.pre-commit-hooks.yaml'), 'utf8').trimEnd();
  writeFileSync(
    join(folder, '.pre-commit-hooks.yaml'),
    `${hooks}\n  additional_dependencies: ['clippy-diag@${version}']\n`,
  );
  const manifest = { name: 'clippy-diag-pre-commit', version: '0.0.0', private: true };
  writeFileSync(join(folder, 'package.json'), `${JSON.stringify(manifest)}\n`);
}

/** Writes the notes of the release page, and the hashes of all that is published. */
function writeNotes(version: string, files: readonly string[]): void {
  const changelog = readFileSync(join(root, 'CHANGELOG.md'), 'utf8');
  writeFileSync(
    join(FOLDER, 'notes.md'),
    `${entryOf(changelog, version) ?? 'No entry in CHANGELOG.md yet.'}\n`,
  );
  const sums = files.map((file) => {
    const hash = createHash('sha256').update(readFileSync(file)).digest('hex');
    return `${hash}  ${basename(file)}\n`;
  });
  writeFileSync(join(FOLDER, 'SHA256SUMS'), sums.join(''));
}

/** Everything but the upload. @returns the exit code */
async function dryRun(tag: string | null, built: boolean): Promise<number> {
  const checks = new Checks();
  const known = facts();
  checkFacts(checks, known, tag);
  rmSync(FOLDER, { recursive: true, force: true });
  mkdirSync(FOLDER);
  if (!built) npm(['run', 'build', '--silent']);
  const tarball = await checkNpmPackage(checks, FOLDER, known.version);
  const wheel = checkWheel(checks, FOLDER, known);
  const sbom = checkSbom(checks);
  writeMirror(known.version);
  writeNotes(known.version, [tarball, wheel, ...(sbom === null ? [] : [sbom])]);
  console.log(
    checks.wrong.length === 0
      ? `\nrelease/ has what would be published as ${known.version}; nothing was uploaded`
      : `\nnot fit to publish:\n${checks.wrong.map((one) => `  ${one}`).join('\n')}`,
  );
  return checks.wrong.length === 0 ? 0 : 1;
}

/** Writes version, owner and date of a release into the files of the checkout. @returns the exit code */
function prepare(version: string, owner: string | undefined): number {
  if (!/^\d+\.\d+\.\d+$/.test(version))
    throw new Error(`--prepare takes a version such as 0.3.0, not "${version}"`);
  const before = facts();
  const named = owner ?? before.owner;
  if (named === PLACEHOLDER || !/^[A-Za-z\d](?:-?[A-Za-z\d])*$/.test(named))
    throw new Error('--owner names the GitHub account that holds the repository');
  const changelog = join(root, 'CHANGELOG.md');
  const today = new Date().toISOString().slice(0, 10);
  writeFileSync(changelog, released(readFileSync(changelog, 'utf8'), version, today));
  writeFileSync(
    join(root, 'build/release.json'),
    `${JSON.stringify({ owner: named, published: true }, null, 2)}\n`,
  );
  const manifest = join(root, 'package.json');
  writeFileSync(
    manifest,
    readFileSync(manifest, 'utf8').replace(/(?<=^ {2}"version": ")[^"]+/m, () => version),
  );
  for (const path of stampAll(facts())) console.log(`wrote ${path}`);
  console.log(
    `next: npm run docs && npm run release -- --dry-run --tag v${version}, commit, git tag -s v${version}`,
  );
  return 0;
}

const { values } = parseArgs({
  options: {
    'dry-run': { type: 'boolean' },
    built: { type: 'boolean', default: false },
    tag: { type: 'string' },
    prepare: { type: 'string' },
    owner: { type: 'string' },
  },
});
if (values.prepare !== undefined) process.exitCode = prepare(values.prepare, values.owner);
else if (values['dry-run']) process.exitCode = await dryRun(values.tag ?? null, values.built);
else {
  console.error('npm run release takes --dry-run or --prepare VERSION; the workflow of a tag publishes');
  process.exitCode = 2;
}
