/** Limits of what a file may ask for. */
import { diagError } from '../../model/errors.ts';

/** @throws limit-exceeded where `found` is above `limit` */
export function checkLimit(
  what: string,
  found: number,
  limit: number,
  where: { readonly path: string; readonly tensor?: string; readonly byteOffset?: number },
): void {
  if (found > limit) throw diagError('limit-exceeded', { what, found, limit, hint: '' }, where);
}
