//! What an evaluation found.

use serde::{Deserialize, Serialize};
use ts_rs::TS;

use crate::ids::{DatasetId, EvalId, JobId, ModelId};

/// One metric with its interval.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
pub struct MetricValue {
    /// Its name: `chrf`, `bleu`, `exact_match` …
    pub name: String,
    /// Its value; scores and shares in percent, perplexity as it is.
    pub value: f64,
    /// 95 % bootstrap interval over the rows, where one was computed.
    pub interval: Option<(f64, f64)>,
    /// Rows it was computed on.
    pub n: u32,
}

/// The file of every row in the run folder of an evaluation that keeps them: one [`EvalItem`] a line.
pub const ITEMS: &str = "items.jsonl";

/// One evaluated row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
pub struct EvalItem {
    /// Index of the row in the data file, from 0.
    pub index: u32,
    /// What the model was given.
    pub prompt: String,
    /// The text to rewrite, where the row names it.
    pub source: Option<String>,
    /// What was wanted.
    pub target: String,
    /// What the model wrote.
    pub output: String,
    /// Group of the row, such as its direction.
    pub group: Option<String>,
    /// Metrics of this row by name.
    #[ts(type = "Record<string, number>")]
    pub metrics: serde_json::Map<String, serde_json::Value>,
}

/// The result of an evaluation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
pub struct EvalReport {
    /// Rows measured.
    pub rows: u32,
    /// Corpus metrics.
    pub metrics: Vec<MetricValue>,
    /// Metrics by group of rows.
    pub groups: Vec<GroupReport>,
    /// Tokens generated per second.
    pub tokens_per_s: f64,
    /// SHA-256 of the data file.
    pub data_sha256: String,
    /// File with every row, relative to the run folder, if kept.
    pub items: Option<String>,
}

impl EvalReport {
    /// The value of a metric by name.
    #[must_use]
    pub fn metric(&self, name: &str) -> Option<f64> {
        self.metrics.iter().find(|m| m.name == name).map(|m| m.value)
    }
}

/// Metrics of one group of rows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
pub struct GroupReport {
    /// Its name.
    pub name: String,
    /// Rows in it.
    pub rows: u32,
    /// Its metrics.
    pub metrics: Vec<MetricValue>,
}

/// An evaluation as stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
pub struct Evaluation {
    /// Its id.
    pub id: EvalId,
    /// The job that did it.
    pub job_id: JobId,
    /// The model version; none for a bare base model.
    pub model_id: Option<ModelId>,
    /// The dataset; none for a plain file.
    pub dataset_id: Option<DatasetId>,
    /// What it found.
    pub report: EvalReport,
    /// When.
    #[ts(type = "number")]
    pub created_at_ms: i64,
}
