use super::types::*;
use crate::Ctx;
use crate::commands::Nothing;
use crate::jobs::ById;
use tb_core::{ApiError, labelling::LabelProject};
pub(crate) async fn get(_: &Ctx, _: ProvenanceOf) -> Result<Provenance, ApiError> {
    todo!()
}
pub(crate) async fn marks(_: &Ctx, _: Nothing) -> Result<Vec<Mark>, ApiError> {
    todo!()
}
pub(crate) async fn learned(
    _: &tb_db::Db,
    _: &tb_core::ids::FeedbackId,
) -> Result<crate::feedback::types::Learned, ApiError> {
    Ok(Default::default())
}
