/**
 * The one table of error codes and texts. Every error a user can meet is a `DiagError` made by `diagError`; anything
 * else that is thrown is a bug of the tool and is shown with its stack (exit code 70).
 *
 * A text says what (with both numbers where there are two), the `where` of the error says the place, the hint says
 * what to do. A new error is one entry here; `test/model/errors.test.ts` renders every one of them.
 */
import { formatCount, formatNumber } from './format-number.ts';
import type { SourceRef } from './source-ref.ts';

/** Exit codes of every command (docs/exit-codes.md). */
export const EXIT = {
  done: 0,
  gateFailed: 1,
  usage: 2,
  input: 3,
  inconclusive: 4,
  output: 5,
  bug: 70,
  interrupted: 130,
  terminated: 143,
} as const;
export type ExitCode = (typeof EXIT)[keyof typeof EXIT];

/** Worst first, of every command: nothing turns an error into a verdict, or into 0. */
const PRECEDENCE: readonly ExitCode[] = [
  EXIT.bug,
  EXIT.interrupted,
  EXIT.terminated,
  EXIT.usage,
  EXIT.input,
  EXIT.output,
  EXIT.gateFailed,
  EXIT.inconclusive,
  EXIT.done,
];

/** The code that outranks the other. */
export const worstExitCode = (a: ExitCode, b: ExitCode): ExitCode =>
  PRECEDENCE.indexOf(a) <= PRECEDENCE.indexOf(b) ? a : b;

/** Values that a text may name. Numbers are printed with thousands separators, text is made inert by the printer. */
export type ErrorDetails = Readonly<Record<string, string | number | readonly string[]>>;

interface ErrorText {
  readonly exitCode: ExitCode;
  /** The sentence; `{name}` is replaced by the detail of that name. */
  readonly message: string;
  /** The sentence where the first number that it names is 1: one line is, several are. */
  readonly one?: string;
  /** What to do; may name details too. Left out where the message says it all. */
  readonly hint?: string;
}

const define = <T extends Record<string, ErrorText>>(table: T): T => table;

export const ERROR_TEXTS = define({
  // ---- usage -------------------------------------------------------------------------------------------------
  usage: { exitCode: EXIT.usage, message: '{problem}', hint: '{hint}' },
  'unknown-command': {
    exitCode: EXIT.usage,
    message: '"{command}" is not a command',
    hint: 'did you mean {nearest}? `clippy-diag --help` lists the commands',
  },
  'unknown-id': {
    exitCode: EXIT.usage,
    message: 'there is no {kind} "{id}"',
    hint: 'did you mean {nearest}? known: {known}',
  },
  // ---- files -------------------------------------------------------------------------------------------------
  'file-missing': {
    exitCode: EXIT.input,
    message: '{path} does not exist',
    hint: 'did you mean {nearest}? check the path; relative paths start at {cwd}',
  },
  'file-unreadable': {
    exitCode: EXIT.input,
    message: '{path} cannot be read: {reason}',
    hint: 'check the permissions of the file and of its folders',
  },
  'too-many-open-files': {
    exitCode: EXIT.input,
    message: 'no further file can be opened: {reason}',
    hint: 'allow this process more open files, e.g. `ulimit -n 1024`, or close other programs',
  },
  'file-empty': {
    exitCode: EXIT.input,
    message: '{path} is empty (0 bytes)',
    hint: 'the job may have died before its first record; look at its standard error',
  },
  'file-not-regular': {
    exitCode: EXIT.input,
    message: '{path} is a {kind}, not a regular file',
    hint: 'pass a file or a folder; use `-` to read a stream from standard input',
  },
  'file-changed': {
    exitCode: EXIT.input,
    message: '{path} changed while it was read ({before} bytes before, {after} after)',
    hint: 'use `clippy-diag watch` on a live log, or copy the file first',
  },
  'input-still-written': {
    exitCode: EXIT.inconclusive,
    message: '{path} is still being written to ({before} bytes, then {after})',
    hint: 'judge it when the training has ended, or use `clippy-diag watch` on a live log',
  },
  // ---- sources: inputs behind a URL ------------------------------------------------------------------------
  'source-offline': {
    exitCode: EXIT.usage,
    message: '{url} was not read: {reason} forbids the network',
    hint: 'download it first, or leave {reason} out',
  },
  'source-unsupported': {
    exitCode: EXIT.input,
    message: '{url} cannot be read: {what} is not supported',
    hint: '{instead}',
  },
  'source-missing': {
    exitCode: EXIT.input,
    message: '{url} does not exist (status {status})',
    hint: 'check the URL; some servers answer so where credentials are missing',
  },
  'source-denied': {
    exitCode: EXIT.input,
    message: '{url} was refused by the server (status {status})',
    hint: '{credentials}',
  },
  'source-unreachable': {
    exitCode: EXIT.input,
    message: '{url} cannot be reached: {reason}',
    hint: 'check the network and the name of the host; the request was repeated',
  },
  'source-proxy': {
    exitCode: EXIT.input,
    message: '{url} was not read: the proxy of {variable} {problem}',
    hint: 'set {variable} to http://USER:PASSWORD@HOST:PORT, or name the host in NO_PROXY to go past it',
  },
  'source-refused': {
    exitCode: EXIT.input,
    message: '{url} is not followed: {reason}',
    hint: 'name the address where the file is, if you trust it',
  },
  'source-answer': {
    exitCode: EXIT.input,
    message: '{url}: the server is not to be relied on: {problem}',
    hint: 'download the file with another program and name the file',
  },
  'source-incomplete': {
    exitCode: EXIT.input,
    message: '{url} was read only up to byte {got}: {reason}',
    hint: 'try again later, or download the file first',
  },
  'source-changed': {
    exitCode: EXIT.input,
    message: '{url} became another file while it was read',
    hint: 'judge it when the training has ended, or download it first',
  },
  'notify-unset': {
    exitCode: EXIT.usage,
    message: '--notify {channel} has nowhere to send to: {variable} is not set',
    hint: 'set {variable} in the environment, or name another variable under `notify` in the configuration',
  },
  'notify-offline': {
    exitCode: EXIT.usage,
    message: '{channel} sends over the network, and {reason} forbids it',
    hint: 'leave one of them out; `--notify cmd:COMMAND` and `--metrics FILE.prom` stay on this machine',
  },
  'path-not-allowed': {
    exitCode: EXIT.input,
    message: '{path} is outside of what this server may read',
    hint: 'its user can start it with --allow FOLDER or --allow URL',
  },
  'path-leaves-folder': {
    exitCode: EXIT.input,
    message: '"{name}" points out of the folder {folder}',
    hint: 'files that belong together must lie in one folder; this one may be hostile',
  },
  'format-unknown': {
    exitCode: EXIT.input,
    message: 'the format of {path} is unknown; tried {tried}',
    hint: "for text with a loss: `clippy-diag teach {path}` shows its numbers and learns which one is the loss, or --pattern '(?<step>\\d+) (?<loss>\\S+)' says so; else force one with --format; docs/formats.md lists all",
  },
  'log-no-record': {
    exitCode: EXIT.input,
    message: 'no training records found in {path}; line {line} looks most like one: {text}',
    hint: "name the columns with --pattern; for this line: --pattern '{pattern}'",
  },
  'input-is-report': {
    exitCode: EXIT.input,
    message: '{path} is a report of clippy-diag, not a log',
    hint: '`clippy-diag report {path}` shows it and `clippy-diag gate {path}` judges it; for another look name what it was made of',
  },
  'format-unsupported': {
    exitCode: EXIT.input,
    message: '{path} is {format}, which clippy-diag recognises but cannot read',
    hint: '{instead}',
  },
  'format-mismatch': {
    exitCode: EXIT.input,
    message: '{path} is not {format}: {reason}',
    hint: 'leave out --format and the content decides',
  },
  'folder-without-inputs': {
    exitCode: EXIT.input,
    message: 'no log, checkpoint or capture under {path} ({files} files looked at)',
    one: 'no log, checkpoint or capture under {path} (1 file looked at)',
    hint: 'name the file itself to see why it is not read',
  },
  'gzip-damaged': {
    exitCode: EXIT.input,
    message: 'the gzip stream of {path} is damaged after {bytes} decompressed bytes: {reason}',
    hint: 'what came before it was read; copy the file again',
  },
  'gzip-trailing': {
    exitCode: EXIT.input,
    message: '{bytes} bytes follow the gzip stream of {path} and belong to no member of it',
    one: 'a byte follows the gzip stream of {path} and belongs to no member of it',
    hint: 'what is in the stream was read; see what was appended to it',
  },
  'stream-damaged': {
    exitCode: EXIT.input,
    message: 'the {format} stream of {path} is damaged after {bytes} decompressed bytes: {reason}',
    hint: 'what came before it was read; copy the file again',
  },
  'stream-trailing': {
    exitCode: EXIT.input,
    message: '{bytes} bytes follow the {format} stream of {path} and belong to no part of it',
    one: 'a byte follows the {format} stream of {path} and belongs to no part of it',
    hint: 'what is in the stream was read; see what was appended to it',
  },
  'limit-exceeded': {
    exitCode: EXIT.input,
    message: '{what} is {found}, the limit is {limit}',
    hint: '{hint}',
  },
  // ---- logs --------------------------------------------------------------------------------------------------
  'map-name-missing': {
    exitCode: EXIT.inconclusive,
    message: '--map {role}={name}: no log has a series "{name}"',
    hint: 'found: {found}',
  },
  'log-no-points': {
    exitCode: EXIT.inconclusive,
    message: '{path} holds no points ({kept} records read)',
    one: '{path} holds no points (1 record read)',
    hint: 'the job may have died before it logged a number; --map and --pattern are for unusual logs',
  },
  'log-lines-bad': {
    exitCode: EXIT.input,
    message: '{count} lines are not {what} (lines {lines})',
    one: 'line {lines} is not {one}',
    hint: 'the other lines were read; something else was written between the records',
  },
  'log-hole': {
    exitCode: EXIT.input,
    message: '{count} lines ({bytes} bytes) hold zero bytes instead of text (from line {line} on)',
    one: 'a line ({bytes} bytes) holds zero bytes instead of text (line {line})',
    hint: 'records are lost there: the disk was full, the machine lost power, or the log was cut while it was written',
  },
  'log-quote-open': {
    exitCode: EXIT.input,
    message: 'a quote that is not closed takes {count} lines for one cell (quotes in lines {lines})',
    hint: 'these lines were not read; close the quote or remove it',
  },
  'log-account-open': {
    exitCode: EXIT.input,
    message: '{bytes} bytes of {path} are unaccounted for',
    hint: 'the reader dropped or counted them twice: please report it with the log',
  },
  'log-cells-bad': {
    exitCode: EXIT.input,
    message: '{count} values of "{column}" are not numbers; the first says "{text}"',
    one: 'a value of "{column}" is not a number: "{text}"',
    hint: 'they count neither as values nor as NaN; write a plain number, `nan` or `inf`, and leave out units',
  },
  'log-duplicate-column': {
    exitCode: EXIT.input,
    message: 'the header names column "{column}" {count} times',
    hint: 'it is unknown which one is meant, so none of them is read; rename them',
  },
  'log-duplicate-key': {
    exitCode: EXIT.input,
    message: '{count} records hold "{key}" twice (lines {lines})',
    one: 'a record holds "{key}" twice (line {lines})',
    hint: 'it is unknown which value is meant, so neither is read',
  },
  'log-document-damaged': {
    exitCode: EXIT.input,
    message: 'the JSON document ends or breaks at byte {offset}: {reason}',
    hint: 'the records before that were read; copy the file again',
  },
  'log-parquet-damaged': {
    exitCode: EXIT.input,
    message: 'the Parquet file cannot be read: {reason}',
    hint: 'a Parquet file has its directory at the end, so a cut file gives nothing; copy it again',
  },
  'log-is-lfs-pointer': {
    exitCode: EXIT.input,
    message: '{path} is a Git LFS pointer to a file of {bytes} bytes, not the file',
    hint: 'run `git lfs pull` in its repository',
  },
  'log-pattern-bad': {
    exitCode: EXIT.usage,
    message: '--pattern {pattern} is not usable: {reason}',
    hint: 'name its groups after the series and the axis, e.g. "it (?<step>\\d+) loss (?<loss>\\S+)"',
  },
  'tfevents-bad-record': {
    exitCode: EXIT.input,
    message: '{count} event records are damaged (wrong checksum or malformed) and were left out',
    one: 'an event record is damaged (wrong checksum or malformed) and was left out',
    hint: 'the records around them were read; copy the file again',
  },
  'tfevents-lost-bytes': {
    exitCode: EXIT.input,
    message: '{bytes} bytes are not event records and were skipped',
    one: 'a byte is no event record and was skipped',
    hint: 'the records around them were read; two writers may share this file, or a disk was full',
  },
  'wandb-bad-record': {
    exitCode: EXIT.input,
    message:
      '{count} records of W&B are damaged (wrong checksum, malformed or without a part) and were left out',
    one: 'a record of W&B is damaged (wrong checksum, malformed or without a part) and was left out',
    hint: 'the records around them were read; copy the file again',
  },
  'wandb-lost-bytes': {
    exitCode: EXIT.input,
    message: '{bytes} bytes are not records of W&B and were skipped',
    one: 'a byte is not a record of W&B and was skipped',
    hint: 'the records around them were read; copy the file again, or the disk was full',
  },
  // ---- detectors and verdicts --------------------------------------------------------------------------------
  'detector-crashed': {
    exitCode: EXIT.bug,
    message: 'the detector {id} crashed: {problem}',
    hint: 'please report it with the log; the other detectors are not affected',
  },
  'finding-unknown': {
    exitCode: EXIT.usage,
    message: '{place}: there is no finding "{finding}"',
    hint: 'did you mean {nearest}? `clippy-diag explain` lists them',
  },
  'threshold-unknown': {
    exitCode: EXIT.usage,
    message: '{place}: {finding} has no threshold "{name}"',
    hint: '{known}',
  },
  'threshold-range': {
    exitCode: EXIT.usage,
    message: '{place} is {found} and must be {range}',
    hint: '`clippy-diag explain {finding}` says what it means',
  },
  'threshold-conflict': {
    exitCode: EXIT.usage,
    message: '{first} is {firstValue} and {second} is {secondValue}, but {name} is one number',
    hint: 'give it once: it holds for every finding that has it',
  },
  'metric-missing': {
    exitCode: EXIT.inconclusive,
    message: 'no series "{metric}"',
    hint: 'found: {found}; name one of these, or give one a role with --map',
  },
  'steps-empty': {
    exitCode: EXIT.inconclusive,
    message: 'no point of {metric} lies {steps}',
    hint: 'the log has steps {first} to {last}',
  },
  // ---- checkpoints: containers, pickle, npy, safetensors -------------------------------------------------------
  'checkpoint-truncated': {
    exitCode: EXIT.input,
    message: '{what} ends at byte {end} but the file has {bytes}',
    hint: 'copy the file again; `clippy-diag inspect` lists the tensors that are whole',
  },
  'checkpoint-malformed': {
    exitCode: EXIT.input,
    message: 'not valid {format}: {problem}',
    hint: 'write the checkpoint again; if the framework itself loads this file, please report it',
  },
  'checkpoint-ambiguous': {
    exitCode: EXIT.input,
    message: '{problem}, so that two programs may read different values from this file',
    hint: 'no framework writes such a file: save the checkpoint again',
  },
  'archive-cut': {
    exitCode: EXIT.input,
    message: 'the zip archive has {bytes} bytes and no end record: it was cut off or is still being written',
    hint: 'copy the file again, or take the checkpoint before it',
  },
  'archive-malformed': {
    exitCode: EXIT.input,
    message: 'not a valid {format} archive: a header of a member is damaged',
    hint: 'the members before it were read; copy the archive again',
  },
  'archive-torn': {
    exitCode: EXIT.input,
    message: 'the {format} archive {path} ends within a member: it was cut off or is still being written',
    hint: 'what came before was read; copy the file again',
  },
  'notebook-malformed': {
    exitCode: EXIT.input,
    message: '{path} is not a whole notebook: its JSON cannot be read',
    hint: 'save it again; output that was lost with the end of the file cannot be read',
  },
  'checksum-mismatch': {
    exitCode: EXIT.input,
    message: 'the checksum of {what} is {found}, the file says {expected}',
    hint: 'the bytes changed after they were written: copy the file again or use an older checkpoint',
  },
  'dtype-unsupported': {
    exitCode: EXIT.input,
    message: 'tensor "{tensor}" has the type {dtype}, which clippy-diag cannot read',
    hint: 'convert it to one of F64, F32, F16, BF16, F8_E4M3, F8_E5M2, C64, C128, BOOL or an integer type',
  },
  'pickle-forbidden': {
    exitCode: EXIT.input,
    message: 'the pickle names "{global}", which is not a data type of checkpoints; nothing was run',
    hint: 'save a state_dict instead of whole objects: torch.save(model.state_dict(), PATH)',
  },
  'object-array': {
    exitCode: EXIT.input,
    message: '"{name}" is an array of Python objects, which would have to be unpickled',
    hint: 'save it as an array of numbers',
  },
  'tensor-missing': {
    exitCode: EXIT.input,
    message: 'no tensor "{name}"',
    hint: 'found: {found}',
  },
  // ---- checkpoints: HDF5, TensorFlow, tfjs, ONNX, Flax -------------------------------------------------------
  'protobuf-malformed': {
    exitCode: EXIT.input,
    message: '{what} is not a valid protocol buffer: {problem}',
    hint: 'the file was cut off or changed after it was written: copy it again',
  },
  'tf-newest-missing': {
    exitCode: EXIT.input,
    message: 'this file names "{name}" as the newest checkpoint, but it is not in the same folder',
    hint: 'found there: {found}; pass one of these',
  },
  'slices-incomplete': {
    exitCode: EXIT.input,
    message: 'the slices of tensor "{tensor}" hold {found} of its {expected} elements',
    hint: 'copy every file of the checkpoint again',
  },
  'hdf5-external': {
    exitCode: EXIT.input,
    message: '"{name}" lies in another file ({target}), which is never opened',
    hint: 'no framework writes such a checkpoint; copy the data into one file (h5repack) if you trust it',
  },
  'hdf5-unsupported': {
    exitCode: EXIT.input,
    message: '"{name}" uses {feature}, which clippy-diag cannot read',
    hint: 'write it again with h5py: contiguous or chunked with gzip, shuffle and fletcher32 filters only',
  },
  // ---- rules, optimizers, captures, replay -------------------------------------------------------------------
  'rule-unknown': {
    exitCode: EXIT.usage,
    message: 'there is no clipping rule "{rule}"',
    hint: 'did you mean {nearest}? known: {known}',
  },
  'rule-not-replayed': {
    exitCode: EXIT.usage,
    message: '"{rule}" is known and cannot be replayed: {reason}',
    hint: 'leave this rule out; `clippy-diag replay --help` lists those that can be',
  },
  'rule-syntax': {
    exitCode: EXIT.usage,
    message: 'the rule "{text}" cannot be read: {problem}',
    hint: 'write RULE, RULE:VALUE, RULE:PRESET or RULE:NAME=VALUE,…; a grid is RULE:{VALUE,VALUE}; "+" joins rules: global-norm:1+rms:1',
  },
  'rule-grid-empty': {
    exitCode: EXIT.usage,
    message: 'the grid of "{text}" has no values',
    hint: 'put at least one value between the braces, for example {example}',
  },
  'rule-undefined': {
    exitCode: EXIT.usage,
    message: 'rule "{rule}" is not defined for optimizer "{optimizer}": {reason}',
    hint: 'leave this rule out, or see `clippy-diag explain {rule}`',
  },
  'rule-conflict': {
    exitCode: EXIT.usage,
    message: 'the rule "{rule}" sets {option} twice: {first} to {firstValue}, {second} to {secondValue}',
    hint: 'give both parts the same {option}, or leave it to one of them',
  },
  'option-unknown': {
    exitCode: EXIT.usage,
    message: '{owner} has no option "{name}"',
    hint: 'did you mean {nearest}? known: {known}',
  },
  'option-range': {
    exitCode: EXIT.usage,
    message: '{owner}: {name} is {found} and must be {range}',
    hint: 'see its page with `clippy-diag explain`',
  },
  'optimizer-unknown': {
    exitCode: EXIT.input,
    message: 'there is no optimizer "{optimizer}"',
    hint: 'did you mean {nearest}? known: {known}',
  },
  'resume-nothing': {
    exitCode: EXIT.input,
    message: '{path} holds no checkpoint and no log with a loss',
    hint: 'pass the file or the folder that the training saved; docs/checkpoints.md lists the formats',
  },
  'capture-manifest-missing': {
    exitCode: EXIT.input,
    message: '{path} has no capture.json',
    hint: 'did you mean {nearest}? pass the folder that the recorder wrote; `clippy-diag init` sets one up',
  },
  'capture-malformed': {
    exitCode: EXIT.input,
    message: 'capture.json cannot be used: {problem}',
    hint: 'see docs/captures.md for its fields',
  },
  'launcher-failed': {
    exitCode: EXIT.input,
    message: '{program} cannot be run: {reason}',
    hint: 'check the command after --; no shell is used, so write programs and paths in full',
  },
  'ledger-malformed': {
    exitCode: EXIT.input,
    message: 'the ledger cannot be used: {problem}',
    hint: 'see docs/compare.md for its files',
  },
  'capture-version': {
    exitCode: EXIT.input,
    message: 'the capture has version {found}; this tool reads versions {known}',
    hint: 'record it with a recorder of this release, or use a newer clippy-diag',
  },
  'capture-learning-rate': {
    exitCode: EXIT.input,
    message: 'step {step} has no learning rate for {group}, and the optimizer has none either',
    hint: 'write "learningRate" into the step or the optimizer of capture.json',
  },
  'capture-optimizer': {
    exitCode: EXIT.input,
    message: 'the recorded optimizer cannot be replayed: {problem}',
    hint: 'correct "optimizer" in capture.json',
  },
  'capture-formula': {
    exitCode: EXIT.input,
    message: 'no formula is known for the steps of {optimizer}, so {what}',
    hint: 'run closed loops in your own model: clippy_diag.torch.closed_loop or clippy_diag.keras.closed_loop (docs/recorders.md)',
  },
  'capture-gradients-missing': {
    exitCode: EXIT.input,
    message: 'step {step} has no gradients: memory was too small for those of {missing} steps',
    hint: 'closed_loop of clippy_diag.torch computes them again from the batches and adds them to the capture',
  },
  'recorder-without-capture': {
    exitCode: EXIT.input,
    message: 'the recorder of {path} saw {steps} steps {saw}, and wrote no capture',
    hint: 'for a verdict name the log of the run; capture() writes a capture as a drill',
  },
  'capture-step-missing': {
    exitCode: EXIT.input,
    message: 'step {step} is listed, but {file} is missing',
    hint: 'the steps before it are used; copy the capture again',
  },
  'capture-step-extra': {
    exitCode: EXIT.input,
    message: '{file} (step {step}) is not listed in capture.json and is not used',
    hint: 'the recording may have been cut short; the listed steps are used',
  },
  'capture-step-gap': {
    exitCode: EXIT.input,
    message:
      'step {step} is missing between steps {before} and {after}: the audit ends at step {before}, and from there on the replay may not follow the run',
    hint: 'if no step was taken then (a loss scaler skipped it), list it under "skipped" in capture.json',
  },
  'capture-cut': {
    exitCode: EXIT.input,
    message: '{lost} steps from step {step} on are lost; the {kept} steps up to step {last} are used',
    one: 'step {step} is lost; the {kept} steps up to step {last} are used',
    hint: 'a verdict needs steps after the onset: copy or record the capture again',
  },
  'capture-shape': {
    exitCode: EXIT.input,
    message: '"{tensor}" has shape {found}, capture.json says {expected}',
    hint: 'names and shapes of a capture must agree in all files',
  },
  'capture-names': {
    exitCode: EXIT.input,
    message: '{problem}',
    hint: 'the nearest name is {nearest}; names must agree in all files of a capture',
  },
  'capture-values': {
    exitCode: EXIT.input,
    message: '"{tensor}": {problem}',
    hint: 'record from a state that is still sound',
  },
  // ---- models, differentiation, curvature --------------------------------------------------------------------
  'curvature-non-finite': {
    exitCode: EXIT.inconclusive,
    message:
      'a Hessian-vector product has the entry {value} at index {index} of {size}: there is no curvature at this point',
    hint: 'choose a checkpoint and a batch at which loss and gradient are finite',
  },
  'op-not-differentiable': {
    exitCode: EXIT.input,
    message: 'the operation {op} of this model has no derivative that is known to be right',
    hint: 'write it with operations from docs/autodiff.md',
  },
  'op-missing': {
    exitCode: EXIT.input,
    message: 'the backend {backend} has no kernel for the operation {op} of this model',
    hint: 'choose another with --backend',
  },
  'backend-memory': {
    exitCode: EXIT.input,
    message: 'the backend {backend} ran out of memory',
    hint: 'take fewer rows at a time with --rows-per-pass',
  },
  'model-invalid': {
    exitCode: EXIT.input,
    message: 'the model is not valid: {place} must be {expected}',
    hint: 'docs/autodiff.md describes the kinds of model',
  },
  'model-names': {
    exitCode: EXIT.input,
    message: 'the parameters do not match the model: not found are {missing}; left over are {left}',
    hint: 'add a "rename" map to the model, from the names left over to the model’s',
  },
  'model-shapes': {
    exitCode: EXIT.input,
    message: 'the shapes do not match the model: {wrong}',
    hint: 'check that model and checkpoint belong together; PyTorch kernels need the layout OI to be transposed',
  },
  'complex-values': {
    exitCode: EXIT.input,
    message: '"{name}" holds complex numbers, which no model takes',
    hint: 'write its real part',
  },
  'batch-values': {
    exitCode: EXIT.input,
    message: '"{name}" of the batch has {found} in row {row}, expected {expected}',
  },
  'model-layer': {
    exitCode: EXIT.input,
    message: 'the layer "{layer}" of class {className} cannot be built: {reason}',
    hint: 'write the model as a ranking spec or as a module (docs/autodiff.md)',
  },
  'model-untrusted': {
    exitCode: EXIT.input,
    message: '{path} is a program, and was named by a file, not by you',
    hint: 'look at it, then name it with --model',
  },
  'user-model': {
    exitCode: EXIT.input,
    message: 'the model threw: {message}',
  },
  'user-model-shape': {
    exitCode: EXIT.input,
    message: 'the model cannot be used: {problem}',
    hint: 'docs/autodiff.md shows what a module exports',
  },
  'user-model-time': {
    exitCode: EXIT.input,
    message: 'one call of the model {path} took longer than {seconds} s and was ended',
    hint: 'allow more with --model-seconds',
  },
  'user-model-memory': {
    exitCode: EXIT.input,
    message: 'the model {path} took more than {limit} MiB of memory and was ended',
    hint: 'allow more with --model-memory',
  },
  'user-model-ended': {
    exitCode: EXIT.input,
    message: 'the model {path} ended its process {how}',
    hint: 'a model must not exit; its loss is called many times',
  },
  'study-invalid': {
    exitCode: EXIT.usage,
    message: 'the study is wrong at {at}: {problem}',
    hint: 'docs/matrix.md describes what a study says',
  },
  'study-unknown-key': {
    exitCode: EXIT.usage,
    message: 'the study has "{key}" at {at}, which is not a key there',
    hint: 'did you mean {nearest}? keys there: {known}',
  },
  'study-columns': {
    exitCode: EXIT.input,
    message: 'the data have no column "{column}", which the study names',
    hint: 'did you mean {nearest}? columns there: {found}',
  },
  'study-values': {
    exitCode: EXIT.input,
    message: 'the column "{column}" has {found} in row {row}, and has to have {expected}',
    hint: 'rows are counted from 0, in the order of the file and without its header',
  },
  'study-rows': {
    exitCode: EXIT.input,
    message: 'the study asks for {wanted} rows ({what}) and the data have {found}',
    hint: 'ask for fewer rows in `data`',
  },
  'study-too-large': {
    exitCode: EXIT.usage,
    message: 'the study has {cells} cells, more than {limit}',
    hint: 'take rules, rates or seeds away, or say --yes',
  },
  'study-state': {
    exitCode: EXIT.input,
    message: 'the results of an interrupted study cannot be used: {problem}',
    hint: 'name another file with --resume, or remove this one to start over',
  },
  'file-held': {
    exitCode: EXIT.input,
    message: 'another process writes this file: process {pid} on {host}, says {lock}',
    hint: 'wait for it, or name another file; if that process is gone, remove {lock}',
  },
  'queue-packages': {
    exitCode: EXIT.usage,
    message: 'a queue needs the packages bullmq and ioredis, and they do not load: {problem}',
    hint: 'npm install bullmq@6 ioredis (where clippy-diag is installed: with -g, if it is global)',
  },
  'queue-unreachable': {
    exitCode: EXIT.input,
    message: 'the Redis at {url} cannot be used: {problem}',
    hint: 'check that it runs, its address and its password; rediss:// is for TLS',
  },
  'queue-evicts': {
    exitCode: EXIT.input,
    message: 'the Redis at {url} throws keys away when its memory is full: maxmemory-policy is {policy}',
    hint: 'redis-cli config set maxmemory-policy noeviction',
  },
  'shard-other': {
    exitCode: EXIT.input,
    message: '{problem}',
    hint: 'merge the files that one study wrote with --shard i/n',
  },
  'shard-missing': {
    exitCode: EXIT.inconclusive,
    message: 'of {cells} cells {missing} are in none of the files; shards that are missing: {shards}',
    hint: 'run those shards and merge again',
  },
  'closed-loop-state': {
    exitCode: EXIT.input,
    message: 'the state of an interrupted replay cannot be used: {problem}',
    hint: 'name another file with --resume, or remove this one to start over',
  },
  'task-unknown': {
    exitCode: EXIT.usage,
    message: 'the model has no task "{task}"',
    hint: 'it has {known}',
  },
  'gauss-newton-unknown': {
    exitCode: EXIT.usage,
    message: 'there is no Gauss-Newton product for this model: {reason}',
    hint: 'ask for --operator hessian',
  },
  'batch-empty': {
    exitCode: EXIT.input,
    message: 'the batch has no rows',
    hint: 'a capture holds batches only if its recorder was asked to keep them',
  },
  'batch-map': {
    exitCode: EXIT.usage,
    message: '--map names "{name}", which is not an input of the model',
    hint: 'the inputs are {known}',
  },
  'batch-table': {
    exitCode: EXIT.input,
    message: 'the table of the batch cannot be read: {problem}',
  },
  'batch-missing': {
    exitCode: EXIT.input,
    message: 'the batch has no "{name}"',
    hint: 'it has {found}; map the names of a file with --map {name}=COLUMN; those of a capture come from its recorder',
  },
  'batch-shape': {
    exitCode: EXIT.input,
    message: '"{name}" of the batch is {found}, the model takes {expected}',
  },
  'batch-id-range': {
    exitCode: EXIT.input,
    message: '"{name}" of the batch has the id {id} in row {row}, the vocabulary has {vocabulary}',
  },
  'batch-label-range': {
    exitCode: EXIT.input,
    message: '"{name}" of the batch is {label} in row {row}, this loss takes labels from {low} to {high}',
  },
  'backend-unavailable': {
    exitCode: EXIT.input,
    message: 'no backend for differentiation loads ({backend}): {reason}',
    hint: 'reinstall the package, or choose another with --backend',
  },
  'backend-wrong': {
    exitCode: EXIT.input,
    message: 'the backend {backend} computes wrong second derivatives: {wrong}',
    hint: 'choose another with --backend',
  },
  'curvature-loss': {
    exitCode: EXIT.inconclusive,
    message: 'the loss at this point is {loss}, or its gradient is not finite: there is no curvature here',
    hint: 'choose a checkpoint before the run broke, or a batch without non-finite values',
  },
  'curvature-not-repeatable': {
    exitCode: EXIT.inconclusive,
    message: 'the same Hessian-vector product differs by {difference} (relative) when it is repeated',
    hint: 'the model draws random numbers; turn that off',
  },
  'closed-loop-not-repeatable': {
    exitCode: EXIT.inconclusive,
    message: 'the same loss and gradient differ by {difference} (relative) when they are repeated',
    hint: 'the model draws random numbers; turn that off',
  },
  'curvature-not-symmetric': {
    exitCode: EXIT.inconclusive,
    message: 'the Hessian is not symmetric: uᵀHv is {uhv}, vᵀHu is {vhu}',
    hint: 'an operation of the model has a wrong second derivative; docs/autodiff.md lists those that are right',
  },
  'block-unknown': {
    exitCode: EXIT.usage,
    message: 'no parameter matches --block {block}',
    hint: 'the model has {known}',
  },
  'preconditioner-optimizer': {
    exitCode: EXIT.usage,
    message: 'without an optimizer there is no preconditioner',
    hint: 'name it, e.g. --optimizer adagrad:learningRate=0.1,epsilon=1e-7',
  },
  'preconditioner-state': {
    exitCode: EXIT.input,
    message: 'the preconditioner needs the optimizer’s {slots}, which the checkpoint does not have',
    hint: 'save the optimizer’s state with the parameters, or ask for --operator hessian',
  },
  'curvature-empty': {
    exitCode: EXIT.input,
    message: 'the model has no parameters to differentiate',
  },
  'preconditioner-values': {
    exitCode: EXIT.inconclusive,
    message:
      'the next step would divide entry {index} of "{tensor}" by {value}: the optimizer’s state is damaged there',
    hint: 'choose a checkpoint before the run broke, or ask for --operator hessian',
  },
  'capture-without-model': {
    exitCode: EXIT.input,
    message: '{path} names no model that could be differentiated',
    hint: '`closed_loop` and `curvature` of the recorder run your own model (docs/recorders.md), and `replay` and `analyze` show what they write; or write a model (docs/autodiff.md) and name it with --model',
  },
  'capture-several-groups': {
    exitCode: EXIT.input,
    message: 'the capture has {groups} optimizer groups, and "{name}" of the checkpoint is in none of them',
    hint: 'measure the checkpoint with `curvature --model … --checkpoint … --batch … --optimizer …`',
  },
  'checkpoint-other-optimizer': {
    exitCode: EXIT.input,
    message:
      'the checkpoint holds the state {slots}, which the capture’s {optimizer} does not have: it belongs to another run',
    hint: 'measure it with `curvature --model … --checkpoint … --batch … --optimizer …`',
  },
  'capture-step-unknown': {
    exitCode: EXIT.usage,
    message: 'the capture has no step {step}; it goes from {first} to {last}',
  },
  'preconditioner-unknown': {
    exitCode: EXIT.usage,
    message: 'no preconditioner is known for the optimizer "{optimizer}"',
    hint: 'ask for --operator hessian',
  },
  'budget-spent': {
    exitCode: EXIT.inconclusive,
    message: 'the time budget ran out before {what}',
    hint: 'give it more with --budget SECONDS, or run `replay` and `curvature` on their own',
  },
  // ---- config and gate ---------------------------------------------------------------------------------------
  'config-invalid': {
    exitCode: EXIT.usage,
    message: 'the config is wrong at {at}: {problem}',
    hint: '{hint}',
  },
  'config-syntax': {
    exitCode: EXIT.usage,
    message: 'the config is not valid {language}: {reason}',
    hint: '`clippy-diag init` writes a commented config to start from',
  },
  'config-unknown-rule': {
    exitCode: EXIT.usage,
    message: 'there is no rule "{rule}"',
    hint: 'did you mean {nearest}? A rule is a detector, a class of verdict or a threshold like `last(loss) <= 0.2`',
  },
  'config-bad-threshold': {
    exitCode: EXIT.usage,
    message: 'the threshold "{rule}" cannot be read: {problem}',
    hint: 'write it like `p95(grad_norm) < 5` or `last("val/auc") >= 0.75`',
  },
  'gate-without-rules': {
    exitCode: EXIT.usage,
    message: 'the gate has no rule to judge: {reason}',
    hint: 'give a rule with --rule, or leave out --no-config and the `recommended` preset applies',
  },
  'pattern-matches-nothing': {
    exitCode: EXIT.input,
    message: 'no file matches the pattern {pattern}',
    hint: 'patterns start at {cwd}; `*` stays within a folder, `**` does not',
  },
  'baseline-missing': {
    exitCode: EXIT.input,
    message: 'the baseline {path} does not exist',
    hint: '`clippy-diag baseline update PATH` writes it; commit it with the config',
  },
  'baseline-invalid': {
    exitCode: EXIT.input,
    message: 'the baseline {path} cannot be used: {problem}',
    hint: 'write it again with `clippy-diag baseline update PATH`',
  },
  'report-invalid': {
    exitCode: EXIT.input,
    message: '{path} is not a report of clippy-diag: {problem}',
    hint: 'a report is what `clippy-diag analyze PATH --report json:FILE` writes',
  },
  // ---- output ------------------------------------------------------------------------------------------------
  'output-unwritable': {
    exitCode: EXIT.output,
    message: '{path} cannot be written: {reason}',
    hint: 'nothing was changed there; choose another place or free some space',
  },
  'file-exists': {
    exitCode: EXIT.output,
    message: '{path} exists already and was kept',
    hint: 'add --force to replace it',
  },
  'output-outside': {
    exitCode: EXIT.output,
    message: 'the baseline {path} lies outside of the working tree {root}',
    hint: 'a config that you did not write may name any file; if this one is meant, add --allow-outside',
  },
  'output-link-outside': {
    exitCode: EXIT.output,
    message: '{path} is a link to {target}, outside of the working tree {tree}',
    hint: 'a branch that you did not write may hold such a link; if this file is meant, name it without the link',
  },
  'output-is-input': {
    exitCode: EXIT.output,
    message: '{path} is one of the inputs and would be overwritten',
    hint: 'choose another name for the report',
  },
});

export type ErrorCode = keyof typeof ERROR_TEXTS;

/** What an error says to a machine: part of every JSON document that has errors. */
export interface ErrorRecord {
  readonly id: ErrorCode;
  readonly message: string;
  readonly hint?: string;
  readonly path?: string;
  readonly line?: number;
  readonly byteOffset?: number;
  readonly tensor?: string;
}

/** An error that the user can act on. Made by {@link diagError} only. */
export class DiagError extends Error {
  override readonly name = 'DiagError';
  readonly code: ErrorCode;
  readonly exitCode: ExitCode;
  readonly where: SourceRef | undefined;
  readonly hint: string | undefined;

  constructor(
    code: ErrorCode,
    message: string,
    exitCode: ExitCode,
    where?: SourceRef,
    hint?: string,
    cause?: unknown,
  ) {
    super(message, cause === undefined ? undefined : { cause });
    this.code = code;
    this.exitCode = exitCode;
    this.where = where;
    this.hint = hint;
  }

  /** The error as JSON documents have it. */
  toRecord(): ErrorRecord {
    return {
      id: this.code,
      message: this.message,
      ...(this.hint === undefined ? {} : { hint: this.hint }),
      ...(this.where ?? {}),
    };
  }
}

const show = (value: string | number | readonly string[]): string =>
  typeof value === 'number'
    ? Number.isInteger(value)
      ? formatCount(value)
      : formatNumber(value, 'exact')
    : typeof value === 'string'
      ? value
      : value.length === 0
        ? 'none'
        : value.join(', ');

/** What a text says of the nearest name is left out where no name is near. */
const NEAREST = /did you mean \{nearest\}\? |the nearest name is \{nearest\}; /;

const fill = (text: string, details: ErrorDetails): string =>
  (details.nearest === '' ? text.replace(NEAREST, '') : text).replace(/\{(\w+)\}/g, (whole, name: string) =>
    Object.hasOwn(details, name) ? show(details[name]!) : whole,
  );

/** Whether the first number that a text names is 1. */
const isOfOne = (text: string, details: ErrorDetails): boolean =>
  [...text.matchAll(/\{(\w+)\}/g)]
    .map(([, name]) => details[name!])
    .find((detail) => typeof detail === 'number') === 1;

/**
 * Makes the error of a code.
 *
 * @param code key of {@link ERROR_TEXTS}
 * @param details the values that its text names
 * @param where the place: path, and line, byte offset or tensor within it
 * @param cause the exception that led here, kept for `DEBUG`
 */
export function diagError(
  code: ErrorCode,
  details: ErrorDetails = {},
  where?: SourceRef,
  cause?: unknown,
): DiagError {
  const text: ErrorText = ERROR_TEXTS[code];
  const hint = text.hint === undefined ? undefined : fill(text.hint, details);
  return new DiagError(
    code,
    fill(text.one !== undefined && isOfOne(text.message, details) ? text.one : text.message, details),
    text.exitCode,
    where,
    hint === '' ? undefined : hint,
    cause,
  );
}

/**
 * The error where the limit of open files is reached, of this process (EMFILE) or of the machine (ENFILE): whatever was to
 * be opened, an input, an output or a module of the tool, it is not at fault.
 */
export function tooManyOpenFiles(cause: unknown): DiagError | undefined {
  const { code } = (cause ?? {}) as NodeJS.ErrnoException;
  if (code !== 'EMFILE' && code !== 'ENFILE') return undefined;
  const reason = `too many are open in this ${code === 'EMFILE' ? 'process' : 'machine'} (${code})`;
  return diagError('too-many-open-files', { reason }, undefined, cause);
}

/** Does the work; an error of it that names no place gets this one. */
export async function located<T>(where: SourceRef, work: () => T | Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof DiagError) || error.where !== undefined) throw error;
    throw new DiagError(error.code, error.message, error.exitCode, where, error.hint, error);
  }
}

/** What a package of others threw, an error or anything else, in one short line: the first of its message, 200 letters at most. */
export const firstLineOf = (error: unknown): string =>
  String((error as Error | null | undefined)?.message ?? error)
    .split('\n')[0]!
    .slice(0, 200);

/** Why something was not done, as one line: code, message, and what to try. */
export const reasonOf = ({ code, message, hint }: DiagError): string =>
  `${code}: ${message}${hint === undefined ? '' : `; try: ${hint}`}`;
