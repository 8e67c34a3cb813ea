//! Where datasets and models come from in feedback, and who learnt from a row: read from `dataset_feedback` and `lineage`.

use tb_core::{
    ApiError, ErrorCode,
    ids::{DatasetId, FeedbackId, ModelId},
};
use tb_db::{
    Db,
    dataset_feedback::{self as rows, Version},
};

use super::types::{Mark, Provenance, ProvenanceOf};
use crate::{
    Ctx,
    commands::Nothing,
    feedback::types::{Learned, Named},
    found,
};

/// Rows that are named at most.
const MOST: u32 = 200;

pub(crate) async fn get(ctx: &Ctx, args: ProvenanceOf) -> Result<Provenance, ApiError> {
    let db = ctx.db();
    let (ids, datasets) = if let Ok(id) = args.id.parse::<DatasetId>() {
        (vec![found::dataset(db, &id).await?.id], vec![])
    } else if let Ok(id) = args.id.parse::<ModelId>() {
        found::model(db, &id).await?;
        let between = rows::datasets_of_model(db, &id).await?;
        (between.iter().map(|d| d.id.clone()).collect(), between.into_iter().map(named).collect())
    } else {
        return Err(ApiError::new(
            ErrorCode::InvalidArgument,
            format!("'{}' is the id of neither a dataset nor a model.", args.id),
        )
        .hint("Give an id that begins with dts_ or mdl_."));
    };
    let counts = rows::count(db, &ids).await?;
    let newest = rows::newest(db, &ids, MOST).await?;
    Ok(Provenance { feedback_rows: counts.rows, withdrawn: counts.withdrawn, datasets, rows: newest })
}

pub(crate) async fn marks(ctx: &Ctx, _: Nothing) -> Result<Vec<Mark>, ApiError> {
    let datasets = rows::marked_datasets(ctx.db()).await?;
    let models = rows::marked_models(ctx.db()).await?;
    let mark = |marked: rows::Marked| Mark { id: marked.id, withdrawn: marked.withdrawn };
    Ok(datasets.into_iter().chain(models).map(mark).collect())
}

/// Who learnt from a row: dataset versions that hold it, and model versions that were trained on one of them or continue from one
/// that was.
///
/// # Errors
/// A database that cannot be read.
pub(crate) async fn learned(db: &Db, id: &FeedbackId) -> Result<Learned, ApiError> {
    let datasets = rows::datasets_with(db, id).await?.into_iter().map(named).collect();
    let models = rows::models_with(db, id).await?.into_iter().map(named).collect();
    Ok(Learned { datasets, models })
}

fn named<I: Into<String>>(version: Version<I>) -> Named {
    Named { id: version.id.into(), name: version.name, version: version.version }
}
