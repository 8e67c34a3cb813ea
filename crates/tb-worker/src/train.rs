//! A training run from spec to result: opens model and data, refuses what cannot work, certifies, loops, writes the result.

use tb_core::ErrorCode;
use tb_core::adapter;
use tb_core::footprint::{Activations, BatchShape, Dropout, Trained, Workload, footprint};
use tb_core::recipe::{Hyperparameters, Method};
use tb_core::run_folder::{DataSource, Done, Level, Outcome, Plan, RunEventBody, TrainTask, Want};
use tb_data::model_folder::stored_weights;
use tb_data::tokenize::TextTokenizer;
use tb_nn::decoder::Row;

use crate::batches::Grouping;
use crate::data::{self, TokenRows};
use crate::error::{Failure, Result};
use crate::protocol::Session;
use crate::recipes::{Recipe, TrainingRows, pretrain::Pretrain, pretrain::read_documents, sft::Sft};
use crate::samples::Samples;
use crate::train_loop::{Ending, Summary, TrainLoop};
use crate::{certificate, checkpoint, identity, memory, models, output};

/// Runs a training task on an open run folder.
///
/// # Errors
/// Whatever keeps the run from starting or ends it; what was kept is said by the session's last words.
pub fn run(session: &mut Session, task: &TrainTask) -> Result<()> {
    match session.earlier().outcome {
        Some(Outcome::Completed | Outcome::EarlyStopped) => return Ok(()),
        Some(Outcome::Stopped) if session.control().want != Want::Run => return Ok(()),
        Some(Outcome::Stopped) | None => {}
    }
    let h = &task.hyperparameters;
    let (recipe, samples, facts) = prepare(session, task).map_err(|f| f.within("Training was not started"))?;
    let recipe = recipe.as_ref();

    let mut work = TrainLoop::new(session, recipe, h)?.with_samples(samples);
    let (resumed_from, total_steps) = (work.resumed_from(), work.total_steps());
    announce(work.session(), facts, resumed_from, total_steps)?;
    if resumed_from.is_none() {
        let rows = h.per_device_train_batch_size as usize;
        let certificate =
            certificate::certify(recipe, h.seed, rows).map_err(|f| f.within("Training was not started"))?;
        work.session().emit(RunEventBody::Certificate(certificate))?;
    }
    work.session().sync()?;
    match work.run()? {
        Ending::Paused(_) => Ok(()),
        Ending::Finished(outcome, summary) => finish(session, recipe, h, outcome, &summary),
    }
}

/// What is known before the first step.
struct Facts {
    /// With 0 steps: the loop counts them.
    plan: Plan,
    problems: Vec<(DataSource, Vec<tb_core::dataset::RowProblem>)>,
    notes: Vec<String>,
}

fn announce(session: &mut Session, facts: Facts, resumed_from: Option<u64>, total_steps: u64) -> Result<()> {
    session.started(resumed_from)?;
    for (source, problems) in &facts.problems {
        data::report_problems(session, source, problems)?;
    }
    for note in facts.notes {
        session.note(Level::Warn, note)?;
    }
    session.emit(RunEventBody::Plan(Plan { total_steps, ..facts.plan }))
}

fn prepare(session: &Session, task: &TrainTask) -> Result<(Box<dyn Recipe>, Option<Samples>, Facts)> {
    let h = &task.hyperparameters;
    h.validate().map_err(|e| Failure::new(ErrorCode::InvalidArgument, format!("{e}.")))?;
    tb_nn::threads::use_threads(h.num_threads);
    let device = session.spec().device.as_str();
    let tokenizer = models::tokenizer(&task.model.base)?;
    let read = |source: &DataSource| read_rows(source, &tokenizer, task.method, h);
    let rows = read(&task.data)?;
    data::refuse_empty(&task.data, rows.rows.len(), &rows.problems, "to learn from")?;
    let eval_rows = match &task.eval_data {
        Some(source) => {
            let eval_rows = read(source)?;
            data::refuse_empty(source, eval_rows.rows.len(), &eval_rows.problems, "to evaluate on")?;
            Some((source.clone(), eval_rows))
        }
        None => None,
    };
    if h.quantization().is_some() && task.method == Method::Pretrain {
        let message = "load_in_4bit and load_in_8bit hold a frozen base: here every weight is in training.";
        return Err(Failure::new(ErrorCode::InvalidArgument, message).hint("Switch them off."));
    }
    if h.load_best_model_at_end && eval_rows.is_none() {
        let message = "load_best_model_at_end needs held-out rows to find the best by.";
        return Err(Failure::new(ErrorCode::InvalidArgument, message).hint("Name a validation file, or switch it off."));
    }

    let base_sha256 = identity::base_sha256(&task.model.base)?;
    let eval_sha256 = eval_rows.as_ref().map(|(_, rows)| rows.sha256.as_str());
    let identity = identity::identity(task, device, &base_sha256, &rows.sha256, eval_sha256)?;
    let mut plan = Plan {
        total_steps: 0,
        rows: rows.rows.len() as u64,
        eval_rows: eval_rows.as_ref().map_or(0, |(_, rows)| rows.rows.len() as u64),
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
    let mut training = TrainingRows { rows: rows.rows, pad_id: models::pad_id(&tokenizer), ..TrainingRows::default() };
    if let Some((source, rows)) = eval_rows {
        problems.push((source, rows.problems));
        training.eval_rows = rows.rows;
    }
    let longest = training.rows.iter().map(|r| r.ids.len()).max().unwrap_or(0);

    let base = task.model.base.clone();
    let recipe: Box<dyn Recipe> = match task.method {
        Method::Sft => {
            let decoder = models::with_adapter(&task.model, h, device)?;
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
    let notes = warnings(recipe.as_ref(), h, longest, file_bytes);
    let samples = match (&task.eval_data, task.method) {
        (Some(source), Method::Sft) if h.eval_samples > 0 => {
            Samples::pick(&data::read(source)?.rows, h.eval_samples, tokenizer, &task.model.base)?
        }
        (Some(_) | None, Method::Sft | Method::Pretrain) => None,
    };
    Ok((recipe, samples, Facts { plan, problems, notes }))
}

fn read_rows(source: &DataSource, tokenizer: &TextTokenizer, method: Method, h: &Hyperparameters) -> Result<TokenRows> {
    match method {
        Method::Sft => data::read_tokens(source, tokenizer, h.max_length, h.loss_on),
        Method::Pretrain => read_documents(&source.path, tokenizer, h.max_length as usize),
    }
}

fn warnings(recipe: &dyn Recipe, h: &Hyperparameters, longest: usize, file_bytes: u64) -> Vec<String> {
    let mut notes = Vec::new();
    let config = recipe.decoder().config();
    if longest > config.max_position_embeddings {
        let context = config.max_position_embeddings;
        notes.push(format!("The longest row has {longest} tokens, but the model was made for {context}."));
    }
    let needed = footprint(config, &workload(recipe, h, file_bytes)).total_bytes();
    if let Some(free) = memory::free_bytes()
        && needed > free
    {
        let gib = |bytes: u64| bytes as f64 / f64::from(1 << 30);
        notes.push(format!(
            "This run may need about {:.1} GiB of memory, but {:.1} GiB are free. If the worker is ended for it, halve \
             per_device_train_batch_size and double gradient_accumulation_steps: the result is the same.",
            gib(needed),
            gib(free)
        ));
    }
    notes
}

/// The run as its memory depends on it.
fn workload(recipe: &dyn Recipe, h: &Hyperparameters, file_bytes: u64) -> Workload {
    let (decoder, data) = (recipe.decoder(), recipe.data());
    let trained = decoder.lora().map_or(Trained::All, |lora| Trained::Adapter {
        linears: adapter::adapted(decoder.config(), &lora.target_modules).unwrap_or_default(),
        rank: lora.r as u32,
        dropout: if lora.lora_dropout > 0.0 { Dropout::On } else { Dropout::Off },
    });
    let all = || data.rows.iter().chain(&data.eval_rows);
    Workload {
        trained,
        weight_bytes: decoder.dtype().size_in_bytes() as u64,
        quantization: decoder.quantization(),
        optim: h.optim,
        file_bytes,
        activations: if h.gradient_checkpointing { Activations::Recomputed } else { Activations::Kept },
        train: largest(&data.rows, h.per_device_train_batch_size),
        eval: largest(&data.eval_rows, h.per_device_eval_batch_size),
        data_rows: all().count() as u64,
        data_tokens: all().map(|row| row.ids.len() as u64).sum(),
        data_bytes: 0,
        threads: rayon::current_num_threads() as u64,
    }
}

/// The largest batch of so many rows: one of them is the longest, and all are padded to it.
fn largest(rows: &[Row], batch_size: u32) -> BatchShape {
    let taken = rows.len().min(batch_size as usize);
    let mut supervised: Vec<usize> = rows.iter().map(data::supervised).collect();
    supervised.sort_unstable_by_key(|n| std::cmp::Reverse(*n));
    BatchShape {
        rows: taken as u64,
        width: rows.iter().map(|row| row.ids.len() as u64).max().unwrap_or(0),
        supervised: supervised.iter().take(taken).map(|n| *n as u64).sum(),
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
    put("peak_memory_bytes", memory::peak_bytes() as f64);
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
