//! Tests over several tables: rows there and back, conflicts, concurrency, and the safety of the file.

mod access;
mod concurrency;
mod conflicts;
mod feedback_sums;
mod file;
mod labelling;
mod lists;
mod round_trips;
mod schema;
mod training_data;

use tb_core::{
    dataset::{ColumnMapping, Dataset, DatasetFormat, DatasetType, RowShape, SplitInfo, SplitName},
    deploy::{DeployStatus, Deployment},
    eval::{EvalReport, Evaluation, GroupReport, MetricValue},
    experiment::{AbTest, AbTestStatus},
    export::{Export, ExportCertificate, ExportLimits, ExportSamples, TokenizerCertificate, TokenizerFit},
    feedback::{Feedback, FeedbackSource, FeedbackType, Judgement, Rating},
    ids::{AbTestId, DatasetId, DeploymentId, EvalId, ExportId, FeedbackId, JobId, ModelId, UserId},
    job::{Job, JobKind, JobStatus},
    model::{Lineage, Model, ModelStatus},
    recipe::Hyperparameters,
    run_folder::{ExportFormat, FileHash, StepPoint},
    user::{Role, User},
};
use uuid::Uuid;

use crate::{Db, Tx, datasets, jobs, models};

/// A database in a folder that is deleted with it.
struct Fixture {
    folder: tempfile::TempDir,
    db: Db,
}

impl Fixture {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let db = Db::open(&folder.path().join("workbench.sqlite")).await.unwrap();
        Self { folder, db }
    }

    fn path(&self) -> std::path::PathBuf {
        self.folder.path().join("workbench.sqlite")
    }

    async fn begin(&self) -> Tx {
        self.db.begin().await.unwrap()
    }

    /// With dataset 1, job 1 that reads it, and models 1 and 2 that job 1 made.
    async fn filled() -> Self {
        let fixture = Self::new().await;
        let mut tx = fixture.begin().await;
        datasets::insert(&mut tx, &dataset(1)).await.unwrap();
        jobs::insert(&mut tx, &job(1)).await.unwrap();
        models::insert(&mut tx, &model(1)).await.unwrap();
        models::insert(&mut tx, &model(2)).await.unwrap();
        tx.commit().await.unwrap();
        fixture
    }
}

fn uuid(n: u128) -> Uuid {
    Uuid::from_u128(n)
}

fn figures(value: f64) -> serde_json::Map<String, serde_json::Value> {
    [("chrf".to_owned(), serde_json::json!(value)), ("名前".to_owned(), serde_json::json!(1))].into_iter().collect()
}

fn dataset(n: u32) -> Dataset {
    Dataset {
        id: DatasetId::from_uuid(uuid(n.into())),
        name: "tone".into(),
        version: n,
        description: "casual → polite; 'quoted'; 敬語".into(),
        dataset_type: DatasetType::Training,
        file_path: "/data/tone".into(),
        format: DatasetFormat::Jsonl,
        size_mb: 0.1 + 0.2,
        num_samples: 3_300,
        splits: vec![SplitInfo {
            name: SplitName::Train,
            file: "train.jsonl".into(),
            rows: 3_000,
            sha256: "ab".into(),
        }],
        num_problems: 4,
        shape: RowShape::PromptCompletion,
        mapping: ColumnMapping::PromptCompletion { prompt: "prompt".into(), completion: "completion".into() },
        sha256: format!("sha-{n}"),
        created_at_ms: 1_000 + i64::from(n),
    }
}

fn job(n: u32) -> Job {
    Job {
        id: JobId::from_uuid(uuid(n.into())),
        kind: JobKind::Train,
        name: format!("job {n}"),
        model_type: "tone_adjustment".into(),
        base_model: "/models/base".into(),
        dataset_id: Some(DatasetId::from_uuid(uuid(1))),
        model_id: None,
        status: JobStatus::Pending,
        config: serde_json::json!({"z": 1, "a": [1.5, null], "seed": u64::MAX}),
        hyperparameters: Hyperparameters { learning_rate: 1e-4 / 3.0, seed: u64::MAX, ..Hyperparameters::default() },
        progress: 0.25,
        metrics: figures(0.1 + 0.2),
        error_message: Some("It's full".into()),
        device: None,
        run_dir: format!("/runs/{n}"),
        queue_rank: i64::from(n),
        version: 0,
        created_at_ms: 1_000 + i64::from(n),
        started_at_ms: None,
        completed_at_ms: Some(5),
    }
}

fn model(n: u32) -> Model {
    Model {
        id: ModelId::from_uuid(uuid(n.into())),
        training_job_id: Some(JobId::from_uuid(uuid(1))),
        name: "polite".into(),
        version: n,
        model_type: "tone_adjustment".into(),
        base_model: "/models/base".into(),
        path: "/models/polite".into(),
        metrics: figures(87.5),
        status: ModelStatus::Draft,
        lineage: Lineage {
            finetuning_type: tb_core::recipe::FinetuningType::Lora,
            identity: "id".into(),
            base_sha256: "base".into(),
            dataset_id: Some(DatasetId::from_uuid(uuid(1))),
            data_sha256: "data".into(),
            parent: (n > 1).then(|| ModelId::from_uuid(uuid(u128::from(n) - 1))),
            seed: u64::MAX,
            code_version: "0.1.0".into(),
            step: 300,
        },
        files: vec![FileHash { path: "adapter_model.safetensors".into(), size_bytes: 12, sha256: "f".into() }],
        revision: 0,
        deployed_at_ms: None,
        created_at_ms: 1_000 + i64::from(n),
    }
}

fn export(n: u32) -> Export {
    let limits = ExportLimits::of(ExportFormat::GgufQ8_0, false);
    Export {
        id: ExportId::from_uuid(uuid(n.into())),
        model_id: ModelId::from_uuid(uuid(u128::from(n % 2) + 1)),
        path: "/exports/polite-v1-gguf_q8_0".into(),
        certificate: ExportCertificate {
            format: ExportFormat::GgufQ8_0,
            base: "/models/base".into(),
            adapter: Some("/runs/job/adapter".into()),
            samples: ExportSamples::Rows,
            rows: 64,
            positions: 1234,
            max_logit_difference: 0.123_456_789,
            mean_kl_nats: 1.5e-3,
            top1_agreement: 0.991,
            limits,
            passed: true,
            verdict: "within".into(),
            tokenizer: Some(TokenizerCertificate {
                pre: "gpt-2".into(),
                fit: TokenizerFit::Tried,
                texts: 65,
                differing: 0,
            }),
            files: vec![FileHash { path: "model-q8_0.gguf".into(), size_bytes: 1 << 40, sha256: "f".into() }],
        },
        created_at_ms: 1_000 + i64::from(n),
    }
}

fn evaluation(n: u32) -> Evaluation {
    let chrf = MetricValue { name: "chrf".into(), value: 87.123_456_789, interval: Some((85.0, 89.0)), n: 300 };
    Evaluation {
        id: EvalId::from_uuid(uuid(n.into())),
        job_id: JobId::from_uuid(uuid(1)),
        model_id: (n != 1).then(|| ModelId::from_uuid(uuid(1))),
        dataset_id: Some(DatasetId::from_uuid(uuid(1))),
        report: EvalReport {
            rows: 300,
            metrics: vec![chrf.clone()],
            groups: vec![GroupReport { name: "en".into(), rows: 150, metrics: vec![chrf] }],
            tokens_per_s: 512.5,
            data_sha256: "d".into(),
            items: None,
        },
        created_at_ms: 1_000 + i64::from(n),
    }
}

fn feedback(n: u32, rating: Option<u8>) -> Feedback {
    let corrected = n.is_multiple_of(2);
    Feedback {
        id: FeedbackId::from_uuid(uuid(n.into())),
        user_id: None,
        feedback_type: if rating.is_some() { FeedbackType::Rating } else { FeedbackType::Correction },
        source: FeedbackSource::Api,
        project_id: None,
        item_id: None,
        judgement: Judgement {
            session_id: "s-1".into(),
            model_id: Some(ModelId::from_uuid(uuid(1))),
            input_text: "gimme the report".into(),
            output_text: "Could you send me the report?".into(),
            corrected_text: corrected.then(|| "報告書をお送りください。".into()),
            transformation_type: "casual_to_polite".into(),
            rating: rating.map(|r| Rating::try_from(r).unwrap()),
            ..Judgement::default()
        },
        correction_distance: corrected.then_some(0.75),
        idempotency_key: None,
        created_at_ms: 1_000 + i64::from(n),
        withdrawn_at_ms: None,
        withdrawn_reason: None,
    }
}

fn ab_test(n: u32) -> AbTest {
    AbTest {
        id: AbTestId::from_uuid(uuid(n.into())),
        name: "polite 1 or 2".into(),
        model_a_id: ModelId::from_uuid(uuid(1)),
        model_b_id: ModelId::from_uuid(uuid(2)),
        traffic_split: 0.3,
        success_metrics: vec!["accepted".into(), "rating".into()],
        status: AbTestStatus::Active,
        winner: None,
        results: serde_json::json!({"p": 0.04}),
        revision: 0,
        created_at_ms: 1_000 + i64::from(n),
        completed_at_ms: None,
    }
}

fn deployment(n: u32, status: DeployStatus) -> Deployment {
    Deployment {
        id: DeploymentId::from_uuid(uuid(n.into())),
        name: "polite".into(),
        model_id: ModelId::from_uuid(uuid(1)),
        status,
        previous: (n > 1).then(|| DeploymentId::from_uuid(uuid(u128::from(n) - 1))),
        reason: "better".into(),
        created_at_ms: 1_000 + i64::from(n),
        live_at_ms: Some(7),
        ended_at_ms: None,
    }
}

fn user(n: u32, role: Role) -> User {
    let id = UserId::from_uuid(uuid(n.into()));
    User { id, name: format!("user {n}"), role, created_at_ms: 3, disabled_at_ms: None, last_seen_at_ms: None }
}

fn point(step: u64, loss: f64) -> StepPoint {
    StepPoint {
        step,
        epoch: step as f64 / 7.0,
        loss,
        grad_norm: 1.0 / 3.0,
        learning_rate: 5e-5,
        tokens: 512,
        num_tokens: 512 * step,
        tokens_per_s: 1_000.0,
        peak_memory_bytes: 1 << 40,
        eta_s: 12.5,
    }
}
