//! The out-of-memory ladder: when a step does not fit, its micro-batches are halved and their number doubled, and it is done again.
//!
//! The rows of a step, their order, their dropout masks and the loss's divisor stay, so the step is the same up to the order of sums.
//! Each rung is an event line, which a resumed run reads: it takes every step with the micro-batches that the uncut run took.

use tb_core::recipe::Hyperparameters;
use tb_core::run_folder::{Incident, IncidentKind, MicroBatches};

/// How steps are cut into micro-batches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ladder {
    asked: MicroBatches,
    /// (first step, rows of a micro-batch), in the order in which they were taken.
    rungs: Vec<(u64, u32)>,
}

impl Ladder {
    /// As the hyperparameters want it, with the rungs of earlier workers' incidents.
    #[must_use]
    pub fn new(h: &Hyperparameters, earlier: &[Incident]) -> Self {
        let asked = MicroBatches {
            per_device_train_batch_size: h.per_device_train_batch_size.max(1),
            gradient_accumulation_steps: h.gradient_accumulation_steps.max(1),
        };
        let rungs = earlier
            .iter()
            .filter(|incident| incident.kind == IncidentKind::OutOfMemory)
            .filter_map(|incident| Some((incident.step, incident.batch?.per_device_train_batch_size.max(1))))
            .collect();
        Self { asked, rungs }
    }

    /// Rows of a micro-batch at a step.
    #[must_use]
    pub fn rows_at(&self, step: u64) -> u32 {
        let asked = self.asked.per_device_train_batch_size;
        self.rungs.iter().filter(|(from, _)| *from <= step).map(|(_, rows)| *rows).fold(asked, u32::min)
    }

    /// Whether no rung was taken, neither now nor by an earlier worker.
    #[must_use]
    pub fn is_untouched(&self) -> bool {
        self.rungs.is_empty()
    }

    /// The micro-batches of a step, each cut to the size of its rung; rows and order stay.
    #[must_use]
    pub fn cut(&self, step: u64, micro_batches: Vec<Vec<u32>>) -> Vec<Vec<u32>> {
        let rows = self.rows_at(step) as usize;
        micro_batches
            .into_iter()
            .flat_map(|batch| batch.chunks(rows).map(<[u32]>::to_vec).collect::<Vec<_>>())
            .collect()
    }

    /// Micro-batches of `rows` that make the same step.
    #[must_use]
    pub fn with_rows(&self, rows: u32) -> MicroBatches {
        let asked = self.asked;
        MicroBatches {
            per_device_train_batch_size: rows,
            gradient_accumulation_steps: asked.gradient_accumulation_steps
                * asked.per_device_train_batch_size.div_ceil(rows.max(1)),
        }
    }

    /// Takes the next rung from `step` on; none where a micro-batch is one row already.
    pub fn halve(&mut self, step: u64) -> Option<MicroBatches> {
        let now = self.rows_at(step);
        (now > 1).then(|| self.take(step, now / 2))
    }

    /// Takes the rung of `rows` from `step` on.
    pub fn take(&mut self, step: u64, rows: u32) -> MicroBatches {
        self.rungs.push((step, rows.max(1)));
        self.with_rows(rows.max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::micro_batches;

    #[test]
    fn each_rung_keeps_rows_and_order() {
        let mut ladder = Ladder::new(&micro_batches(6, 2), &[]);
        let step = vec![vec![5, 1, 4, 2, 3, 0], vec![9, 8]];
        assert_eq!(ladder.cut(1, step.clone()), step);
        let halved = ladder.halve(3).unwrap();
        assert_eq!((halved.per_device_train_batch_size, halved.gradient_accumulation_steps), (3, 4));
        assert_eq!(ladder.cut(2, step.clone()), step);
        assert_eq!(ladder.cut(3, step.clone()), [vec![5, 1, 4], vec![2, 3, 0], vec![9, 8]]);
        assert_eq!(ladder.halve(5).unwrap().gradient_accumulation_steps, 12);
        assert_eq!((ladder.rows_at(4), ladder.rows_at(5)), (3, 1));
        assert_eq!(ladder.cut(7, step.clone()).concat(), step.concat());
        assert!(ladder.halve(6).is_none());
    }

    #[test]
    fn a_resumed_run_takes_the_rungs_of_the_earlier_one() {
        let mut first = Ladder::new(&micro_batches(8, 1), &[]);
        let incident = |step, batch, kind| Incident { step, kind, message: String::new(), batch };
        let one = first.halve(4);
        let two = first.halve(9);
        let lines = [
            incident(4, one, IncidentKind::OutOfMemory),
            incident(6, None, IncidentKind::NotFinite),
            incident(9, two, IncidentKind::OutOfMemory),
        ];
        let resumed = Ladder::new(&micro_batches(8, 1), &lines);
        assert_eq!(resumed, first);
        assert_eq!([3, 4, 8, 9].map(|step| resumed.rows_at(step)), [8, 4, 4, 2]);
    }
}
