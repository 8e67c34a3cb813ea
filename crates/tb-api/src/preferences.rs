pub mod provenance;
pub mod types;
use crate::Ctx;
use tb_core::{ApiError, dataset::Dataset};
use types::*;
pub(crate) async fn preview(_: &Ctx, _: BuildData) -> Result<BuildPreview, ApiError> {
    todo!()
}
pub(crate) async fn build(_: &Ctx, _: BuildData) -> Result<Dataset, ApiError> {
    todo!()
}
