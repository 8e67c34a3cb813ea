use super::types::*;
use crate::Ctx;
use crate::commands::Nothing;
use crate::jobs::ById;
use tb_core::{ApiError, labelling::LabelProject};
pub(crate) async fn import(_: &Ctx, _: ImportFeedback) -> Result<ImportedFeedback, ApiError> {
    todo!()
}
pub(crate) async fn export(_: &Ctx, _: ExportFeedback) -> Result<ExportedFeedback, ApiError> {
    todo!()
}
