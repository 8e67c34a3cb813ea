//! A tuned model in another form: PEFT's adapter files, or the base with the adapter merged in, checked against the unmerged model.

use candle_core::DType;
use tb_core::run_folder::{Done, ExportFormat, ExportTask, Outcome, RunEventBody};
use tb_core::{ErrorCode, quantization};
use tb_nn::decoder::{AdapterUse, Batch, Decoder};

use crate::error::{Failure, Result};
use crate::protocol::Session;
use crate::{device, memory, output};

/// Largest difference of a logit that rounding the merged weights to their stored numbers may cause.
const TOLERANCE_F32: f64 = 1e-3;
const TOLERANCE_HALF: f64 = 0.5;

/// Runs an export task.
///
/// # Errors
/// No adapter, files that cannot be used, or a merged model that does not answer like the unmerged one.
pub fn run(session: &mut Session, task: &ExportTask) -> Result<()> {
    session.started(None)?;
    let Some(adapter) = &task.model.adapter else {
        return Err(Failure::new(ErrorCode::InvalidArgument, "Nothing was written: no adapter was named.")
            .hint("Name the adapter to export."));
    };
    refuse_occupied(&task.out)?;
    let device = device::open(&session.spec().device)?;
    // Unquantised, whatever the adapter was trained on: merged into a quantised base, a part of what it learned is forgotten.
    let mut decoder = Decoder::load(&task.model.base, DType::F32, &device)?;
    decoder.load_adapter(adapter, AdapterUse::Frozen)?;
    if let Some(parent) = task.out.parent() {
        std::fs::create_dir_all(parent)?;
    }
    let mut metrics = serde_json::Map::new();
    let listed = task.out.strip_prefix(session.folder()).unwrap_or(&task.out).to_string_lossy().replace('\\', "/");
    let files = output::write_folder(&task.out, &listed, |folder| match task.format {
        ExportFormat::Peft => {
            decoder.save_adapter(folder, &task.model.base.to_string_lossy())?;
            output::copy_if_there(adapter, folder, quantization::FILE)
        }
        ExportFormat::Merged => {
            let stored = stored_dtype(&task.model.base)?;
            let bytes = decoder.parameter_counts().total * stored.size_in_bytes() as u64;
            decoder.save_merged(folder, stored).map_err(|e| memory::blame_disk(e.into(), folder, bytes))?;
            output::copy_if_there(&task.model.base, folder, "generation_config.json")?;
            output::copy_tokenizer(&task.model.base, folder)?;
            let difference = difference(&decoder, &Decoder::load(folder, DType::F32, &device)?)?;
            let tolerance = if stored == DType::F32 { TOLERANCE_F32 } else { TOLERANCE_HALF };
            // A NaN is not within the tolerance either.
            if difference.is_nan() || difference > tolerance {
                let message = format!(
                    "Nothing was written: the merged model's logits differ by {difference:.4} from the tuned model's."
                );
                return Err(Failure::new(ErrorCode::DataInvalid, message).hint("Export as peft instead."));
            }
            metrics.insert("max_logit_difference".to_owned(), difference.into());
            Ok(())
        }
    })?;
    session.emit(RunEventBody::Done(Done { outcome: Outcome::Completed, step: 0, metrics, files }))?;
    session.sync()
}

/// The export takes the place of its folder, so that must hold nothing that could be lost.
fn refuse_occupied(folder: &std::path::Path) -> Result<()> {
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

/// The numbers in which the base is stored, as its configuration names them; f32 if it names none.
fn stored_dtype(base: &std::path::Path) -> Result<DType> {
    let config = tb_nn::checkpoint::read_json(&base.join("config.json"))?;
    let name = ["dtype", "torch_dtype"].iter().find_map(|key| config.get(*key)?.as_str());
    Ok(match name {
        Some("bfloat16") => DType::BF16,
        Some("float16") => DType::F16,
        Some(_) | None => DType::F32,
    })
}

/// The largest difference of any logit on a fixed row of tokens.
fn difference(tuned: &Decoder, merged: &Decoder) -> Result<f64> {
    let vocab = tuned.config().vocab_size as u32;
    let ids: Vec<u32> = (0..32).map(|i| (i * 97 + 5) % vocab).collect();
    let batch = Batch::from_ids(&[ids], 0)?;
    let gap = (tuned.logits(&batch)? - merged.logits(&batch)?)?.abs()?.flatten_all()?.max(0)?;
    Ok(f64::from(gap.to_scalar::<f32>()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_holds_something_is_never_replaced() {
        let dir = tempfile::tempdir().unwrap();
        assert!(refuse_occupied(&dir.path().join("new")).is_ok());
        assert!(refuse_occupied(dir.path()).is_ok());
        std::fs::write(dir.path().join("thesis.txt"), "x").unwrap();
        assert_eq!(refuse_occupied(dir.path()).unwrap_err().0.code, ErrorCode::Conflict);
        assert!(refuse_occupied(&dir.path().join("thesis.txt")).is_err());
    }
}
