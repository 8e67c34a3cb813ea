//! The model card: one Markdown page that says what a model version is, what it was made of and how well it does.
//! The facts come as plain values; nothing is looked up here.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use tb_stats::bootstrap::Estimate;
use tb_stats::retrieval::Overlap;

/// Everything a card says.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ModelCard {
    /// Name of the model.
    pub name: String,
    /// Version as shown to users.
    pub version: String,
    /// One or two sentences on what the model is for.
    pub summary: String,
    /// The model that was tuned.
    pub base: Base,
    /// What was trained on top of it; `None` for a full model.
    pub adapter: Option<Adapter>,
    /// Data used, one entry per frozen split.
    pub data: Vec<Data>,
    /// Hyperparameters as `(name, value)`, in the order to show.
    pub hyperparameters: Vec<(String, String)>,
    /// How well it does; `None` when it was not measured, which the card says.
    pub evaluation: Option<Evaluation>,
    /// Mistakes seen on held-out rows.
    pub known_errors: Vec<KnownError>,
    /// Uses and limits that a reader must know.
    pub limits: Vec<String>,
    /// Where the version comes from.
    pub lineage: Lineage,
    /// Path of the loss chart relative to the card; empty for none.
    pub loss_chart: String,
}

/// The base model.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Base {
    /// Name or hub id.
    pub name: String,
    /// SHA-256 of its weights, hexadecimal.
    pub sha256: String,
    /// Licence, such as `Apache-2.0`; empty when unknown, which the card says.
    pub licence: String,
    /// Number of parameters.
    pub parameters: u64,
}

/// The trained part.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Adapter {
    /// Such as `LoRA r=16 alpha=32 on all linear layers`.
    pub description: String,
    /// Number of trained parameters.
    pub trainable_parameters: u64,
    /// SHA-256 of the adapter's weights, hexadecimal.
    pub sha256: String,
}

/// One frozen split of a dataset.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Data {
    /// Name of the dataset.
    pub name: String,
    /// Such as `training` or `held out`.
    pub split: String,
    /// Rows in the split.
    pub rows: u64,
    /// SHA-256 of its content, hexadecimal.
    pub sha256: String,
    /// Licence or origin.
    pub origin: String,
}

/// Which direction of a metric is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Better {
    /// Such as chrF.
    Higher,
    /// Such as perplexity.
    Lower,
}

/// Measurements of several systems on the same rows.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Evaluation {
    /// What it was measured on.
    pub on: String,
    /// Rows measured.
    pub rows: u64,
    /// The columns: this model first, then its base, then baselines such as `copy of the source`.
    pub systems: Vec<String>,
    /// One line per metric.
    pub metrics: Vec<Metric>,
    /// How near the held-out rows are to training rows, if measured.
    pub overlap: Option<Overlap>,
}

/// One metric of all systems.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Metric {
    /// Such as `chrF`.
    pub name: String,
    /// Such as `%` or `nats`; empty for none.
    pub unit: String,
    /// Digits after the point.
    pub decimals: usize,
    /// Which direction is better.
    pub better: Better,
    /// One value per system, in the order of the columns; `None` where it was not measured.
    pub values: Vec<Option<f64>>,
    /// This model minus its base on the same rows, with its interval.
    pub difference: Option<Estimate>,
}

/// A mistake that remains.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct KnownError {
    /// The source text.
    pub source: String,
    /// What was wanted.
    pub target: String,
    /// What the model wrote.
    pub output: String,
    /// What is wrong with it; may be empty.
    pub remark: String,
}

/// Where a version comes from.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Lineage {
    /// The job that made it.
    pub job_id: String,
    /// The version it continues; empty for none.
    pub parent_version: String,
    /// Version of the program.
    pub code_version: String,
    /// Seed of the run.
    pub seed: u64,
    /// Device, such as `CPU, 2 cores`.
    pub device: String,
    /// When it was made, as the caller writes dates.
    pub made_at: String,
    /// Steps trained.
    pub steps: u64,
    /// How long training took, seconds.
    pub training_s: f64,
}

impl ModelCard {
    /// The card as Markdown (GitHub flavour) with the front matter that model hubs read. Ends with a newline.
    ///
    /// Every text is escaped: a name or a model's output cannot add markup, links or table cells.
    pub fn markdown(&self) -> String {
        let mut out = String::new();
        let _ = writeln!(out, "---\nbase_model: {}\ntags: [tone-rewriting, tonebridge]\n---\n", yaml(&self.base.name));
        let _ = writeln!(out, "# {} {}\n", inline(&self.name), inline(&self.version));
        if !self.summary.is_empty() {
            let _ = writeln!(out, "{}\n", inline(&self.summary));
        }
        self.write_results(&mut out);
        self.write_errors(&mut out);
        self.write_model(&mut out);
        self.write_data(&mut out);
        self.write_training(&mut out);
        if !self.limits.is_empty() {
            out.push_str("## Limits\n\n");
            for limit in &self.limits {
                let _ = writeln!(out, "- {}", inline(limit));
            }
            out.push('\n');
        }
        self.write_lineage(&mut out);
        out
    }

    fn write_results(&self, out: &mut String) {
        out.push_str("## Results\n\n");
        let Some(evaluation) = &self.evaluation else {
            out.push_str("This version has not been evaluated.\n\n");
            return;
        };
        let _ = writeln!(out, "Measured on {} ({} rows).\n", inline(&evaluation.on), thousands(evaluation.rows));
        let mut header = vec!["Metric".to_owned()];
        header.extend(evaluation.systems.iter().map(|system| inline(system)));
        header.push("Difference from base".to_owned());
        let rows: Vec<Vec<String>> = evaluation.metrics.iter().map(|m| m.cells(evaluation.systems.len())).collect();
        table(out, &header, &rows, Numbers::AfterFirst);
        out.push_str(
            "↑ higher is better, ↓ lower is better; the best value is bold. \
             Intervals are 95 % bootstrap intervals over rows.\n\n",
        );
        if let Some(overlap) = &evaluation.overlap {
            let _ = writeln!(
                out,
                "Overlap with the training data: {:.1} % of the held-out sources occur in it verbatim; chrF with the nearest \
                 training source is {:.0} / {:.0} / {:.0} at the 10th / 50th / 90th percentile (n = {}).\n",
                100.0 * overlap.verbatim_share,
                overlap.chrf_p10,
                overlap.chrf_p50,
                overlap.chrf_p90,
                overlap.rows,
            );
        }
    }

    fn write_errors(&self, out: &mut String) {
        if self.known_errors.is_empty() {
            return;
        }
        out.push_str("## Known errors\n\n");
        let header = ["Source", "Wanted", "Written", "Remark"].map(str::to_owned);
        let rows: Vec<Vec<String>> = self
            .known_errors
            .iter()
            .map(|e| [&e.source, &e.target, &e.output, &e.remark].map(|text| inline(text)).to_vec())
            .collect();
        table(out, &header, &rows, Numbers::None);
    }

    fn write_model(&self, out: &mut String) {
        let base = &self.base;
        let licence = if base.licence.is_empty() { "unknown".to_owned() } else { inline(&base.licence) };
        let mut rows = vec![
            vec!["Base".to_owned(), inline(&base.name)],
            vec!["Base weights, SHA-256".to_owned(), code(&base.sha256)],
            vec!["Base licence".to_owned(), licence],
            vec!["Base parameters".to_owned(), thousands(base.parameters)],
        ];
        if let Some(adapter) = &self.adapter {
            let all = base.parameters + adapter.trainable_parameters;
            let share = 100.0 * adapter.trainable_parameters as f64 / all.max(1) as f64;
            rows.push(vec!["Adapter".to_owned(), inline(&adapter.description)]);
            rows.push(vec![
                "Trained parameters".to_owned(),
                format!("{} ({share:.2} % of all)", thousands(adapter.trainable_parameters)),
            ]);
            rows.push(vec!["Adapter weights, SHA-256".to_owned(), code(&adapter.sha256)]);
        }
        out.push_str("## Model\n\n");
        table(out, &["".to_owned(), "".to_owned()], &rows, Numbers::None);
    }

    fn write_data(&self, out: &mut String) {
        if self.data.is_empty() {
            return;
        }
        out.push_str("## Data\n\n");
        let header = ["Dataset", "Split", "Rows", "SHA-256", "Origin"].map(str::to_owned);
        let rows: Vec<Vec<String>> = self
            .data
            .iter()
            .map(|d| vec![inline(&d.name), inline(&d.split), thousands(d.rows), code(&d.sha256), inline(&d.origin)])
            .collect();
        table(out, &header, &rows, Numbers::None);
    }

    fn write_training(&self, out: &mut String) {
        if self.hyperparameters.is_empty() && self.loss_chart.is_empty() {
            return;
        }
        out.push_str("## Training\n\n");
        if !self.loss_chart.is_empty() {
            let _ = writeln!(
                out,
                "![Training and validation loss by step](<{}>)\n",
                self.loss_chart.replace(['<', '>', '\n'], "")
            );
        }
        if !self.hyperparameters.is_empty() {
            let rows: Vec<Vec<String>> = self.hyperparameters.iter().map(|(k, v)| vec![code(k), code(v)]).collect();
            table(out, &["Hyperparameter".to_owned(), "Value".to_owned()], &rows, Numbers::None);
        }
    }

    fn write_lineage(&self, out: &mut String) {
        let lineage = &self.lineage;
        let parent = if lineage.parent_version.is_empty() { "none".to_owned() } else { code(&lineage.parent_version) };
        let rows = [
            ("Job", code(&lineage.job_id)),
            ("Continues version", parent),
            ("Program", code(&lineage.code_version)),
            ("Seed", lineage.seed.to_string()),
            ("Steps", thousands(lineage.steps)),
            ("Training time", format!("{:.0} s", lineage.training_s)),
            ("Device", inline(&lineage.device)),
            ("Made", inline(&lineage.made_at)),
        ]
        .map(|(name, value)| vec![name.to_owned(), value]);
        out.push_str("## Lineage\n\n");
        table(out, &["".to_owned(), "".to_owned()], &rows, Numbers::None);
        // One newline ends the file.
        out.truncate(out.trim_end().len());
        out.push('\n');
    }
}

impl Metric {
    fn cells(&self, systems: usize) -> Vec<String> {
        let finite = || self.values.iter().flatten().copied().filter(|value| value.is_finite());
        let (arrow, best) = match self.better {
            Better::Higher => ("↑", finite().fold(f64::NEG_INFINITY, f64::max)),
            Better::Lower => ("↓", finite().fold(f64::INFINITY, f64::min)),
        };
        let unit = if self.unit.is_empty() { String::new() } else { format!(" ({})", inline(&self.unit)) };
        let mut cells = vec![format!("{}{unit} {arrow}", inline(&self.name))];
        for system in 0..systems {
            cells.push(match self.values.get(system).copied().flatten().filter(|value| value.is_finite()) {
                Some(value) if value == best => format!("**{}**", self.written(value)),
                Some(value) => self.written(value),
                None => "–".to_owned(),
            });
        }
        cells.push(match &self.difference {
            Some(d) => {
                let sign = if d.value >= 0.0 { "+" } else { "" };
                let (low, high) = (self.written(d.interval.low), self.written(d.interval.high));
                format!("{sign}{} [{low}, {high}] n={}", self.written(d.value), d.rows)
            }
            None => "–".to_owned(),
        });
        cells
    }

    fn written(&self, value: f64) -> String {
        format!("{value:.*}", self.decimals).replace('-', "\u{2212}")
    }
}

/// Which columns are set to the right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Numbers {
    None,
    AfterFirst,
}

fn table(out: &mut String, header: &[String], rows: &[Vec<String>], numbers: Numbers) {
    let _ = writeln!(out, "| {} |", header.join(" | "));
    let rule: Vec<&str> = (0..header.len())
        .map(|column| match numbers {
            Numbers::AfterFirst if column > 0 => "---:",
            Numbers::AfterFirst | Numbers::None => "---",
        })
        .collect();
    let _ = writeln!(out, "| {} |", rule.join(" | "));
    for row in rows {
        let _ = writeln!(out, "| {} |", row.join(" | "));
    }
    out.push('\n');
}

/// A text that Markdown shows as it is, on one line.
fn inline(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    for c in text.split_whitespace().collect::<Vec<_>>().join(" ").chars() {
        match c {
            '<' => result.push_str("&lt;"),
            '>' => result.push_str("&gt;"),
            '&' => result.push_str("&amp;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '#' | '~' | '$' => result.extend(['\\', c]),
            c if c.is_control() => {}
            c => result.push(c),
        }
    }
    result
}

/// A hash, name or value in code letters; empty texts become a dash.
fn code(text: &str) -> String {
    let text: String = text.chars().filter(|c| !c.is_control() && *c != '`').collect();
    if text.trim().is_empty() { "–".to_owned() } else { format!("`{}`", text.trim().replace('|', "\\|")) }
}

/// A double-quoted YAML scalar.
fn yaml(text: &str) -> String {
    let text: String = text.chars().filter(|c| !c.is_control()).collect();
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut result = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            result.push(',');
        }
        result.push(digit);
    }
    result
}

#[cfg(test)]
mod tests;
