//! Reads the evidence of a build in pages: each text is held once, however many rows have it.

use std::{collections::HashMap, sync::Arc};

use tb_core::{
    ApiError,
    ids::LabelItemId,
    preference::{Decision, Evidence, Texts},
};
use tb_db::{Db, evidence::EvidenceFilter};

use super::types::BuildData;

/// Rows of a page.
const PAGE: u32 = 2000;

/// All rows that count and that the filters let through, with what was decided of their items.
///
/// # Errors
/// A database that cannot be read.
pub(super) async fn evidence(db: &Db, args: &BuildData) -> Result<Vec<Evidence>, ApiError> {
    let decisions = decisions(db, args).await?;
    let filter = EvidenceFilter {
        model_ids: args.model_ids.clone(),
        project_ids: args.project_ids.clone(),
        transformation_types: args.transformation_types.clone(),
        since_ms: args.since_ms,
        until_ms: args.until_ms,
    };
    let (mut all, mut texts) = (Vec::new(), Texts::default());
    loop {
        let after = all.last().map(|last: &Evidence| (last.created_at_ms, &last.id));
        let page = tb_db::evidence::page(db, &filter, after, PAGE).await?;
        let rows = page.len();
        all.extend(page.into_iter().map(|row| {
            let decision = row.item_id.and_then(|id| decisions.get(&id).cloned());
            Evidence { decision, ..row.evidence.shared(&mut texts) }
        }));
        if rows < PAGE as usize {
            return Ok(all);
        }
    }
}

async fn decisions(db: &Db, args: &BuildData) -> Result<HashMap<LabelItemId, Arc<Decision>>, ApiError> {
    let mut all = HashMap::new();
    if !args.rules.resolutions {
        return Ok(all);
    }
    let mut last: Option<LabelItemId> = None;
    loop {
        let page = tb_db::resolutions::page(db, &args.project_ids, last.as_ref(), PAGE).await?;
        let rows = page.len();
        last = page.last().map(|(id, _)| id.clone());
        all.extend(page.into_iter().filter_map(|(id, decision)| Some((id, Arc::new(decision?)))));
        if rows < PAGE as usize {
            return Ok(all);
        }
    }
}
