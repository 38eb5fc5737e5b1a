// Writes recorders/tfjs/clippy-judge.js: the judge of src/incidents in one file, for users to copy beside the recorder:
//
//     npm run judge
import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const root = fileURLToPath(new URL('.', import.meta.url));

/** The text of the file. */
export async function judgeFile() {
  const { outputFiles } = await build({
    absWorkingDir: root,
    entryPoints: ['src/incidents/stream.ts'],
    bundle: true,
    format: 'esm',
    platform: 'neutral',
    target: 'es2022',
    charset: 'utf8',
    write: false,
    banner: {
      js: `/**
 * When losses leave their band: the judge of clippy-diag, as losses come. Apache-2.0.
 *
 * Made from src/incidents by build-judge.js, where every line is explained; docs/detection.md says what the numbers mean.
 */`,
    },
  });
  return outputFiles[0].text;
}

if (process.argv[1] === fileURLToPath(import.meta.url))
  writeFileSync(`${root}recorders/tfjs/clippy-judge.js`, await judgeFile());
