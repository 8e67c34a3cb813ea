//! Writes a random adapter, a merged model and a pretrained model, and an adapter of every kind, with our logits of them, for
//! tests/golden/nn/check_adapter.py.
//!
//!     cargo run -p tb-nn --example adapter_for_peft -- OUT

use candle_core::{DType, Device, Tensor};
use std::collections::BTreeMap;
use std::error::Error;
use std::path::{Path, PathBuf};
use tb_nn::checkpoint::{read_json, read_tensors, write_tensors};
use tb_nn::{Batch, Decoder, LoraConfig, LoraInit, ScalingRule, TargetModules};

fn main() -> Result<(), Box<dyn Error>> {
    let out = PathBuf::from(std::env::args().nth(1).ok_or("usage: adapter_for_peft OUT")?);
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/nn");
    let regex = TargetModules::Regex(r".*layers\.1\..*(q|o|up)_proj".into());
    for (base, targets, rule) in [
        ("llama_tied", TargetModules::AllLinear, ScalingRule::RankStabilised),
        ("llama_scaled", regex, ScalingRule::AlphaOverR),
        ("qwen2", TargetModules::List(vec!["v_proj".into(), "down_proj".into()]), ScalingRule::AlphaOverR),
    ] {
        let model = golden.join(base);
        let batch = batch(&model)?;
        let mut decoder = Decoder::load(&model, DType::F32, &Device::Cpu)?;
        let config = LoraConfig {
            r: 3,
            lora_alpha: 7.0,
            target_modules: targets,
            scaling_rule: rule,
            init: LoraInit::Random,
            ..LoraConfig::default()
        };
        decoder.add_lora(&config, 42)?;
        let dir = out.join(base);
        decoder.save_adapter(&dir.join("adapter"), base)?;
        decoder.save_merged(&dir.join("merged"), DType::F32)?;
        save(&dir.join("adapter_logits.safetensors"), &decoder, &batch)?;
        let random = Decoder::init(tb_nn::decoder::read_config(&model)?, 1, 0.2, &Device::Cpu)?;
        random.save_full(&dir.join("full"), DType::F32)?;
        save(&dir.join("full_logits.safetensors"), &random, &batch)?;
    }
    for entry in std::fs::read_dir(golden.join("adapters"))? {
        kind(&entry?.path(), &golden, &out)?;
    }
    Ok(())
}

/// A fresh adapter of the kind of a golden one, with every number moved, saved and merged.
fn kind(folder: &Path, golden: &Path, out: &Path) -> Result<(), Box<dyn Error>> {
    let base = read_json(&folder.join("training.json"))?["base"].as_str().ok_or("no base")?.to_owned();
    let config = LoraConfig::from_json(&read_json(&folder.join("start/adapter_config.json"))?)?;
    let model = golden.join(&base);
    let mut decoder = Decoder::load(&model, DType::F32, &Device::Cpu)?;
    decoder.add_lora(&config, 42)?;
    for (at, (_, var)) in decoder.trainable().into_iter().enumerate() {
        let noise = Tensor::arange(0f32, var.elem_count() as f32, &Device::Cpu)?;
        let noise = (noise + at as f64)?.sin()?.reshape(var.dims())?;
        var.set(&(var.as_tensor() + (noise * 0.05)?)?)?;
    }
    let dir = out.join("kinds").join(folder.file_name().ok_or("no name")?);
    decoder.save_adapter(&dir.join("adapter"), &base)?;
    decoder.save_merged(&dir.join("merged"), DType::F32)?;
    save(&dir.join("adapter_logits.safetensors"), &decoder, &batch(&model)?)
}

/// The ids of the model's golden file, without padding: one row.
fn batch(model: &Path) -> Result<Batch, Box<dyn Error>> {
    let ids = &read_tensors(&model.join("golden.safetensors"), &Device::Cpu)?["ids"];
    let longest: Vec<i64> = ids.narrow(0, 2, 1)?.flatten_all()?.to_vec1()?;
    Ok(Batch::from_ids(&[longest.into_iter().map(|v| v as u32).collect()], 0)?)
}

fn save(path: &Path, decoder: &Decoder, batch: &Batch) -> Result<(), Box<dyn Error>> {
    let ids: Vec<i64> = batch.ids.iter().map(|v| i64::from(*v)).collect();
    let tensors = [
        ("ids".to_owned(), Tensor::from_vec(ids, (batch.rows, batch.width), &Device::Cpu)?),
        ("logits".to_owned(), decoder.logits(batch)?),
    ];
    Ok(write_tensors(path, &tensors, &BTreeMap::new())?)
}
