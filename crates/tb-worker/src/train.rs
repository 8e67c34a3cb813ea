//! A training run from spec to result: opens model and data, refuses what cannot work, certifies, loops, writes the result.

use std::sync::Arc;

use tb_core::ErrorCode;
use tb_core::footprint::{Activations, Dropout, Trained, Where, Workload, footprint};
use tb_core::recipe::{Hyperparameters, Method};
use tb_core::run_folder::{Certificate, DataSource, Done, Level, Outcome, Plan, RunEventBody, TrainTask, Want};
use tb_data::model_folder::stored_weights;
use tb_data::tokenize::TextTokenizer;

use crate::batches::Grouping;
use crate::data::{self, Question, TokenRows};
use crate::error::{Failure, Result};
use crate::protocol::Session;
use crate::recipes::{Recipe, pretrain::Pretrain, pretrain::read_documents, sft::Sft};
use crate::rows::{self, Rows, TrainingRows};
use crate::samples::Samples;
use crate::train_loop::{Ending, Summary, TrainLoop};
use crate::{certificate, checkpoint, device, identity, memory, models, output};

/// Runs a training task on an open run folder.
///
/// # Errors
/// Whatever keeps the run from starting or ends it; what was kept is said by the session's last words.
pub fn run(session: &mut Session, task: &TrainTask) -> Result<()> {
    let outcome = session.earlier().outcome;
    match outcome {
        Some(Outcome::Completed | Outcome::EarlyStopped) => return Ok(()),
        Some(Outcome::Stopped) if session.control().want != Want::Run => return Ok(()),
        Some(Outcome::Stopped) | None => {}
    }
    let h = &task.hyperparameters;
    let Prepared { recipe, samples, facts, file_bytes } =
        prepare(session, task).map_err(|f| f.within("Training was not started"))?;
    let recipe = recipe.as_ref();

    let mut work = TrainLoop::new(session, recipe, h)?.with_samples(samples);
    let (resumed_from, total_steps) = (work.resumed_from(), work.total_steps());
    announce(work.session(), facts, resumed_from, total_steps)?;
    memory::limit::arm();
    if resumed_from.is_none() {
        if work.ladder().is_untouched()
            && let Some((rows, why)) = fitting(recipe, h, file_bytes)
        {
            work.step_down(1, rows, &why)?;
        }
        let certificate = certify(&mut work, recipe, h).map_err(|f| f.within("Training was not started"))?;
        work.session().emit(RunEventBody::Certificate(certificate))?;
    }
    work.session().sync()?;
    match work.run()? {
        Ending::Paused(_) => Ok(()),
        Ending::Finished(outcome, summary) => finish(session, recipe, h, outcome, &summary),
    }
}

/// The gradient certificate, of as many rows as memory allows.
fn certify(work: &mut TrainLoop<'_>, recipe: &dyn Recipe, h: &Hyperparameters) -> Result<Certificate> {
    loop {
        let rows = work.ladder().rows_at(1);
        let watch = memory::limit::watch();
        let found = certificate::certify(recipe, h.seed, rows as usize);
        drop(watch);
        match found {
            Err(failure) if failure.0.code == ErrorCode::OutOfMemory && rows > 1 => {
                work.step_down(1, rows / 2, "Memory ran out in the trial step.")?;
            }
            other => return other,
        }
    }
}

/// Everything that a run needs.
struct Prepared {
    recipe: Box<dyn Recipe>,
    samples: Option<Samples>,
    facts: Facts,
    /// Size of the weight files.
    file_bytes: u64,
}

/// What is known before the first step.
struct Facts {
    /// With 0 steps: the loop counts them.
    plan: Plan,
    problems: Vec<(DataSource, Vec<tb_core::dataset::RowProblem>)>,
    notes: Vec<(Level, String)>,
}

fn announce(session: &mut Session, facts: Facts, resumed_from: Option<u64>, total_steps: u64) -> Result<()> {
    session.started(resumed_from)?;
    for (source, problems) in &facts.problems {
        data::report_problems(session, source, problems)?;
    }
    for (level, note) in facts.notes {
        session.note(level, note)?;
    }
    session.emit(RunEventBody::Plan(Plan { total_steps, ..facts.plan }))
}

fn prepare(session: &Session, task: &TrainTask) -> Result<Prepared> {
    let h = &task.hyperparameters;
    h.validate().map_err(|e| Failure::new(ErrorCode::InvalidArgument, format!("{e}.")))?;
    tb_nn::threads::use_threads(h.num_threads);
    let device = session.spec().device.as_str();
    let tokenizer = models::tokenizer(&task.model.base)?;
    let base_sha256 = identity::base_sha256(&task.model.base)?;
    let read = |source: &DataSource| read_rows(session, source, &tokenizer, task, &base_sha256);
    let rows = read(&task.data)?;
    let eval_rows =
        task.eval_data.as_ref().map(|source| Ok::<_, Failure>((source.clone(), read(source)?))).transpose()?;
    if h.quantization().is_some() && task.method == Method::Pretrain {
        let message = "load_in_4bit and load_in_8bit hold a frozen base: here every weight is in training.";
        return Err(Failure::new(ErrorCode::InvalidArgument, message).hint("Switch them off."));
    }
    if h.load_best_model_at_end && eval_rows.is_none() {
        let message = "load_best_model_at_end needs held-out rows to find the best by.";
        return Err(Failure::new(ErrorCode::InvalidArgument, message).hint("Name a validation file, or switch it off."));
    }

    let eval_sha256 = eval_rows.as_ref().map(|(_, rows)| rows.sha256.as_str());
    let identity = identity::identity(task, device, &base_sha256, &rows.sha256, eval_sha256)?;
    let mut plan = Plan {
        total_steps: 0,
        rows: rows.samples.len() as u64,
        eval_rows: eval_rows.as_ref().map_or(0, |(_, rows)| rows.samples.len() as u64),
        cut_rows: rows.cut,
        supervised_tokens: rows.supervised_tokens(),
        tokens: rows.tokens(),
        trainable_parameters: 0,
        total_parameters: 0,
        identity,
        base_sha256,
        data_sha256: rows.sha256.clone(),
    };
    let mut problems = vec![(task.data.clone(), rows.problems)];
    let in_rows = |samples| if h.packing { Rows::packed(samples, h.max_length) } else { Rows::single(samples) };
    let longest = (0..rows.samples.len()).map(|at| rows.samples.tokens(at)).max().unwrap_or(0);
    let mut training =
        TrainingRows { rows: in_rows(rows.samples), pad_id: models::pad_id(&tokenizer), ..TrainingRows::default() };
    if let Some((source, rows)) = eval_rows {
        problems.push((source, rows.problems));
        training.eval_rows = in_rows(rows.samples);
    }
    let training = Arc::new(training);

    let base = task.model.base.clone();
    let recipe: Box<dyn Recipe> = match task.method {
        Method::Sft => {
            let decoder = models::fine_tuned(&task.model, h, device)?;
            let grouping = if h.group_by_length { Grouping::ByLength } else { Grouping::AsTheyCome };
            Box::new(Sft::new(decoder, training, grouping, base))
        }
        Method::Pretrain => Box::new(Pretrain::new(models::random(&base, h, device)?, training, base)),
    };
    let counts = recipe.decoder().parameter_counts();
    (plan.trainable_parameters, plan.total_parameters) = (counts.trainable, counts.total);
    let file_bytes = match task.method {
        Method::Sft => stored_weights(&task.model.base)?.size_bytes,
        Method::Pretrain => 0,
    };
    let notes = notes(recipe.as_ref(), h, longest);
    let samples = match (&task.eval_data, task.method) {
        (Some(source), Method::Sft) if h.eval_samples > 0 => {
            Samples::pick(&data::read(source)?.rows, h.eval_samples, tokenizer, &task.model.base)?
        }
        (Some(_) | None, Method::Sft | Method::Pretrain) => None,
    };
    Ok(Prepared { recipe, samples, facts: Facts { plan, problems, notes }, file_bytes })
}

/// A file's rows as tokens, at least one of which has something to learn.
fn read_rows(
    session: &Session,
    source: &DataSource,
    tokenizer: &TextTokenizer,
    task: &TrainTask,
    base_sha256: &str,
) -> Result<TokenRows> {
    let h = &task.hyperparameters;
    let question = Question { source, base: &task.model.base, base_sha256, method: task.method, h };
    let rows = data::read_tokens(&data::cache_folder(session.folder()), &question, || match task.method {
        Method::Sft => data::render_file(source, tokenizer, h),
        Method::Pretrain => read_documents(&source.path, tokenizer, h.max_length as usize),
    })?;
    data::refuse_masked(source, rows.samples.len(), &rows.problems, h)?;
    Ok(rows)
}

/// What is worth saying before the first step.
fn notes(recipe: &dyn Recipe, h: &Hyperparameters, longest: usize) -> Vec<(Level, String)> {
    let mut notes = Vec::new();
    let (config, data) = (recipe.decoder().config(), recipe.data());
    if longest > config.max_position_embeddings {
        let context = config.max_position_embeddings;
        notes.push((
            Level::Warn,
            format!("The longest row has {longest} tokens, but the model was made for {context}."),
        ));
    }
    if h.packing {
        let (samples, rows) = (data.rows.samples().len(), data.rows.len());
        let tokens: u64 = data.rows.lengths().into_iter().map(u64::from).sum();
        let full = 100.0 * tokens as f64 / (rows as u64 * u64::from(h.max_length)).max(1) as f64;
        let message =
            format!("{samples} samples are packed into {rows} rows of {} tokens, {full:.1} % full.", h.max_length);
        notes.push((Level::Info, message));
    }
    notes
}

/// The largest micro-batch, halved from what was asked for, with which the run should fit into memory, and why it is not that; none
/// where what was asked for fits.
fn fitting(recipe: &dyn Recipe, h: &Hyperparameters, file_bytes: u64) -> Option<(u32, String)> {
    let (room, who) = device::room_bytes(recipe.decoder().device())?;
    let needed = |rows| footprint(recipe.decoder().config(), &workload(recipe, h, rows, file_bytes)).total_bytes();
    // The estimate may be a tenth too high: only what cannot fit is changed before it is tried.
    let fits = |rows| needed(rows) / 10 * 9 <= room;
    let asked = h.per_device_train_batch_size.max(1);
    if asked == 1 || fits(asked) {
        return None;
    }
    let mut rows = asked / 2;
    while rows > 1 && !fits(rows) {
        rows /= 2;
    }
    let gib = |bytes: u64| bytes as f64 / f64::from(1 << 30);
    let why = format!(
        "With {asked} rows at once this run would need about {:.2} GiB of memory; {who} is {:.2} GiB.",
        gib(needed(asked)),
        gib(room)
    );
    Some((rows, why))
}

/// The run as its memory depends on it, with micro-batches of `micro_rows` rows.
fn workload(recipe: &dyn Recipe, h: &Hyperparameters, micro_rows: u32, file_bytes: u64) -> Workload {
    let (decoder, data) = (recipe.decoder(), recipe.data());
    let trained = match (decoder.adapter_plan(), decoder.lora()) {
        (Some(plan), Some(lora)) => Trained::Adapter {
            plan: plan.clone(),
            dropout: if lora.lora_dropout > 0.0 { Dropout::On } else { Dropout::Off },
        },
        (None, _) | (_, None) => Trained::All,
    };
    let samples = [data.rows.samples(), data.eval_rows.samples()];
    let tokens = |s: &rows::Samples| (0..s.len()).map(|at| s.tokens(at) as u64).sum::<u64>();
    Workload {
        trained,
        place: if decoder.device().is_cpu() { Where::Host } else { Where::Gpu },
        weight_bytes: decoder.dtype().size_in_bytes() as u64,
        quantization: decoder.quantization(),
        optim: h.optim,
        file_bytes,
        activations: if h.gradient_checkpointing { Activations::Recomputed } else { Activations::Kept },
        train: data.rows.largest(micro_rows),
        eval: data.largest_eval(h.per_device_eval_batch_size, micro_rows),
        data_rows: samples.iter().map(|s| s.len() as u64).sum(),
        data_tokens: samples.iter().map(|s| tokens(s)).sum(),
        data_bytes: 0,
        threads: rayon::current_num_threads() as u64,
    }
}

fn finish(
    session: &mut Session,
    recipe: &dyn Recipe,
    h: &Hyperparameters,
    outcome: Outcome,
    summary: &Summary,
) -> Result<()> {
    let state = &summary.state;
    if let Some(best) = state.best
        && h.load_best_model_at_end
        && best.step != state.step
        && !checkpoint::restore_weights_of(session, recipe, best.step)?
    {
        session
            .note(Level::Warn, format!("The best checkpoint (step {}) is gone; the last is the result.", best.step))?;
    }
    let folder = recipe.result_folder();
    let bytes = 4 * recipe.decoder().parameter_counts().trainable;
    let files = output::write_folder(&session.folder().join(folder), folder, |dir| {
        recipe.write_result(dir).map_err(|f| memory::blame_disk(f, dir, bytes))
    })
    .map_err(|f| f.within("Training ended, but its result was not written"))?;
    let mut metrics = serde_json::Map::new();
    let mut put = |name: &str, value: f64| {
        metrics.insert(name.to_owned(), value.into());
    };
    put("train_loss", state.loss_sum / state.losses.max(1) as f64);
    put("train_runtime_s", summary.train_s);
    put("num_tokens", state.num_tokens as f64);
    if summary.train_s > 0.0 {
        put("tokens_per_s", summary.tokens as f64 / summary.train_s);
    }
    put("trainable_percent", recipe.decoder().parameter_counts().percent());
    put("peak_memory_bytes", device::peak_bytes(recipe.decoder().device()) as f64);
    if let Some(eval_loss) = state.eval_loss {
        put("eval_loss", eval_loss);
    }
    if let Some(best) = state.best {
        put("best_eval_loss", best.eval_loss);
        put("best_step", best.step as f64);
    }
    session.emit(RunEventBody::Done(Done { outcome, step: state.step, metrics, files }))?;
    session.sync()
}
