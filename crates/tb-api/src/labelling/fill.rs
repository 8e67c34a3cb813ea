//! Making a project's items: from a dataset's rows, from what models answer to them, or from production's answers.
//!
//! What a model answers is an evaluation run like any other, kept and used again. A project whose runs are not done yet is
//! `preparing`; whoever looks at it next, once they are, makes its items.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
};

use serde_json::Value;
use tb_core::{
    ApiError, ErrorCode,
    dataset::{Dataset, Example, Row, RowShape, Said, SplitName},
    eval::{EvalItem, ITEMS},
    feedback::{FeedbackSource, LONGEST_TEXT_BYTES},
    ids::{LabelItemId, LabelProjectId, ModelId},
    job::{Job, JobKind, JobStatus},
    labelling::{Answers, ItemOrder, ItemSource, LabelItem, LabelProject, ProjectStatus},
    random::permutation,
    run_folder::{EvaluateTask, KeepItems, RunSpec, Task},
};
use tb_data::{frozen, import};
use tb_db::{
    Page,
    feedback::FeedbackFilter,
    jobs::JobFilter,
    labelling::{items, projects},
};
use tb_jobs::NewJob;
use tb_stats::diff;
use uuid::Uuid;

use crate::{
    Ctx,
    ctx::blocking,
    datasets,
    evaluation::{self, StartEval},
    found,
};

/// Evaluation runs that are looked through for answers that are there already.
const RUNS_SEARCHED: u32 = 200;
/// Feedback rows read at once.
const PAGE: u32 = 500;

/// An item before it has an id and a place.
struct Draft {
    input: String,
    source: Option<String>,
    output: String,
    model_id: Option<ModelId>,
    other: Option<String>,
    other_model_id: Option<ModelId>,
    transformation_type: Option<String>,
    gold: Option<Answers>,
}

/// Whether the items of a source have two answers.
pub(super) async fn has_pairs(ctx: &Ctx, source: &ItemSource) -> Result<bool, ApiError> {
    match source {
        ItemSource::Dataset { dataset_id, .. } => {
            Ok(found::dataset(ctx.db(), dataset_id).await?.shape == RowShape::Preference)
        }
        ItemSource::Pair { .. } => Ok(true),
        ItemSource::Outputs { .. } | ItemSource::Traffic { .. } => Ok(false),
    }
}

/// Makes the items of a project that has none yet, if what they need is there; starts the runs that it needs otherwise.
///
/// # Errors
/// A source that is gone or holds nothing; the project stays as it is.
pub(super) async fn prepare(ctx: &Ctx, id: &LabelProjectId) -> Result<(), ApiError> {
    let project = found::project(ctx.db(), id).await?;
    if project.status != ProjectStatus::Preparing {
        return Ok(());
    }
    let drafts = match &project.source {
        ItemSource::Dataset { dataset_id, split } => {
            let dataset = found::dataset(ctx.db(), dataset_id).await?;
            from_rows(&dataset, *split).await?
        }
        ItemSource::Outputs { dataset_id, split, model_id } => {
            let dataset = found::dataset(ctx.db(), dataset_id).await?;
            match answers(ctx, &project, &dataset, *split, model_id).await? {
                Some(answers) => answers.into_iter().map(|item| from_answer(item, model_id)).collect(),
                None => return Ok(()),
            }
        }
        ItemSource::Pair { dataset_id, split, model_a_id, model_b_id } => {
            let dataset = found::dataset(ctx.db(), dataset_id).await?;
            let a = answers(ctx, &project, &dataset, *split, model_a_id).await?;
            let b = answers(ctx, &project, &dataset, *split, model_b_id).await?;
            match (a, b) {
                (Some(a), Some(b)) => paired(a, b, model_a_id, model_b_id),
                (Some(_) | None, _) => return Ok(()),
            }
        }
        ItemSource::Traffic { model_id, transformation_type, since_ms } => {
            let filter = FeedbackFilter {
                model_id: model_id.clone(),
                transformation_type: transformation_type.clone(),
                source: Some(FeedbackSource::Api),
                since_ms: Some(*since_ms),
                withdrawn: Some(false),
                ..FeedbackFilter::default()
            };
            from_traffic(ctx, &filter, project.max_items).await?
        }
    };
    if drafts.is_empty() {
        return Err(ApiError::new(ErrorCode::DataInvalid, "No items were made: the source holds nothing to judge.")
            .hint("Choose another split, model or time."));
    }
    store(ctx, project, drafts).await
}

/// Marks a project whose items cannot be made.
pub(super) async fn fail(ctx: &Ctx, id: &LabelProjectId, why: &str) -> Result<(), ApiError> {
    let mut tx = ctx.db().begin().await?;
    let project = found::project(&mut tx, id).await?;
    if project.status == ProjectStatus::Preparing {
        let failed = LabelProject { status: ProjectStatus::Failed, message: Some(why.to_owned()), ..project };
        projects::update(&mut tx, &failed).await?;
        tx.commit().await?;
    }
    Ok(())
}

async fn store(ctx: &Ctx, project: LabelProject, mut drafts: Vec<Draft>) -> Result<(), ApiError> {
    let distances = blocking({
        let texts: Vec<(String, String)> = drafts
            .iter()
            .map(|d| match &d.other {
                Some(other) => (d.output.clone(), other.clone()),
                None => (d.source.as_ref().unwrap_or(&d.input).clone(), d.output.clone()),
            })
            .collect();
        move || Ok(texts.iter().map(|(a, b)| diff::distance(a, b)).collect::<Vec<f64>>())
    })
    .await?;
    let mut order: Vec<usize> = match project.order {
        ItemOrder::Random => permutation(drafts.len(), project.seed, 0).into_iter().map(|i| i as usize).collect(),
        ItemOrder::Oldest | ItemOrder::Disagreement => (0..drafts.len()).collect(),
    };
    if project.order == ItemOrder::Disagreement {
        order.sort_by(|a, b| distances[*b].total_cmp(&distances[*a]));
    }
    order.truncate(project.max_items as usize);
    let mut taken: Vec<Option<Draft>> = drafts.drain(..).map(Some).collect();
    let mut tx = ctx.db().begin().await?;
    // Somebody else may have made them meanwhile.
    if found::project(&mut tx, &project.id).await?.status != ProjectStatus::Preparing {
        return Ok(());
    }
    for (place, at) in (1..).zip(&order) {
        let draft = taken[*at].take().expect("an order names each draft once");
        let item = LabelItem {
            id: LabelItemId::from_uuid(Uuid::now_v7()),
            project_id: project.id.clone(),
            place,
            source_text: draft.source,
            input_text: draft.input,
            output_text: draft.output,
            model_id: draft.model_id,
            other_text: draft.other,
            other_model_id: draft.other_model_id,
            transformation_type: draft.transformation_type.unwrap_or_else(|| project.transformation_type.clone()),
            disagreement: distances[*at],
            gold: draft.gold.filter(|gold| project.check_some(gold).is_ok()),
            resolution: None,
            resolved_by: None,
            resolved_at_ms: None,
            held: 0,
            submitted: 0,
            flagged: 0,
        };
        items::insert(&mut tx, &item).await?;
    }
    let num_items = order.len() as u64;
    let ready = LabelProject { status: ProjectStatus::Active, message: None, num_items, ..project };
    projects::update(&mut tx, &ready).await?;
    tx.commit().await?;
    Ok(())
}

async fn from_rows(dataset: &Dataset, split: SplitName) -> Result<Vec<Draft>, ApiError> {
    let path = datasets::split_file(dataset, split)?;
    let mapping = frozen::canonical_mapping(dataset.shape);
    blocking(move || {
        let rows = import::import(&path, Some(&mapping))?.rows;
        Ok(rows.into_iter().filter_map(from_row).collect())
    })
    .await
}

/// A row as an item: its prompt with its completion, or with both answers; plain documents have none.
fn from_row(row: Row) -> Option<Draft> {
    let transformation_type = ["transformation_type", "direction"]
        .iter()
        .find_map(|name| row.more.get(*name).and_then(Value::as_str).map(str::to_owned));
    let gold = row.more.get("gold").and_then(|gold| serde_json::from_value(gold.clone()).ok());
    let (input, output, other) = match row.example {
        Example::Preference { prompt, chosen, rejected } => (said(&prompt), said(&chosen), Some(said(&rejected))),
        Example::PromptCompletion { prompt, completion } | Example::Unpaired { prompt, completion, .. } => {
            (said(&prompt), said(&completion), None)
        }
        Example::Messages { mut messages } => {
            let last = messages.pop()?;
            (said(&Said::Messages(messages)), last.content, None)
        }
        Example::Text { .. } => return None,
    };
    let fits = |text: &str| text.len() <= LONGEST_TEXT_BYTES;
    if input.is_empty() || !fits(&input) || !fits(&output) || !other.as_deref().is_none_or(fits) {
        return None;
    }
    let source = row.more.get("source").and_then(Value::as_str).map(str::to_owned);
    let source = part_of(&input, source);
    Some(Draft { input, source, output, model_id: None, other, other_model_id: None, transformation_type, gold })
}

/// A row's column `source`, if it is what the prompt asks to rewrite: in other datasets it names where the row came from.
fn part_of(prompt: &str, source: Option<String>) -> Option<String> {
    source.filter(|source| !source.trim().is_empty() && source != prompt && prompt.contains(source.as_str()))
}

/// What was said, as one text: a single message is its content, several carry their roles.
fn said(said: &Said) -> String {
    match said {
        Said::Text(text) => text.clone(),
        Said::Messages(messages) => match messages.as_slice() {
            [one] => one.content.clone(),
            many => many.iter().map(|m| format!("{}: {}", m.role, m.content)).collect::<Vec<_>>().join("\n\n"),
        },
    }
}

fn from_answer(item: EvalItem, model_id: &ModelId) -> Draft {
    Draft {
        source: part_of(&item.prompt, item.source),
        input: item.prompt,
        output: item.output,
        model_id: Some(model_id.clone()),
        other: None,
        other_model_id: None,
        transformation_type: item.group,
        gold: None,
    }
}

/// Answers to the same rows side by side; where both models say the same there is nothing to choose.
fn paired(a: Vec<EvalItem>, b: Vec<EvalItem>, model_a: &ModelId, model_b: &ModelId) -> Vec<Draft> {
    let mut b: std::collections::BTreeMap<u32, EvalItem> = b.into_iter().map(|item| (item.index, item)).collect();
    a.into_iter()
        .filter_map(|item| {
            let other = b.remove(&item.index)?;
            if other.output == item.output || other.prompt != item.prompt {
                return None;
            }
            let other_model_id = Some(model_b.clone());
            Some(Draft { other: Some(other.output), other_model_id, ..from_answer(item, model_a) })
        })
        .collect()
}

async fn from_traffic(ctx: &Ctx, filter: &FeedbackFilter, most: u32) -> Result<Vec<Draft>, ApiError> {
    let mut drafts: Vec<Draft> = Vec::new();
    let mut seen = std::collections::HashSet::new();
    let mut page = Page::first(PAGE);
    loop {
        let rows = tb_db::feedback::list(ctx.db(), filter, &page).await?;
        let Some(last) = rows.last().map(|row| row.id.clone()) else { break };
        for row in rows {
            let said = row.judgement;
            if drafts.len() < most as usize && seen.insert((said.input_text.clone(), said.output_text.clone())) {
                drafts.push(Draft {
                    input: said.input_text,
                    source: None,
                    output: said.output_text,
                    model_id: said.model_id,
                    other: None,
                    other_model_id: None,
                    transformation_type: Some(said.transformation_type).filter(|kind| !kind.is_empty()),
                    gold: None,
                });
            }
        }
        if drafts.len() >= most as usize {
            break;
        }
        page = Page::after(last, PAGE);
    }
    // The newest are read first; "oldest first" means it.
    drafts.reverse();
    Ok(drafts)
}

/// What a model answers to a split: read from a run that is done, or none, with a run under way.
async fn answers(
    ctx: &Ctx,
    project: &LabelProject,
    dataset: &Dataset,
    split: SplitName,
    model_id: &ModelId,
) -> Result<Option<Vec<EvalItem>>, ApiError> {
    let asked = StartEval {
        model_id: Some(model_id.clone()),
        data: Some(datasets::split_file(dataset, split)?),
        limit: project.max_items,
        ..StartEval::default()
    };
    let (task, name) = evaluation::task(ctx, &asked).await?;
    let rows = dataset.split(split).map_or(0, |s| s.rows);
    let filter =
        JobFilter { kind: Some(JobKind::Evaluate), dataset_id: Some(dataset.id.clone()), ..JobFilter::default() };
    let runs = tb_db::jobs::list(ctx.db(), &filter, &Page::first(RUNS_SEARCHED)).await?;
    for run in runs.iter().filter(|run| answers_this(run, &task, rows)) {
        match run.status {
            JobStatus::Completed => {
                let path = PathBuf::from(&run.run_dir).join(ITEMS);
                if path.is_file() {
                    return Ok(Some(read_answers(path).await?));
                }
            }
            JobStatus::Failed | JobStatus::Stopped if run.created_at_ms >= project.created_at_ms => {
                let why = run.error_message.clone().unwrap_or_else(|| "it was stopped".into());
                fail(ctx, &project.id, &format!("The run that was to write {name}'s answers ended early: {why}"))
                    .await?;
                return Ok(None);
            }
            JobStatus::Pending | JobStatus::Running | JobStatus::Paused | JobStatus::Interrupted => return Ok(None),
            JobStatus::Failed | JobStatus::Stopped => {}
        }
    }
    ctx.jobs()
        .submit(NewJob {
            name: format!("answers of {name} for {}", project.name),
            kind: JobKind::Evaluate,
            model_type: "labelling".into(),
            base_model: task.model.base.to_string_lossy().into_owned(),
            dataset_id: Some(dataset.id.clone()),
            // No measurement of the model: any split may be labelled.
            model_id: None,
            hyperparameters: ctx.settings().hyperparameters(),
            task: Task::Evaluate(task),
            device: None,
        })
        .await?;
    Ok(None)
}

/// Whether a run answers the same rows with the same model in the same way, as many of them as are needed.
fn answers_this(run: &Job, wanted: &EvaluateTask, rows: u64) -> bool {
    let Ok(spec) = serde_json::from_value::<RunSpec>(run.config.clone()) else { return false };
    let Task::Evaluate(task) = spec.task else { return false };
    let covers = |limit: u32| limit == 0 || u64::from(limit) >= rows.min(u64::from(wanted.limit));
    task.keep_items == KeepItems::Yes
        && task.model == wanted.model
        && task.data.path == wanted.data.path
        && task.decoding == wanted.decoding
        && covers(task.limit)
}

async fn read_answers(path: PathBuf) -> Result<Vec<EvalItem>, ApiError> {
    blocking(move || {
        let unreadable = |path: &Path, why: String| {
            ApiError::new(
                ErrorCode::DataInvalid,
                format!("No items were made: {} cannot be read: {why}.", path.display()),
            )
        };
        let file = std::fs::File::open(&path).map_err(|e| unreadable(&path, e.to_string()))?;
        BufReader::new(file)
            .lines()
            .map(|line| {
                let line = line.map_err(|e| unreadable(&path, e.to_string()))?;
                serde_json::from_str(&line).map_err(|e| unreadable(&path, e.to_string()))
            })
            .collect()
    })
    .await
}
