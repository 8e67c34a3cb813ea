//! Charts and cards: what people show to others.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tb_core::{
    ApiError, ErrorCode,
    dataset::{Dataset, SplitInfo},
    eval::{Evaluation, MetricValue},
    ids::JobId,
    job::Job,
    model::Model,
    recipe::{FIELDS, FinetuningType, Hyperparameters, TargetModules},
};
use tb_report::{
    loss_chart::{LossChart, loss_chart},
    model_card::{Adapter, Base, Better, Data, Lineage, Metric, ModelCard},
    palette::Theme,
};
use ts_rs::TS;

use crate::{Ctx, ctx::blocking, found};

/// Arguments of `job_chart`.
#[derive(Clone, Debug, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub struct WriteChart {
    /// The job.
    pub id: JobId,
    /// `light` (default) or `dark`.
    #[serde(default)]
    pub theme: ChartTheme,
}

/// The two themes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum ChartTheme {
    /// Dark lines on white.
    #[default]
    Light,
    /// Light lines on black.
    Dark,
}

/// Where the pictures are.
#[derive(Clone, Debug, Serialize, Deserialize, TS)]
pub struct ChartFiles {
    /// The PNG.
    pub png: String,
    /// The SVG.
    pub svg: String,
}

pub(crate) async fn chart(ctx: &Ctx, args: WriteChart) -> Result<ChartFiles, ApiError> {
    let job = found::job(ctx.db(), &args.id).await?;
    let steps = tb_db::metric_points::list(ctx.db(), &args.id, 0, u32::MAX).await?;
    let evals = tb_db::metric_points::list_eval(ctx.db(), &args.id).await?;
    let train: Vec<(f64, f64)> = steps.iter().map(|p| (p.step as f64, p.loss)).collect();
    let eval: Vec<(f64, f64)> = evals.iter().map(|p| (p.step as f64, p.eval_loss)).collect();
    let base = Path::new(&job.base_model).file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned());
    let h = &job.hyperparameters;
    let what = match h.finetuning_type {
        FinetuningType::Lora => format!("{} r {}", lora_name(h), h.lora_r),
        FinetuningType::Full => "All weights".to_owned(),
    };
    let subtitle = format!(
        "{what} on {base}, batch {}, learning rate {}",
        h.per_device_train_batch_size * h.gradient_accumulation_steps,
        h.learning_rate
    );
    let (stem, theme) = match args.theme {
        ChartTheme::Light => ("chart", Theme::Light),
        ChartTheme::Dark => ("chart.dark", Theme::Dark),
    };
    let folder = PathBuf::from(&job.run_dir);
    let (png, svg) = (folder.join(format!("{stem}.png")), folder.join(format!("{stem}.svg")));
    let files = ChartFiles { png: png.to_string_lossy().into_owned(), svg: svg.to_string_lossy().into_owned() };
    blocking(move || {
        let chart = LossChart {
            title: &job.name,
            subtitle: &subtitle,
            train: &train,
            eval: &eval,
            theme,
            ..LossChart::default()
        };
        loss_chart(&chart, &png, &svg)
            .map_err(|e| ApiError::new(ErrorCode::InvalidArgument, format!("No chart was drawn: {e}.")))?;
        Ok(())
    })
    .await?;
    Ok(files)
}

/// The card of a version, in Markdown, from what the registry knows of it.
pub(crate) fn card(model: &Model, job: Option<&Job>, dataset: Option<&Dataset>, evaluations: &[Evaluation]) -> String {
    let base = Path::new(&model.base_model).file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned());
    let number = |name: &str| model.metrics.get(name).and_then(Value::as_f64);
    let card = ModelCard {
        name: model.name.clone(),
        version: format!("v{}", model.version),
        summary: format!("{base}, tuned for {}.", model.model_type.replace('_', " ")),
        base: Base {
            name: base,
            sha256: model.lineage.base_sha256.clone(),
            licence: String::new(),
            parameters: number("total_parameters").map_or(0, |n| n as u64),
        },
        adapter: job.map(|job| adapter(job, model)),
        data: dataset.map(data).unwrap_or_default(),
        hyperparameters: job.map(hyperparameters).unwrap_or_default(),
        evaluation: evaluations.first().map(evaluation),
        known_errors: Vec::new(),
        limits: Vec::new(),
        lineage: Lineage {
            job_id: model.training_job_id.as_ref().map(ToString::to_string).unwrap_or_default(),
            parent_version: model.lineage.parent.as_ref().map(ToString::to_string).unwrap_or_default(),
            code_version: model.lineage.code_version.clone(),
            seed: model.lineage.seed,
            device: job.and_then(|j| j.device.clone()).unwrap_or_default(),
            made_at: String::new(),
            steps: model.lineage.step,
            training_s: number("train_runtime_s").unwrap_or(0.0),
        },
        loss_chart: String::new(),
    };
    card.markdown()
}

fn adapter(job: &Job, model: &Model) -> Adapter {
    let h = &job.hyperparameters;
    let layers = match &h.target_modules {
        TargetModules::Pattern(pattern) => pattern.clone(),
        TargetModules::Suffixes(names) => names.join(", "),
    };
    Adapter {
        description: match h.finetuning_type {
            FinetuningType::Lora => format!("{} r={} alpha={} on {layers}", lora_name(h), h.lora_r, h.lora_alpha),
            FinetuningType::Full => "none: every weight was trained".to_owned(),
        },
        trainable_parameters: model.metrics.get("trainable_parameters").and_then(Value::as_u64).unwrap_or(0),
        sha256: model
            .files
            .iter()
            .find(|f| f.path.ends_with(".safetensors"))
            .map(|f| f.sha256.clone())
            .unwrap_or_default(),
    }
}

fn lora_name(h: &Hyperparameters) -> &'static str {
    if h.use_dora { "DoRA" } else { "LoRA" }
}

fn data(dataset: &Dataset) -> Vec<Data> {
    let one = |split: &SplitInfo| Data {
        name: format!("{} v{}", dataset.name, dataset.version),
        split: split.name.to_string(),
        rows: split.rows,
        sha256: split.sha256.clone(),
        origin: dataset.description.clone(),
    };
    dataset.splits.iter().filter(|s| s.rows > 0).map(one).collect()
}

/// What differs from the library's defaults, and the five that everybody asks for.
fn hyperparameters(job: &Job) -> Vec<(String, String)> {
    const ALWAYS: [&str; 5] =
        ["lora_r", "lora_alpha", "learning_rate", "num_train_epochs", "per_device_train_batch_size"];
    let all = serde_json::to_value(&job.hyperparameters).unwrap_or(Value::Null);
    let default = serde_json::to_value(Hyperparameters::default()).unwrap_or(Value::Null);
    FIELDS
        .iter()
        .filter(|f| ALWAYS.contains(&f.key) || all.get(f.key) != default.get(f.key))
        .filter_map(|f| Some((f.key.to_owned(), all.get(f.key)?.to_string().trim_matches('"').to_owned())))
        .collect()
}

fn evaluation(found: &Evaluation) -> tb_report::model_card::Evaluation {
    let metric = |m: &MetricValue| Metric {
        name: m.name.replace('_', " "),
        unit: if m.name == "perplexity" { String::new() } else { "%".into() },
        decimals: 1,
        better: if matches!(m.name.as_str(), "perplexity" | "edit") { Better::Lower } else { Better::Higher },
        values: vec![Some(m.value)],
        difference: None,
    };
    tb_report::model_card::Evaluation {
        on: format!("held-out rows, sha256 {}", found.report.data_sha256),
        rows: u64::from(found.report.rows),
        systems: vec!["this model".into()],
        metrics: found.report.metrics.iter().map(metric).collect(),
        overlap: None,
    }
}
