// Wire types that the generator does not write yet; each line leaves as soon as `generated/` has it.
import type { ById } from "./generated/ById";
import type { Certificate } from "./generated/Certificate";
import type { Dataset } from "./generated/Dataset";
import type { DatasetId } from "./generated/DatasetId";
import type { Decoding } from "./generated/Decoding";
import type { ErrorCode } from "./generated/ErrorCode";
import type { Evaluation } from "./generated/Evaluation";
import type { FileHash } from "./generated/FileHash";
import type { Job } from "./generated/Job";
import type { JobId } from "./generated/JobId";
import type { JobKind } from "./generated/JobKind";
import type { Message } from "./generated/Message";
import type { Model } from "./generated/Model";
import type { ModelId } from "./generated/ModelId";
import type { Plan } from "./generated/Plan";
import type { Row } from "./generated/Row";
import type { Settings } from "./generated/Settings";
import type { SplitName } from "./generated/SplitName";
import type { StartJob } from "./generated/StartJob";

/** Arguments of a command that needs none. */
export type Nothing = Record<string, never>;

export interface RowsOf { id: DatasetId; split: SplitName; offset: number; limit: number }
export interface DataRows { rows: Row[]; total: number }
export interface StatsOf { id: DatasetId; model: string | null }
export interface SplitStats { split: SplitName; rows: number; characters: number; tokens: number | null }
export type LengthUnit = "tokens" | "characters";
export interface LengthBin { from: number; to: number; rows: number }
export interface LengthStats { unit: LengthUnit; p50: number; p95: number; p99: number; max: number; bins: LengthBin[] }
export interface NamedCount { name: string; rows: number }
export interface DataStats {
  splits: SplitStats[];
  lengths: LengthStats;
  supervised_tokens: number | null;
  unrendered_rows: number | null;
  languages: NamedCount[];
  groups: NamedCount[];
  problems: NamedCount[];
  duplicates_removed: number;
}
export interface DatasetDeleted { id: DatasetId; name: string; version: number }
export type BaseSource = "sample" | "folder" | "used";
export interface BaseModel {
  path: string;
  name: string;
  family: string;
  parameters: number;
  size_bytes: number;
  dtype: string;
  context: number;
  layers: number;
  hidden_size: number;
  vocabulary: number;
  chat_template: boolean;
  licence: string | null;
  sha256: string | null;
  source: BaseSource;
  runs: number;
}
export interface MemoryPart { name: string; bytes: number }
export interface MemoryEstimate {
  device: string;
  total_bytes: number;
  low_bytes: number;
  high_bytes: number;
  device_bytes: number;
  free_bytes: number;
  fits: boolean;
  phase: string;
  parts: MemoryPart[];
}
export interface TimeEstimate { seconds: number; low_seconds: number; high_seconds: number; tokens_per_s: number; from_runs: number }
export interface Alternative { title_key: string; changes: Record<string, unknown>; total_bytes: number; seconds: number | null; fits: boolean }
export type FormCheckState = "ok" | "warn" | "bad";
export interface FormCheck {
  state: FormCheckState;
  code: string;
  message: string;
  hint: string | null;
  field: string | null;
  suggestion: unknown;
}
export interface JobEstimate {
  total_steps: number;
  rows: number;
  eval_rows: number;
  tokens_per_epoch: number;
  cut_rows: number;
  trainable_parameters: number;
  total_parameters: number;
  trainable_percent: number;
  memory: MemoryEstimate;
  time: TimeEstimate | null;
  alternatives: Alternative[];
  checks: FormCheck[];
  command_line: string;
  spec: StartJob;
}
export interface PageCheckpoint { step: number; path: string; size_bytes: number; eval_loss: number | null; is_best: boolean; at_ms: number }
export type TimelineLevel = "info" | "good" | "warn" | "error";
export interface TimelineEntry { at_ms: number; step: number | null; level: TimelineLevel; code: string; message: string }
export interface Sample { step: number; index: number; prompt: string; reference: string; output: string }
export interface JobPage {
  job: Job;
  plan: Plan | null;
  certificate: Certificate | null;
  checkpoints: PageCheckpoint[];
  timeline: TimelineEntry[];
  samples: Sample[];
  registered_model: ModelId | null;
  command_line: string;
  spec: StartJob | null;
  queue_position: number | null;
}
export interface LogOf { id: JobId; before: number | null; limit: number }
export interface LogPiece { text: string; start: number; end: number; size: number }
export interface ModelPage {
  model: Model;
  evaluations: Evaluation[];
  card: string;
  files: FileHash[];
  job: Job | null;
  dataset: Dataset | null;
}
export interface DeviceStatus { id: string; name: string; memory_bytes: number; used_bytes: number | null }
export interface RunningJob { job_id: JobId; kind: JobKind; name: string; progress: number; eta_s: number | null; step: number; total_steps: number }
export interface StatusView {
  version: string;
  home: string;
  home_size_bytes: number;
  disk_free_bytes: number | null;
  memory_total_bytes: number;
  memory_used_bytes: number;
  devices: DeviceStatus[];
  running: RunningJob | null;
  queue: number;
  supervises: boolean;
}
export interface StorageItem { what: string; path: string; size_bytes: number; count: number }
export interface StartSample { hyperparameters: Record<string, unknown> }

export type Origin = "default" | "file" | "secrets_file" | "keyring" | "environment" | "command_line";
export type Vault = "keyring" | "file";
export interface SecretState { name: string; origin: Origin }
export interface SettingsView { home: string; settings: Settings; origins: Record<string, Origin>; secrets: SecretState[]; secret_store: Vault }

export interface PendingCommands {
  settings_get: { args: Nothing; result: SettingsView };
  data_rows: { args: RowsOf; result: DataRows };
  data_stats: { args: StatsOf; result: DataStats };
  data_delete: { args: ById; result: DatasetDeleted };
  base_list: { args: Nothing; result: BaseModel[] };
  base_inspect: { args: { path: string }; result: BaseModel };
  job_estimate: { args: StartJob; result: JobEstimate };
  job_page: { args: ById; result: JobPage };
  job_log: { args: LogOf; result: LogPiece };
  settings_set: { args: { changes: Record<string, unknown> }; result: SettingsView };
  secret_set: { args: { name: string; value: string }; result: SettingsView };
  secret_clear: { args: { name: string }; result: SettingsView };
  status: { args: Nothing; result: StatusView };
  storage: { args: Nothing; result: StorageItem[] };
  sample_start: { args: StartSample; result: Job };
  model_get: { args: ById; result: ModelPage };
}

export interface Side { model_id?: ModelId; base_model?: string; adapter?: string }
export interface GenerateArgs { sides: Side[]; messages?: Message[]; prompt?: string; decoding?: Decoding }
export type Finish = "eos" | "length" | "context" | "stopped";
export type Framing = "plain" | "chat";
export type GenerateItem =
  | { type: "started"; side: number; name: string; prompt_tokens: number; framing: Framing }
  | { type: "text"; side: number; text: string }
  | { type: "done"; side: number; prompt_tokens: number; tokens: number; tokens_per_s: number; finish: Finish; first_token_ms: number; time_ms: number }
  | { type: "failed"; side: number; error: { code: ErrorCode; message: string; hint: string } };
export interface PendingStreams {
  generate: { args: GenerateArgs; item: GenerateItem };
}
