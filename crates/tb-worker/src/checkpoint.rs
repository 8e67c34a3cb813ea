//! What a checkpoint holds (weights, AdamW's moments, the loop's counters) and how a run goes on from one. Atomicity is tb-data's.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{Device, Var};
use serde::{Deserialize, Serialize};
use tb_core::ErrorCode;
use tb_core::run_folder::{Best, CheckpointManifest, Level, RunEventBody, SCHEMA, names};
use tb_data::files::checkpoints;
use tb_nn::checkpoint::{read_tensors, write_tensors};
use tb_nn::optim::adamw::AdamW;

use crate::error::{Failure, Result};
use crate::memory;
use crate::protocol::Session;
use crate::recipes::Recipe;

const OPTIMIZER: &str = "optimizer.safetensors";
const STATE: &str = "trainer_state.json";

/// Everything that changes from step to step, besides weights and moments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TrainState {
    /// Steps finished, the skipped ones included.
    pub step: u64,
    /// Steps that AdamW took.
    pub optimizer_steps: u64,
    /// Real tokens learnt.
    pub num_tokens: u64,
    /// Sum of the losses of steps that were not skipped.
    pub loss_sum: f64,
    /// How many those are.
    pub losses: u64,
    /// Steps skipped in a row, up to now.
    pub skipped_in_a_row: u32,
    /// Lowest evaluation loss.
    pub best: Option<Best>,
    /// Evaluations since it fell.
    pub evals_without_progress: u32,
    /// Evaluation loss seen last.
    pub eval_loss: Option<f64>,
}

/// Writes a checkpoint and says so.
///
/// # Errors
/// Weights that are not finite (nothing is written then), or a disk that refuses.
pub fn write(session: &mut Session, recipe: &dyn Recipe, optimizer: &AdamW, state: &TrainState) -> Result<()> {
    let trainable = recipe.decoder().trainable();
    if let Some(name) = first_non_finite(&trainable)? {
        let message = format!("the weights of {name} are not finite after step {}.", state.step);
        return Err(Failure::new(ErrorCode::NotFinite, message)
            .hint("Lower learning_rate or max_grad_norm and start a new run, or resume from the checkpoint before."));
    }
    let draft = checkpoints::begin(session.run(), state.step)?;
    // The draft is deleted when it is dropped, and with it the evidence of a full disk: look before.
    let bytes = 8 * trainable.iter().map(|(_, var)| var.elem_count() as u64).sum::<u64>();
    fill(draft.dir(), recipe, optimizer, state).map_err(|f| memory::blame_disk(f, draft.dir(), bytes))?;
    let manifest = CheckpointManifest {
        schema: SCHEMA,
        step: state.step,
        // The commit fills in this and the files.
        spec_sha256: String::new(),
        events: session.last_event(),
        num_tokens: state.num_tokens,
        best: state.best,
        evals_without_progress: state.evals_without_progress,
        loss_sum: state.loss_sum,
        files: Vec::new(),
    };
    let folder = draft.commit(manifest)?;
    session.keeps(state.step);
    let size_bytes = folder_bytes(&folder)?;
    let name = folder.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    session.emit(RunEventBody::Checkpoint {
        step: state.step,
        path: format!("{}/{name}", names::CHECKPOINTS),
        size_bytes,
        is_best: state.best.is_some_and(|b| b.step == state.step),
    })?;
    session.sync()
}

fn fill(folder: &Path, recipe: &dyn Recipe, optimizer: &AdamW, state: &TrainState) -> Result<()> {
    recipe.write_weights(folder)?;
    write_tensors(&folder.join(OPTIMIZER), &optimizer.state()?, &BTreeMap::new())?;
    let text = serde_json::to_vec_pretty(state).map_err(|e| Failure::new(ErrorCode::Internal, e.to_string()))?;
    Ok(std::fs::write(folder.join(STATE), text)?)
}

/// Deletes the oldest checkpoints beyond `keep_last` (0 keeps all) except the best, and says which.
///
/// # Errors
/// A folder that cannot be deleted.
pub fn prune(session: &mut Session, keep_last: u32, best: Option<Best>) -> Result<()> {
    if keep_last == 0 {
        return Ok(());
    }
    for step in checkpoints::prune(session.run(), keep_last as usize, best.map(|b| b.step))? {
        session.emit(RunEventBody::CheckpointDeleted { step })?;
    }
    Ok(())
}

/// Puts weights and moments back as the newest whole checkpoint has them; `None` if there is none.
///
/// # Errors
/// A checkpoint that is whole but does not belong to these weights.
pub fn restore(session: &mut Session, recipe: &dyn Recipe, optimizer: &mut AdamW) -> Result<Option<TrainState>> {
    // A crash may have left a draft, or a checkpoint that was being deleted.
    checkpoints::remove_orphans(session.run())?;
    let found = checkpoints::newest_valid(session.run())?;
    for broken in &found.broken {
        session.note(
            Level::Warn,
            format!("The checkpoint from step {} was passed over: {}", broken.step, broken.reason),
        )?;
    }
    let Some((folder, manifest)) = found.checkpoint else { return Ok(None) };
    read_weights(&folder, recipe)?;
    let text = std::fs::read(folder.join(STATE))?;
    let state: TrainState = serde_json::from_slice(&text)
        .map_err(|e| Failure::new(ErrorCode::DataInvalid, format!("{}/{STATE}: {e}.", folder.display())))?;
    optimizer.load_state(&read_tensors(&folder.join(OPTIMIZER), &Device::Cpu)?, state.optimizer_steps)?;
    session.keeps(manifest.step);
    Ok(Some(state))
}

/// Puts the weights of the checkpoint of `step` back; `false` if there is no such checkpoint.
///
/// # Errors
/// Files that cannot be read or belong to other weights.
pub fn restore_weights_of(session: &Session, recipe: &dyn Recipe, step: u64) -> Result<bool> {
    let Some(found) = checkpoints::list(session.run())?.into_iter().find(|c| c.step == step) else {
        return Ok(false);
    };
    checkpoints::verify(session.run(), &found.path, step)?;
    read_weights(&found.path, recipe)?;
    Ok(true)
}

fn read_weights(folder: &Path, recipe: &dyn Recipe) -> Result<()> {
    let path = folder.join(recipe.weights_file());
    let stored = read_tensors(&path, recipe.decoder().device())?;
    for (name, var) in recipe.decoder().trainable() {
        let fits = stored.get(&name).filter(|t| t.dims() == var.dims() && t.dtype() == var.dtype());
        let tensor = fits.ok_or_else(|| {
            let message = format!("{}: tensor `{name}` is missing or of another shape.", path.display());
            Failure::new(ErrorCode::DataInvalid, message).hint("Delete this checkpoint and resume from the one before.")
        })?;
        var.set(tensor)?;
    }
    Ok(())
}

/// The first variable that holds a NaN or an infinity.
///
/// # Errors
/// A variable that cannot be read.
pub fn first_non_finite(variables: &[(String, Var)]) -> Result<Option<&str>> {
    for (name, var) in variables {
        // A sum of absolute values is finite exactly if each is, unless they are near the largest f32: then it is no use either.
        if !var
            .as_detached_tensor()
            .abs()?
            .sum_all()?
            .to_dtype(candle_core::DType::F32)?
            .to_scalar::<f32>()?
            .is_finite()
        {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

fn folder_bytes(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        bytes += entry?.metadata()?.len();
    }
    Ok(bytes)
}
