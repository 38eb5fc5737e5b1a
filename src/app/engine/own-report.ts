/** What this tool wrote of runs, met below a folder: it is no log, whatever losses stand in it. */

/** Of the bytes of a file so many are looked at: what tells stands first. */
const LOOKED_AT = 1000;
const DOCUMENT =
  /^\s{0,20}\{\s{0,20}"schemaVersion":\s{0,20}"\d{1,3}\.\d{1,3}",\s{0,20}"(toolVersion|inputs|brief|error)":/;
const SARIF = /"driver":\s{0,40}\{\s{0,40}"name":\s{0,20}"clippy-diag"/;

/**
 * Why a file is passed over that is a report of ours; undefined of any other.
 *
 * @param head its first bytes, decompressed
 */
export function ownReport(head: Buffer): string | undefined {
  const text = head.toString('latin1', 0, LOOKED_AT);
  return DOCUMENT.test(text) || SARIF.test(text) ? 'a report of clippy-diag' : undefined;
}
