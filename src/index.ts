/** The public API: what semantic versioning covers. */
export { type Capture, type CapturedStep, openCapture } from './captures/read.ts';
export { type CaptureHeader, type CaptureWriter, createCapture } from './captures/write.ts';
export { openCheckpoint } from './checkpoints/registry.ts';
export { type TensorToWrite, writeSafetensors } from './checkpoints/safetensors.ts';
export { type AnalyzeOptions, analyze } from './engine/analyze.ts';
export { diffCheckpoints } from './engine/checkpoint-diff.ts';
export { inspectCheckpoint } from './engine/checkpoint-inspect.ts';
export { collectInputs } from './engine/collect.ts';
export { exitCodeOf } from './engine/exit-code.ts';
export { inspectInputs } from './engine/inspect.ts';
export { diagnoseRun } from './engine/report.ts';
export { type Watcher, watchLog, watchPath } from './engine/watch.ts';
export { FINDINGS, type FindingId } from './findings/registry.ts';
export type { ThresholdOverrides } from './findings/thresholds.ts';
export { gateConfigFrom } from './gate/config.ts';
export { loadGateConfig } from './gate/config-file.ts';
export { readGateEvidence } from './gate/evidence.ts';
export { type GateEvidence, judgeGate } from './gate/judge.ts';
export type { GateConfig } from './gate/resolve-config.ts';
export {
  createFusedAdagradClippy,
  type FusedAdagradClippy,
  type FusedOptions,
} from './kernels/fused-adagrad-clippy.ts';
export { type ReadLogOptions, readLogFile } from './logs/read-log.ts';
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
export { chooseOptimizer, OPTIMIZERS } from './optimizers/registry.ts';
export { replayFromLog } from './replay/from-log.ts';
export { type ReplayResult, type ReplaySettings, replayCapture } from './replay/replay.ts';
export { createStepper, type Stepper, type StepRecord } from './replay/step.ts';
export { freshTensor, type Gradient } from './replay/tensors.ts';
export { drawChart } from './reports/charts.ts';
export { parseReport } from './reports/parse-report.ts';
export { REPORT_FORMATS, type ReportFormatId } from './reports/registry.ts';
export { renderReplay } from './reports/replay-text.ts';
export { renderTerminal } from './reports/terminal.ts';
export type { RuleChoice, RulePart } from './rules/choice.ts';
export { clippyFactor } from './rules/clippy-factor.ts';
export { parseRule } from './rules/parse.ts';
export { RULES } from './rules/registry.ts';
