// The licences of the packages that the build put into dist/.
import { readdirSync, readFileSync } from 'node:fs';

const MIT = `Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
documentation files (the "Software"), to deal in the Software without restriction, including without limitation the
rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit
persons to whom the Software is furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions of the
Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE
WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR
COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR
OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.`;
const APACHE = 'The text of the Apache License 2.0 is in the file LICENSE.';

/** Packages that come without a file of their licence; who holds the copyright says the head of their sources. */
const WITHOUT_FILE = {
  '@tensorflow/tfjs-backend-cpu': `Copyright Google LLC\n\n${APACHE}`,
  '@tensorflow/tfjs-backend-wasm': `Copyright Google LLC\n\n${APACHE}`,
  '@tensorflow/tfjs-core': `Copyright Google LLC\n\n${APACHE}`,
  '@tensorflow/tfjs-layers': `Copyright 2018 Google LLC\n\n${APACHE} Parts are under the MIT licence:\n\n${MIT}`,
  'xz-decompress': `Copyright Steve Sanderson (xzwasm) and Tim Perry. Contains xz-embedded by Lasse Collin and Igor Pavlov, in\nthe public domain.\n\n${MIT}`,
  seedrandom: `Copyright 2019 David Bau.\n\n${MIT}`,
};

/**
 * @param inputs files that were bundled, with forward slashes
 * @returns the text of NOTICE, and name, version and licence of each package, by name
 * @throws where the licence of a package is not known
 */
export function noticeOf(inputs) {
  const folders = new Set(
    inputs.flatMap(
      (input) =>
        /(?:^|[:/])(node_modules\/(?:.*\/node_modules\/)?(?:@[^/]+\/)?[^/]+)\//.exec(input)?.[1] ?? [],
    ),
  );
  // It is part of the published file of tfjs-core.
  if (folders.has('node_modules/@tensorflow/tfjs-core')) folders.add('node_modules/long');
  const packages = [...folders]
    .map((folder) => {
      const { name, version, license } = JSON.parse(readFileSync(`${folder}/package.json`, 'utf8'));
      const files = readdirSync(folder)
        .filter((file) => /^(licen[cs]e|notice|copying)/i.test(file))
        .sort();
      const texts = files.map((file) => readFileSync(`${folder}/${file}`, 'utf8').trim());
      if (texts.length === 0) texts.push(WITHOUT_FILE[name]);
      if (texts[0] === undefined)
        throw new Error(`${folder} has no file of its licence (${license}): see build/notice.js`);
      return { name, version, license, texts };
    })
    .sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0));
  const notice = [
    'clippy-diag is under the Apache License 2.0 (LICENSE). Its files in dist/ contain these packages:\n',
    ...packages.map(
      ({ name, version, license, texts }) =>
        `\n${'-'.repeat(80)}\n${name} ${version}, ${license}\n\n${texts.join('\n\n')}\n`,
    ),
  ].join('');
  return { notice, bundled: packages.map(({ name, version, license }) => ({ name, version, license })) };
}
