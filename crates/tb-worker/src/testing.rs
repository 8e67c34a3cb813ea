//! For unit tests: a tiny random model, rows of random tokens, and a session on a run folder in a temporary place.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use serde_json::json;
use tb_core::random::{Purpose, Stream};
use tb_core::recipe::{Hyperparameters, Method, TargetModules};
use tb_core::run_folder::{
    DataSource, ModelSource, RunEvent, RunEventBody, RunSpec, SCHEMA, StepPoint, Task, TrainTask,
};
use tb_data::files::RunFolder;
use tb_nn::decoder::{Batch, Decoder, DecoderConfig, IGNORED, Pass, Row};

use crate::batches::Grouping;
use crate::error::Result;
use crate::models;
use crate::protocol::Session;
use crate::recipes::{Recipe, sft::Sft};
use crate::rows::{Rows, Samples, TrainingRows};

pub const VOCABULARY: u32 = 24;

/// A random Llama of two blocks.
pub fn config() -> DecoderConfig {
    DecoderConfig::from_json(&json!({
        "model_type": "llama", "vocab_size": VOCABULARY, "hidden_size": 16, "intermediate_size": 24,
        "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1,
        "max_position_embeddings": 32, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": true,
        "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0
    }))
    .unwrap()
}

/// Writes that model as a folder.
pub fn write_base(folder: &Path) {
    Decoder::init(config(), 3, 0.2, &Device::Cpu).unwrap().save_full(folder, DType::F32).unwrap();
}

/// Rows of 4 to 11 random tokens, the later ones supervised.
pub fn rows(n: usize, seed: u64) -> Vec<Row> {
    let mut stream = Stream::new(seed, 0, Purpose::Grammar, 0);
    (0..n)
        .map(|_| {
            let ids: Vec<u32> =
                (0..4 + stream.below(8)).map(|_| 3 + stream.below(u64::from(VOCABULARY) - 3) as u32).collect();
            let labels = ids.iter().enumerate().map(|(t, id)| if t < 2 { IGNORED } else { *id as i32 }).collect();
            Row { ids, labels }
        })
        .collect()
}

/// The defaults with micro-batches of so many rows, and so many of them per step.
pub fn micro_batches(rows: u32, accumulation: u32) -> Hyperparameters {
    Hyperparameters {
        per_device_train_batch_size: rows,
        gradient_accumulation_steps: accumulation,
        ..Hyperparameters::default()
    }
}

/// Settings of a short run: 12 steps of 4 rows, a checkpoint every third.
pub fn settings() -> Hyperparameters {
    Hyperparameters {
        lora_r: 2,
        lora_alpha: 8.0,
        lora_dropout: 0.1,
        target_modules: TargetModules::Pattern("all-linear".into()),
        learning_rate: 5e-3,
        max_steps: 12,
        per_device_train_batch_size: 2,
        gradient_accumulation_steps: 2,
        per_device_eval_batch_size: 4,
        warmup_steps: 2,
        save_steps: 3,
        eval_steps: 4,
        gradient_checkpointing: false,
        ..Hyperparameters::default()
    }
}

/// A recipe for fine-tuning that model.
pub fn recipe(base: &Path, h: &Hyperparameters) -> Sft {
    let source = ModelSource { base: base.to_owned(), adapter: None };
    let decoder = models::fine_tuned(&source, h, "cpu").unwrap();
    // Held-out rows from the same twenty: what makes the one loss fall makes the other fall.
    let rows = || {
        let samples = Samples::Held(rows(20, 1));
        if h.packing { Rows::packed(samples, h.max_length) } else { Rows::single(samples) }
    };
    let data = TrainingRows { rows: rows(), eval_rows: rows(), pad_id: 0 };
    Sft::new(decoder, data.into(), Grouping::AsTheyCome, base.to_owned())
}

/// A temporary place with a base model and run folders.
pub struct Place {
    _dir: tempfile::TempDir,
    path: PathBuf,
}

impl Place {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().to_owned();
        write_base(&path.join("base"));
        Self { _dir: dir, path }
    }

    pub fn base(&self) -> PathBuf {
        self.path.join("base")
    }

    pub fn run(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// A new run folder.
    pub fn create(&self, name: &str, h: &Hyperparameters) -> Session {
        let spec = RunSpec {
            schema: SCHEMA,
            run_id: name.to_owned(),
            device: "cpu".to_owned(),
            task: Task::Train(Box::new(TrainTask {
                method: Method::Sft,
                model: ModelSource { base: self.base(), adapter: None },
                data: DataSource { path: self.path.join("train.jsonl"), mapping: None },
                eval_data: None,
                hyperparameters: h.clone(),
            })),
        };
        RunFolder::create(&self.run(name), &spec).unwrap();
        self.open(name)
    }

    /// The run folder again, as after a crash.
    pub fn open(&self, name: &str) -> Session {
        Session::open(&self.run(name)).unwrap()
    }
}

/// The events of a run folder; their numbers must have no gap.
pub fn events(session: &Session) -> Vec<RunEvent> {
    let events = session.run().events_after(0).unwrap();
    for (i, event) in events.iter().enumerate() {
        assert_eq!(event.n, i as u64 + 1);
    }
    events
}

/// The points of a run's curve, the last one of each step.
pub fn points(session: &Session) -> Vec<StepPoint> {
    let mut by_step = std::collections::BTreeMap::new();
    for event in events(session) {
        if let RunEventBody::Step(point) = event.body {
            by_step.insert(point.step, point);
        }
    }
    by_step.into_values().collect()
}

/// The bits of the weights in training.
pub fn bits(recipe: &dyn Recipe) -> Vec<(String, Vec<u32>)> {
    let flat = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap().iter().map(|v| v.to_bits()).collect();
    recipe.decoder().trainable().iter().map(|(name, var)| (name.clone(), flat(var.as_tensor()))).collect()
}

/// A recipe whose loss is changed, or fails, at chosen steps.
pub struct Faulty<F> {
    pub inner: Sft,
    pub fault: F,
}

/// A recipe that looks at each batch before it is computed.
pub struct Watched<F> {
    pub inner: Sft,
    pub look: F,
}

impl<F: Fn(Pass, &Batch) -> Result<()>> Recipe for Watched<F> {
    fn decoder(&self) -> &Decoder {
        self.inner.decoder()
    }

    fn data(&self) -> &Arc<TrainingRows> {
        self.inner.data()
    }

    fn loss(&self, batch: &Batch, pass: Pass) -> Result<Tensor> {
        (self.look)(pass, batch)?;
        self.inner.loss(batch, pass)
    }

    fn grouping(&self) -> Grouping {
        self.inner.grouping()
    }

    fn result_folder(&self) -> &'static str {
        self.inner.result_folder()
    }

    fn write_result(&self, folder: &Path) -> Result<()> {
        self.inner.write_result(folder)
    }

    fn weights_file(&self) -> &'static str {
        self.inner.weights_file()
    }

    fn write_weights(&self, folder: &Path) -> Result<()> {
        self.inner.write_weights(folder)
    }
}

impl<F: Fn(u64, Tensor) -> Result<Tensor>> Recipe for Faulty<F> {
    fn decoder(&self) -> &Decoder {
        self.inner.decoder()
    }

    fn data(&self) -> &Arc<TrainingRows> {
        self.inner.data()
    }

    fn loss(&self, batch: &Batch, pass: Pass) -> Result<Tensor> {
        let loss = self.inner.loss(batch, pass)?;
        match pass {
            Pass::Train { step, .. } => (self.fault)(step, loss),
            Pass::Eval => Ok(loss),
        }
    }

    fn grouping(&self) -> Grouping {
        self.inner.grouping()
    }

    fn result_folder(&self) -> &'static str {
        self.inner.result_folder()
    }

    fn write_result(&self, folder: &Path) -> Result<()> {
        self.inner.write_result(folder)
    }

    fn weights_file(&self) -> &'static str {
        self.inner.weights_file()
    }

    fn write_weights(&self, folder: &Path) -> Result<()> {
        self.inner.write_weights(folder)
    }
}
