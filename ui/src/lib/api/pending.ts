// Wire types that the generator does not write yet; each line leaves as soon as `generated/` has it.
import type { ById } from "./generated/ById";
import type { Certificate } from "./generated/Certificate";
import type { Dataset } from "./generated/Dataset";
import type { DatasetId } from "./generated/DatasetId";
import type { Decoding } from "./generated/Decoding";
import type { Evaluation } from "./generated/Evaluation";
import type { FileHash } from "./generated/FileHash";
import type { Job } from "./generated/Job";
import type { JobId } from "./generated/JobId";
import type { Message } from "./generated/Message";
import type { Model } from "./generated/Model";
import type { ModelId } from "./generated/ModelId";
import type { Plan } from "./generated/Plan";
import type { Row } from "./generated/Row";
import type { SettingsView } from "./generated/SettingsView";
import type { SplitName } from "./generated/SplitName";
import type { StartJob } from "./generated/StartJob";

/** Arguments of a command that needs none. */
export type Nothing = Record<string, never>;

export interface DataRows { rows: Row[]; total: number }
export interface DataStats {
  splits: { split: SplitName; rows: number; characters: number; tokens: number | null }[];
  lengths: { unit: "tokens" | "characters"; p50: number; p95: number; p99: number; max: number; bins: { from: number; to: number; rows: number }[] };
  supervised_tokens: number | null;
  languages: Record<string, number> | null;
  duplicates_removed: number | null;
}
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
  source: "sample" | "folder" | "used";
  runs: number;
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
  memory: { total_bytes: number; low_bytes: number; high_bytes: number; device_bytes: number; free_bytes: number; fits: boolean; parts: { name: string; bytes: number }[] };
  time: { seconds: number; low_seconds: number; high_seconds: number; tokens_per_s: number; from_runs: number } | null;
  alternatives: { title_key: string; changes: Record<string, unknown>; total_bytes: number; seconds: number | null; fits: boolean }[];
  checks: EstimateCheck[];
  command_line: string;
  spec: unknown;
}
export interface EstimateCheck {
  state: "ok" | "warn" | "bad";
  code: string;
  message: string;
  hint: string | null;
  field: string | null;
  suggestion: unknown;
}
export interface JobPage {
  job: Job;
  plan: Plan | null;
  certificate: Certificate | null;
  checkpoints: { step: number; size_bytes: number; eval_loss: number | null; is_best: boolean; at_ms: number }[];
  timeline: { at_ms: number; step: number | null; level: string; code: string; message: string }[];
  samples: { step: number; index: number; prompt: string; reference: string; output: string }[];
  registered_model: ModelId | null;
  command_line: string;
  spec: unknown;
  queue_position: number | null;
}
export interface JobLog { text: string; start: number; end: number; size: number }
export interface ModelPage {
  model: Model;
  evaluations: Evaluation[];
  card: string;
  files: FileHash[];
  job: Job | null;
  dataset: Dataset | null;
}
export interface StatusView {
  version: string;
  home: string;
  home_size_bytes: number;
  disk_free_bytes: number;
  memory_total_bytes: number;
  memory_used_bytes: number;
  devices: { id: string; name: string; memory_bytes: number; used_bytes: number }[];
  running: { job_id: JobId; name: string; progress: number; eta_s: number | null; step: number; total_steps: number } | null;
  queue: number;
  supervises: boolean;
}
export interface StorageItem { what: string; path: string; size_bytes: number; count: number }

export interface PendingCommands {
  data_rows: { args: { id: DatasetId; split: SplitName; offset: number; limit: number }; result: DataRows };
  data_stats: { args: { id: DatasetId; model?: string | null }; result: DataStats };
  data_delete: { args: ById; result: Nothing };
  base_list: { args: Nothing; result: BaseModel[] };
  base_inspect: { args: { path: string }; result: BaseModel };
  job_estimate: { args: StartJob; result: JobEstimate };
  job_page: { args: ById; result: JobPage };
  job_log: { args: { id: JobId; before?: number | null; limit?: number | null }; result: JobLog };
  settings_set: { args: { changes: Record<string, unknown> }; result: SettingsView };
  secret_set: { args: { name: string; value: string }; result: SettingsView };
  secret_clear: { args: { name: string }; result: SettingsView };
  status: { args: Nothing; result: StatusView };
  storage: { args: Nothing; result: StorageItem[] };
  sample_start: { args: Nothing; result: Job };
  model_get: { args: ById; result: ModelPage };
}

export interface GenerateSide { model_id?: ModelId | null; base_model?: string | null; adapter?: string | null }
export interface GenerateArgs { sides: GenerateSide[]; messages?: Message[]; prompt?: string; decoding: Decoding }
export type GenerateItem =
  | { type: "started"; side: number; name: string }
  | { type: "text"; side: number; text: string }
  | { type: "done"; side: number; tokens: number; tokens_per_s: number; finish: string; time_ms: number }
  | { type: "failed"; side: number; error: { code: string; message: string; hint: string } };
export interface PendingStreams {
  generate: { args: GenerateArgs; item: GenerateItem };
}
