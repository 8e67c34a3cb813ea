//! Compares model folders with the logits that transformers gave for them, and writes each again.
//!
//! `cargo run -p tb-nn --example compare_logits -- DIR...`: DIR holds a checkpoint and golden.safetensors (ids, lengths, logits).
//! One line each: the folder, the largest differences of the full pass and of the pass through the cache, or why it was refused.
//! `DIR/again` receives the model as [`Decoder::save_full`] writes it.

#![allow(clippy::print_stdout)]

use candle_core::{DType, Device, Tensor};
use std::path::{Path, PathBuf};
use tb_nn::checkpoint::read_tensors;
use tb_nn::generate::cached_logits;
use tb_nn::{Batch, Decoder, Result};

fn main() {
    for dir in std::env::args_os().skip(1).map(PathBuf::from) {
        match compare(&dir) {
            Ok((full, cached)) => println!("{}\t{full:e}\t{cached:e}", dir.display()),
            Err(e) => println!("{}\t{e}", dir.display()),
        }
    }
}

fn compare(dir: &Path) -> Result<(f32, f32)> {
    let decoder = Decoder::load(dir, DType::F32, &Device::Cpu)?;
    let golden = read_tensors(&dir.join("golden.safetensors"), &Device::Cpu)?;
    let whole = |name: &str| golden[name].flatten_all()?.to_vec1::<i64>();
    let (_, width) = golden["ids"].dims2()?;
    let ids: Vec<u32> = whole("ids")?.into_iter().map(|v| v as u32).collect();
    let lengths: Vec<usize> = whole("lengths")?.into_iter().map(|v| v as usize).collect();
    let rows: Vec<Vec<u32>> = ids.chunks(width).zip(&lengths).map(|(ids, n)| ids[..*n].to_vec()).collect();
    let ours = decoder.logits(&Batch::from_ids(&rows, 0)?)?;
    let v = decoder.config().vocab_size;
    let mut full = 0f32;
    for (r, n) in lengths.iter().enumerate() {
        let part = |t: &Tensor| t.narrow(0, r, 1)?.narrow(1, 0, *n);
        full = worse(full, difference(&part(&ours)?, &part(&golden["logits"])?)?);
    }
    let cached = cached_logits(&decoder, &rows, 2)?;
    let mut off = 0f32;
    for (r, row) in rows.iter().enumerate() {
        let alone = decoder.logits(&Batch::from_ids(std::slice::from_ref(row), 0)?)?;
        let last = alone.narrow(1, row.len() - 1, 1)?.reshape((1, v))?;
        off = worse(off, difference(&cached.narrow(0, r, 1)?, &last)?);
    }
    decoder.save_full(&dir.join("again"), DType::F32)?;
    Ok((full, off))
}

fn difference(a: &Tensor, b: &Tensor) -> Result<f32> {
    let values = (a - b)?.abs()?.flatten_all()?.to_vec1::<f32>()?;
    Ok(values.into_iter().fold(0.0, worse))
}

/// As `max`, but a NaN stays.
fn worse(a: f32, b: f32) -> f32 {
    if a >= b || a.is_nan() { a } else { b }
}
