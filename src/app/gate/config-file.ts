/** Where a config lies and how it is read: YAML, JSON, or a key of a package.json. */
import { dirname, join, resolve } from 'node:path';
import { lilconfig } from 'lilconfig';
import { DiagError, diagError } from '../../model/errors.ts';
import type { Thresholds } from '../../model/finding.ts';
import { isJsonObject } from '../../model/json.ts';
import { parseUniqueJson } from '../../model/unique-json.ts';
import { isBrokenLink, kindOfPath } from '../../read/bytes/source.ts';
import { checkTextSize, parseSafeYaml } from '../../read/bytes/yaml.ts';
import type { ConfigFile } from './config-schema.ts';
import { type GateConfig, resolveConfig, withRules } from './resolve-config.ts';

/** Where a config is looked for, in every folder from the working folder up. */
export const CONFIG_PLACES = [
  '.clippy-diag.yaml',
  '.clippy-diag.yml',
  '.clippy-diag.json',
  'package.json',
] as const;

/** Finds a config, by its name or from a folder upward; null where there is none. */
export async function findConfig(options: {
  readonly cwd: string;
  readonly file?: string;
}): Promise<{ path: string; value: unknown } | null> {
  const searcher = lilconfig('clippy-diag', {
    searchPlaces: [...CONFIG_PLACES],
    packageProp: 'clippy-diag',
    // Without it the search ends at the home folder, and a checkout outside of it is searched to the root.
    stopDir: resolve('/'),
    cache: false,
    // An empty config is a mistake, not the absence of one.
    ignoreEmptySearchPlaces: false,
    loaders: {
      '.yaml': readYaml,
      '.yml': readYaml,
      '.json': readJson,
      noExt: readYaml,
    },
  });
  const path = options.file === undefined ? undefined : resolve(options.cwd, options.file);
  if (path === undefined) await refuseUnreadable(options.cwd);
  const result = await (path === undefined ? searcher.search(options.cwd) : searcher.load(path)).catch(
    (error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT' && path !== undefined)
        throw diagError('file-missing', { path, nearest: '', cwd: options.cwd }, { path }, error);
      if (typeof error.code === 'string' && error.syscall !== undefined)
        throw diagError(
          'file-unreadable',
          { path: path ?? options.cwd, reason: error.code },
          undefined,
          error,
        );
      throw error;
    },
  );
  if (result === null) return null;
  return {
    path: result.filepath,
    value: result.isEmpty ? null : (result.config as unknown),
  };
}

/**
 * A config that is a link to nothing, or a folder, is there and cannot be read: without it another policy would hold, in silence.
 * Looked for up to the first folder that has a config, as the search does.
 *
 * @throws file-unreadable
 */
async function refuseUnreadable(folder: string): Promise<void> {
  for (const place of CONFIG_PLACES) {
    const path = join(folder, place);
    const kind = await kindOfPath(path);
    if (kind === 'missing' ? await isBrokenLink(path) : kind !== 'file')
      throw diagError(
        'file-unreadable',
        { path, reason: kind === 'missing' ? 'a link to nothing' : `no file but a ${kind}` },
        { path },
      );
    if (kind === 'file' && place !== 'package.json') return;
  }
  if (dirname(folder) !== folder) await refuseUnreadable(dirname(folder));
}

const MAX_DEPTH = 100;
const WHAT = 'the config';

const readYaml = (path: string, content: string): Promise<unknown> =>
  parseSafeYaml(content, path, WHAT, (reason, line) =>
    diagError('config-syntax', { language: 'YAML', reason }, line === null ? { path } : { path, line }),
  );

function readJson(path: string, content: string): unknown {
  const unique = (): unknown =>
    parseUniqueJson({ text: content, path, what: 'the config', maxDepth: MAX_DEPTH }, ({ problem, cause }) =>
      diagError('config-syntax', { language: 'JSON', reason: problem }, { path }, cause),
    );
  if (!path.endsWith('package.json')) {
    checkTextSize(content, path, WHAT);
    return unique();
  }
  // A package.json is not a config until it has the key: its size and other keys do not matter.
  try {
    const value: unknown = JSON.parse(content);
    return isJsonObject(value) && Object.hasOwn(value, 'clippy-diag') ? unique() : value;
  } catch (error) {
    if (error instanceof DiagError) throw error;
    throw diagError('config-syntax', { language: 'JSON', reason: (error as Error).message }, { path }, error);
  }
}

export interface ConfigOptions {
  /** Folder where the search begins. */
  readonly cwd: string;
  /** `--config FILE`. */
  readonly file?: string;
  /** `--no-config`. */
  readonly search?: boolean;
  /** `--rule`, each a finding, a class of verdict or a threshold; severity `error`. */
  readonly rules?: readonly string[];
  /** `--threshold`, read. */
  readonly thresholds?: Thresholds;
}

/**
 * Finds the config, reads it, and works presets and flags in.
 *
 * Where no file is found, the `recommended` preset applies; a file without `extends` has its own rules only. Rules of
 * flags are added to either. `--no-config` leaves both out.
 *
 * @throws config-syntax, config-invalid, config-unknown-rule, config-bad-threshold, gate-without-rules, limit-exceeded
 */
export async function loadGateConfig(options: ConfigOptions): Promise<GateConfig> {
  const { rules = [], thresholds = {} } = options;
  const found = options.search === false ? null : await findConfig(options);
  if (found === null && rules.length === 0 && options.search === false)
    throw diagError('gate-without-rules', { reason: '--no-config was given and no --rule' });
  if (found === null) return withRules(resolveConfig(withoutFile(options), null, rules, thresholds));
  // A config takes a library for schemas, which nobody without one is to wait for.
  const { configFrom } = await import('./config.ts');
  const { atItsLine } = await import('./config-line.ts');
  return atItsLine(found.path, () => withRules(configFrom(found.path, found.value, rules, thresholds)));
}

const withoutFile = ({ search }: ConfigOptions): ConfigFile =>
  search === false ? { version: 1 } : { version: 1, extends: 'recommended' };
