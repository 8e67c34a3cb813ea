//! How long a run takes, from earlier runs alone: bases of the same shape on the same device. Nothing is guessed.

use std::{collections::BTreeMap, path::Path};

use serde_json::Value;
use tb_core::{
    ApiError,
    decoder_config::DecoderConfig,
    job::{Job, JobKind, JobStatus},
    recipe::Hyperparameters,
};
use tb_data::model_folder;
use tb_db::{Page, jobs::JobFilter};

use super::TimeEstimate;
use crate::{Ctx, ctx::blocking};

/// Earlier runs that are looked at.
const LOOKED_AT: u32 = 200;
/// Runs of the present kind that are enough: older ones may be of another program version.
const ENOUGH: usize = 5;
/// A run shorter than this tells little: loading and the first evaluation are most of it.
const LEAST_SECONDS: f64 = 2.0;

/// Paces of earlier runs.
#[derive(Debug, Default)]
pub(super) struct PastRuns(Vec<Pace>);

#[derive(Clone, Copy, Debug)]
struct Pace {
    /// Tokens learnt per second of the whole run.
    tokens_per_s: f64,
    recomputes: bool,
    dtype: tb_core::recipe::Dtype,
}

/// The earlier runs whose base has this shape, on this device, newest first.
pub(super) async fn past_runs(ctx: &Ctx, config: &DecoderConfig, device: &str) -> Result<PastRuns, ApiError> {
    let filter = JobFilter {
        statuses: vec![JobStatus::Completed, JobStatus::Stopped],
        kind: Some(JobKind::Train),
        ..JobFilter::default()
    };
    let jobs = tb_db::jobs::list(ctx.db(), &filter, &Page::first(LOOKED_AT)).await?;
    let (config, device) = (config.clone(), device.to_owned());
    blocking(move || {
        let mut same: BTreeMap<String, bool> = BTreeMap::new();
        let mut paces = Vec::new();
        for job in jobs.iter().filter(|job| job.device.as_deref() == Some(&device)) {
            let of_shape = *same.entry(job.base_model.clone()).or_insert_with(|| {
                model_folder::read_config(Path::new(&job.base_model)).is_ok_and(|c| same_shape(&c, &config))
            });
            if let (true, Some(pace)) = (of_shape, pace(job)) {
                paces.push(pace);
            }
        }
        Ok(PastRuns(paces))
    })
    .await
}

/// Whether two models cost the same per token.
fn same_shape(a: &DecoderConfig, b: &DecoderConfig) -> bool {
    a.family == b.family && a.weights() == b.weights()
}

/// The pace of a finished run. One that rested in between is measured by its steps alone.
fn pace(job: &Job) -> Option<Pace> {
    let number = |name: &str| job.metrics.get(name).and_then(Value::as_f64);
    let (tokens, steps_s) = (number("num_tokens")?, number("train_runtime_s")?);
    let whole_s = (job.completed_at_ms? - job.started_at_ms?) as f64 / 1000.0;
    let seconds = if whole_s > steps_s && whole_s < 2.0 * steps_s + 30.0 { whole_s } else { steps_s };
    let learnt = tokens > 0.0 && steps_s >= LEAST_SECONDS;
    learnt.then(|| Pace {
        tokens_per_s: tokens / seconds,
        recomputes: job.hyperparameters.gradient_checkpointing,
        dtype: job.hyperparameters.dtype,
    })
}

impl PastRuns {
    /// The time of a run of so many tokens; none if no earlier run was of its kind.
    pub fn estimate(&self, h: &Hyperparameters, tokens: f64) -> Option<TimeEstimate> {
        let alike = |p: &&Pace| p.recomputes == h.gradient_checkpointing && p.dtype == h.dtype;
        let mut paces: Vec<f64> = self.0.iter().filter(alike).take(ENOUGH).map(|p| p.tokens_per_s).collect();
        paces.sort_by(f64::total_cmp);
        let (slowest, fastest) = (*paces.first()?, *paces.last()?);
        let middle = (paces[paces.len() / 2] + paces[(paces.len() - 1) / 2]) / 2.0;
        Some(TimeEstimate {
            seconds: tokens / middle,
            low_seconds: tokens / fastest,
            high_seconds: tokens / slowest,
            tokens_per_s: middle,
            from_runs: paces.len() as u32,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tb_core::recipe::Dtype;

    fn runs(paces: &[f64]) -> PastRuns {
        PastRuns(paces.iter().map(|p| Pace { tokens_per_s: *p, recomputes: true, dtype: Dtype::Auto }).collect())
    }

    #[test]
    fn without_a_run_of_its_kind_nothing_is_guessed() {
        let h = Hyperparameters::default();
        assert_eq!(runs(&[]).estimate(&h, 100.0), None);
        let other = Hyperparameters { gradient_checkpointing: false, ..h };
        assert_eq!(runs(&[50.0]).estimate(&other, 100.0), None);
    }

    #[test]
    fn the_middle_pace_counts_and_the_others_bound_it() {
        let found = runs(&[50.0, 200.0, 100.0, 100.0]).estimate(&Hyperparameters::default(), 1000.0).unwrap();
        assert_eq!((found.seconds, found.low_seconds, found.high_seconds, found.from_runs), (10.0, 5.0, 20.0, 4));
    }
}
