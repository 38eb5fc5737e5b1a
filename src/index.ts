/** The public API: what semantic versioning covers. */

export { type AnalyzeOptions, analyze } from './app/engine/analyze.ts';
export { diffCheckpoints } from './app/engine/checkpoint-diff.ts';
export { inspectCheckpoint } from './app/engine/checkpoint-inspect.ts';
export { collectInputs } from './app/engine/collect.ts';
export { exitCodeOf } from './app/engine/exit-code.ts';
export { inspectInputs } from './app/engine/inspect.ts';
export { diagnoseRun } from './app/engine/report.ts';
export { type Watcher, watchLog, watchPath } from './app/engine/watch.ts';
export { gateConfigFrom } from './app/gate/config.ts';
export { loadGateConfig } from './app/gate/config-file.ts';
export { readGateEvidence } from './app/gate/evidence.ts';
export { type GateEvidence, judgeGate } from './app/gate/judge.ts';
export type { GateConfig } from './app/gate/resolve-config.ts';
export { replayFromLog } from './experiment/replay/from-log.ts';
export { type ReplayResult, type ReplaySettings, replayCapture } from './experiment/replay/replay.ts';
export { createStepper, type Stepper, type StepRecord } from './experiment/replay/step.ts';
export { freshTensor, type Gradient } from './experiment/replay/tensors.ts';
export { FINDINGS, type FindingId } from './judge/findings/registry.ts';
export type { ThresholdOverrides } from './judge/findings/thresholds.ts';
export type { Checkpoint, InspectedCheckpoint, TensorInfo } from './model/checkpoint.ts';
export type { Column } from './model/column.ts';
export {
  DiagError,
  ERROR_TEXTS,
  type ErrorCode,
  type ErrorRecord,
  EXIT,
  type ExitCode,
} from './model/errors.ts';
export type { Finding, FindingType, Severity, Threshold, Thresholds } from './model/finding.ts';
export type { GateResult, GateRule } from './model/gate.ts';
export type { CheckpointDiff, Inspection } from './model/inspection.ts';
export { toJson } from './model/json.ts';
export type { LogInput } from './model/log.ts';
export type { ReplayEntry } from './model/replay.ts';
export type { Report, RunReport, VerdictClass } from './model/report.ts';
export type { Run, TimeSeries } from './model/run.ts';
export { type Capture, type CapturedStep, openCapture } from './read/captures/read.ts';
export { type CaptureHeader, type CaptureWriter, createCapture } from './read/captures/write.ts';
export { openCheckpoint } from './read/checkpoints/registry.ts';
export { type TensorToWrite, writeSafetensors } from './read/checkpoints/safetensors.ts';
export { type ReadLogOptions, readLogFile } from './read/logs/read-log.ts';
export { drawChart } from './report/charts.ts';
export { parseReport } from './report/parse-report.ts';
export { REPORT_FORMATS, type ReportFormatId } from './report/registry.ts';
export { renderReplay } from './report/replay-text.ts';
export { renderTerminal } from './report/terminal.ts';
export {
  createFusedAdagradClippy,
  type FusedAdagradClippy,
  type FusedOptions,
} from './step/kernels/fused-adagrad-clippy.ts';
export { chooseOptimizer, OPTIMIZERS } from './step/optimizers/registry.ts';
export type { RuleChoice, RulePart } from './step/rules/choice.ts';
export { clippyFactor } from './step/rules/clippy-factor.ts';
export { parseRule } from './step/rules/parse.ts';
export { RULES } from './step/rules/registry.ts';
