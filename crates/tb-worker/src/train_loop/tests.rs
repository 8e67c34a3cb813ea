//! The loop on a tiny random model.

use super::*;
use crate::testing::{Faulty, Place, Watched, bits, events, points, recipe, settings};
use tb_core::run_folder::{Outcome, StepPoint};
use tb_data::files::checkpoints;

fn run(session: &mut Session, recipe: &dyn Recipe, h: &Hyperparameters) -> Result<Ending> {
    TrainLoop::new(session, recipe, h)?.run()
}

fn session_incidents(session: &Session) -> Vec<Incident> {
    let incident = |body| if let RunEventBody::Incident(incident) = body { Some(incident) } else { None };
    events(session).into_iter().filter_map(|e| incident(e.body)).collect()
}

/// What must be equal between two runs; times and memory may differ.
fn facts(points: &[StepPoint]) -> Vec<(u64, u64, u64, u64, u64)> {
    let bits =
        |p: &StepPoint| (p.step, p.loss.to_bits(), p.grad_norm.to_bits(), p.learning_rate.to_bits(), p.num_tokens);
    points.iter().map(bits).collect()
}

#[test]
fn a_run_cut_at_any_step_ends_with_the_same_bits() {
    cut_anywhere(settings());
}

#[test]
fn a_packed_run_with_noise_cut_at_any_step_ends_with_the_same_bits() {
    cut_anywhere(Hyperparameters {
        packing: true,
        max_length: 24,
        per_device_train_batch_size: 2,
        neftune_noise_alpha: 5.0,
        gradient_checkpointing: true,
        ..settings()
    });
}

#[test]
fn a_run_in_4_bits_with_moments_in_8_cut_at_any_step_ends_with_the_same_bits() {
    // A rank that makes the adapter's matrices large enough for 8-bit moments.
    cut_anywhere(Hyperparameters { load_in_4bit: true, optim: Optim::Adamw8bit, lora_r: 256, ..settings() });
}

fn cut_anywhere(h: Hyperparameters) {
    let place = Place::new();
    let mut session = place.create("uncut", &h);
    let uncut = recipe(&place.base(), &h);
    run(&mut session, &uncut, &h).unwrap();
    let (expected, curve) = (bits(&uncut), facts(&points(&session)));
    assert_eq!(curve.len(), 12);
    assert_ne!(expected, bits(&recipe(&place.base(), &h)), "nothing was learnt");

    // In the first micro-batch of a step, and in its second.
    for (cut, micro) in (1..=12).flat_map(|cut| [(cut, 0), (cut, 2)]) {
        let name = format!("cut-{cut}-{micro}");
        let mut session = place.create(&name, &h);
        let look = |pass, _: &Batch| match pass {
            Pass::Train { step, first_row, .. } if (step, first_row) == (cut, micro) => {
                Err(Failure::new(ErrorCode::Internal, "cut"))
            }
            Pass::Train { .. } | Pass::Eval => Ok(()),
        };
        let crashed = Watched { inner: recipe(&place.base(), &h), look };
        assert!(run(&mut session, &crashed, &h).is_err());
        drop(session);

        let mut session = place.open(&name);
        let resumed = recipe(&place.base(), &h);
        let work = TrainLoop::new(&mut session, &resumed, &h).unwrap();
        let last = (cut - 1) / 3 * 3;
        assert_eq!(work.resumed_from(), (last > 0).then_some(last), "cut in step {cut}");
        work.run().unwrap();
        assert!(bits(&resumed) == expected, "cut in step {cut}");
        assert_eq!(facts(&points(&session)), curve, "cut in step {cut}");
    }
}

/// Checkpoints hold what trains, whatever form the result has.
#[test]
fn a_cut_run_of_every_kind_ends_with_the_same_bits() {
    let place = Place::new();
    for (key, value) in [
        ("init_lora_weights", "pissa"),
        ("use_dora", "true"),
        ("target_modules", "embed_tokens,lm_head,q_proj"),
        ("modules_to_save", "norm,lm_head"),
        ("finetuning_type", "full"),
    ] {
        let mut h = settings();
        h.set(key, value).unwrap();
        let uncut = recipe(&place.base(), &h);
        run(&mut place.create(&format!("{value}-uncut"), &h), &uncut, &h).unwrap();
        let name = format!("{value}-cut");
        let look = |pass, _: &Batch| match pass {
            Pass::Train { step: 8, .. } => Err(Failure::new(ErrorCode::Internal, "cut")),
            Pass::Train { .. } | Pass::Eval => Ok(()),
        };
        let crashed = Watched { inner: recipe(&place.base(), &h), look };
        assert!(run(&mut place.create(&name, &h), &crashed, &h).is_err());
        let mut session = place.open(&name);
        let resumed = recipe(&place.base(), &h);
        let work = TrainLoop::new(&mut session, &resumed, &h).unwrap();
        assert_eq!(work.resumed_from(), Some(6), "{value}");
        work.run().unwrap();
        assert!(bits(&resumed) == bits(&uncut), "{value}");
    }
}

/// The losses and gradient norms of two runs agree to 1e-5.
fn agree(a: &[StepPoint], b: &[StepPoint]) {
    assert_eq!(a.len(), b.len());
    for (a, b) in a.iter().zip(b) {
        assert_eq!((a.step, a.tokens), (b.step, b.tokens));
        assert!((a.loss - b.loss).abs() < 1e-5 * a.loss, "step {}: {} {}", a.step, a.loss, b.loss);
        assert!((a.grad_norm - b.grad_norm).abs() < 1e-5 * a.grad_norm.max(1.0), "step {}", a.step);
    }
}

#[test]
fn accumulation_does_not_change_the_step_also_with_dropout_noise_and_packing() {
    let place = Place::new();
    for packing in [false, true] {
        let curve = |micro, accumulation| {
            let h = Hyperparameters {
                per_device_train_batch_size: micro,
                gradient_accumulation_steps: accumulation,
                neftune_noise_alpha: 5.0,
                max_length: 24,
                packing,
                ..settings()
            };
            let mut session = place.create(&format!("{micro}x{accumulation}-{packing}"), &h);
            run(&mut session, &recipe(&place.base(), &h), &h).unwrap();
            points(&session)
        };
        let whole = curve(8, 1);
        agree(&whole, &curve(4, 2));
        agree(&whole, &curve(1, 8));
    }
}

/// Memory that holds no micro-batch of more than so many rows from a step on.
fn no_room_for(rows: usize, from: u64) -> impl Fn(Pass, &Batch) -> Result<()> {
    move |pass, batch| match pass {
        Pass::Train { step, .. } if step >= from && batch.rows > rows => {
            Err(Failure::new(ErrorCode::OutOfMemory, "out of memory"))
        }
        Pass::Train { .. } | Pass::Eval => Ok(()),
    }
}

#[test]
fn when_memory_runs_out_the_step_is_done_again_in_smaller_pieces() {
    let place = Place::new();
    let h = Hyperparameters { per_device_train_batch_size: 8, gradient_accumulation_steps: 1, ..settings() };
    let mut session = place.create("roomy", &h);
    run(&mut session, &recipe(&place.base(), &h), &h).unwrap();
    let whole = points(&session);

    let mut session = place.create("tight", &h);
    let tight = Watched { inner: recipe(&place.base(), &h), look: no_room_for(2, 5) };
    run(&mut session, &tight, &h).unwrap();
    agree(&whole, &points(&session));
    let rungs: Vec<(u64, IncidentKind, Option<MicroBatches>)> =
        session_incidents(&session).into_iter().map(|i| (i.step, i.kind, i.batch)).collect();
    let batch =
        |rows, steps| Some(MicroBatches { per_device_train_batch_size: rows, gradient_accumulation_steps: steps });
    let out = IncidentKind::OutOfMemory;
    assert_eq!(rungs, [(5, out, batch(4, 2)), (5, out, batch(2, 4))]);

    // Cut later, resumed with all the memory in the world: the bits of the run that was not cut.
    let expected = bits(&tight);
    for cut in [6, 8, 11] {
        let name = format!("tight-{cut}");
        let mut session = place.create(&name, &h);
        let room = no_room_for(2, 5);
        let look = |pass, batch: &Batch| match pass {
            Pass::Train { step, .. } if step == cut => Err(Failure::new(ErrorCode::Internal, "cut")),
            Pass::Train { .. } | Pass::Eval => room(pass, batch),
        };
        assert!(run(&mut session, &Watched { inner: recipe(&place.base(), &h), look }, &h).is_err());
        drop(session);
        let mut session = place.open(&name);
        let resumed = recipe(&place.base(), &h);
        run(&mut session, &resumed, &h).unwrap();
        assert!(bits(&resumed) == expected, "cut in step {cut}");
    }
}

#[test]
fn without_room_for_one_row_the_run_ends_and_keeps_its_checkpoint() {
    let place = Place::new();
    let h = settings();
    let mut session = place.create("full", &h);
    let failure =
        run(&mut session, &Watched { inner: recipe(&place.base(), &h), look: no_room_for(0, 5) }, &h).unwrap_err();
    assert_eq!(failure.0.code, ErrorCode::OutOfMemory);
    assert!(failure.0.message.contains("step 5") && failure.0.hint.contains("gradient_checkpointing"), "{failure}");
    let kept: Vec<u64> = checkpoints::list(session.run()).unwrap().iter().map(|c| c.step).collect();
    assert_eq!(kept, [3]);
}

#[test]
fn an_evaluation_is_the_same_packed_and_in_any_batches() {
    let place = Place::new();
    let of = |packing, per_device_eval_batch_size, micro| {
        let h = Hyperparameters { packing, per_device_eval_batch_size, max_length: 24, ..settings() };
        eval_loss(&recipe(&place.base(), &h), &h, micro).unwrap()
    };
    let whole = of(false, 20, 20);
    for other in [of(false, 3, 2), of(false, 8, 1), of(true, 8, 8), of(true, 1, 1)] {
        assert!((whole - other).abs() <= 1e-5 * whole, "{whole} {other}");
    }
}

#[test]
fn recomputing_activations_changes_no_bit() {
    let place = Place::new();
    let of = |gradient_checkpointing| {
        let h = Hyperparameters { gradient_checkpointing, ..settings() };
        let mut session = place.create(&format!("recompute-{gradient_checkpointing}"), &h);
        let recipe = recipe(&place.base(), &h);
        run(&mut session, &recipe, &h).unwrap();
        bits(&recipe)
    };
    assert!(of(true) == of(false));
}

#[test]
fn one_bad_step_is_skipped_and_noted() {
    let (place, h) = (Place::new(), settings());
    let mut session = place.create("nan", &h);
    let fault = |step, loss: candle_core::Tensor| match step {
        5 | 8 => Ok((loss * f64::NAN)?),
        _ => Ok(loss),
    };
    let faulty = Faulty { inner: recipe(&place.base(), &h), fault };
    let Ending::Finished(Outcome::Completed, summary) = run(&mut session, &faulty, &h).unwrap() else { panic!() };
    assert_eq!((summary.state.step, summary.state.optimizer_steps, summary.state.losses), (12, 10, 10));
    assert!(summary.state.loss_sum.is_finite());
    assert!(checkpoint::first_non_finite(&faulty.decoder().trainable()).unwrap().is_none());
    let skipped: Vec<(u64, IncidentKind)> = session_incidents(&session).into_iter().map(|i| (i.step, i.kind)).collect();
    assert_eq!(skipped, [(5, IncidentKind::NotFinite), (8, IncidentKind::NotFinite)]);
    let steps: Vec<u64> = points(&session).iter().map(|p| p.step).collect();
    assert_eq!(steps, [1, 2, 3, 4, 6, 7, 9, 10, 11, 12]);
}

#[test]
fn three_bad_steps_in_a_row_end_the_run_and_keep_the_checkpoint() {
    let (place, h) = (Place::new(), settings());
    let mut session = place.create("nan", &h);
    let fault = |step, loss: candle_core::Tensor| if step >= 7 { Ok((loss * f64::INFINITY)?) } else { Ok(loss) };
    let failure = run(&mut session, &Faulty { inner: recipe(&place.base(), &h), fault }, &h).unwrap_err();
    assert_eq!(failure.0.code, ErrorCode::NotFinite);
    assert!(failure.0.message.contains("step 9"), "{failure}");
    let kept: Vec<u64> = checkpoints::list(session.run()).unwrap().iter().map(|c| c.step).collect();
    assert_eq!(kept, [3, 6]);
}

#[test]
fn only_the_newest_checkpoints_and_the_best_stay() {
    let place = Place::new();
    // Evaluations at 4, 8 and 12; climbing the loss after step 4 makes that the best. Without momentum it climbs at once.
    let h = Hyperparameters {
        adam_beta1: 0.0,
        save_total_limit: 2,
        load_best_model_at_end: true,
        save_steps: 1,
        ..settings()
    };
    let mut session = place.create("keep", &h);
    let ruin = |step, loss: candle_core::Tensor| if step > 4 { Ok((loss * -1.0)?) } else { Ok(loss) };
    let faulty = Faulty { inner: recipe(&place.base(), &h), fault: ruin };
    let Ending::Finished(_, summary) = run(&mut session, &faulty, &h).unwrap() else { panic!() };
    assert_eq!(summary.state.best.unwrap().step, 4);
    let kept: Vec<u64> = checkpoints::list(session.run()).unwrap().iter().map(|c| c.step).collect();
    assert_eq!(kept, [4, 11, 12]);
    let deleted = events(&session).iter().filter(|e| matches!(e.body, RunEventBody::CheckpointDeleted { .. })).count();
    assert_eq!(deleted, 9);
    let last = bits(&faulty);
    assert!(checkpoint::restore_weights_of(&session, &faulty, 4).unwrap());
    assert!(bits(&faulty) != last);
}

#[test]
fn a_run_without_progress_ends_early_also_after_a_resume() {
    let place = Place::new();
    let h = Hyperparameters { early_stopping_patience: 2, eval_steps: 2, save_steps: 2, adam_beta1: 0.0, ..settings() };
    let ruin = |step, loss: candle_core::Tensor| if step > 2 { Ok((loss * -1.0)?) } else { Ok(loss) };
    let mut session = place.create("early", &h);
    let faulty = Faulty { inner: recipe(&place.base(), &h), fault: ruin };
    let Ending::Finished(outcome, summary) = run(&mut session, &faulty, &h).unwrap() else { panic!() };
    assert_eq!((outcome, summary.state.step), (Outcome::EarlyStopped, 6));
    drop(session);
    let mut session = place.open("early");
    let Ending::Finished(outcome, summary) = run(&mut session, &recipe(&place.base(), &h), &h).unwrap() else {
        panic!()
    };
    assert_eq!((outcome, summary.state.step), (Outcome::EarlyStopped, 6));
}

#[test]
fn pause_writes_a_checkpoint_and_the_run_goes_on_to_the_same_bits() {
    let (place, h) = (Place::new(), settings());
    let mut session = place.create("uncut", &h);
    let uncut = recipe(&place.base(), &h);
    run(&mut session, &uncut, &h).unwrap();

    let mut session = place.create("paused", &h);
    let folder = tb_data::files::RunFolder::open(&place.run("paused")).unwrap();
    let want = |want| folder.write_control(&Control { want, ..Control::default() }).unwrap();
    let pause = |step, loss| {
        if step == 5 {
            want(Want::Pause);
        }
        Ok(loss)
    };
    let Ending::Paused(summary) =
        run(&mut session, &Faulty { inner: recipe(&place.base(), &h), fault: pause }, &h).unwrap()
    else {
        panic!()
    };
    assert_eq!(summary.state.step, 5);
    assert!(matches!(events(&session).last().unwrap().body, RunEventBody::Paused { step: 5, trouble: None }));
    drop(session);
    want(Want::Run);
    let mut session = place.open("paused");
    let resumed = recipe(&place.base(), &h);
    let work = TrainLoop::new(&mut session, &resumed, &h).unwrap();
    assert_eq!(work.resumed_from(), Some(5));
    work.run().unwrap();
    assert!(bits(&resumed) == bits(&uncut));
}

#[test]
fn stop_ends_after_the_step_and_wishes_are_acted_on_once() {
    let (place, h) = (Place::new(), Hyperparameters { save_steps: 0, eval_steps: 100, ..settings() });
    let mut session = place.create("stop", &h);
    let folder = tb_data::files::RunFolder::open(&place.run("stop")).unwrap();
    let wish = |step, loss| {
        match step {
            2 => folder.write_control(&Control { evaluate_now: 1, checkpoint_now: 1, ..Control::default() }).unwrap(),
            6 => folder.write_control(&Control { want: Want::Stop, evaluate_now: 1, checkpoint_now: 1 }).unwrap(),
            _ => {}
        }
        Ok(loss)
    };
    let faulty = Faulty { inner: recipe(&place.base(), &h), fault: wish };
    let Ending::Finished(outcome, summary) = run(&mut session, &faulty, &h).unwrap() else { panic!() };
    assert_eq!((outcome, summary.state.step), (Outcome::Stopped, 6));
    let bodies: Vec<RunEventBody> = events(&session).into_iter().map(|e| e.body).collect();
    assert_eq!(bodies.iter().filter(|b| matches!(b, RunEventBody::Eval(_))).count(), 1);
    assert_eq!(bodies.iter().filter(|b| matches!(b, RunEventBody::Checkpoint { .. })).count(), 2);
    assert!(summary.state.best.is_none(), "an evaluation on request decides nothing");
}
