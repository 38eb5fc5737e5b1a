/** A command of the user's, run in the shell; values reach it by the environment alone. */
import { inertName } from '../../model/inert-text.ts';
import type { Io } from '../cli/io.ts';
import { runHook } from '../cli/run-hook.ts';
import type { Channel } from './channel.ts';
import { bodyOf } from './message.ts';

/** @param name as messages name it: the flag that the command came by */
export const shell = (name: string, command: string, io: Pick<Io, 'stderr' | 'env' | 'onEnd'>): Channel => ({
  name,
  once: true,
  send: async (message) => {
    const { event, alert, path } = message;
    const values = {
      EVENT: event,
      KEY: alert.key,
      ALERT: alert.class,
      LOG: path,
      RUN: alert.run,
      SERIES: alert.series,
      STEP: alert.from,
      MESSAGE: event === 'end' ? `over: ${alert.message}` : alert.message,
      BRIEF: bodyOf(message),
    };
    const reason = await runHook(command, values, io);
    return reason === undefined ? undefined : inertName(reason);
  },
});
