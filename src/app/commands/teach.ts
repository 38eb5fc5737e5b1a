import * as Args from '@oclif/core/args';
import * as Flags from '@oclif/core/flags';
import { diagError, EXIT } from '../../model/errors.ts';
import { inertName } from '../../model/inert-text.ts';
import { FIELD_ROLES, type LayoutField } from '../../model/layout.ts';
import { SCHEMA_VERSION } from '../../model/report.ts';
import { writeFileAtomic } from '../../read/bytes/atomic-write.ts';
import { kindOfPath, readText } from '../../read/bytes/source.ts';
import { numberText } from '../../report/measured-text.ts';
import { type CommandIo, command } from '../cli/command.ts';
import { offlineFlag, withLocalPaths } from '../cli/remote-paths.ts';
import { layoutOf, prove, type SeenText, tablesIn, textOf, withLayout } from '../engine/teach.ts';
import { CONFIG_PLACES } from '../gate/config-file.ts';

export default command({
  summary: 'Learn the layout of a printed log, and keep it in a config.',
  description:
    'Without --column, shows the tables of a log and the numbers of their columns. With --column it makes a layout, proves it on the log and on a twin with a NaN, and writes it to the config; --print only prints it.',
  examples: [
    '<%= config.bin %> <%= command.id %> train.log',
    '<%= config.bin %> <%= command.id %> train.log --column 1=step --column 2=loss',
  ],
  args: { path: Args.string({ required: true, description: 'a printed log' }) },
  flags: {
    ...offlineFlag,
    table: Flags.integer({ description: 'the table, as it is numbered', default: 1, min: 1, helpValue: 'N' }),
    column: Flags.string({
      description: `what a column is, e.g. 2=loss or 3=metric:psnr; roles: ${FIELD_ROLES.join(', ')} (may be repeated)`,
      helpValue: 'N=ROLE[:NAME]',
      multiple: true,
      multipleNonGreedy: true,
    }),
    name: Flags.string({ description: 'name of the layout', default: 'taught', helpValue: 'NAME' }),
    config: Flags.string({
      description: 'the config to write to',
      default: CONFIG_PLACES[0],
      helpValue: 'FILE',
    }),
    print: Flags.boolean({ description: 'print the config with the layout, and write nothing' }),
  },

  async run({ args, flags }, io) {
    const path = args.path!;
    // This command writes the config, so no config can forbid URLs here.
    const offline = { offline: flags.offline };
    const text = await withLocalPaths([path], offline, io, ({ paths: [local] }) => textOf(local!));
    const seen = await tablesIn(text, path);
    if (flags.column === undefined) return show(seen, path, flags.json, io);
    const fields = flags.column.map(fieldOf);
    if (!fields.some(({ role }) => role === 'loss'))
      throw diagError('usage', {
        problem: 'no column is the loss',
        hint: 'for example --column 1=step --column 2=loss',
      });
    const layout = layoutOf(seen, flags.table, flags.name, fields);
    const proof = await prove(text, path, layout);
    const exists = (await kindOfPath(flags.config)) !== 'missing';
    const config = await withLayout(exists ? await readText(flags.config) : '', flags.config, layout);
    const written = proof.holds && !flags.print;
    if (written) await writeFileAtomic(flags.config, config);
    if (flags.json)
      await io.printJson({
        schemaVersion: SCHEMA_VERSION,
        tables: seen.tables,
        layout,
        proof,
        written: written ? [flags.config] : [],
      });
    else {
      await io.print(
        [
          proof.statement,
          proof.holds
            ? `a twin with NaN in line ${proof.nanAtLine} is read with that NaN, and else the same`
            : `a twin with NaN in line ${proof.nanAtLine} is not read the same: nothing was written`,
          ...(written ? [`wrote ${inertName(flags.config)}`] : flags.print ? ['', config.trimEnd()] : []),
        ].join('\n'),
      );
    }
    return proof.holds ? EXIT.done : EXIT.inconclusive;
  },
});

/** `2=loss`, `3=metric:psnr`. @throws usage */
function fieldOf(text: string): LayoutField {
  const [, at, role, name] = /^([1-9]\d{0,2})=([a-z_]+)(?::(.{1,80}))?$/.exec(text) ?? [];
  const known = FIELD_ROLES.find((one) => one === role);
  if (at === undefined || known === undefined)
    throw diagError('usage', {
      problem: `--column ${text} is not N=ROLE or N=ROLE:NAME`,
      hint: `roles are ${FIELD_ROLES.join(', ')}`,
    });
  return { at: Number(at), role: known, ...(name === undefined ? {} : { name }) };
}

/** The tables of a log with their columns. */
async function show({ tables, log }: SeenText, path: string, json: boolean, io: CommandIo) {
  if (json)
    await io.printJson({ schemaVersion: SCHEMA_VERSION, tables, layout: null, proof: null, written: [] });
  else
    await io.print(
      [
        ...tables.flatMap(({ line, sample, rows, columns }, k) => [
          `table ${k + 1}: ${rows} lines like line ${line}`,
          `  ${inertName(sample.trim().slice(0, 160))}`,
          ...columns.map(
            ({ at, name, first, last }) =>
              `    column ${at}  ${name === '' ? '(no name)' : inertName(name)}  ${numberText(first)} … ${numberText(last)}`,
          ),
        ]),
        log === undefined ? `${inertName(path)}: no table of it is read as a log` : inertName(log.statement),
        'clippy-diag teach LOG --column N=step --column N=loss keeps a layout',
      ].join('\n'),
    );
  return tables.length === 0 ? EXIT.inconclusive : EXIT.done;
}
