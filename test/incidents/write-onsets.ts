/**
 * Writes fixtures/incidents/onsets.json: what the judge says of each case. After a change of the judge look at the difference, and list it under
 * "Changed verdicts".
 *
 *     npm run judge
 */
import { writeFileSync } from 'node:fs';
import { incidentCases, judgedCase, ONSETS_FILE } from './cases.ts';

const lines = incidentCases().map((one) => `${JSON.stringify(one.name)}:${JSON.stringify(judgedCase(one))}`);
writeFileSync(ONSETS_FILE, `{\n${lines.join(',\n')}\n}\n`);
