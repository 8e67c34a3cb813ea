//! What is worth a second look in a form before it is sent. Each check says what it saw and, if it can, a better value.

use serde_json::{Value, json};
use tb_core::{decoder_config::DecoderConfig, run_folder::TrainTask};

use super::{FormCheck, FormCheckState, MemoryEstimate, rows::CutFigures};

/// Rates between which LoRA is usually trained; a tiny model takes more.
const USUAL_RATE: (f64, f64) = (1e-5, 5e-3);
/// Steps below which a curve says nothing.
const FEW_STEPS: u64 = 10;

/// What the checks look at.
pub(super) struct Seen<'a> {
    pub task: &'a TrainTask,
    pub config: &'a DecoderConfig,
    pub memory: &'a MemoryEstimate,
    pub rows: &'a CutFigures,
    pub total_steps: u64,
    pub trainable: u64,
    pub disk_free: Option<u64>,
}

/// Every check, the worst first.
pub(super) fn all(seen: &Seen<'_>) -> Vec<FormCheck> {
    let mut found = vec![memory(seen), disk(seen), rows(seen), cut_rows(seen), held_out(seen), steps(seen)];
    found.extend([context(seen), learning_rate(seen)].into_iter().flatten());
    found.sort_by_key(|check| check.state);
    found
}

fn check(state: FormCheckState, code: &str, message: String) -> FormCheck {
    FormCheck { state, code: code.into(), message, hint: None, field: None, suggestion: None }
}

impl FormCheck {
    fn hint(self, hint: &str) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    fn about(self, field: &str, suggestion: Option<Value>) -> Self {
        Self { field: Some(field.into()), suggestion, ..self }
    }
}

fn gib(bytes: u64) -> String {
    let gib = bytes as f64 / f64::from(1 << 30);
    if gib >= 1.0 { format!("{gib:.1} GiB") } else { format!("{:.0} MiB", gib * 1024.0) }
}

fn memory(seen: &Seen<'_>) -> FormCheck {
    let m = seen.memory;
    let said = format!("About {} at the peak, {} can be had on {}.", gib(m.total_bytes), gib(m.free_bytes), m.device);
    let rows = seen.task.hyperparameters.per_device_train_batch_size;
    let half = (rows > 1).then(|| json!(rows / 2));
    if !m.fits {
        check(FormCheckState::Bad, "memory", said)
            .hint("Halve the batch and double the accumulation: the result is the same. Or close other programs.")
            .about("per_device_train_batch_size", half)
    } else if m.high_bytes > m.free_bytes {
        check(FormCheckState::Warn, "memory", said)
            .hint("It is close: close other programs, or halve the batch and double the accumulation.")
            .about("per_device_train_batch_size", half)
    } else {
        check(FormCheckState::Ok, "memory", said)
    }
}

/// Checkpoints hold the trained weights and two moments each, in f32.
fn disk(seen: &Seen<'_>) -> FormCheck {
    let h = &seen.task.hyperparameters;
    let regular = if h.save_steps == 0 { 0 } else { seen.total_steps / u64::from(h.save_steps) };
    let kept = match u64::from(h.save_total_limit) {
        0 => regular + 1,
        limit => (regular + 1).min(limit + u64::from(h.load_best_model_at_end)),
    };
    // One more is written before an old one goes, and the result lies beside them.
    let needed = seen.trainable * 4 * (3 * (kept + 1) + 1);
    match seen.disk_free {
        Some(free) if free < needed => check(
            FormCheckState::Bad,
            "disk",
            format!("{kept} checkpoints need about {}, {} are free.", gib(needed), gib(free)),
        )
        .hint("Free some space, or keep fewer checkpoints.")
        .about("save_total_limit", Some(json!(1))),
        Some(free) => check(
            FormCheckState::Ok,
            "disk",
            format!("{kept} checkpoints need about {}, {} are free.", gib(needed), gib(free)),
        ),
        None => check(FormCheckState::Ok, "disk", format!("{kept} checkpoints need about {}.", gib(needed))),
    }
}

fn rows(seen: &Seen<'_>) -> FormCheck {
    let train = &seen.rows.train;
    if train.rows == 0 {
        let message =
            "No row can be learnt: nothing is left of them, or the chat template cannot render them.".to_owned();
        check(FormCheckState::Bad, "unusable_rows", message)
            .hint("Raise max_length, look at loss_on, or choose a model whose chat template fits the rows.")
            .about("max_length", (train.longest_uncut > 0).then(|| json!(train.longest_uncut)))
    } else if train.unusable > 0 {
        let message = format!("{} of {} rows are left out.", train.unusable, train.rows + train.unusable);
        check(FormCheckState::Warn, "unusable_rows", message)
            .hint("Nothing of them is left to learn after the cut, or the chat template cannot render them.")
            .about("max_length", None)
    } else {
        check(FormCheckState::Ok, "unusable_rows", format!("All {} rows can be learnt.", train.rows))
    }
}

fn cut_rows(seen: &Seen<'_>) -> FormCheck {
    let train = &seen.rows.train;
    if train.cut == 0 {
        return check(
            FormCheckState::Ok,
            "cut_rows",
            format!("No row is cut; the longest has {} tokens.", train.longest),
        );
    }
    let longest = train.longest_uncut;
    let suggestion = (longest <= seen.config.max_position_embeddings as u64).then(|| json!(longest));
    check(
        FormCheckState::Warn,
        "cut_rows",
        format!("{} of {} rows are cut: the longest has {longest} tokens.", train.cut, train.rows),
    )
    .hint("What is cut off is not learnt, not even the end of the answer.")
    .about("max_length", suggestion)
}

fn context(seen: &Seen<'_>) -> Option<FormCheck> {
    let context = seen.config.max_position_embeddings as u64;
    let longest = seen.rows.train.longest.max(seen.rows.eval.longest);
    (longest > context).then(|| {
        let message = format!("The longest row has {longest} tokens, but the model was made for {context}.");
        check(FormCheckState::Warn, "context", message)
            .hint("Cut the rows at the model's own length, or take a model with a longer one.")
            .about("max_length", Some(json!(context)))
    })
}

fn held_out(seen: &Seen<'_>) -> FormCheck {
    let h = &seen.task.hyperparameters;
    match (seen.task.eval_data.is_some(), seen.rows.eval.rows) {
        (true, 0) => check(FormCheckState::Bad, "held_out", "No held-out row can be used.".into())
            .hint("Raise max_length, or choose other held-out rows."),
        (true, rows) => check(FormCheckState::Ok, "held_out", format!("The loss is watched on {rows} held-out rows.")),
        (false, _) if h.load_best_model_at_end => {
            let message = "load_best_model_at_end needs held-out rows to find the best by.".to_owned();
            check(FormCheckState::Bad, "held_out", message)
                .hint("Choose a dataset with a validation split, or switch it off.")
                .about("load_best_model_at_end", Some(json!(false)))
        }
        (false, _) => {
            check(FormCheckState::Warn, "held_out", "No rows are held out: over-learning would not be seen.".into())
                .hint("Choose a dataset with a validation split.")
        }
    }
}

fn steps(seen: &Seen<'_>) -> FormCheck {
    let h = &seen.task.hyperparameters;
    let said = format!("{} steps over {} rows.", seen.total_steps, seen.rows.train.rows);
    if seen.total_steps >= FEW_STEPS || seen.rows.train.rows == 0 {
        return check(FormCheckState::Ok, "steps", said);
    }
    let rows = u64::from(h.per_device_train_batch_size) * u64::from(h.gradient_accumulation_steps);
    check(FormCheckState::Warn, "steps", said)
        .hint(&format!("One step takes {rows} rows: a smaller batch or more passes give more steps."))
        .about("num_train_epochs", None)
}

fn learning_rate(seen: &Seen<'_>) -> Option<FormCheck> {
    let rate = seen.task.hyperparameters.learning_rate;
    let (low, high) = USUAL_RATE;
    let message = if rate > high {
        format!("A learning rate of {rate} is high for an adapter: the loss may jump.")
    } else if rate < low {
        format!("A learning rate of {rate} is low for an adapter: little may be learnt.")
    } else {
        return None;
    };
    Some(check(FormCheckState::Warn, "learning_rate", message).about("learning_rate", Some(json!(2e-4))))
}
