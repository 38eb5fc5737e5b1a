// What a module makes when it is loaded, and most commands never need: made when it is first asked for.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { resolve } from 'node:path';

/** A list of all emoji and the rules of Unicode for what fills one cell take 50 ms to load. */
const STRING_WIDTH = [
  [
    'const segmenter = new Intl.Segmenter();',
    'let ofIntl; const segmenter = { segment: (text) => (ofIntl ??= new Intl.Segmenter()).segment(text) };',
  ],
  [
    'const rgiEmojiRegex = /^\\p{RGI_Emoji}$/v;',
    "let allEmoji; const rgiEmojiRegex = { test: (text) => (allEmoji ??= new RegExp('^\\\\p{RGI_Emoji}$', 'v')).test(text) };",
  ],
];

/** Modules of Node that take 2 to 4 ms each to load. */
const OF_NODE = /^(?:node:)?(?:child_process|crypto|readline|worker_threads|zlib)$/;

/** A plugin of esbuild: one of these modules is loaded where something of it is used. It comes before the plugins that resolve them. */
export const lazyNode = {
  name: 'lazy-node',
  setup(build) {
    const require = createRequire(import.meta.url);
    build.onResolve({ filter: OF_NODE }, ({ path, namespace }) =>
      namespace === 'lazy-node'
        ? { path, external: true }
        : { path: path.replace(/^(?!node:)/, 'node:'), namespace: 'lazy-node' },
    );
    build.onLoad({ filter: /./, namespace: 'lazy-node' }, ({ path }) => ({
      contents: `for (const name of ${JSON.stringify(Object.keys(require(path)))})
  Object.defineProperty(exports, name, { enumerable: true, get: () => require('${path}')[name] });`,
    }));
  },
};

/** A plugin of esbuild. */
export const lazyWidths = {
  name: 'lazy-widths',
  setup(build) {
    build.onLoad({ filter: /[\\/]string-width[\\/]index\.js$/ }, ({ path }) => {
      // oclif has an older one of its own.
      if (path !== resolve('node_modules/string-width/index.js')) return undefined;
      let contents = readFileSync(path, 'utf8');
      for (const [eager, lazy] of STRING_WIDTH) {
        if (!contents.includes(eager)) throw new Error(`string-width no longer says: ${eager}`);
        contents = contents.replace(eager, () => lazy);
      }
      return { contents, loader: 'js' };
    });
  },
};
