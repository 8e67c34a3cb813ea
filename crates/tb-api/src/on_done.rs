//! What happens when a job ends well, in the same transaction as its last event: a training registers a model version,
//! an evaluation is stored and its figures stand on the model.

use std::path::Path;

use serde_json::{Map, Value};
use tb_core::{
    eval::{EvalReport, Evaluation},
    event::EventBody,
    ids::{EvalId, ModelId},
    job::Job,
    model::{Lineage, Model, ModelStatus},
    recipe::Method,
    run_folder::{Done, Plan, RunSpec, Task},
    tag::Tag,
};
use tb_db::Tx;
use tb_jobs::{HookFuture, OnDone};
use uuid::Uuid;

use crate::ctx::now_ms;

/// Registers what jobs make.
pub(crate) struct Registrar;

impl OnDone for Registrar {
    fn trained<'a>(&'a self, tx: &'a mut Tx, job: &'a Job, plan: Option<&'a Plan>, done: &'a Done) -> HookFuture<'a> {
        Box::pin(async move {
            let Ok(spec) = serde_json::from_value::<RunSpec>(job.config.clone()) else { return Ok(()) };
            let Task::Train(task) = spec.task else { return Ok(()) };
            match task.method {
                Method::Sft => {}
                // A pretrained base is a folder of its own, not a version of an adapter.
                Method::Pretrain => return Ok(()),
            }
            let kind = job.hyperparameters.finetuning_type;
            let mut metrics = Map::new();
            for (name, value) in &done.metrics {
                metrics.insert(name.clone(), value.clone());
            }
            let model = Model {
                id: ModelId::from_uuid(Uuid::now_v7()),
                training_job_id: Some(job.id.clone()),
                name: job.name.clone(),
                version: tb_db::models::next_version(tx, &job.name).await?,
                model_type: job.model_type.clone(),
                base_model: job.base_model.clone(),
                path: Path::new(&job.run_dir).join(kind.result_folder()).to_string_lossy().into_owned(),
                metrics,
                status: ModelStatus::Draft,
                lineage: Lineage {
                    finetuning_type: kind,
                    identity: plan.map(|p| p.identity.clone()).unwrap_or_default(),
                    base_sha256: plan.map(|p| p.base_sha256.clone()).unwrap_or_default(),
                    dataset_id: job.dataset_id.clone(),
                    data_sha256: plan.map(|p| p.data_sha256.clone()).unwrap_or_default(),
                    parent: job.model_id.clone(),
                    seed: job.hyperparameters.seed,
                    code_version: env!("CARGO_PKG_VERSION").into(),
                    step: done.step,
                },
                files: done.files.clone(),
                revision: 0,
                deployed_at_ms: None,
                created_at_ms: now_ms(),
            };
            tb_db::models::insert(tx, &model).await?;
            let changed = EventBody::Stale { tags: vec![Tag::Models] };
            tb_db::events::append(tx, model.created_at_ms, &changed).await?;
            Ok(())
        })
    }

    fn evaluated<'a>(&'a self, tx: &'a mut Tx, job: &'a Job, report: &'a EvalReport) -> HookFuture<'a> {
        Box::pin(async move {
            let evaluation = Evaluation {
                id: EvalId::from_uuid(Uuid::now_v7()),
                job_id: job.id.clone(),
                model_id: job.model_id.clone(),
                dataset_id: job.dataset_id.clone(),
                report: report.clone(),
                created_at_ms: now_ms(),
            };
            tb_db::evaluations::insert(tx, &evaluation).await?;
            if let Some(id) = &job.model_id {
                let Some(mut model) = tb_db::models::get(&mut *tx, id).await? else { return Ok(()) };
                for metric in &report.metrics {
                    model.metrics.insert(metric.name.clone(), Value::from(metric.value));
                }
                tb_db::models::update(tx, &model).await?;
            }
            let changed = EventBody::Stale { tags: vec![Tag::Evaluations, Tag::Models] };
            tb_db::events::append(tx, evaluation.created_at_ms, &changed).await?;
            Ok(())
        })
    }
}
