/** All clipping rules. A new one is a file in this folder and a line here; flags, help and pages follow. */
import { adagc } from './adagc.ts';
import { agc } from './agc.ts';
import { autoclip } from './autoclip.ts';
import { clippy } from './clippy.ts';
import { globalNormRule } from './global-norm.ts';
import { lamb } from './lamb.ts';
import { lars } from './lars.ts';
import { layerNorm } from './layer-norm.ts';
import { none } from './none.ts';
import { rms } from './rms.ts';
import type { ClipRule } from './rule.ts';
import { skipStep } from './skip-step.ts';
import { spam } from './spam.ts';
import { value } from './value.ts';
import { zclip } from './zclip.ts';

export const RULES = {
  none,
  value,
  'global-norm': globalNormRule,
  'layer-norm': layerNorm,
  agc,
  lars,
  lamb,
  clippy,
  rms,
  autoclip,
  zclip,
  adagc,
  spam,
  'skip-step': skipStep,
} as const satisfies Record<string, ClipRule>;

/** What is replayed when no rule is asked for: the paper's rivals at common settings, and Clippy in both forms. */
export const DEFAULT_RULES = [
  'none',
  'global-norm:1',
  'layer-norm:0.1',
  'agc:0.01',
  'clippy:paper',
  'clippy:tfrs',
] as const;
