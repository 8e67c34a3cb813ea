//! Learning-rate schedules, equal to transformers' get_*_schedule functions of the number of finished steps.

/// How the learning rate moves after the warm-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScheduleKind {
    /// Falls in a line to 0 at the last step.
    Linear,
    /// Falls along half a cosine to 0 at the last step.
    Cosine,
    /// Stays as it is, without a warm-up.
    Constant,
    /// Stays as it is after the warm-up.
    ConstantWithWarmup,
}

/// A learning rate as a function of the step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Schedule {
    /// The curve.
    pub kind: ScheduleKind,
    /// Steps over which the rate rises in a line from 0; not used by [`ScheduleKind::Constant`].
    pub warmup_steps: u64,
    /// Steps of the whole run, the warm-up included.
    pub total_steps: u64,
    /// The highest rate.
    pub learning_rate: f64,
}

impl Schedule {
    /// The rate for the step after `finished` finished steps; 0 finished gives the rate of the first step.
    #[must_use]
    pub fn lr_at(&self, finished: u64) -> f64 {
        self.learning_rate * self.factor(finished)
    }

    fn factor(&self, finished: u64) -> f64 {
        let (step, warmup, total) = (finished as f64, self.warmup_steps as f64, self.total_steps as f64);
        let rising = finished < self.warmup_steps;
        let warm = step / warmup.max(1.0);
        match self.kind {
            ScheduleKind::Constant => 1.0,
            ScheduleKind::Linear | ScheduleKind::Cosine | ScheduleKind::ConstantWithWarmup if rising => warm,
            ScheduleKind::ConstantWithWarmup => 1.0,
            ScheduleKind::Linear => ((total - step) / (total - warmup).max(1.0)).max(0.0),
            ScheduleKind::Cosine => {
                let progress = (step - warmup) / (total - warmup).max(1.0);
                (0.5 * (1.0 + (std::f64::consts::PI * progress).cos())).max(0.0)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equals_transformers_at_every_step() {
        let golden: serde_json::Value =
            serde_json::from_str(include_str!("../../../../tests/golden/optim/optim.json")).unwrap();
        for case in golden["schedules"].as_array().unwrap() {
            let kind = match case["kind"].as_str().unwrap() {
                "linear" => ScheduleKind::Linear,
                "cosine" => ScheduleKind::Cosine,
                "constant" => ScheduleKind::Constant,
                "constant_with_warmup" => ScheduleKind::ConstantWithWarmup,
                other => panic!("{other}"),
            };
            let schedule = Schedule {
                kind,
                warmup_steps: case["warmup"].as_u64().unwrap(),
                total_steps: case["total"].as_u64().unwrap(),
                learning_rate: case["learning_rate"].as_f64().unwrap(),
            };
            for (step, want) in case["rates"].as_array().unwrap().iter().enumerate() {
                let (got, want) = (schedule.lr_at(step as u64), want.as_f64().unwrap());
                assert!((got - want).abs() <= 1e-18, "{schedule:?} step {step}: {got} and {want}");
            }
        }
    }
}
