import { serveParts } from '../../src/step/threads/serve-parts.ts';
import { ENDS, FAILS, HANGS, SUM } from './tasks.ts';

serveParts([SUM, FAILS, ENDS, HANGS]);
