//! A prompt has the same bits whatever is kept of it, whatever is read beside it and however it is cut: in every family, with adapters of every
//! kind, in every form of a base.

use crate::golden::{self, FAMILIES, TempDir};
use candle_core::{DType, Device};
use tb_core::quantization::{FourBitType, Quantization, Scales};
use tb_core::recipe::Dtype;
use tb_nn::generate::{Answering, Prefixes, Shared, Step, prompt_logits};
use tb_nn::{AdapterUse, Decoder, Flow, GenerationConfig, GgufFormat, LoraConfig, LoraInit, TargetModules, generate};

/// Room for everything that these tests keep.
const ROOM: usize = 1 << 28;

/// A text of no special meaning: `common` tokens that depend on nothing, and `own` that depend on the mark.
fn text(common: u32, own: u32, mark: u32) -> Vec<u32> {
    (0..common).map(|t| (t * 7 + t / 5) % 48).chain((0..own).map(|t| (mark * 31 + t * 11 + t / 3) % 48)).collect()
}

/// Prompts of which some begin alike, for one block and for several, and some are of a few tokens.
fn prompts() -> Vec<Vec<u32>> {
    let long = [(150, 40, 1), (150, 3, 2), (0, 100, 3), (90, 40, 4), (128, 16, 5), (128, 17, 6), (150, 40, 1)];
    let few = [(0, 4, 7), (9, 0, 0), (16, 0, 0), (17, 0, 0)];
    long.into_iter().chain(few).map(|(common, own, mark)| text(common, own, mark)).collect()
}

/// The bits of the logits after each prompt.
fn bits(decoder: &Decoder, prompts: &[Vec<u32>], shared: &mut Shared<'_>) -> Vec<Vec<u32>> {
    let logits = prompt_logits(decoder, prompts, shared).unwrap().to_vec2::<f32>().unwrap();
    logits.into_iter().map(|row| row.into_iter().map(f32::to_bits).collect()).collect()
}

/// Each prompt alone and with nothing kept, all of them beside each other, and each from what the others have left.
fn assert_alike(name: &str, decoder: &Decoder) {
    let prompts = prompts();
    let alone: Vec<_> =
        prompts.iter().flat_map(|p| bits(decoder, std::slice::from_ref(p), &mut Prefixes::new(0).of(0))).collect();
    let mut kept = Prefixes::new(ROOM);
    for (way, got) in [
        ("beside each other", bits(decoder, &prompts, &mut Prefixes::new(0).of(0))),
        ("and kept", bits(decoder, &prompts, &mut kept.of(0))),
        ("from what is kept", bits(decoder, &prompts, &mut kept.of(0))),
    ] {
        for (row, (got, alone)) in got.iter().zip(&alone).enumerate() {
            assert_eq!(got, alone, "{name}: prompt {row} {way}");
        }
    }
    for (row, prompt) in prompts.iter().enumerate() {
        let from_kept = bits(decoder, std::slice::from_ref(prompt), &mut kept.of(0));
        assert_eq!(from_kept[0], alone[row], "{name}: prompt {row} alone, from what is kept");
    }
}

fn adapter(decoder: &mut Decoder, r: usize) {
    let target_modules = TargetModules::AllLinear;
    decoder.add_lora(&LoraConfig { r, target_modules, init: LoraInit::Random, ..LoraConfig::default() }, 3).unwrap();
}

#[test]
fn every_family_reads_a_prompt_to_the_same_bits() {
    for family in FAMILIES {
        let mut decoder = golden::decoder(&format!("families/{family}"));
        assert_alike(family, &decoder);
        decoder.load_adapter(&golden::folder(&format!("families/{family}/lora")), AdapterUse::Frozen).unwrap();
        assert_alike(&format!("{family}, adapted"), &decoder);
    }
}

#[test]
fn every_kind_of_adapter_reads_a_prompt_to_the_same_bits() {
    for name in ["dora", "dora_ends", "lora_bias", "ends_tied", "save_head", "save_linear", "pissa", "olora"] {
        let place = format!("adapters/{name}");
        let base = golden::json(&place, "training.json")["base"].as_str().unwrap().to_owned();
        let mut decoder = golden::decoder(&base);
        decoder.load_adapter(&golden::folder(&place).join("start"), AdapterUse::Frozen).unwrap();
        assert_alike(name, &decoder);
    }
    for r in [1, 2, 8, 33, 64] {
        let mut decoder = golden::decoder("llama_tied");
        adapter(&mut decoder, r);
        assert_alike(&format!("rank {r}"), &decoder);
    }
}

#[test]
fn every_form_of_a_base_reads_a_prompt_to_the_same_bits() {
    let dir = TempDir::new();
    let folder = golden::folder("llama_tied");
    let four_bit = |compute| Quantization::FourBit { kind: FourBitType::Nf4, scales: Scales::Double, compute };
    for (dtype, form) in [
        (DType::BF16, None),
        (DType::F32, Some(four_bit(Dtype::F32))),
        (DType::BF16, Some(four_bit(Dtype::Bf16))),
        (DType::F32, Some(Quantization::EightBit)),
    ] {
        let mut decoder = Decoder::load_as(&folder, dtype, form, &Device::Cpu).unwrap();
        adapter(&mut decoder, 8);
        assert_alike(&format!("{dtype:?} {form:?}"), &decoder);
    }
    let (file, lora) = (dir.path().join("model.gguf"), dir.path().join("lora"));
    let mut original = golden::decoder("llama_tied");
    original.save_gguf(&file, GgufFormat::Q8_0, "own", &[]).unwrap();
    adapter(&mut original, 8);
    original.save_adapter(&lora, "own").unwrap();
    for dtype in [DType::F32, DType::BF16] {
        let mut decoder = Decoder::load_to_answer(&file, dtype, None, &Device::Cpu).unwrap();
        assert_alike("q8_0", &decoder);
        decoder.load_adapter(&lora, AdapterUse::Frozen).unwrap();
        assert_alike("q8_0, adapted", &decoder);
    }
}

#[test]
fn answers_are_those_of_each_prompt_alone() {
    // The second of these turns by other frequencies while it answers, and is read again.
    for name in ["llama_tied", "families/llama_longrope", "families/llama_dynamic", "families/mistral"] {
        let mut decoder = golden::decoder(name);
        adapter(&mut decoder, 33);
        let config = GenerationConfig { max_new_tokens: 20, temperature: 1.0, seed: 4, ..Default::default() };
        let quiet = &mut |_: usize, _: u32| Flow::Continue;
        let mut kept = Prefixes::new(ROOM);
        for prompt in prompts() {
            let alone = generate(&decoder, std::slice::from_ref(&prompt), &config, quiet).unwrap().remove(0);
            let mut answer =
                Answering::begin(&decoder, &prompt, config.clone(), &mut kept.of(1), &mut || Flow::Continue)
                    .unwrap()
                    .unwrap();
            let mut ids = Vec::new();
            while let Step::Token(id) = answer.step(&decoder).unwrap() {
                ids.push(id);
            }
            assert_eq!(ids, alone.ids, "{name}");
        }
        let greedy = GenerationConfig { temperature: 0.0, ..config };
        let together = generate(&decoder, &prompts(), &greedy, quiet).unwrap();
        for (prompt, together) in prompts().into_iter().zip(together) {
            assert_eq!(generate(&decoder, &[prompt], &greedy, quiet).unwrap(), [together], "{name}");
        }
    }
}

/// The way to see that kept numbers are used at all: those of another adapter, asked for under its name, make a difference.
#[test]
fn what_is_kept_is_used_and_belongs_to_its_adapter() {
    let (prompt, bare) = (&[text(150, 40, 1)], golden::decoder("llama_tied"));
    let mut tuned = golden::decoder("llama_tied");
    adapter(&mut tuned, 8);
    let own = bits(&bare, prompt, &mut Prefixes::new(0).of(0));
    let mut kept = Prefixes::new(ROOM);
    let begin = |decoder: &Decoder, shared: &mut Shared<'_>| {
        let go_on = &mut || Flow::Continue;
        Answering::begin(decoder, &prompt[0], GenerationConfig::default(), shared, go_on).unwrap().unwrap();
    };
    begin(&tuned, &mut kept.of(1));
    assert_eq!(kept.bytes() % (64 * 4), 0);
    assert!(kept.bytes() > 0);
    assert_eq!(bits(&bare, prompt, &mut kept.of(0)), own);
    assert_ne!(bits(&bare, prompt, &mut kept.of(1)), own, "the other adapter's");
    kept.forget(1);
    assert_eq!((kept.bytes(), bits(&bare, prompt, &mut kept.of(1))), (0, own));
}
