/** Whether a word of a command line names a file or a folder that is there. */
import { kindOfPath } from '../../read/bytes/source.ts';

export const isPath = async (word: string): Promise<boolean> =>
  word !== '' && !word.startsWith('-') && (await kindOfPath(word)) !== 'missing';
