import type { DiagError } from '../../model/errors.ts';

/** What is wrong with a stream: its end is missing, its bytes are damaged, bytes follow that belong to no part of it, or it holds more than a limit allows. */
export type StreamDamage = 'torn' | 'damaged' | 'trailing' | 'over-limit';

/** Takes what is wrong with a stream, at most once. What was decompressed before is yielded first. */
export type OnDamage = (error: DiagError, damage: StreamDamage) => void;
