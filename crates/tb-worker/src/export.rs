//! A tuned model in another form: PEFT's adapter files, the merged base as safetensors, or one GGUF file. What was written is loaded
//! again and compared with the model it came from (`export/compare.rs`); the result lies beside it as a certificate.

mod compare;

use std::path::Path;

use candle_core::DType;
use tb_core::export::{CERTIFICATE, ExportCertificate, ExportLimits, TokenizerCertificate};
use tb_core::run_folder::{Done, ExportFormat, ExportTask, FileHash, Outcome, RunEventBody};
use tb_core::{ErrorCode, quantization};
use tb_data::gguf;
use tb_data::model_folder::{adapter_quantization, stored_weights};
use tb_data::tokenize::TextTokenizer;
use tb_nn::decoder::{AdapterUse, Decoder};
use tb_nn::{DEFAULT_SHARD_BYTES, GgufFormat, read_adapter_config};

use crate::error::{Failure, Result};
use crate::protocol::Session;
use crate::{device, memory, output};
use compare::Samples;

/// Stages of an export: the original answers the samples, the files are written, what was written is loaded and compared.
const STAGES: u64 = 3;
/// Name of a GGUF file in its folder.
const GGUF: &str = "model";

/// Runs an export task.
///
/// # Errors
/// Files that cannot be used, a form that cannot hold the model, or a written model that does not answer like the original.
pub fn run(session: &mut Session, task: &ExportTask) -> Result<()> {
    session.started(None)?;
    refuse_occupied(&task.out)?;
    session.emit(RunEventBody::Progress { done: 0, total: STAGES })?;
    let device = device::open(&session.spec().device)?;
    let decoder = load(task, None, &device)?;
    let tokenizer = TextTokenizer::load(&task.model.base)?;
    let samples = Samples::collect(task.sample.as_ref(), &tokenizer, decoder.config().vocab_size)?;
    if let Some(parent) = task.out.parent() {
        std::fs::create_dir_all(parent)?;
    }
    let mut certificate = None;
    let listed = task.out.strip_prefix(session.folder()).unwrap_or(&task.out).to_string_lossy().replace('\\', "/");
    let files = output::write_folder(&task.out, &listed, |folder| {
        let expected = samples.logits(&decoder)?;
        session.emit(RunEventBody::Progress { done: 1, total: STAGES })?;
        let (half, tokenizer) = write(task, decoder, &samples, folder)?;
        session.emit(RunEventBody::Progress { done: 2, total: STAGES })?;
        let written = load(task, Some(folder), &device)?;
        let found = samples.compare(&expected, &written)?;
        let limits = ExportLimits::of(task.format, half);
        let passed = limits.hold(&found);
        let verdict = found.verdict(task.format, &limits);
        // Rounding to a few bits costs what it costs; every other form must answer alike.
        if !passed && !is_quantised(task.format) {
            let message = format!("Nothing was written: {verdict}");
            return Err(Failure::new(ErrorCode::DataInvalid, message).hint("Export as peft instead."));
        }
        let made = ExportCertificate {
            format: task.format,
            base: task.model.base.display().to_string(),
            adapter: task.model.adapter.as_ref().map(|a| a.display().to_string()),
            samples: samples.source(),
            rows: samples.rows(),
            positions: found.positions,
            max_logit_difference: found.max_logit_difference,
            mean_kl_nats: found.mean_kl_nats,
            top1_agreement: found.top1_agreement,
            limits,
            passed,
            verdict,
            tokenizer,
            files: hashes(folder)?,
        };
        let value = serde_json::to_value(&made).map_err(|e| Failure::new(ErrorCode::Internal, e.to_string()))?;
        tb_nn::checkpoint::write_json(&folder.join(CERTIFICATE), &value)?;
        certificate = Some(made);
        Ok(())
    })?;
    let mut metrics = serde_json::Map::new();
    if let Some(c) = certificate {
        metrics.insert("max_logit_difference".to_owned(), c.max_logit_difference.into());
        metrics.insert("mean_kl_nats".to_owned(), c.mean_kl_nats.into());
        metrics.insert("top1_agreement".to_owned(), c.top1_agreement.into());
        metrics.insert("positions".to_owned(), c.positions.into());
        metrics.insert("within_limits".to_owned(), u64::from(c.passed).into());
    }
    session.emit(RunEventBody::Done(Done { outcome: Outcome::Completed, step: 0, metrics, files }))?;
    session.sync()
}

/// The model of the task, or what was written of it. The base is as its files hold it, whatever form it was trained in: merged into a
/// base that was rounded to 4 bits, a part of what the adapter learned is forgotten. Only LoftQ's adapter made up for the rounding, and
/// belongs to what it left.
fn load(task: &ExportTask, written: Option<&Path>, device: &candle_core::Device) -> Result<Decoder> {
    let (base, adapter) = match (written, task.format) {
        (None, _) => (task.model.base.clone(), task.model.adapter.clone()),
        (Some(folder), ExportFormat::Peft) => (task.model.base.clone(), Some(folder.to_owned())),
        (Some(folder), ExportFormat::Merged) => (folder.to_owned(), None),
        (Some(folder), ExportFormat::GgufF16 | ExportFormat::GgufQ8_0 | ExportFormat::GgufQ4KM) => {
            (folder.join(gguf_name(task.format)), None)
        }
    };
    let quantization = match &adapter {
        Some(adapter) if read_adapter_config(adapter)?.loftq.is_some() => adapter_quantization(adapter)?,
        Some(_) | None => None,
    };
    let mut decoder = Decoder::load_as(&base, DType::F32, quantization, device)?;
    if let Some(adapter) = &adapter {
        decoder.load_adapter(adapter, AdapterUse::Frozen)?;
    }
    Ok(decoder)
}

/// Writes the form into an empty folder. Gives whether its numbers have 16 bits where the form does not fix it, and how the tokenizer fits.
/// The decoder is dropped at the end: two models never lie in memory at once.
fn write(
    task: &ExportTask,
    decoder: Decoder,
    samples: &Samples,
    folder: &Path,
) -> Result<(bool, Option<TokenizerCertificate>)> {
    let base = &task.model.base;
    let format = match task.format {
        ExportFormat::Peft => {
            if task.model.adapter.is_none() {
                return Err(Failure::new(ErrorCode::InvalidArgument, "Nothing was written: no adapter was named.")
                    .hint("Name the adapter to export, or choose another form."));
            }
            decoder.save_adapter(folder, &base.to_string_lossy())?;
            if let Some(adapter) = &task.model.adapter {
                output::copy_if_there(adapter, folder, quantization::FILE)?;
            }
            return Ok((false, None));
        }
        ExportFormat::Merged => {
            let stored = stored_dtype(base)?;
            let bytes = decoder.parameter_counts().total * stored.size_in_bytes() as u64;
            let shard_bytes = task.shard_bytes.unwrap_or(DEFAULT_SHARD_BYTES);
            decoder
                .save_merged_in_shards(folder, stored, shard_bytes)
                .map_err(|e| memory::blame_disk(e.into(), folder, bytes))?;
            output::copy_if_there(base, folder, "generation_config.json")?;
            output::copy_tokenizer(base, folder)?;
            return Ok((stored != DType::F32, None));
        }
        ExportFormat::GgufF16 => GgufFormat::F16,
        ExportFormat::GgufQ8_0 => GgufFormat::Q8_0,
        ExportFormat::GgufQ4KM => GgufFormat::Q4KM,
    };
    let rows = decoder.config().vocab_size;
    let fit = gguf::tokenizer_metadata(base, rows, samples.texts())
        .map_err(|e| Failure::from(e).within("Nothing was written").hint("Export as merged instead."))?;
    let name = task.name.clone().unwrap_or_else(|| {
        let part = base.file_stem().filter(|_| gguf::is_gguf(base)).or_else(|| base.file_name());
        part.map_or_else(|| "model".to_owned(), |n| n.to_string_lossy().into_owned())
    });
    let path = folder.join(gguf_name(task.format));
    let bytes = decoder.parameter_counts().total * 2;
    decoder.save_gguf(&path, format, &name, &fit.metadata).map_err(|e| memory::blame_disk(e.into(), folder, bytes))?;
    // The same once more through the file: it must give the tokens that were promised.
    let back = TextTokenizer::load(&path)?;
    let differing = samples.differing_tokens(&back)?;
    if differing > fit.differing {
        let message = format!("Nothing was written: the file's tokenizer gives other tokens for {differing} texts.");
        return Err(Failure::new(ErrorCode::DataInvalid, message).hint("Export as merged instead."));
    }
    let tokenizer = TokenizerCertificate {
        pre: fit.pre,
        fit: fit.fit,
        texts: fit.texts.max(samples.texts().len()) as u32,
        differing: fit.differing.max(differing) as u32,
    };
    Ok((false, Some(tokenizer)))
}

fn gguf_name(format: ExportFormat) -> String {
    let numbers = format.as_str().strip_prefix("gguf_").unwrap_or_default();
    format!("{GGUF}-{numbers}.gguf")
}

const fn is_quantised(format: ExportFormat) -> bool {
    match format {
        ExportFormat::Peft | ExportFormat::Merged | ExportFormat::GgufF16 => false,
        ExportFormat::GgufQ8_0 | ExportFormat::GgufQ4KM => true,
    }
}

/// The files of a folder by name.
fn hashes(folder: &Path) -> Result<Vec<FileHash>> {
    let mut names: Vec<_> = std::fs::read_dir(folder)?.map(|e| e.map(|e| e.path())).collect::<std::io::Result<_>>()?;
    names.sort();
    names
        .iter()
        .map(|path| output::file_hash(path, path.file_name().unwrap_or_default().to_string_lossy().into_owned()))
        .collect()
}

/// The export takes the place of its folder, so that must hold nothing that could be lost.
fn refuse_occupied(folder: &Path) -> Result<()> {
    match std::fs::read_dir(folder).map(|mut entries| entries.next().is_none()) {
        Ok(true) => Ok(()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Ok(false) => {
            let message = format!("Nothing was written: {} exists already and is not empty.", folder.display());
            Err(Failure::new(ErrorCode::Conflict, message).hint("Choose a new folder."))
        }
        Err(e) => Err(Failure::from(e).within(format!("Nothing was written to {}", folder.display()))),
    }
}

/// The numbers in which a merged model is stored: those that the base's configuration names, f32 if it names none; of a GGUF file those of
/// most weights, f16 in place of blocks.
fn stored_dtype(base: &Path) -> Result<DType> {
    if gguf::is_gguf(base) {
        return Ok(match stored_weights(base)?.dtype.as_str() {
            "F32" => DType::F32,
            "BF16" => DType::BF16,
            _ => DType::F16,
        });
    }
    let config = tb_nn::checkpoint::read_json(&base.join("config.json"))?;
    let name = ["dtype", "torch_dtype"].iter().find_map(|key| config.get(*key)?.as_str());
    Ok(match name {
        Some("bfloat16") => DType::BF16,
        Some("float16") => DType::F16,
        Some(_) | None => DType::F32,
    })
}

#[cfg(test)]
mod tests;
