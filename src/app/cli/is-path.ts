/** Whether a word of a command line is a URL, or names a file or a folder that exists. */
import { isUrl } from '../../model/url.ts';
import { kindOfPath } from '../../read/bytes/source.ts';

export const isPath = async (word: string): Promise<boolean> =>
  isUrl(word) || (word !== '' && !word.startsWith('-') && (await kindOfPath(word)) !== 'missing');
