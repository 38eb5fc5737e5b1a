// oclif's parser inside the bundle: finding and opening its hundred files took longer than running them.
import { readFileSync } from 'node:fs';
import { createRequire, isBuiltin } from 'node:module';

/** The parts that describe and parse flags. Its help stays a package, loaded where help is asked for. */
const PARSER = /^@oclif\/core\/(args|errors|flags|parser)$/;

/**
 * Modules that these parts name and never run here, with what replaces them: they load a template language,
 * spinners, colours and a second way to log. Errors, help and output are the tool's own (docs/adr/0003-command-line.md).
 */
const LEFT_OUT = {
  'clean-stack/index.js': 'module.exports = (stack) => stack;',
  'indent-string/index.js': 'module.exports = (text) => text;',
  'wrap-ansi/index.js': 'module.exports = (text) => text;',
  'ux/theme.js': 'exports.colorize = (_color, text) => text;',
  'errors/handle.js': 'exports.handle = undefined;',
  'help/index.js': 'exports.loadHelpClass = undefined;',
  'logger.js': 'exports.makeDebug = () => () => {}; exports.getLogger = () => ({ error() {} });',
  'parser/help.js': 'exports.flagUsages = undefined;',
};

const FROM_OCLIF = 'from-oclif';

/** A plugin of esbuild; it comes before the one that leaves packages outside. */
export const oclifParser = {
  name: 'oclif-parser',
  setup(build) {
    // A module has no `require`: what asks for a module of Node gets one that imports it.
    build.onResolve({ filter: /./ }, ({ path, kind, pluginData }) =>
      pluginData === FROM_OCLIF && kind === 'require-call' && isBuiltin(path)
        ? { path: path.replace(/^(?!node:)/, 'node:'), namespace: 'required-of-node' }
        : undefined,
    );
    build.onLoad({ filter: /./, namespace: 'required-of-node' }, ({ path }) => ({
      contents: `export * from '${path}'; export { default } from '${path}';`,
    }));
    // What a package of the parser asks for is bundled too: from dist/, another version of it might be found.
    build.onResolve({ filter: /^[^./]/ }, ({ path, importer, pluginData }) =>
      !isBuiltin(path) && (PARSER.test(path) || pluginData === FROM_OCLIF)
        ? { path: createRequire(importer).resolve(path), pluginData: FROM_OCLIF }
        : undefined,
    );
    build.onResolve({ filter: /^\./ }, ({ path, importer, pluginData }) =>
      pluginData === FROM_OCLIF
        ? { path: createRequire(importer).resolve(path), pluginData: FROM_OCLIF }
        : undefined,
    );
    build.onLoad({ filter: /[\\/]node_modules[\\/]/ }, ({ path, pluginData }) => {
      if (pluginData !== FROM_OCLIF) return undefined;
      const module = path
        .replaceAll('\\', '/')
        .split('/node_modules/')
        .at(-1)
        .replace(/^@oclif\/core\/lib\//, '');
      return {
        contents: LEFT_OUT[module] ?? readFileSync(path, 'utf8'),
        loader: path.endsWith('.json') ? 'json' : 'js',
        pluginData: FROM_OCLIF,
      };
    });
  },
};
