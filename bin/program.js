// The program: one script with the code that V8 made of it, where this very Node built it, else its modules.
import { existsSync, readFileSync } from 'node:fs';
import module from 'node:module';
import { fileURLToPath } from 'node:url';
import v8 from 'node:v8';
import vm from 'node:vm';

const inDist = (name) => fileURLToPath(new URL(`../dist/${name}`, import.meta.url));
export const MODULES = new URL('../dist/run.js', import.meta.url);
export const SCRIPT = inDist('program.script');
/** V8 takes back its code in the same version alone. */
export const CODE = inDist(`program.${process.version}.${process.platform}-${process.arch}.code`);

/** Before anything is compiled: the flags are part of what the code has to fit. */
export function setUpNode() {
  // Node 22.1 and newer keeps what it compiled, beside other temporary files: half of the time to start.
  module.enableCompileCache?.();
  // Most functions run a few times: on small logs, optimizing them took longer than running them as they are. Node 20 alone
  // has this setting; newer ones would say that they do not know it.
  if (process.version.startsWith('v20.')) v8.setFlagsFromString('--interrupt-budget=1000000');
}

/** @param cachedData what an earlier script gave; without it, or where V8 does not take it, the script is compiled */
export const scriptOf = (cachedData) =>
  new vm.Script(readFileSync(SCRIPT, 'latin1'), { filename: SCRIPT, cachedData });

/** What src/run.ts exports. */
export function exportsOf(script) {
  const made = { exports: {} };
  script.runInThisContext()(made.exports, module.createRequire(SCRIPT), made, SCRIPT);
  return made.exports;
}

/** @param first of the arguments: the two modules that tell the version are read sooner than the script */
export const loadProgram = (first) =>
  existsSync(CODE) && first !== '--version' ? exportsOf(scriptOf(readFileSync(CODE))) : import(MODULES.href);
