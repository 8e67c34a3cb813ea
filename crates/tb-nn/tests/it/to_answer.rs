//! A base that was loaded to answer keeps the q8_0 blocks of its file: the numbers of the expanded one, with and without adapters of every
//! kind, and refusals of all that is not an answer.

use crate::golden::{self, TempDir, max_difference};
use candle_core::{DType, Device, Tensor};
use std::path::Path;
use tb_nn::decoder::bytes_to_answer;
use tb_nn::generate::cached_logits;
use tb_nn::{AdapterUse, Batch, Decoder, GgufFormat, LoraConfig, Row};

/// With AVX-512 all numbers are the same bits; elsewhere products with blocks are sums in another order.
const LIMIT: f32 = 1e-5;

/// Adapters of `tests/golden/nn/adapters`, one for each place where the base's weight is read.
const ADAPTERS: [&str; 10] = [
    "dora",
    "dora_ends",
    "lora_bias",
    "ends_tied",
    "ends_untied",
    "save_head",
    "save_embedding",
    "save_linear",
    "pissa",
    "olora",
];

fn both(file: &Path, dtype: DType) -> [Decoder; 2] {
    [
        Decoder::load_as(file, dtype, None, &Device::Cpu).unwrap(),
        Decoder::load_to_answer(file, dtype, None, &Device::Cpu).unwrap(),
    ]
}

/// Rows of no special meaning, so many that their product is not one for a few rows.
fn rows(vocab: u32) -> Vec<Vec<u32>> {
    (0..3).map(|row| (0..9 + row).map(|t| (row * 31 + t * 7) % vocab).collect()).collect()
}

/// Logits of full passes and of decoding by the cache, log-probabilities, and the loss.
fn numbers(decoder: &Decoder) -> [Tensor; 4] {
    let rows = rows(decoder.config().vocab_size as u32);
    let batch = Batch::from_ids(&rows, 0).unwrap();
    let supervised: Vec<Row> =
        rows.iter().map(|ids| Row { ids: ids.clone(), labels: ids.iter().map(|id| *id as i32).collect() }).collect();
    let supervised = Batch::from_rows(&supervised, 0).unwrap();
    let logprobs = decoder.token_logprobs(&supervised).unwrap().concat();
    [
        decoder.logits(&batch).unwrap(),
        cached_logits(decoder, &rows, 4).unwrap(),
        Tensor::new(logprobs, &Device::Cpu).unwrap(),
        decoder.loss(&supervised, tb_nn::Pass::Eval).unwrap(),
    ]
}

fn assert_alike(name: &str, [expanded, kept]: &[Decoder; 2], limit: f32) {
    for (at, (expanded, kept)) in numbers(expanded).iter().zip(&numbers(kept)).enumerate() {
        let size = golden::floats(expanded).into_iter().fold(1f32, |m, v| m.max(v.abs()));
        let difference = max_difference(expanded, kept) / size;
        eprintln!("{name} {at}: {difference:e}");
        assert!(difference <= limit, "{name} {at}: {difference}");
    }
}

#[test]
fn the_numbers_are_those_of_the_expanded_base() {
    let dir = TempDir::new();
    let own = dir.path().join("model.gguf");
    golden::decoder("llama_tied").save_gguf(&own, GgufFormat::Q8_0, "own", &[]).unwrap();
    let gguf = |name: &str| golden::folder("gguf").join(name);
    for file in [gguf("qwen2_q8_0.gguf"), gguf("types.gguf"), gguf("llama_f16.gguf"), own] {
        let name = file.display().to_string();
        assert_alike(&name, &both(&file, DType::F32), LIMIT);
        // Expanded to bf16 a weight is rounded; in its blocks it is not, where few rows meet it.
        assert_alike(&name, &both(&file, DType::BF16), 3e-2);
    }
    // A folder has no blocks to keep.
    let folder = golden::folder("qwen2");
    assert_alike("folder", &both(&folder, DType::F32), 0.0);
}

#[test]
fn adapters_of_every_kind_work_on_it() {
    let dir = TempDir::new();
    for name in ADAPTERS {
        let place = format!("adapters/{name}");
        let base = golden::json(&place, "training.json")["base"].as_str().unwrap().to_owned();
        let file = dir.path().join(format!("{base}.gguf"));
        if !file.exists() {
            golden::decoder(&base).save_gguf(&file, GgufFormat::Q8_0, &base, &[]).unwrap();
        }
        let mut adapter = golden::folder(&place).join("start");
        if name.contains("ends") {
            // PEFT wrote the embedding that it belongs to beside it, which q8_0 has rounded since.
            let mut decoder = golden::decoder(&base);
            decoder.load_adapter(&adapter, AdapterUse::Frozen).unwrap();
            adapter = dir.path().join(name);
            decoder.save_adapter(&adapter, &base).unwrap();
        }
        let mut decoders = both(&file, DType::F32);
        let bare = numbers(&decoders[1]);
        for decoder in &mut decoders {
            decoder.load_adapter(&adapter, AdapterUse::Frozen).unwrap();
        }
        assert_alike(name, &decoders, LIMIT);
        assert!(max_difference(&numbers(&decoders[1])[0], &bare[0]) > 1e-4, "{name} changes nothing");
        decoders[1].wear(None);
        assert_eq!(golden::floats(&numbers(&decoders[1])[0]), golden::floats(&bare[0]), "{name} is taken off");
    }
}

#[test]
fn its_size_is_known_before_it_is_loaded() {
    let dir = TempDir::new();
    let decoder = golden::decoder("llama_tied");
    let weights = decoder.config().parameter_count();
    let size = |format: GgufFormat, dtype: DType| {
        let file = dir.path().join("model.gguf");
        decoder.save_gguf(&file, format, "own", &[]).unwrap();
        bytes_to_answer(&file, dtype).unwrap()
    };
    assert_eq!(size(GgufFormat::F32, DType::F32), 4 * weights);
    assert_eq!(size(GgufFormat::F16, DType::BF16), 2 * weights);
    let kept = size(GgufFormat::Q8_0, DType::F32);
    // Norms, and down projections whose rows are no whole blocks, take four bytes; the others one and a sixteenth.
    assert!(kept < 2 * weights && kept > weights * 17 / 16, "{kept} of {weights}");
    assert_eq!(bytes_to_answer(&golden::folder("llama_tied"), DType::F32).unwrap(), 4 * weights);
}

#[test]
fn it_only_answers() {
    let dir = TempDir::new();
    let adapter = golden::folder("peft_llama").join("start");
    let file = dir.path().join("model.gguf");
    golden::decoder("llama_tied").save_gguf(&file, GgufFormat::Q8_0, "own", &[]).unwrap();
    let load = || Decoder::load_to_answer(&file, DType::F32, None, &Device::Cpu).unwrap();
    let mut worn = load();
    worn.load_adapter(&adapter, AdapterUse::Frozen).unwrap();
    let refused = [
        load().add_lora(&LoraConfig::default(), 1).err(),
        load().load_adapter(&adapter, AdapterUse::Trained).err(),
        load().train_all().err(),
        load().save_full(dir.path(), DType::F32).err(),
        worn.save_merged(dir.path(), DType::F32).err(),
        worn.save_gguf(&dir.path().join("again.gguf"), GgufFormat::F32, "again", &[]).err(),
        worn.merge_adapter().err(),
    ];
    for (at, error) in refused.into_iter().enumerate() {
        let error = error.map_or_else(|| panic!("{at} is not refused"), |e| e.to_string());
        assert!(error.contains("loaded to answer"), "{error}");
    }
}
