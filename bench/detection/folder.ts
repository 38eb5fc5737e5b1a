/**
 * The verdicts of all logs in a folder (peers.py asks other tools about the same), one line of JSON each: path, class, onset, series, and the findings that are warnings or errors.
 *
 *     npx tsx bench/detection/folder.ts FOLDER > verdicts.jsonl
 */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { contextFor, type Detector } from '../../src/judge/detectors/detector.ts';
import { DETECTORS } from '../../src/judge/detectors/registry.ts';
import { judgeRun } from '../../src/judge/incidents/verdict.ts';
import { readLogFile } from '../../src/read/logs/read-log.ts';

const [folder] = process.argv.slice(2);
if (folder === undefined) throw new Error('which folder? npx tsx bench/detection/folder.ts FOLDER');
for (const name of readdirSync(folder, { recursive: true, encoding: 'utf8' }).sort()) {
  const path = join(folder, name);
  try {
    for (const run of (await readLogFile(path)).runs) {
      const judged = judgeRun(run);
      const findings = Object.values(DETECTORS).flatMap((detector: Detector) => {
        const outcome = detector.detect(run, contextFor(detector, judged));
        return outcome.kind === 'fail' ? outcome.findings.filter(({ severity }) => severity !== 'note') : [];
      });
      const { class: found, onsetStep, series, why } = judged.verdict;
      const said = findings.map(({ id, severity, message }) => ({ id, severity, message }));
      console.log(JSON.stringify({ path: name, class: found, onsetStep, series, why, findings: said }));
    }
  } catch (error) {
    console.log(JSON.stringify({ path: name, error: String(error) }));
  }
}
