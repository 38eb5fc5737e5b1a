/** Reads the cases of a folder, and makes the view of a case that a tool is shown. */
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { EVIDENCE, FILES } from './words.js';

const readJson = (path) => JSON.parse(readFileSync(path, 'utf8'));

/**
 * Cases of a folder, by name.
 * @param {string} folder holds one folder a case
 * @returns {{ id: string, path: string, truth: object, hasTwin: boolean }[]}
 */
export function casesOf(folder) {
  return readdirSync(folder)
    .filter((id) => existsSync(join(folder, id, 'truth.json')))
    .sort()
    .map((id) => {
      const path = join(folder, id);
      return {
        id,
        path,
        truth: readJson(join(path, 'truth.json')),
        hasTwin: existsSync(join(path, 'twin', 'evidence')),
      };
    });
}

/** The truth of a healthy twin: nothing is wrong with it. */
export function twinTruth(truth) {
  return {
    id: `${truth.id}/twin`,
    kind: 'twin',
    family: truth.family,
    alarm: false,
    visibleIn: [],
    classes: ['healthy'],
    onset: null,
    links: [],
    triggers: [],
    tensors: [],
    factor: null,
    remedies: [],
    cannotBeKnownFrom: {},
  };
}

/**
 * Copies what a level of evidence shows of a case into a folder whose name says nothing.
 * @param {string} evidenceFolder the folder `evidence` of a case or of its twin
 * @param {string} view folder to make
 * @param {string} level one of EVIDENCE
 */
export function makeView(evidenceFolder, view, level) {
  mkdirSync(view, { recursive: true });
  for (const one of EVIDENCE.slice(0, EVIDENCE.indexOf(level) + 1)) {
    for (const file of FILES[one]) {
      // From the level "log" on the structured log replaces the printed one: the same run twice is no more evidence.
      if (file === 'train.log' && level !== 'printed') continue;
      const from = join(evidenceFolder, file);
      if (existsSync(from)) cpSync(from, join(view, file), { recursive: true });
    }
  }
}
