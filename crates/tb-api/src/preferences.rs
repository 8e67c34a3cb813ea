//! Training data of feedback: what a build would make, and building it as a frozen dataset version. Which rows it makes is decided in
//! `tb_core::preference`; where they came from is told by `preferences/provenance.rs`.

mod collect;
mod frame;
mod made;
pub(crate) mod provenance;
pub mod types;

use std::path::Path;

use serde_json::{Value, json};
use tb_core::{
    ApiError, ErrorCode,
    dataset::{Dataset, DatasetFormat, DatasetType, Row, RowShape, SplitName},
    feedback::LONGEST_NAME_BYTES,
    ids::{DatasetId, FeedbackId},
    preference::{Evidence, LeftOut, Lesson, TrainingKind},
};
use tb_data::{
    files::atomic_write,
    frozen::{self, Freezer},
    split::prompts::{KEY_COLUMN, PromptKey, PromptSplits},
};
use uuid::Uuid;

use crate::{
    Ctx,
    ctx::{blocking, now_ms},
    datasets::shares,
    feedback::short_pieces,
};
use frame::Frame;
use made::Made;
use types::{BuildData, BuildPreview, BuiltExample, LeftOutCount, SplitRows};

/// Rows that a preview shows.
const EXAMPLES: usize = 20;
/// Feedback rows that are named per reason.
const NAMED: usize = 10;
/// The file beside a built dataset that says how it was built.
const BUILD: &str = "build.json";
/// The file beside it that lists each feedback row which made no row, with its reason.
const LEFT_OUT: &str = "left_out.jsonl";

pub(crate) async fn preview(ctx: &Ctx, args: BuildData) -> Result<BuildPreview, ApiError> {
    let frame = check(&args)?;
    let evidence = collect::evidence(ctx.db(), &args).await?;
    let earlier = tb_db::datasets::by_name(ctx.db(), &args.name).await?;
    blocking(move || {
        let splits = splits(&args, &earlier)?;
        let made = Made::new(&args, &evidence, &frame, &splits);
        let examples = made.rows.iter().take(EXAMPLES).map(|row| BuiltExample {
            split: row.split,
            example: row.built.lesson.example(&frame.prompt(&row.built)),
            changes: match row.built.lesson {
                Lesson::Pair { chosen, rejected, .. } => short_pieces(rejected, chosen),
                Lesson::Accepted { .. } | Lesson::Judged { .. } => Vec::new(),
            },
            feedback: row.built.feedback.iter().map(|id| (*id).clone()).collect(),
        });
        Ok(BuildPreview {
            feedback_rows: evidence.len() as u64,
            splits: made.rows_of_splits(),
            examples: examples.collect(),
            left_out: counted(&made.left_out),
        })
    })
    .await
}

pub(crate) async fn build(ctx: &Ctx, args: BuildData) -> Result<Dataset, ApiError> {
    let frame = check(&args)?;
    let evidence = collect::evidence(ctx.db(), &args).await?;
    let earlier = tb_db::datasets::by_name(ctx.db(), &args.name).await?;
    let next = earlier.iter().map(|d| d.version).max().unwrap_or(0) + 1;
    let id = DatasetId::from_uuid(Uuid::now_v7());
    let folder = ctx.home().join("datasets").join(id.as_str());
    let written = {
        let folder = folder.clone();
        blocking(move || write(id, next, &folder, &args, &evidence, &frame, &earlier)).await
    };
    let stored = match written {
        Ok((dataset, behind)) => store(ctx, dataset, &behind).await,
        Err(error) => Err(error),
    };
    if stored.is_err() {
        // Nothing names it: what is left of it is only space.
        std::fs::remove_dir_all(&folder).ok();
    }
    stored
}

/// Checks what a person has set; gives the frame of its prompts.
fn check(args: &BuildData) -> Result<Frame, ApiError> {
    let refused = |reason: String| ApiError::new(ErrorCode::InvalidArgument, format!("Nothing was built: {reason}."));
    if args.name.trim().is_empty() || args.name.len() > LONGEST_NAME_BYTES {
        return Err(refused(format!("the name is empty or longer than {LONGEST_NAME_BYTES} bytes")));
    }
    shares(args.validation_share, args.test_share, "Nothing was built")?;
    if args.since_ms.zip(args.until_ms).is_some_and(|(since, until)| since >= until) {
        return Err(refused("since_ms is not before until_ms".into()));
    }
    args.rules.check().map_err(|bad| refused(bad.to_string()))?;
    Frame::new(args.template.as_deref())
}

/// Where prompts go: what an earlier version of the name has stays where it is there.
fn splits(args: &BuildData, earlier: &[Dataset]) -> Result<PromptSplits, ApiError> {
    let shares = shares(args.validation_share, args.test_share, "Nothing was built")?;
    let mut splits = PromptSplits::new(shares, args.seed)?;
    for dataset in earlier {
        for info in dataset.splits.iter().filter(|info| info.rows > 0) {
            let keep = |row: Row| {
                let key = row.more.get(KEY_COLUMN).and_then(Value::as_str).and_then(|key| key.parse().ok());
                splits.keep(info.name, &row.example, key);
            };
            frozen::each_row(Path::new(&dataset.file_path), info, dataset.shape, keep).map_err(|error| {
                ApiError::from(error).hint(format!(
                    "Without its rows, prompts of version {} might be learnt from and tested on. Delete that version, or choose \
                     another name.",
                    dataset.version
                ))
            })?;
        }
    }
    Ok(splits)
}

/// Freezes the rows in a folder. Gives the dataset and the feedback rows behind it, sorted.
fn write(
    id: DatasetId,
    version: u32,
    folder: &Path,
    args: &BuildData,
    evidence: &[Evidence],
    frame: &Frame,
    earlier: &[Dataset],
) -> Result<(Dataset, Vec<FeedbackId>), ApiError> {
    let splits = splits(args, earlier)?;
    let made = Made::new(args, evidence, frame, &splits);
    if made.rows.is_empty() {
        return Err(nothing(args.kind, evidence.len(), &made.left_out));
    }
    if !made.rows.iter().any(|row| row.split == SplitName::Train) {
        return Err(ApiError::new(
            ErrorCode::DataInvalid,
            format!("Nothing was built: all {} rows fall into held-out splits.", made.rows.len()),
        )
        .hint("Set the shares for validation and test to 0, use another seed, or gather more feedback."));
    }
    let mut freezer = Freezer::new(folder)?;
    for (row, line) in made.rows.iter().zip(1_u64..) {
        let prompt = frame.prompt(&row.built);
        let mut more = serde_json::Map::new();
        if let (TrainingKind::Reward, Lesson::Pair { margin, .. }) = (args.kind, row.built.lesson) {
            more.insert("margin".into(), margin.into());
        }
        more.insert("transformation_type".into(), row.built.transformation_type.into());
        more.insert("feedback".into(), row.built.feedback.iter().map(|id| Value::from(id.as_str())).collect());
        if frame.is_template() {
            more.insert(KEY_COLUMN.into(), PromptKey::of(row.built.prompt).to_string().into());
        }
        freezer.row(row.split, &Row { line, example: row.built.lesson.example(&prompt), more })?;
    }
    let frozen = freezer.finish(&[])?;
    let counts = counted(&made.left_out);
    let record = json!({ "build": args, "feedback_rows": evidence.len(), "left_out": counts });
    atomic_write(&folder.join(BUILD), format!("{record:#}\n").as_bytes())?;
    let lines = made.left_out.iter().map(|(id, why)| format!("{}\n", json!({ "feedback": id, "reason": why })));
    atomic_write(&folder.join(LEFT_OUT), lines.collect::<String>().as_bytes())?;
    let size_bytes: u64 = frozen
        .splits
        .iter()
        .filter_map(|split| std::fs::metadata(folder.join(&split.file)).ok())
        .map(|file| file.len())
        .sum();
    let shape = shape(args.kind);
    let dataset = Dataset {
        id,
        name: args.name.clone(),
        version,
        description: args.description.clone(),
        dataset_type: DatasetType::Feedback,
        file_path: folder.to_string_lossy().into_owned(),
        format: DatasetFormat::Jsonl,
        size_mb: size_bytes as f64 / 1e6,
        num_samples: made.rows.len() as u64,
        splits: frozen.splits,
        num_problems: 0,
        shape,
        mapping: frozen::canonical_mapping(shape),
        sha256: frozen.sha256,
        created_at_ms: now_ms(),
    };
    Ok((dataset, made.behind()))
}

fn shape(kind: TrainingKind) -> RowShape {
    match kind {
        TrainingKind::Sft => RowShape::PromptCompletion,
        TrainingKind::Preference | TrainingKind::Reward => RowShape::Preference,
        TrainingKind::Kto => RowShape::Unpaired,
    }
}

/// Stores the version and the rows behind it, unless what it was made from has changed meanwhile.
async fn store(ctx: &Ctx, dataset: Dataset, behind: &[FeedbackId]) -> Result<Dataset, ApiError> {
    let again = |reason: String| {
        ApiError::new(ErrorCode::Conflict, format!("Nothing was built: {reason}.")).hint("Build it again.")
    };
    let mut tx = ctx.db().begin().await?;
    if tb_db::datasets::next_version(&mut tx, &dataset.name).await? != dataset.version {
        return Err(again(format!("another version of {} was stored meanwhile", dataset.name)));
    }
    tb_db::datasets::insert(&mut tx, &dataset).await?;
    tb_db::dataset_feedback::insert(&mut tx, &dataset.id, behind).await?;
    let counts = tb_db::dataset_feedback::count(&mut tx, std::slice::from_ref(&dataset.id)).await?;
    if counts.withdrawn > 0 {
        return Err(again(format!("{} of the feedback rows were withdrawn meanwhile", counts.withdrawn)));
    }
    tx.commit().await?;
    Ok(dataset)
}

/// How many feedback rows were left out for each reason, the most frequent first.
fn counted(left_out: &[(&FeedbackId, LeftOut)]) -> Vec<LeftOutCount> {
    let of = |reason: LeftOut| {
        let mut all = left_out.iter().filter(|(_, why)| *why == reason).map(|(id, _)| *id);
        let examples: Vec<FeedbackId> = all.by_ref().take(NAMED).cloned().collect();
        let rows = (examples.len() + all.count()) as u64;
        LeftOutCount { reason, rows, examples }
    };
    let mut counts: Vec<_> = LeftOut::ALL.iter().map(|reason| of(*reason)).filter(|count| count.rows > 0).collect();
    counts.sort_by_key(|count| std::cmp::Reverse(count.rows));
    counts
}

fn nothing(kind: TrainingKind, looked_at: usize, left_out: &[(&FeedbackId, LeftOut)]) -> ApiError {
    if looked_at == 0 {
        return ApiError::new(
            ErrorCode::DataInvalid,
            "Nothing was built: no feedback is of the kind that was asked for.",
        )
        .hint("Name fewer models, projects and kinds of rewriting, or a longer time; withdrawn rows never count.");
    }
    let reasons: Vec<String> =
        counted(left_out).iter().map(|count| format!("{} {}", count.rows, in_words(count.reason))).collect();
    ApiError::new(
        ErrorCode::DataInvalid,
        format!(
            "Nothing was built: none of the {looked_at} feedback rows that were looked at makes a row for {kind} ({}).",
            reasons.join(", ")
        ),
    )
    .hint("Loosen the rules, or choose another kind of training; `preference_preview` shows what each would make.")
}

fn in_words(reason: LeftOut) -> &'static str {
    match reason {
        LeftOut::NoSignal => "say nothing that it can learn from",
        LeftOut::Tie => "are ties or call both bad",
        LeftOut::NoChange => "correct nothing",
        LeftOut::SmallGap => "have ratings that are neither high, low nor far apart enough",
        LeftOut::FewReviewers => "stand on too few reviewers",
        LeftOut::LowAgreement => "are contradicted",
        LeftOut::Overruled => "were overruled",
        LeftOut::Outranked => "were outranked",
        LeftOut::Duplicate => "say again what others say",
    }
}

impl Made<'_> {
    fn rows_of_splits(&self) -> Vec<SplitRows> {
        let rows = |split: SplitName| self.rows.iter().filter(|row| row.split == split).count() as u64;
        SplitName::ALL.iter().map(|split| SplitRows { split: *split, rows: rows(*split) }).collect()
    }

    /// The feedback rows behind the rows, sorted.
    fn behind(&self) -> Vec<FeedbackId> {
        let mut all: Vec<&FeedbackId> = self.rows.iter().flat_map(|row| row.built.feedback.iter().copied()).collect();
        all.sort_unstable();
        all.dedup();
        all.into_iter().cloned().collect()
    }
}
