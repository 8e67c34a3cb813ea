//! The live bar: follows a job's events, or a one-shot worker's. Without a terminal it prints a line now and then.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use tb_core::{
    event::EventBody,
    run_folder::{EvalPoint, RunEventBody, StepPoint},
};

use crate::output::{Output, duration};

/// Between two lines where there is no terminal.
const QUIET: Duration = Duration::from_secs(15);

/// A bar for one piece of work.
pub struct Progress<'a> {
    output: &'a Output,
    bar: Option<ProgressBar>,
    label: String,
    last_line: Instant,
    eval_loss: Option<f64>,
    total_steps: u64,
    unit: &'static str,
}

impl<'a> Progress<'a> {
    /// A bar that says `label`.
    pub fn new(output: &'a Output, label: &str) -> Self {
        let bar = output.is_live().then(|| {
            let bar = ProgressBar::new(0);
            if let Ok(style) =
                ProgressStyle::with_template("{prefix:<14} {bar:32.cyan/white.dim} {pos:>5}/{len:<5} {msg}")
            {
                bar.set_style(style.progress_chars("━━─"));
            }
            bar.set_prefix(label.to_owned());
            bar.enable_steady_tick(Duration::from_millis(250));
            bar
        });
        Self {
            output,
            bar,
            label: label.to_owned(),
            last_line: Instant::now(),
            eval_loss: None,
            total_steps: 0,
            unit: "rows",
        }
    }

    /// The same bar, which counts something else than rows.
    pub fn counting(self, unit: &'static str) -> Self {
        Self { unit, ..self }
    }

    /// Shows a stored event of the job.
    pub fn event(&mut self, body: &EventBody) {
        match body {
            EventBody::Points { points, .. } => {
                if let Some(point) = points.last() {
                    self.step(point);
                }
            }
            EventBody::EvalPoint { point, .. } => self.eval(point),
            EventBody::Run { event, .. } => self.run_event(&event.body),
            EventBody::Job { .. }
            | EventBody::Deployment { .. }
            | EventBody::Experiment { .. }
            | EventBody::Stale { .. } => {}
        }
    }

    /// Shows a worker's line.
    pub fn run_event(&mut self, body: &RunEventBody) {
        match body {
            RunEventBody::Plan(plan) => {
                self.total_steps = plan.total_steps;
                self.length(plan.total_steps);
                let share = 100.0 * plan.trainable_parameters as f64 / plan.total_parameters.max(1) as f64;
                self.line(&format!(
                    "{} rows, {} steps; {} of {} weights learn ({share:.2} %).",
                    plan.rows, plan.total_steps, plan.trainable_parameters, plan.total_parameters
                ));
            }
            RunEventBody::Certificate(c) => self.line(&format!(
                "Gradient certificate: {} tensors learn from step 1, {} from step 2; no frozen one does.",
                c.with_gradient, c.after_one_step
            )),
            RunEventBody::Step(point) => self.step(point),
            RunEventBody::Eval(point) => self.eval(point),
            RunEventBody::Progress { done, total } => {
                self.length(*total);
                self.position(*done, self.unit.to_owned());
            }
            RunEventBody::Problems { path, count, problems } => {
                let first =
                    problems.first().map_or(String::new(), |p| format!(" First, line {}: {}.", p.line, p.reason));
                self.line(&format!("{count} rows of {path} cannot be used.{first}"));
            }
            RunEventBody::Note { message, .. } => self.line(message),
            RunEventBody::Incident(incident) => self.line(&incident.message),
            RunEventBody::Paused { trouble: Some(error), .. } => self.line(&error.to_string()),
            RunEventBody::Started { resumed_from_step: Some(step), .. } => {
                self.line(&format!("Goes on from the checkpoint of step {step}."));
            }
            RunEventBody::Started { resumed_from_step: None, .. }
            | RunEventBody::Checkpoint { .. }
            | RunEventBody::CheckpointDeleted { .. }
            | RunEventBody::Generated { .. }
            | RunEventBody::Sample(_)
            | RunEventBody::Paused { trouble: None, .. }
            | RunEventBody::Evaluated(_)
            | RunEventBody::Done(_)
            | RunEventBody::Failed { .. } => {}
        }
    }

    /// Ends the bar.
    pub fn finish(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }

    fn step(&mut self, point: &StepPoint) {
        let eval = self.eval_loss.map_or(String::new(), |loss| format!("  held-out {loss:.3}"));
        self.position(
            point.step,
            format!("loss {:.3}{eval}  {:.0} tok/s  {} left", point.loss, point.tokens_per_s, duration(point.eta_s)),
        );
    }

    fn eval(&mut self, point: &EvalPoint) {
        self.eval_loss = Some(point.eval_loss);
    }

    fn length(&self, total: u64) {
        if let Some(bar) = &self.bar {
            bar.set_length(total);
        }
    }

    fn position(&mut self, at: u64, message: String) {
        if let Some(bar) = &self.bar {
            bar.set_position(at);
            bar.set_message(message);
        } else if self.last_line.elapsed() >= QUIET {
            self.last_line = Instant::now();
            self.output.say(&format!("{} {at}: {message}", self.label));
        }
    }

    fn line(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(text),
            None => self.output.say(text),
        }
    }
}
