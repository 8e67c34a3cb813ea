//! Datasets: preview, import as a frozen version, problems, and the token view. Rows, figures and deletion are in `datasets/`.

pub(crate) mod lengths;
pub(crate) mod remove;
pub(crate) mod rows;
pub(crate) mod stats;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tb_core::{
    ApiError, ErrorCode,
    dataset::{ColumnMapping, Dataset, DatasetFormat, DatasetType, Row, RowProblem, RowShape, SplitName},
    ids::DatasetId,
    recipe::LossOn,
};
use tb_data::{
    dedup, frozen,
    import::{self, Imported},
    split::{self, Shares},
    tokenize::{self, RenderOptions, TextTokenizer, TokenView},
};
use tb_db::Page;
use ts_rs::TS;
use uuid::Uuid;

use crate::{
    ById, Ctx,
    commands::Nothing,
    ctx::{blocking, now_ms},
    found,
};

/// Arguments of `data_preview`.
#[derive(Clone, Debug, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub struct PreviewData {
    /// The file.
    pub path: PathBuf,
    /// How to read its columns; found from the rows if none.
    #[serde(default)]
    pub mapping: Option<ColumnMapping>,
    /// Rows to show.
    #[serde(default = "twenty")]
    pub limit: u32,
}

fn twenty() -> u32 {
    20
}

/// What a file looks like.
#[derive(Clone, Debug, Serialize, Deserialize, TS)]
pub struct Preview {
    /// Its format.
    pub format: DatasetFormat,
    /// Its size.
    #[ts(type = "number")]
    pub size_bytes: u64,
    /// Names of its columns, in order of appearance.
    pub columns: Vec<String>,
    /// How its columns are read; none if none was given and no known shape fits.
    pub mapping: Option<ColumnMapping>,
    /// The first records as they are in the file.
    #[ts(type = "Array<Record<string, unknown>>")]
    pub records: Vec<Map<String, Value>>,
    /// The first rows.
    pub rows: Vec<Row>,
    /// The first rows that cannot be used, and the first that say the same as an earlier one.
    pub problems: Vec<RowProblem>,
    /// Rows in the file that can be used.
    #[ts(type = "number")]
    pub num_samples: u64,
    /// Rows in the file that cannot.
    #[ts(type = "number")]
    pub num_problems: u64,
}

/// Arguments of `data_import`.
#[derive(Clone, Debug, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub struct ImportData {
    /// The file: json, jsonl, csv or parquet.
    pub path: PathBuf,
    /// A second file whose rows become the test split; none takes the test split from the first.
    #[serde(default)]
    pub test_path: Option<PathBuf>,
    /// A name for people; the file's name if none.
    #[serde(default)]
    pub name: Option<String>,
    /// What it is about.
    #[serde(default)]
    pub description: String,
    /// What it is for.
    #[serde(default, rename = "type")]
    pub dataset_type: Option<DatasetType>,
    /// How to read its columns; found from the rows if none.
    #[serde(default)]
    pub mapping: Option<ColumnMapping>,
    /// Share of the rows held out to watch the loss on, 0 to 0.9.
    #[serde(default = "five_percent")]
    pub validation_share: f64,
    /// Share of the rows held out to measure on, 0 to 0.9; not used with a second file.
    #[serde(default = "five_percent")]
    pub test_share: f64,
    /// Seed of the splits.
    #[serde(default = "forty_two")]
    #[ts(type = "number")]
    pub seed: u64,
}

/// A usual share of rows to hold out.
pub(crate) fn five_percent() -> f64 {
    0.05
}

/// A usual seed.
pub(crate) fn forty_two() -> u64 {
    42
}

/// Arguments of `data_problems`.
#[derive(Clone, Debug, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub struct Problems {
    /// The dataset.
    pub id: DatasetId,
    /// Problems to pass over.
    #[serde(default)]
    pub offset: u32,
    /// Problems to give.
    #[serde(default = "hundred")]
    pub limit: u32,
}

fn hundred() -> u32 {
    100
}

/// Arguments of `data_tokens`.
#[derive(Clone, Debug, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub struct TokensOf {
    /// The dataset.
    pub id: DatasetId,
    /// The split.
    pub split: SplitName,
    /// Index of the row in the split, from 0.
    pub row: u32,
    /// Folder of the model whose tokenizer and template are used.
    pub model: PathBuf,
    /// Which tokens carry loss.
    #[serde(default)]
    pub loss_on: Option<LossOn>,
    /// Longest row in tokens.
    #[serde(default)]
    pub max_length: Option<u32>,
}

pub(crate) async fn preview(_: &Ctx, args: PreviewData) -> Result<Preview, ApiError> {
    blocking(move || {
        let limit = args.limit as usize;
        let start = import::preview(&args.path, args.mapping.as_ref(), limit)?;
        let size_bytes = std::fs::metadata(&args.path).map_or(0, |m| m.len());
        let mut preview = Preview {
            format: import::format_of(&args.path)?,
            size_bytes,
            columns: start.columns,
            mapping: start.mapping,
            records: start.records,
            rows: start.rows,
            problems: start.problems,
            num_samples: 0,
            num_problems: 0,
        };
        match import::import(&args.path, args.mapping.as_ref()) {
            Ok(Imported { rows, problems, mapping, .. }) => {
                let (rows, duplicates) = dedup::dedup(rows);
                preview.mapping = Some(mapping);
                preview.problems = problems;
                preview.problems.extend(duplicates);
                preview.problems.sort_by_key(|p| p.line);
                (preview.num_samples, preview.num_problems) = (rows.len() as u64, preview.problems.len() as u64);
                preview.rows = rows;
            }
            // Columns that are not understood yet are the very reason to look.
            Err(tb_data::error::Error::NoMapping { .. }) => {}
            Err(tb_data::error::Error::NoRows { problems, .. }) if !preview.records.is_empty() => {
                preview.num_problems = problems;
            }
            Err(error) => return Err(error.into()),
        }
        preview.rows.truncate(limit);
        preview.problems.truncate(limit);
        Ok(preview)
    })
    .await
}

pub(crate) async fn import(ctx: &Ctx, args: ImportData) -> Result<Dataset, ApiError> {
    let id = DatasetId::from_uuid(Uuid::now_v7());
    let folder = ctx.home().join("datasets").join(id.as_str());
    let (mut dataset, folder) = blocking(move || {
        let dataset = build(id, &folder, &args)?;
        Ok((dataset, folder))
    })
    .await?;
    let stored = async {
        let mut tx = ctx.db().begin().await?;
        dataset.version = tb_db::datasets::next_version(&mut tx, &dataset.name).await?;
        tb_db::datasets::insert(&mut tx, &dataset).await?;
        tx.commit().await
    }
    .await;
    if let Err(error) = stored {
        std::fs::remove_dir_all(&folder).ok();
        return Err(error.into());
    }
    Ok(dataset)
}

/// Reads, checks, splits and freezes; the version is set when the row is stored.
fn build(id: DatasetId, folder: &std::path::Path, args: &ImportData) -> Result<Dataset, ApiError> {
    let test_share = if args.test_path.is_some() { 0.0 } else { args.test_share };
    let shares = shares(args.validation_share, test_share, "Nothing was imported")?;
    let imported = import::import(&args.path, args.mapping.as_ref())?;
    let (rows, duplicates) = dedup::dedup(imported.rows);
    let mut problems = imported.problems;
    problems.extend(duplicates);
    problems.sort_by_key(|p| p.line);
    let mut splits = split::split(rows, shares, args.seed)?;
    if let Some(test_path) = &args.test_path {
        let test = import::import(test_path, Some(&imported.mapping))?;
        let (rows, duplicates) = dedup::dedup(test.rows);
        problems.extend(test.problems);
        problems.extend(duplicates);
        splits.test = rows;
    }
    let num_samples = SplitName::ALL.iter().map(|name| splits.rows(*name).len() as u64).sum();
    if num_samples == 0 {
        let why = problems.first().map_or(String::new(), |p| format!(" Line {}: {}.", p.line, p.reason));
        return Err(ApiError::new(
            ErrorCode::DataInvalid,
            format!(
                "Nothing was imported: {} has no row that can be used ({} have problems).{why}",
                args.path.display(),
                problems.len()
            ),
        )
        .hint("Look at `tonebridge data preview`, and name the columns with --map if they were not found."));
    }
    let first = SplitName::ALL.iter().find_map(|name| splits.rows(*name).first());
    let shape = first.map_or(RowShape::Text, |row| row.example.shape());
    let num_problems = problems.len() as u64;
    let frozen = frozen::freeze(&splits, &problems, folder)?;
    let stem = args.path.file_stem().map_or_else(|| "dataset".into(), |s| s.to_string_lossy().into_owned());
    Ok(Dataset {
        id,
        name: args.name.clone().unwrap_or(stem),
        version: 1,
        description: args.description.clone(),
        dataset_type: args.dataset_type.unwrap_or(DatasetType::Training),
        file_path: folder.to_string_lossy().into_owned(),
        format: imported.format,
        size_mb: imported.size_bytes as f64 / 1e6,
        num_samples,
        splits: frozen.splits,
        num_problems,
        shape,
        mapping: imported.mapping,
        sha256: frozen.sha256,
        created_at_ms: now_ms(),
    })
}

/// Shares for validation and test, and what they leave to learn from. `undone` begins the refusal: "Nothing was imported".
///
/// # Errors
/// A share outside 0 to 0.9, or two that leave nothing.
pub(crate) fn shares(validation: f64, test: f64, undone: &str) -> Result<Shares, ApiError> {
    let ok = |share: f64| (0.0..=0.9).contains(&share);
    if !ok(validation) || !ok(test) || validation + test >= 1.0 {
        return Err(ApiError::new(
            ErrorCode::InvalidArgument,
            format!("{undone}: {validation} for validation and {test} for test leave nothing to learn from."),
        )
        .hint("Give shares from 0 to 0.9 that together stay below 1."));
    }
    Ok(Shares { train: 1.0 - validation - test, validation, test })
}

pub(crate) async fn list(ctx: &Ctx, _: Nothing) -> Result<Vec<Dataset>, ApiError> {
    Ok(tb_db::datasets::list(ctx.db(), &Page::first(1000)).await?)
}

pub(crate) async fn get(ctx: &Ctx, args: ById) -> Result<Dataset, ApiError> {
    found::dataset(ctx.db(), &args.parse()?).await
}

/// The file of a split.
///
/// # Errors
/// `not_found` if the split has no rows.
pub(crate) fn split_file(dataset: &Dataset, name: SplitName) -> Result<PathBuf, ApiError> {
    dataset.split(name).map(|split| PathBuf::from(&dataset.file_path).join(&split.file)).ok_or_else(|| {
        ApiError::new(
            ErrorCode::NotFound,
            format!("The dataset {} version {} has no {name} rows.", dataset.name, dataset.version),
        )
        .hint("Import it again with a share for this split.")
    })
}

pub(crate) async fn problems(ctx: &Ctx, args: Problems) -> Result<Vec<RowProblem>, ApiError> {
    let dataset = found::dataset(ctx.db(), &args.id).await?;
    blocking(move || {
        let all = read_problems(&dataset)?;
        Ok(all.into_iter().skip(args.offset as usize).take(args.limit as usize).collect())
    })
    .await
}

/// The rows that an import left out.
///
/// # Errors
/// A file that cannot be read.
fn read_problems(dataset: &Dataset) -> Result<Vec<RowProblem>, ApiError> {
    let path = PathBuf::from(&dataset.file_path).join(frozen::PROBLEMS);
    let text = std::fs::read_to_string(&path).map_err(|e| lengths::unreadable(&path, &e))?;
    text.lines().map(|line| serde_json::from_str(line).map_err(|e| lengths::unreadable(&path, &e))).collect()
}

pub(crate) async fn tokens(ctx: &Ctx, args: TokensOf) -> Result<Vec<TokenView>, ApiError> {
    let dataset = found::dataset(ctx.db(), &args.id).await?;
    let defaults = ctx.settings().hyperparameters();
    blocking(move || {
        let rows = import::import(&split_file(&dataset, args.split)?, None)?.rows;
        let row = rows.get(args.row as usize).ok_or_else(|| {
            ApiError::new(
                ErrorCode::NotFound,
                format!("The {} split has {} rows, none with index {}.", args.split, rows.len(), args.row),
            )
        })?;
        let tokenizer = TextTokenizer::load(&args.model)?;
        let options = RenderOptions {
            max_length: args.max_length.unwrap_or(defaults.max_length) as usize,
            loss_on: args.loss_on.unwrap_or(defaults.loss_on),
        };
        Ok(tokenize::token_view(&tokenizer, &row.example, &options)?)
    })
    .await
}
