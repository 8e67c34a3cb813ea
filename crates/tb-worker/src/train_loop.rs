//! The one train loop: accumulates, clips, steps, logs, evaluates, saves, prunes, pauses, stops and resumes. What is learnt is the recipe's.
//!
//! The loss of a step is the sum over the supervised tokens of all its micro-batches divided by their number, as in transformers.
//! Everything a step does is a function of the spec and the step's number, so a killed and resumed run ends with the same bits.

use std::sync::Arc;
use std::time::Instant;

use candle_core::Var;
use tb_core::ErrorCode;
use tb_core::recipe::{Hyperparameters, Optim, SchedulerType};
use tb_core::run_folder::{
    Best, Control, EvalPoint, Incident, IncidentKind, Level, MicroBatches, Outcome, RunEventBody, StepPoint, Want,
};
use tb_nn::decoder::{Batch, Pass};
use tb_nn::optim::adamw::{AdamW, AdamWConfig, Moments};
use tb_nn::optim::schedule::{Schedule, ScheduleKind};
use tb_nn::optim::{Gradients, clip};

use crate::batches::Batches;
use crate::checkpoint::{self, TrainState};
use crate::device;
use crate::error::{Failure, Result};
use crate::feed::Feed;
use crate::ladder::Ladder;
use crate::memory;
use crate::protocol::Session;
use crate::recipes::Recipe;
use crate::samples::Samples;

/// So many steps in a row without a finite loss and gradient end a run.
pub const MOST_SKIPPED: u32 = 3;

/// How the loop was left.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Ending {
    /// There is a result to write.
    Finished(Outcome, Summary),
    /// A checkpoint is written; the run goes on later.
    Paused(Summary),
}

/// The figures of a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    /// The counters at the end.
    pub state: TrainState,
    /// Seconds that this process spent in steps.
    pub train_s: f64,
    /// Real tokens that this process learnt.
    pub tokens: u64,
}

/// A run between two steps.
pub struct TrainLoop<'a> {
    session: &'a mut Session,
    recipe: &'a dyn Recipe,
    h: &'a Hyperparameters,
    feed: Feed,
    ladder: Ladder,
    schedule: Schedule,
    optimizer: AdamW,
    trainable: Vec<(String, Var)>,
    state: TrainState,
    resumed_from: Option<u64>,
    /// Step of the newest checkpoint.
    saved: Option<u64>,
    /// The wishes acted on.
    seen: Control,
    /// Rows to be rewritten at each evaluation.
    samples: Option<Samples>,
    train_s: f64,
    tokens: u64,
    /// Seconds of a step, smoothed.
    pace_s: Option<f64>,
}

impl<'a> TrainLoop<'a> {
    /// A loop at its first step, or at the newest whole checkpoint of the run folder.
    ///
    /// # Errors
    /// A checkpoint that does not belong to these weights.
    pub fn new(session: &'a mut Session, recipe: &'a dyn Recipe, h: &'a Hyperparameters) -> Result<Self> {
        let rows = &recipe.data().rows;
        let feed = Feed::new(Arc::clone(recipe.data()), Batches::new(rows.lengths(), h, recipe.grouping()));
        let ladder = Ladder::new(h, &session.earlier().incidents);
        let total_steps = h.total_steps(rows.len());
        let schedule = Schedule {
            kind: match h.lr_scheduler_type {
                SchedulerType::Linear => ScheduleKind::Linear,
                SchedulerType::Cosine => ScheduleKind::Cosine,
                SchedulerType::Constant => ScheduleKind::Constant,
                SchedulerType::ConstantWithWarmup => ScheduleKind::ConstantWithWarmup,
            },
            warmup_steps: h.warmup(total_steps),
            total_steps,
            learning_rate: h.learning_rate,
        };
        let config = AdamWConfig {
            beta1: h.adam_beta1,
            beta2: h.adam_beta2,
            eps: h.adam_epsilon,
            weight_decay: h.weight_decay,
            moments: match h.optim {
                Optim::AdamwTorch => Moments::F32,
                Optim::Adamw8bit => Moments::EightBit,
            },
        };
        let trainable = recipe.decoder().trainable();
        let mut optimizer = AdamW::new(trainable.clone(), config);
        let restored = checkpoint::restore(session, recipe, &mut optimizer)?;
        let seen = session.control();
        Ok(Self {
            session,
            recipe,
            h,
            feed,
            ladder,
            schedule,
            optimizer,
            trainable,
            state: restored.unwrap_or_default(),
            resumed_from: restored.map(|s| s.step),
            saved: restored.map(|s| s.step),
            seen,
            samples: None,
            train_s: 0.0,
            tokens: 0,
            pace_s: None,
        })
    }

    /// The same loop with rows that the model rewrites before the first step and at each evaluation.
    #[must_use]
    pub fn with_samples(self, samples: Option<Samples>) -> Self {
        Self { samples, ..self }
    }

    /// The step that the loop goes on from; none for a fresh start.
    #[must_use]
    pub fn resumed_from(&self) -> Option<u64> {
        self.resumed_from
    }

    /// Optimiser steps in all.
    #[must_use]
    pub fn total_steps(&self) -> u64 {
        self.schedule.total_steps
    }

    /// The run folder's session, for events before the first step.
    pub fn session(&mut self) -> &mut Session {
        self.session
    }

    /// Where the run stands on the out-of-memory ladder.
    #[must_use]
    pub fn ladder(&self) -> &Ladder {
        &self.ladder
    }

    /// Takes micro-batches of so many rows from `step` on, and says so; `why` begins the message.
    ///
    /// # Errors
    /// The line cannot be written.
    pub fn step_down(&mut self, step: u64, rows: u32, why: &str) -> Result<()> {
        let batch = self.ladder.take(step, rows);
        self.report(step, batch, why)
    }

    fn report(&mut self, step: u64, batch: MicroBatches, why: &str) -> Result<()> {
        let message = format!(
            "{why} Each step is now computed in {} micro-batches of {} rows: the batch and its loss stay the same.",
            batch.gradient_accumulation_steps, batch.per_device_train_batch_size
        );
        self.session.incident(Incident { step, kind: IncidentKind::OutOfMemory, message, batch: Some(batch) })
    }

    /// Goes one rung down after a failure for want of memory; any other failure, or the last rung, stays a failure.
    fn after_failure(&mut self, step: u64, what: &str, failure: Failure) -> Result<()> {
        if failure.0.code != ErrorCode::OutOfMemory {
            return Err(failure);
        }
        let Some(batch) = self.ladder.halve(step) else {
            let message = format!("memory ran out {what}, with one row computed at a time.");
            return Err(Failure::new(ErrorCode::OutOfMemory, message).hint(
                "Switch on gradient_checkpointing, or choose a shorter max_length or dtype bfloat16, and start again.",
            ));
        };
        self.report(step, batch, &format!("Memory ran out {what}."))
    }

    /// Steps until the end, a pause, a stop, or a fault.
    ///
    /// # Errors
    /// Whatever ends a run badly; the last checkpoint stays.
    pub fn run(mut self) -> Result<Ending> {
        if self.state.step == 0 {
            self.write_samples()?;
        }
        let outcome = loop {
            if self.patience_is_over() {
                break Outcome::EarlyStopped;
            }
            if self.state.step >= self.total_steps() {
                break Outcome::Completed;
            }
            match self.wishes()? {
                Want::Run => {}
                Want::Stop => break Outcome::Stopped,
                Want::Pause => {
                    self.save()?;
                    let step = self.state.step;
                    self.session.emit(RunEventBody::Paused { step, trouble: None })?;
                    self.session.sync()?;
                    return Ok(Ending::Paused(self.summary()));
                }
            }
            let step = self.state.step + 1;
            self.step().map_err(|f| f.within(format!("Training stopped in step {step}")))?;
            let mut is_best = false;
            if self.evaluation_is_due() {
                is_best = self.evaluate()?;
            }
            let regular = self.h.save_steps > 0 && self.state.step.is_multiple_of(u64::from(self.h.save_steps));
            if regular || (is_best && self.h.load_best_model_at_end) {
                self.save()?;
            }
        };
        self.save()?;
        Ok(Ending::Finished(outcome, self.summary()))
    }

    fn summary(&self) -> Summary {
        Summary { state: self.state, train_s: self.train_s, tokens: self.tokens }
    }

    fn patience_is_over(&self) -> bool {
        self.h.early_stopping_patience > 0 && self.state.evals_without_progress >= self.h.early_stopping_patience
    }

    /// What the host wants, after acting on new wishes for an evaluation or a checkpoint.
    fn wishes(&mut self) -> Result<Want> {
        let control = self.session.control();
        if control.evaluate_now != self.seen.evaluate_now {
            self.evaluate_aside()?;
        }
        if control.checkpoint_now != self.seen.checkpoint_now {
            self.save()?;
        }
        self.seen = control;
        Ok(control.want)
    }

    /// Sums the gradients of a step over its micro-batches. Nothing of the run changes.
    fn accumulate(&mut self, step: u64) -> Result<Accumulated> {
        let micro_batches = self.feed.of_step(step, &self.ladder, self.schedule.total_steps)?;
        let supervised = micro_batches.iter().map(Batch::supervised_tokens).sum::<usize>().max(1) as f64;
        let tokens = micro_batches.iter().map(|b| b.real_tokens() as u64).sum::<u64>();
        let _watch = memory::limit::watch();
        let mut gradients = Gradients::new();
        let (mut nll, mut first_row) = (0.0, 0);
        for batch in &micro_batches {
            let loss = self.recipe.loss(batch, Pass::Train { seed: self.h.seed, step, first_row })?;
            first_row += batch.rows as u32;
            let store = (&loss / supervised)?.backward()?;
            // Only now, for a device computes both passes without a halt.
            nll += f64::from(loss.to_scalar::<f32>()?);
            if !nll.is_finite() {
                break;
            }
            gradients.add(&self.trainable, &store)?;
        }
        Ok(Accumulated { gradients, loss: nll / supervised, tokens })
    }

    /// One optimiser step. A loss or gradient that is not finite changes no weight; one that runs out of memory is done again in
    /// smaller micro-batches.
    fn step(&mut self) -> Result<()> {
        let started = Instant::now();
        let step = self.state.step + 1;
        let Accumulated { mut gradients, loss, tokens: real } = loop {
            match self.accumulate(step) {
                Ok(done) => break done,
                Err(failure) => self.after_failure(step, &format!("in step {step}"), failure)?,
            }
        };
        let norm = if loss.is_finite() { gradients.global_norm()? } else { f64::NAN };
        self.state.step = step;
        if !norm.is_finite() {
            return self.skip(if loss.is_finite() { "gradient" } else { "loss" });
        }
        if self.h.max_grad_norm > 0.0 {
            clip::clip(&mut gradients, self.h.max_grad_norm)?;
        }
        let learning_rate = self.schedule.lr_at(step - 1);
        self.optimizer.step(&gradients, learning_rate)?;
        self.state.optimizer_steps = self.optimizer.step_count();
        self.state.skipped_in_a_row = 0;
        self.state.num_tokens += real;
        self.state.loss_sum += loss;
        self.state.losses += 1;

        let seconds = started.elapsed().as_secs_f64().max(1e-9);
        self.train_s += seconds;
        self.tokens += real;
        let pace = self.pace_s.map_or(seconds, |pace| 0.9 * pace + 0.1 * seconds);
        self.pace_s = Some(pace);
        if step.is_multiple_of(u64::from(self.h.logging_steps.max(1))) || step == self.total_steps() || step == 1 {
            self.session.emit(RunEventBody::Step(StepPoint {
                step,
                epoch: self.feed.batches().epochs_after(step),
                loss,
                grad_norm: norm,
                learning_rate,
                tokens: real,
                num_tokens: self.state.num_tokens,
                tokens_per_s: real as f64 / seconds,
                peak_memory_bytes: device::peak_bytes(self.recipe.decoder().device()),
                eta_s: pace * (self.total_steps() - step) as f64,
            }))?;
        }
        Ok(())
    }

    fn skip(&mut self, what: &str) -> Result<()> {
        self.state.skipped_in_a_row += 1;
        let (step, in_a_row) = (self.state.step, self.state.skipped_in_a_row);
        let message = format!("Step {step} was skipped: its {what} is not finite. No weight was changed.");
        self.session.incident(Incident { step, kind: IncidentKind::NotFinite, message, batch: None })?;
        if in_a_row < MOST_SKIPPED {
            return Ok(());
        }
        let message = format!("{in_a_row} steps in a row had a loss or gradient that is not finite.");
        Err(Failure::new(ErrorCode::NotFinite, message)
            .hint("Lower learning_rate, or use dtype float32, and start a new run."))
    }

    fn evaluation_is_due(&self) -> bool {
        let step = self.state.step;
        let due = match u64::from(self.h.eval_steps) {
            0 => step.is_multiple_of(self.feed.batches().steps_per_epoch()),
            every => step.is_multiple_of(every),
        };
        !self.recipe.data().eval_rows.is_empty() && (due || step == self.total_steps())
    }

    /// The loss of the held-out rows, in batches no larger than the micro-batches of the next step.
    fn eval_loss(&mut self) -> Result<f64> {
        let next = self.state.step + 1;
        loop {
            let watch = memory::limit::watch();
            let found = eval_loss(self.recipe, self.h, self.ladder.rows_at(next));
            drop(watch);
            match found {
                Ok(loss) => return Ok(loss),
                Err(failure) => {
                    self.after_failure(next, &format!("in the evaluation after step {}", next - 1), failure)?
                }
            }
        }
    }

    /// Evaluates and counts progress; whether it is the best so far.
    fn evaluate(&mut self) -> Result<bool> {
        let eval_loss = self.eval_loss()?;
        let best = self.state.best.map_or(f64::INFINITY, |b| b.eval_loss);
        let is_best = eval_loss < best;
        // transformers: progress is a fall by more than the threshold, the best is any fall.
        if is_best && (best.is_infinite() || best - eval_loss > self.h.early_stopping_threshold) {
            self.state.evals_without_progress = 0;
        } else {
            self.state.evals_without_progress += 1;
        }
        if is_best {
            self.state.best = Some(Best { step: self.state.step, eval_loss });
        }
        self.report_eval(eval_loss, is_best)?;
        self.write_samples()?;
        self.state.eval_loss = eval_loss.is_finite().then_some(eval_loss);
        Ok(is_best)
    }

    /// An evaluation that the user asked for: it is shown, but decides nothing, so that the run stays what it would have been.
    fn evaluate_aside(&mut self) -> Result<()> {
        if self.recipe.data().eval_rows.is_empty() {
            return self.session.note(Level::Info, "There are no held-out rows to evaluate on.");
        }
        let eval_loss = self.eval_loss()?;
        let is_best = self.state.best.is_none_or(|best| eval_loss < best.eval_loss);
        self.report_eval(eval_loss, is_best)?;
        self.write_samples()
    }

    /// Has the model rewrite a few held-out rows. They are only looked at: where it cannot, a note says so and the run goes on.
    fn write_samples(&mut self) -> Result<()> {
        let Some(samples) = &self.samples else { return Ok(()) };
        let step = self.state.step;
        match samples.write(self.recipe.decoder(), step) {
            Ok(written) => written.into_iter().try_for_each(|sample| self.session.emit(RunEventBody::Sample(sample))),
            Err(failure) => {
                let message = format!("No samples were written after step {step}: {}", failure.0.message);
                self.session.note(Level::Warn, message)
            }
        }
    }

    fn report_eval(&mut self, eval_loss: f64, is_best: bool) -> Result<()> {
        let step = self.state.step;
        if !eval_loss.is_finite() {
            return self.session.note(Level::Warn, format!("The evaluation loss after step {step} is not finite."));
        }
        let epoch = self.feed.batches().epochs_after(step);
        self.session.emit(RunEventBody::Eval(EvalPoint { step, epoch, eval_loss, mean_token_accuracy: None, is_best }))
    }

    /// Writes a checkpoint of the present step unless there is one, or nothing was learnt yet.
    fn save(&mut self) -> Result<()> {
        let step = self.state.step;
        if self.saved == Some(step) || step == 0 {
            return Ok(());
        }
        checkpoint::write(self.session, self.recipe, &self.optimizer, &self.state)
            .map_err(|f| f.within(format!("The checkpoint of step {step} was not written")))?;
        self.saved = Some(step);
        let best = self.state.best.filter(|_| self.h.load_best_model_at_end);
        checkpoint::prune(self.session, self.h.save_total_limit, best)
    }
}

/// The sum over a step's micro-batches.
struct Accumulated {
    gradients: Gradients,
    /// Mean over the supervised tokens.
    loss: f64,
    /// Real tokens.
    tokens: u64,
}

/// Mean negative log-likelihood (nats) per supervised token of the held-out rows, in batches no larger than `micro_rows` rows to learn.
///
/// # Errors
/// The forward pass fails.
pub fn eval_loss(recipe: &dyn Recipe, h: &Hyperparameters, micro_rows: u32) -> Result<f64> {
    let data = recipe.data();
    let (mut nll, mut tokens) = (0.0, 0usize);
    for rows in data.eval_batches(h.per_device_eval_batch_size, micro_rows) {
        for row in recipe.decoder().token_logprobs(&data.eval_rows.batch(&rows, data.pad_id)?)? {
            nll -= row.iter().map(|v| f64::from(*v)).sum::<f64>();
            tokens += row.len();
        }
    }
    Ok(nll / tokens.max(1) as f64)
}

#[cfg(test)]
mod tests;
