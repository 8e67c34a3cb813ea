//! The built-in sample: installing it, and the two honest baselines that any fine-tune on it must beat.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tb_core::{
    ApiError, ErrorCode,
    dataset::{Dataset, DatasetType, Row, SplitName},
    eval::MetricValue,
    job::Job,
    recipe::{Hyperparameters, Method},
    run_folder::{DataSource, ModelSource, TrainTask},
};
use tb_data::{files::sha256_bytes, import, sample, tokenize};
use tb_stats::{
    metrics::{bleu, chrf, exact_match, slots},
    retrieval,
};
use ts_rs::TS;

use crate::{
    ById, Ctx, ImportData, StartJob,
    commands::Nothing,
    ctx::blocking,
    datasets::{self, split_file},
    found, training,
};

/// The name under which the sample's dataset is kept.
const NAME: &str = "tone-sample";

/// The seed that the committed sample was made from.
pub const SAMPLE_SEED: u64 = sample::SEED;

/// The hyperparameters of the demo's run, by name: what differs from the settings' defaults.
#[must_use]
pub fn sample_recipe() -> Map<String, Value> {
    let pairs = json!({
        "lora_r": 16,
        "lora_alpha": 32,
        "lora_dropout": 0.0,
        "target_modules": "all-linear",
        "learning_rate": 3e-3,
        "num_train_epochs": 3,
        "per_device_train_batch_size": 12,
        "max_length": 160,
        "lr_scheduler_type": "cosine",
        "warmup_ratio": 0.03,
        "group_by_length": true,
        "gradient_checkpointing": false,
        "eval_steps": 100,
        "save_steps": 200,
        "seed": 42,
    });
    match pairs {
        Value::Object(map) => map,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => Map::new(),
    }
}

/// Tokens of the pretraining corpus.
const CORPUS_TOKENS: usize = 1_200_000;

/// Writes the sample's rows, tokenizer and corpus from a seed: rows and `base/` into `out`, the corpus into `work`.
/// The answer is the task that trains the base model on it.
///
/// # Errors
/// Folders that cannot be written, hyperparameters that cannot be accepted.
pub async fn pretrain_task(
    seed: u64,
    out: &Path,
    work: &Path,
    changes: &Map<String, Value>,
) -> Result<TrainTask, ApiError> {
    let mut hyperparameters = Hyperparameters::default();
    let recipe = json!({
        "learning_rate": 1e-3,
        "num_train_epochs": 1,
        "per_device_train_batch_size": 8,
        "max_length": sample::CONTEXT,
        "lr_scheduler_type": "cosine",
        "warmup_steps": 50,
        "weight_decay": 0.01,
        "adam_beta2": 0.95,
        "gradient_checkpointing": false,
        // The curriculum is the order of the file.
        "shuffle": false,
        "logging_steps": 10,
        "save_steps": 0,
        "dtype": "float32",
        "seed": seed,
    });
    for (key, value) in recipe.as_object().into_iter().flatten().chain(changes) {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        hyperparameters
            .set(key, &text)
            .map_err(|e| ApiError::new(ErrorCode::InvalidArgument, format!("Nothing was trained: {e}.")))?;
    }
    let (out, work) = (out.to_owned(), work.to_owned());
    blocking(move || {
        let base = out.join("base");
        for folder in [&base, &work] {
            fs::create_dir_all(folder).map_err(|e| unwritable(folder, &e))?;
        }
        let rows = sample::rows(seed);
        write_lines(&out.join("train.jsonl"), &rows.train)?;
        write_lines(&out.join("heldout.jsonl"), &rows.heldout)?;
        sample::train_tokenizer(seed, &base)
            .map_err(|e| ApiError::new(ErrorCode::Internal, format!("The tokenizer was not made: {e}.")))?;
        let config = base.join("config.json");
        fs::write(&config, format!("{:#}\n", sample::base_config())).map_err(|e| unwritable(&config, &e))?;
        let corpus = work.join("corpus.jsonl");
        let unmade = |e: &dyn std::fmt::Display| {
            ApiError::new(ErrorCode::Internal, format!("The sample's corpus was not made: {e}."))
        };
        let tokenizer = sample::tokenizer(seed).map_err(|e| unmade(&e))?;
        let rows = sample::packed_rows(seed, CORPUS_TOKENS, sample::CONTEXT, &tokenizer)
            .map(|row| row.map(|row| json!({ "ids": row.ids, "labels": row.labels })).map_err(|e| unmade(&e)))
            .collect::<Result<Vec<Value>, ApiError>>()?;
        write_lines(&corpus, &rows)?;
        Ok(TrainTask {
            method: Method::Pretrain,
            model: ModelSource { base, adapter: None },
            data: DataSource { path: corpus, mapping: None },
            eval_data: None,
            hyperparameters,
        })
    })
    .await
}

fn write_lines<T: Serialize>(path: &Path, rows: &[T]) -> Result<(), ApiError> {
    let mut text = String::new();
    for row in rows {
        text += &serde_json::to_string(row)
            .map_err(|e| ApiError::new(ErrorCode::Internal, format!("A row of the sample cannot be written: {e}.")))?;
        text.push('\n');
    }
    fs::write(path, text).map_err(|e| unwritable(path, &e))
}

fn unwritable(path: &Path, error: &std::io::Error) -> ApiError {
    ApiError::new(ErrorCode::Unavailable, format!("{} cannot be written: {error}.", path.display()))
}

/// Arguments of `sample_start`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields, default)]
pub struct StartSample {
    /// Hyperparameters that differ from the demo's, by name; text or the value itself.
    #[ts(type = "Record<string, unknown>")]
    pub hyperparameters: Map<String, Value>,
}

/// Where the sample is.
#[derive(Clone, Debug, Serialize, Deserialize, TS)]
pub struct SampleInstalled {
    /// Its dataset version.
    pub dataset: Dataset,
    /// Folder of its base model.
    pub base_model: String,
}

pub(crate) async fn install(ctx: &Ctx, _: Nothing) -> Result<SampleInstalled, ApiError> {
    let hash = bundle_hash();
    let folder = ctx.home().join("sample").join(&hash[..12]);
    let written = folder.clone();
    blocking(move || sample::write_bundled(&written).map(drop).map_err(|e| unwritable(&written, &e))).await?;
    let base_model = folder.join("base").to_string_lossy().into_owned();
    let mark = format!("bundle {}", &hash[..12]);
    let all = tb_db::datasets::by_name(ctx.db(), NAME).await?;
    let kept = all.into_iter().find(|d| d.description.contains(&mark) && PathBuf::from(&d.file_path).is_dir());
    let dataset = match kept {
        Some(dataset) => dataset,
        None => {
            let import = ImportData {
                path: folder.join("train.jsonl"),
                test_path: Some(folder.join("heldout.jsonl")),
                name: Some(NAME.into()),
                description: format!(
                    "Casual to business-polite, blunt to friendly, notes to sentences; English and Japanese ({mark})."
                ),
                dataset_type: Some(DatasetType::Training),
                mapping: None,
                validation_share: 0.03,
                test_share: 0.0,
                seed: 42,
            };
            datasets::import(ctx, import).await?
        }
    };
    Ok(SampleInstalled { dataset, base_model })
}

/// Installs the sample and puts the demo's run into the queue.
pub(crate) async fn start(ctx: &Ctx, args: StartSample) -> Result<Job, ApiError> {
    let sample = install(ctx, Nothing {}).await?;
    let mut hyperparameters = sample_recipe();
    hyperparameters.extend(args.hyperparameters);
    let form = StartJob {
        name: Some("tone-demo".into()),
        method: Some(Method::Sft),
        model_type: Some("tone_adjustment".into()),
        base_model: Some(PathBuf::from(sample.base_model)),
        adapter: None,
        model_id: None,
        dataset_id: Some(sample.dataset.id),
        data: None,
        eval_data: None,
        mapping: None,
        hyperparameters,
        device: None,
    };
    training::start(ctx, form).await
}

/// One hash over the committed files: another version of the program with another sample makes another dataset version.
fn bundle_hash() -> String {
    let list: String = sample::bundled().iter().map(|f| format!("{} {}\n", f.path, sha256_bytes(f.bytes))).collect();
    sha256_bytes(list.as_bytes())
}

/// What can be had without any model.
#[derive(Clone, Debug, Serialize, Deserialize, TS)]
pub struct BaselineReport {
    /// Held-out rows.
    pub rows: u32,
    /// Answering with the source itself.
    pub copy: Vec<MetricValue>,
    /// Answering with the target of the training row whose source is nearest by chrF.
    pub retrieval: Vec<MetricValue>,
    /// Share of held-out targets that stand verbatim in training, percent.
    pub overlap_verbatim_percent: f64,
    /// chrF of the nearest training target: a tenth of the held-out targets stay under the first, half under the second, nine tenths under the third.
    pub overlap_chrf: (f64, f64, f64),
}

/// What a baseline needs of a row.
struct Pair {
    source: String,
    target: String,
    slots: Vec<String>,
}

pub(crate) async fn baselines(ctx: &Ctx, args: ById) -> Result<BaselineReport, ApiError> {
    let dataset = found::dataset(ctx.db(), &args.parse()?).await?;
    blocking(move || {
        let train = pairs(&split_file(&dataset, SplitName::Train)?)?;
        let held_out = pairs(&split_file(&dataset, SplitName::Test)?)?;
        let sources: Vec<&str> = train.iter().map(|p| p.source.as_str()).collect();
        let queries: Vec<&str> = held_out.iter().map(|p| p.source.as_str()).collect();
        let nearest = retrieval::nearest_rows(&sources, &queries);
        let found: Vec<&str> = nearest.iter().map(|m| m.map_or("", |m| train[m.row].target.as_str())).collect();
        let train_targets: Vec<&str> = train.iter().map(|p| p.target.as_str()).collect();
        let targets: Vec<&str> = held_out.iter().map(|p| p.target.as_str()).collect();
        let overlap = retrieval::overlap(&train_targets, &targets);
        Ok(BaselineReport {
            rows: held_out.len() as u32,
            copy: measure(&held_out, &queries),
            retrieval: measure(&held_out, &found),
            overlap_verbatim_percent: overlap.map_or(0.0, |o| o.verbatim_share * 100.0),
            overlap_chrf: overlap.map_or((0.0, 0.0, 0.0), |o| (o.chrf_p10, o.chrf_p50, o.chrf_p90)),
        })
    })
    .await
}

fn pairs(path: &Path) -> Result<Vec<Pair>, ApiError> {
    import::import(path, None)?.rows.into_iter().map(pair).collect()
}

fn pair(row: Row) -> Result<Pair, ApiError> {
    let missing = |what: &str| {
        ApiError::new(
            ErrorCode::DataInvalid,
            format!("Baselines need rows with a column 'source' and a completion; line {} has no {what}.", row.line),
        )
    };
    let source = row.more.get("source").and_then(Value::as_str).ok_or_else(|| missing("source"))?.to_owned();
    let target = tokenize::target_text(&row.example).ok_or_else(|| missing("completion"))?;
    let slots = match row.more.get("slots") {
        Some(Value::Array(slots)) => slots.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_)) | None => {
            Vec::new()
        }
    };
    Ok(Pair { source, target, slots })
}

fn measure(rows: &[Pair], outputs: &[&str]) -> Vec<MetricValue> {
    let both = || outputs.iter().copied().zip(rows.iter().map(|p| p.target.as_str()));
    // Each language is cut into the units that suit it, so the corpus score pools the counts.
    let bleu = bleu::corpus_of_counts(
        both().map(|(output, target)| bleu::BleuCounts::of(output, target, bleu::Tokenizer::suited_to(target))),
    );
    let slots = slots::share(outputs.iter().copied().zip(rows.iter().map(|p| p.slots.as_slice())));
    [
        ("chrf", chrf::corpus(both())),
        ("bleu", bleu),
        ("exact_match", exact_match::share(both()).map(|s| s * 100.0)),
        ("slot_accuracy", slots.map(|s| s * 100.0)),
    ]
    .into_iter()
    .filter_map(|(name, value)| {
        Some(MetricValue { name: name.into(), value: value?, interval: None, n: rows.len() as u32 })
    })
    .collect()
}
