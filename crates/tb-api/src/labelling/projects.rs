//! Labelling projects: making, listing, changing.

use tb_core::{
    ApiError, ErrorCode,
    ids::LabelProjectId,
    labelling::{ItemOrder, ItemSource, LabelProject, ProjectStatus, Question, QuestionKind},
};
use tb_db::{
    Page,
    labelling::{items, projects},
};
use uuid::Uuid;

use super::{
    fill, queue, refused,
    types::{CreateProject, ProjectSummary, UpdateProject},
};
use crate::{Ctx, commands::Nothing, ctx::now_ms, found, jobs::ById, people};

/// Items of a project at most.
const MOST_ITEMS: u32 = 1_000_000;
/// Projects that a list gives.
const LISTED: u32 = 1000;

pub(crate) async fn create(ctx: &Ctx, args: CreateProject) -> Result<LabelProject, ApiError> {
    const WHAT: &str = "No project was made";
    let max_items = args.max_items.unwrap_or(1000);
    if !(1..=MOST_ITEMS).contains(&max_items) {
        return Err(refused(WHAT, format!("a project has 1 to {MOST_ITEMS} items, not {max_items}")));
    }
    let pairs = fill::has_pairs(ctx, &args.source).await?;
    let mut tx = ctx.db().begin().await?;
    let user = people::in_database(&mut tx, ctx.actor()).await?;
    let project = LabelProject {
        id: LabelProjectId::from_uuid(Uuid::now_v7()),
        name: args.name.trim().to_owned(),
        guidelines: args.guidelines,
        source: args.source,
        questions: args.questions.unwrap_or_else(|| usual_questions(pairs)),
        overlap: args.overlap.unwrap_or(1),
        order: args.order.unwrap_or(ItemOrder::Random),
        seed: args.seed.unwrap_or(42),
        status: ProjectStatus::Preparing,
        transformation_type: args.transformation_type,
        max_items,
        num_items: 0,
        num_done: 0,
        num_answers: 0,
        message: None,
        created_by: Some(user),
        revision: 1,
        created_at_ms: now_ms(),
    };
    project.check(pairs).map_err(|e| refused(WHAT, e))?;
    projects::insert(&mut tx, &project).await?;
    tx.commit().await?;
    if let Err(error) = fill::prepare(ctx, &project.id).await {
        fill::fail(ctx, &project.id, &error.message).await?;
        return Err(error);
    }
    found::project(ctx.db(), &project.id).await
}

/// What is asked where a project says nothing: which is better, or how good it is, and what would be better.
fn usual_questions(pairs: bool) -> Vec<Question> {
    let question =
        |name: &str, title: &str, required, kind| Question { name: name.into(), title: title.into(), required, kind };
    let first = if pairs {
        question("better", "Which is better?", true, QuestionKind::Choice)
    } else {
        let words = ["Wrong", "Weak", "Usable", "Good", "Perfect"].map(String::from).to_vec();
        question("rating", "Rating", true, QuestionKind::Rating { labels: words })
    };
    vec![
        first,
        question("correction", "Correction", false, QuestionKind::Correction),
        question("note", "Note", false, QuestionKind::Text),
    ]
}

pub(crate) async fn list(ctx: &Ctx, _: Nothing) -> Result<Vec<ProjectSummary>, ApiError> {
    let mut listed = Vec::new();
    for project in projects::list(ctx.db(), &Page::first(LISTED)).await? {
        let project = match project.status {
            ProjectStatus::Preparing => {
                fill::prepare(ctx, &project.id).await?;
                found::project(ctx.db(), &project.id).await?
            }
            ProjectStatus::Active | ProjectStatus::Paused | ProjectStatus::Completed | ProjectStatus::Failed => project,
        };
        listed.push(summary(ctx, project).await?);
    }
    Ok(listed)
}

pub(crate) async fn get(ctx: &Ctx, args: ById) -> Result<ProjectSummary, ApiError> {
    let id = args.parse()?;
    fill::prepare(ctx, &id).await?;
    summary(ctx, found::project(ctx.db(), &id).await?).await
}

async fn summary(ctx: &Ctx, project: LabelProject) -> Result<ProjectSummary, ApiError> {
    let progress = queue::progress(ctx.db(), &project, &people::user_id(ctx.actor())).await?;
    // A reviewer who knew which model answers would not be blind.
    let source_names = if ctx.actor().role.covers(tb_core::user::Role::Trainer) {
        source_names(ctx, &project.source).await?
    } else {
        Vec::new()
    };
    Ok(ProjectSummary { project, progress, source_names })
}

/// What a source is made of, by name; what is gone is left out.
async fn source_names(ctx: &Ctx, source: &ItemSource) -> Result<Vec<String>, ApiError> {
    let (dataset, models) = match source {
        ItemSource::Dataset { dataset_id, .. } => (Some(dataset_id), vec![]),
        ItemSource::Outputs { dataset_id, model_id, .. } => (Some(dataset_id), vec![model_id]),
        ItemSource::Pair { dataset_id, model_a_id, model_b_id, .. } => (Some(dataset_id), vec![model_a_id, model_b_id]),
        ItemSource::Traffic { model_id, .. } => (None, model_id.iter().collect()),
    };
    let mut names = Vec::new();
    if let Some(id) = dataset
        && let Some(dataset) = tb_db::datasets::get(ctx.db(), id).await?
    {
        names.push(format!("{} v{}", dataset.name, dataset.version));
    }
    for id in models {
        if let Some(model) = tb_db::models::get(ctx.db(), id).await? {
            names.push(format!("{} v{}", model.name, model.version));
        }
    }
    Ok(names)
}

pub(crate) async fn update(ctx: &Ctx, args: UpdateProject) -> Result<LabelProject, ApiError> {
    const WHAT: &str = "Nothing was changed";
    let mut tx = ctx.db().begin().await?;
    let stored = found::project(&mut tx, &args.id).await?;
    if args.revision.is_some_and(|read| read != stored.revision) {
        return Err(ApiError::new(
            ErrorCode::Conflict,
            format!(
                "{WHAT}: somebody changed this project since you read it. Look at it again, then repeat your change."
            ),
        ));
    }
    let mut project = stored.clone();
    if let Some(name) = args.name {
        project.name = name.trim().to_owned();
    }
    if let Some(guidelines) = args.guidelines {
        project.guidelines = guidelines;
    }
    if let Some(overlap) = args.overlap {
        project.overlap = overlap;
    }
    if let Some(status) = args.status {
        project.status = next_status(stored.status, status).ok_or_else(|| {
            ApiError::new(
                ErrorCode::Conflict,
                format!("{WHAT}: a project that is {} cannot become {status}.", stored.status),
            )
        })?;
    }
    // Whether items have two answers was settled when the questions were: only what a person may change is checked again.
    project.check(true).map_err(|e| refused(WHAT, e))?;
    let changed = projects::update(&mut tx, &project).await?;
    if project.overlap != stored.overlap {
        items::set_overlap(&mut tx, &project.id, project.overlap).await?;
        let done = items::count_done(&mut tx, &project.id, project.overlap).await?;
        projects::count(&mut tx, &project.id, 0, done.cast_signed() - stored.num_done.cast_signed()).await?;
        tb_db::labelling::assignments::step_back(&mut tx, &project.id, 1).await?;
    }
    let changed = found::project(&mut tx, &changed.id).await?;
    tx.commit().await?;
    Ok(changed)
}

/// The state after a person's wish; none if it is not theirs to set.
fn next_status(now: ProjectStatus, wish: ProjectStatus) -> Option<ProjectStatus> {
    use ProjectStatus::{Active, Completed, Failed, Paused, Preparing};
    match (now, wish) {
        (Active | Paused | Completed, Active | Paused | Completed) | (Preparing | Failed, Completed) => Some(wish),
        (Active | Paused | Completed, Preparing | Failed)
        | (Preparing | Failed, Preparing | Active | Paused | Failed) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_project_is_paused_and_ended_but_never_made_ready_by_hand() {
        for now in ProjectStatus::ALL {
            for wish in ProjectStatus::ALL {
                let may = next_status(*now, *wish).is_some();
                let ready = !matches!(now, ProjectStatus::Preparing | ProjectStatus::Failed);
                let asked = !matches!(wish, ProjectStatus::Preparing | ProjectStatus::Failed);
                assert_eq!(may, (ready && asked) || (!ready && *wish == ProjectStatus::Completed), "{now} {wish}");
            }
        }
    }
}
