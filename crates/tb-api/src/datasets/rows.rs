//! The rows of a frozen dataset, a page at a time.

use std::{
    fs::File,
    io::{BufRead, BufReader},
    path::PathBuf,
};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tb_core::{
    ApiError,
    dataset::{Row, SplitName},
    ids::DatasetId,
};
use tb_data::{frozen, import};
use ts_rs::TS;

use super::{lengths::unreadable, split_file};
use crate::{Ctx, ctx::blocking, found};

/// Rows given at most, whatever is asked for.
const MOST: u32 = 1000;

/// Arguments of `data_rows`.
#[derive(Clone, Debug, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub struct RowsOf {
    /// The dataset.
    pub id: DatasetId,
    /// The split.
    pub split: SplitName,
    /// Rows to pass over.
    #[serde(default)]
    pub offset: u32,
    /// Rows to give, at most 1000.
    #[serde(default = "fifty")]
    pub limit: u32,
}

fn fifty() -> u32 {
    50
}

/// Some rows of a split.
#[derive(Clone, Debug, Serialize, Deserialize, TS)]
pub struct DataRows {
    /// The rows, in the split's order.
    pub rows: Vec<Row>,
    /// Rows of the split.
    #[ts(type = "number")]
    pub total: u64,
}

pub(crate) async fn rows(ctx: &Ctx, args: RowsOf) -> Result<DataRows, ApiError> {
    let dataset = found::dataset(ctx.db(), &args.id).await?;
    let total = dataset.split(args.split).map_or(0, |s| s.rows);
    if total == 0 {
        return Ok(DataRows { rows: Vec::new(), total });
    }
    let path = split_file(&dataset, args.split)?;
    blocking(move || {
        let mapping = frozen::canonical_mapping(dataset.shape);
        let file = BufReader::new(File::open(&path).map_err(|e| unreadable(&path, &e))?);
        let mut rows = Vec::new();
        for (line, number) in file.lines().zip(1_u64..).skip(args.offset as usize).take(args.limit.min(MOST) as usize) {
            let line = line.map_err(|e| unreadable(&path, &e))?;
            let record: Map<String, Value> = serde_json::from_str(&line).map_err(|e| unreadable(&path, &e))?;
            let row = import::map_record(&mapping, number, record);
            rows.push(row.map_err(|problem| unreadable(&PathBuf::from(&path), &problem.reason))?);
        }
        Ok(DataRows { rows, total })
    })
    .await
}
