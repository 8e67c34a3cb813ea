//! Every form of a tuned sample model: what lies in its folder, what its certificate says, and what is refused.

use std::path::PathBuf;

use candle_core::{Device, Tensor};
use tb_core::export::{ExportSamples, TokenizerFit};
use tb_core::run_folder::{DataSource, ModelSource, RunSpec, SCHEMA, Task};
use tb_data::files::{RunFolder, sha256_file};
use tb_data::sample::write_bundled;
use tb_nn::checkpoint::{read_tensors, write_tensors};
use tb_nn::{LoraConfig, LoraInit, TargetModules};

use super::*;

struct Place {
    dir: tempfile::TempDir,
    base: PathBuf,
    adapter: PathBuf,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let base = write_bundled(dir.path()).unwrap().base;
        let adapter = dir.path().join("adapter");
        let mut decoder = Decoder::load(&base, DType::F32, &Device::Cpu).unwrap();
        let targets = TargetModules::List(vec!["q_proj".into(), "v_proj".into(), "down_proj".into()]);
        let config = LoraConfig { r: 4, target_modules: targets, init: LoraInit::Random, ..LoraConfig::default() };
        decoder.add_lora(&config, 3).unwrap();
        decoder.save_adapter(&adapter, "base").unwrap();
        Self { dir, base, adapter }
    }

    fn task(&self, format: ExportFormat) -> ExportTask {
        ExportTask {
            model: ModelSource { base: self.base.clone(), adapter: Some(self.adapter.clone()) },
            format,
            out: self.dir.path().join(format!("out-{format}")),
            sample: None,
            shard_bytes: None,
            name: Some("Tuned sample".into()),
        }
    }

    fn export(&self, task: &ExportTask) -> Result<ExportCertificate> {
        let folder = self.dir.path().join("runs").join(task.out.file_name().unwrap());
        let _ = std::fs::remove_dir_all(&folder);
        let spec =
            RunSpec { schema: SCHEMA, run_id: "once".into(), device: "cpu".into(), task: Task::Export(task.clone()) };
        RunFolder::create(&folder, &spec).unwrap();
        let mut session = Session::open(&folder).unwrap();
        run(&mut session, task)?;
        Ok(serde_json::from_slice(&std::fs::read(task.out.join(CERTIFICATE)).unwrap()).unwrap())
    }
}

#[test]
fn every_form_answers_like_the_model_it_came_from() {
    let place = Place::new();
    for format in ExportFormat::ALL {
        let task = place.task(*format);
        let made = place.export(&task).unwrap();
        assert!(made.passed, "{format}: {}; {made:?}", made.verdict);
        assert!(made.positions > 300 && made.rows == 24 && made.samples == ExportSamples::BuiltIn);
        assert!(!made.files.is_empty() && made.files.iter().all(|f| f.path != CERTIFICATE));
        for file in &made.files {
            assert_eq!(file.sha256, sha256_file(&task.out.join(&file.path)).unwrap(), "{format}: {}", file.path);
        }
        let lossy = is_quantised(*format);
        assert_eq!(made.max_logit_difference > 0.02, lossy, "{format}: {}", made.max_logit_difference);
        match &made.tokenizer {
            Some(tokenizer) => {
                assert_eq!((tokenizer.pre.as_str(), tokenizer.differing), ("gpt-2", 0));
                assert_eq!(tokenizer.fit, TokenizerFit::Tried);
                let name = format!("model-{}.gguf", &format.as_str()[5..]);
                assert_eq!(made.files[0].path, name);
                // A GGUF file is a base like any other, and leaves as any form again.
                let again = ExportTask {
                    model: ModelSource { base: task.out.join(name), adapter: None },
                    out: place.dir.path().join(format!("again-{format}")),
                    ..place.task(ExportFormat::Merged)
                };
                assert!(place.export(&again).unwrap().passed);
                assert!(again.out.join("tokenizer.json").is_file() && again.out.join("config.json").is_file());
            }
            None => assert!(matches!(format, ExportFormat::Peft | ExportFormat::Merged)),
        }
    }
}

#[test]
fn rows_of_a_file_are_compared_on_and_shards_are_read_back() {
    let place = Place::new();
    let rows: String = (0..5)
        .map(|i| format!("{{\"prompt\": \"- report {i} by Friday\", \"completion\": \"Please send report {i}.\"}}\n"))
        .collect();
    let path = place.dir.path().join("heldout.jsonl");
    std::fs::write(&path, rows).unwrap();
    let task = ExportTask {
        sample: Some(DataSource { path, mapping: None }),
        shard_bytes: Some(2_000_000),
        ..place.task(ExportFormat::Merged)
    };
    let made = place.export(&task).unwrap();
    assert_eq!((made.samples, made.rows), (ExportSamples::Rows, 5));
    let shards: Vec<_> = made.files.iter().filter(|f| f.path.ends_with(".safetensors")).collect();
    assert!(shards.len() > 3 && shards.iter().all(|f| f.size_bytes < 2_100_000), "{shards:?}");
    assert_eq!(shards[0].path, format!("model-00001-of-{:05}.safetensors", shards.len()));
    assert!(made.files.iter().any(|f| f.path == "model.safetensors.index.json"));
}

#[test]
fn a_model_trained_as_a_whole_leaves_in_every_form_but_as_an_adapter() {
    let place = Place::new();
    let task =
        |format| ExportTask { model: ModelSource { base: place.base.clone(), adapter: None }, ..place.task(format) };
    for format in [ExportFormat::Merged, ExportFormat::GgufF16] {
        assert!(place.export(&task(format)).unwrap().passed, "{format}");
    }
    let refused = place.export(&task(ExportFormat::Peft)).unwrap_err();
    assert_eq!(refused.0.code, ErrorCode::InvalidArgument, "{refused}");
}

#[test]
fn an_adapter_that_is_not_finite_leaves_nothing_behind() {
    let place = Place::new();
    let file = place.adapter.join("adapter_model.safetensors");
    let mut tensors: Vec<(String, Tensor)> = read_tensors(&file, &Device::Cpu).unwrap().into_iter().collect();
    tensors.sort_by(|a, b| a.0.cmp(&b.0));
    let last = tensors.len() - 1;
    tensors[last].1 = (&tensors[last].1 * f64::NAN).unwrap();
    write_tensors(&file, &tensors, &Default::default()).unwrap();
    for format in ExportFormat::ALL {
        let task = place.task(*format);
        let failure = place.export(&task).unwrap_err();
        assert_eq!(failure.0.code, ErrorCode::DataInvalid, "{format}: {failure}");
        assert!(failure.0.message.contains("finite"), "{format}: {failure}");
        assert!(!task.out.exists());
    }
}

#[test]
fn a_folder_that_holds_something_is_never_replaced() {
    let dir = tempfile::tempdir().unwrap();
    assert!(refuse_occupied(&dir.path().join("new")).is_ok());
    assert!(refuse_occupied(dir.path()).is_ok());
    std::fs::write(dir.path().join("thesis.txt"), "x").unwrap();
    assert_eq!(refuse_occupied(dir.path()).unwrap_err().0.code, ErrorCode::Conflict);
    assert!(refuse_occupied(&dir.path().join("thesis.txt")).is_err());
}
