//! The batches of each step, assembled one step ahead on a thread of its own. What a step learns from is a function of its number, so
//! reading ahead changes nothing but the time.

use std::sync::Arc;
use std::thread::JoinHandle;

use tb_core::ErrorCode;
use tb_nn::decoder::Batch;

use crate::batches::Batches;
use crate::error::{Failure, Result};
use crate::ladder::Ladder;
use crate::rows::TrainingRows;

/// Hands out the micro-batches of steps.
pub struct Feed {
    data: Arc<TrainingRows>,
    batches: Arc<Batches>,
    ahead: Option<Ahead>,
}

/// A step on its way.
struct Ahead {
    step: u64,
    micro_rows: u32,
    thread: JoinHandle<Result<Vec<Batch>>>,
}

impl Feed {
    /// A feed of these rows in this order.
    #[must_use]
    pub fn new(data: Arc<TrainingRows>, batches: Batches) -> Self {
        Self { data, batches: Arc::new(batches), ahead: None }
    }

    /// The order of rows.
    #[must_use]
    pub fn batches(&self) -> &Batches {
        &self.batches
    }

    /// The micro-batches of a step; of the one after it too, if `last` is not this one, in the background.
    ///
    /// # Errors
    /// Rows that do not make a batch.
    pub fn of_step(&mut self, step: u64, ladder: &Ladder, last: u64) -> Result<Vec<Batch>> {
        let micro_rows = ladder.rows_at(step);
        let now = match self.ahead.take() {
            Some(ahead) if ahead.step == step && ahead.micro_rows == micro_rows => joined(ahead)?,
            Some(ahead) => {
                // Another step than was foreseen: what was assembled for it is of no use.
                drop(joined(ahead));
                assemble(&self.data, &self.batches, step, ladder)?
            }
            None => assemble(&self.data, &self.batches, step, ladder)?,
        };
        if step < last {
            let (data, batches, ladder) = (Arc::clone(&self.data), Arc::clone(&self.batches), ladder.clone());
            let (next, micro_rows) = (step + 1, ladder.rows_at(step + 1));
            // Without a thread the next step is assembled when it comes.
            let thread = std::thread::Builder::new().name("feed".to_owned());
            let thread = thread.spawn(move || assemble(&data, &batches, next, &ladder));
            self.ahead = thread.ok().map(|thread| Ahead { step: next, micro_rows, thread });
        }
        Ok(now)
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        if let Some(ahead) = self.ahead.take() {
            drop(joined(ahead));
        }
    }
}

fn joined(ahead: Ahead) -> Result<Vec<Batch>> {
    let step = ahead.step;
    ahead.thread.join().unwrap_or_else(|_| {
        Err(Failure::new(ErrorCode::Internal, format!("the rows of step {step} could not be put together.")))
    })
}

fn assemble(data: &TrainingRows, batches: &Batches, step: u64, ladder: &Ladder) -> Result<Vec<Batch>> {
    let micro_batches = ladder.cut(step, batches.of_step(step));
    micro_batches.iter().map(|rows| data.rows.batch(rows, data.pad_id)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batches::Grouping;
    use crate::rows::{Rows, Samples};
    use crate::testing;
    use tb_core::recipe::Hyperparameters;

    #[test]
    fn what_is_read_ahead_is_what_is_asked_for_whatever_comes() {
        let h = Hyperparameters {
            per_device_train_batch_size: 4,
            gradient_accumulation_steps: 2,
            ..Hyperparameters::default()
        };
        let rows = || Rows::packed(Samples::Held(testing::rows(40, 3)), 24);
        let data = Arc::new(TrainingRows { rows: rows(), ..TrainingRows::default() });
        let order = || Batches::new(data.rows.lengths(), &h, Grouping::ByLength);
        let mut ladder = Ladder::new(&h, &[]);
        let mut feed = Feed::new(Arc::clone(&data), order());
        let fresh = |step, ladder: &Ladder| assemble(&data, &order(), step, ladder).unwrap();
        for step in [1, 2, 3, 7, 8, 2] {
            assert_eq!(feed.of_step(step, &ladder, 9).unwrap(), fresh(step, &ladder), "step {step}");
        }
        // The next step was read ahead in micro-batches of four; now it is wanted in twos.
        ladder.halve(3);
        let halved = feed.of_step(3, &ladder, 9).unwrap();
        assert_eq!(halved, fresh(3, &ladder));
        assert!(halved.iter().all(|batch| batch.rows <= 2));
    }
}
