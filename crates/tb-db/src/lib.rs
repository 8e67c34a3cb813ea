//! The database: rows in, domain types out, one file per table. No rules about what may follow what (tb-core, tb-api), no clock.
//!
//! Writes take `&mut Tx`, begun with [`Db::begin`] and ended with [`Tx::commit`]; dropping a [`Tx`] undoes it. Reads take
//! anything that becomes a [`Source`]: `&Db` for what is committed, `&mut Tx` (`&mut *tx`) for what this transaction sees.

pub mod ab_tests;
pub mod access_tokens;
pub mod audit;
pub mod base_folders;
pub mod browser_sessions;
pub mod checkpoints;
pub mod dataset_feedback;
pub mod datasets;
pub mod deployments;
mod error;
pub mod evaluations;
pub mod events;
pub mod evidence;
pub mod exports;
pub mod feedback;
pub mod ingest;
pub mod jobs;
pub mod labelling;
pub mod lineage;
pub mod metric_points;
pub mod models;
pub mod passwords;
mod pool;
pub mod resolutions;
mod row;
pub mod run_lines;
mod statement;
pub mod users;

pub use error::{Error, Result};
pub use pool::{Db, Source, Tx};
pub use statement::Page;

#[cfg(test)]
mod tests;
