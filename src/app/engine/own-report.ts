/** Files that this tool wrote on runs, found in a folder: they are not logs, whatever losses they contain. */

/** The first bytes of a file that are looked at: they decide. */
const LOOKED_AT = 1000;
const DOCUMENT =
  /^\s{0,20}\{\s{0,20}"schemaVersion":\s{0,20}"\d{1,3}\.\d{1,3}",\s{0,20}"(toolVersion|inputs|brief|error)":/;
const SARIF = /"driver":\s{0,40}\{\s{0,40}"name":\s{0,20}"clippy-diag"/;

/**
 * Why a report of this tool is skipped; undefined for any other file.
 *
 * @param head its first bytes, decompressed
 */
export function ownReport(head: Buffer): string | undefined {
  const text = head.toString('latin1', 0, LOOKED_AT);
  return DOCUMENT.test(text) || SARIF.test(text) ? 'a report of clippy-diag' : undefined;
}
