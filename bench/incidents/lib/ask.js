/** Asks a tool about a case: runs its command and reads one JSON object from its standard output. */
import { spawn } from 'node:child_process';

/**
 * The words of a command line, with quotes as in a shell. No shell runs: nothing else is expanded.
 * @param {string} text
 * @returns {string[]}
 */
export function wordsOf(text) {
  const words = [];
  for (const match of text.matchAll(/(?:'[^']*'|"[^"]*"|[^\s'"])+/g))
    words.push(match[0].replace(/'([^']*)'|"([^"]*)"/g, (_, single, double) => single ?? double));
  return words;
}

/** The last line of a text that is a JSON object, or the whole text as one; null where there is not one. */
export function answerIn(text) {
  for (const candidate of [text, ...text.split('\n').reverse()]) {
    try {
      const value = JSON.parse(candidate);
      if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value;
    } catch {
      // Not this one: a tool may print other lines before its answer.
    }
  }
  return null;
}

/**
 * Runs a tool on a view of a case.
 * @param {string} command words; `{case}` is replaced by the folder
 * @param {string} view folder that the tool may read
 * @param {number} timeoutSeconds after which the tool is ended and has failed
 * @returns {Promise<{ answer: object | null, seconds: number, error: string | null }>} seconds of wall time
 */
export function ask(command, view, timeoutSeconds) {
  const [program, ...rest] = wordsOf(command).map((word) => word.replaceAll('{case}', view));
  const began = process.hrtime.bigint();
  return new Promise((resolve) => {
    let out = '';
    let errors = '';
    const child = spawn(program, rest, { stdio: ['ignore', 'pipe', 'pipe'] });
    const timer = setTimeout(() => child.kill('SIGKILL'), timeoutSeconds * 1000);
    const done = (error) => {
      clearTimeout(timer);
      const answer = error === null ? answerIn(out) : null;
      resolve({
        answer,
        seconds: Number(process.hrtime.bigint() - began) / 1e9,
        error: error ?? (answer === null ? `no JSON object printed ${errors.slice(-300)}` : null),
      });
    };
    child.stdout.on('data', (chunk) => (out += chunk));
    child.stderr.on('data', (chunk) => (errors += chunk));
    child.on('error', (error) => done(error.message));
    child.on('close', (code, signal) =>
      done(
        signal !== null
          ? `ended by ${signal}`
          : code > 1 && answerIn(out) === null
            ? `exit ${code}: ${errors.slice(-300)}`
            : null,
      ),
    );
  });
}
