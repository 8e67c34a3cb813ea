//! Adapters on one base: what stays in memory, and that the base is the base.

use std::path::Path;

use candle_core::{DType, Device, Tensor};
use tb_core::quantization::{self, FourBitType, Quantization, Scales};
use tb_core::recipe::Dtype;
use tb_data::gguf;
use tb_data::sample::write_bundled;
use tb_nn::decoder::{AdapterUse, Batch};
use tb_nn::generate::Answering;
use tb_nn::{Flow, GgufFormat, LoraConfig, LoraInit, TargetModules};

use super::*;

fn load(dir: &Path) -> Load {
    Load { device: "cpu".into(), base: write_bundled(dir).unwrap().base, dtype: Dtype::Auto, quantization: None }
}

fn resident(load: &Load) -> Resident {
    let mut place = None;
    Resident::load_into(&mut place, load).unwrap();
    place.unwrap()
}

/// A random adapter on the sample's base.
fn write_adapter(load: &Load, folder: &Path, seed: u64) {
    let mut decoder = Decoder::load(&load.base, DType::F32, &Device::Cpu).unwrap();
    let config = LoraConfig {
        r: 2,
        target_modules: TargetModules::List(vec!["q_proj".into(), "down_proj".into()]),
        init: LoraInit::Random,
        ..LoraConfig::default()
    };
    decoder.add_lora(&config, seed).unwrap();
    decoder.save_adapter(folder, "base").unwrap();
}

fn logits(decoder: &Decoder) -> Vec<u32> {
    let batch = Batch::from_ids(&[vec![3, 40, 41, 42, 4]], 0).unwrap();
    let logits: Tensor = decoder.logits(&batch).unwrap();
    logits.flatten_all().unwrap().to_vec1::<f32>().unwrap().iter().map(|v| v.to_bits()).collect()
}

#[test]
fn adapters_come_and_go_and_the_base_keeps_its_bits() {
    let dir = tempfile::tempdir().unwrap();
    let load = load(dir.path());
    let base = logits(&Decoder::load(&load.base, DType::F32, &Device::Cpu).unwrap());
    let folders = [dir.path().join("a"), dir.path().join("b")];
    write_adapter(&load, &folders[0], 1);
    write_adapter(&load, &folders[1], 2);
    let mut resident = resident(&load);
    let held = folders.map(|folder| resident.adapter(&folder).unwrap());
    let tuned: Vec<Vec<u32>> = held.iter().map(|h| logits(resident.decoder(Some(h)))).collect();
    assert!(tuned[0] != base && tuned[1] != base && tuned[0] != tuned[1]);
    assert_eq!(logits(resident.decoder(None)), base);
    assert_eq!(logits(resident.decoder(Some(&held[0]))), tuned[0]);
    assert_eq!(logits(resident.decoder(Some(&held[1]))), tuned[1]);
    assert_eq!(logits(resident.decoder(None)), base);
}

#[test]
fn an_adapter_is_read_once_and_again_when_its_files_change() {
    let dir = tempfile::tempdir().unwrap();
    let load = load(dir.path());
    let folder = dir.path().join("adapter");
    write_adapter(&load, &folder, 1);
    let mut resident = resident(&load);
    let first = resident.adapter(&folder).unwrap();
    assert!(Arc::ptr_eq(&first, &resident.adapter(&folder).unwrap()));
    let before = logits(resident.decoder(Some(&first)));

    write_adapter(&load, &folder, 2);
    let later = SystemTime::now() + std::time::Duration::from_secs(5);
    let file = std::fs::OpenOptions::new().append(true).open(folder.join("adapter_model.safetensors")).unwrap();
    file.set_modified(later).unwrap();
    let second = resident.adapter(&folder).unwrap();
    assert_ne!(logits(resident.decoder(Some(&second))), before);
    assert_eq!(resident.adapters.len(), 1, "the old one leaves");

    std::fs::remove_file(folder.join("adapter_config.json")).unwrap();
    let failure = resident.adapter(&folder).err().unwrap();
    assert!(failure.0.code == ErrorCode::NotFound && failure.0.message.contains("adapter_config.json"), "{failure}");
}

#[test]
fn what_was_read_with_an_adapter_leaves_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let load = load(dir.path());
    let folder = dir.path().join("adapter");
    write_adapter(&load, &folder, 1);
    let mut resident = resident(&load);
    let prompt: Vec<u32> = (0..150).map(|t| 40 + t * 7 % 90).collect();
    let read = |resident: &mut Resident, adapter: Option<&Arc<Held>>| {
        let (decoder, mut shared) = resident.reading(adapter);
        Answering::begin(decoder, &prompt, GenerationConfig::default(), &mut shared, &mut || Flow::Continue).unwrap();
        resident.prefixes.bytes()
    };
    let first = resident.adapter(&folder).unwrap();
    let bare = read(&mut resident, None);
    let both = read(&mut resident, Some(&first));
    assert!(bare > 0 && both == 2 * bare, "{bare} {both}: each reading is kept for itself");
    assert_eq!(read(&mut resident, Some(&first)), both, "and once");

    write_adapter(&load, &folder, 2);
    let later = SystemTime::now() + std::time::Duration::from_secs(5);
    let file = std::fs::OpenOptions::new().append(true).open(folder.join("adapter_model.safetensors")).unwrap();
    file.set_modified(later).unwrap();
    let second = resident.adapter(&folder).unwrap();
    assert_eq!(resident.prefixes.bytes(), bare, "the base's own stays");
    assert_eq!(read(&mut resident, Some(&second)), both);
}

#[test]
fn the_adapter_used_longest_ago_leaves_first() {
    let dir = tempfile::tempdir().unwrap();
    let load = load(dir.path());
    let folder = |n: usize| dir.path().join(format!("adapter-{n}"));
    write_adapter(&load, &folder(0), 1);
    for n in 1..=KEPT_ADAPTERS {
        std::fs::create_dir(folder(n)).unwrap();
        for name in ["adapter_config.json", "adapter_model.safetensors"] {
            std::fs::copy(folder(0).join(name), folder(n).join(name)).unwrap();
        }
    }
    let mut resident = resident(&load);
    let first = resident.adapter(&folder(0)).unwrap();
    for n in 1..KEPT_ADAPTERS {
        resident.adapter(&folder(n)).unwrap();
    }
    assert!(Arc::ptr_eq(&first, &resident.adapter(&folder(0)).unwrap()), "all fit");
    resident.adapter(&folder(KEPT_ADAPTERS)).unwrap();
    assert_eq!(resident.adapters.len(), KEPT_ADAPTERS);
    assert!(Arc::ptr_eq(&first, &resident.adapter(&folder(0)).unwrap()), "it was used since the second one");
    assert!(resident.adapters.iter().all(|held| held.file.folder != folder(1)));
}

#[test]
fn an_adapter_answers_on_the_base_that_it_was_trained_on() {
    let dir = tempfile::tempdir().unwrap();
    let plain = load(dir.path());
    let nf4 = Quantization::FourBit { kind: FourBitType::Nf4, scales: Scales::Double, compute: Dtype::F32 };
    let four_bit = Load { quantization: Some(nf4), ..plain.clone() };
    let folder = dir.path().join("adapter");
    write_adapter(&plain, &folder, 1);
    std::fs::write(folder.join(quantization::FILE), nf4.to_json(Dtype::F32).to_string()).unwrap();
    let failure = resident(&plain).adapter(&folder).err().unwrap();
    assert!(failure.0.code == ErrorCode::Conflict && failure.0.message.contains("in another form"), "{failure}");
    let mut resident = resident(&four_bit);
    let held = resident.adapter(&folder).unwrap();
    let mut decoder = Decoder::load_as(&plain.base, DType::F32, Some(nf4), &Device::Cpu).unwrap();
    assert_eq!(logits(resident.decoder(None)), logits(&decoder));
    decoder.load_adapter(&folder, AdapterUse::Frozen).unwrap();
    assert_eq!(logits(resident.decoder(Some(&held))), logits(&decoder));
}

#[test]
fn a_base_in_q8_0_answers_as_if_it_were_expanded() {
    let dir = tempfile::tempdir().unwrap();
    let folder = load(dir.path());
    let base = dir.path().join("base.gguf");
    let original = Decoder::load(&folder.base, DType::F32, &Device::Cpu).unwrap();
    let fit = gguf::tokenizer_metadata(&folder.base, original.config().vocab_size, &[]).unwrap();
    original.save_gguf(&base, GgufFormat::Q8_0, "base", &fit.metadata).unwrap();
    let load = Load { base, ..folder };
    let adapter = dir.path().join("adapter");
    write_adapter(&load, &adapter, 1);
    let expanded = || Decoder::load(&load.base, DType::F32, &Device::Cpu).unwrap();
    let mut resident = resident(&load);
    let held = resident.adapter(&adapter).unwrap();
    let mut tuned = expanded();
    tuned.load_adapter(&adapter, AdapterUse::Frozen).unwrap();
    let config = GenerationConfig { max_new_tokens: 12, ..GenerationConfig::default() };
    let answer = |decoder: &Decoder| {
        tb_nn::generate(decoder, &[vec![3, 40, 41, 42, 4]], &config, &mut |_, _| Flow::Continue).unwrap()
    };
    assert_eq!(answer(resident.decoder(None)), answer(&expanded()));
    assert_eq!(answer(resident.decoder(Some(&held))), answer(&tuned));
    let failure = resident.decoder.add_lora(&LoraConfig::default(), 1).unwrap_err();
    assert!(failure.to_string().contains("loaded to answer"), "{failure}");
}

#[test]
fn a_worker_holds_one_base() {
    let dir = tempfile::tempdir().unwrap();
    let load = load(dir.path());
    let mut place = None;
    let loaded = Resident::load_into(&mut place, &load).unwrap();
    assert!(loaded.context == 160 && loaded.parameters > 3_000_000, "{loaded:?}");
    Resident::load_into(&mut place, &load).unwrap();
    let other = Load { dtype: Dtype::Bf16, ..load };
    assert_eq!(Resident::load_into(&mut place, &other).unwrap_err().0.code, ErrorCode::Conflict);
    let nowhere = Load { base: dir.path().join("nowhere"), ..other };
    let failure = Resident::load_into(&mut None, &nowhere).unwrap_err();
    assert!(failure.0.message.contains("nowhere"), "{failure}");
}
