//! Writes the model of a Hugging Face folder as a GGUF file without a tokenizer, so that tests/golden/nn/check_gguf.py can try other
//! programs on models that have none. Exports for use come from `tonebridge export`.
//!
//!     cargo run -p tb-nn --example to_gguf -- FOLDER FILE.gguf f32|f16|q8_0|q4_k_m

use candle_core::{DType, Device};
use std::error::Error;
use std::path::Path;
use tb_core::gguf::Value;
use tb_nn::{Decoder, GgufFormat};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, file, format] = arguments.as_slice() else {
        return Err("usage: to_gguf FOLDER FILE.gguf f32|f16|q8_0|q4_k_m".into());
    };
    let format = match format.as_str() {
        "f32" => GgufFormat::F32,
        "f16" => GgufFormat::F16,
        "q8_0" => GgufFormat::Q8_0,
        "q4_k_m" => GgufFormat::Q4KM,
        other => return Err(format!("{other} is no format").into()),
    };
    let vocabulary = ("tokenizer.ggml.model".to_owned(), Value::Text("no_vocab".into()));
    let decoder = Decoder::load(Path::new(folder), DType::F32, &Device::Cpu)?;
    Ok(decoder.save_gguf(Path::new(file), format, "test", &[vocabulary])?)
}
