//! What feedback is counted by: sets of things that are told apart, and steps of time.

/// How many days one count stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// A day (UTC).
    Day,
    /// A week from Monday on.
    Week,
    /// Four such weeks.
    Span,
}

impl Step {
    /// All, the longest first.
    pub(super) const LONGEST_FIRST: [Self; 3] = [Self::Span, Self::Week, Self::Day];

    /// Days of it.
    #[must_use]
    pub fn days(self) -> i64 {
        match self {
            Self::Day => 1,
            Self::Week => 7,
            Self::Span => 28,
        }
    }

    /// The step that a day (since 1970 UTC) belongs to, counted from the one that 1970-01-01 belongs to.
    #[must_use]
    pub fn of_day(self, day: i64) -> i64 {
        (day + self.before_1970()).div_euclid(self.days())
    }

    /// The first day of a step.
    #[must_use]
    pub fn first_day(self, number: i64) -> i64 {
        number * self.days() - self.before_1970()
    }

    /// 1970 began on a Thursday: days of its first step that lie before it.
    pub(super) fn before_1970(self) -> i64 {
        match self {
            Self::Day => 0,
            Self::Week | Self::Span => 3,
        }
    }
}

/// What a grain tells apart, as a set.
pub(super) type Dims = u8;
pub(super) const REVIEWER: Dims = 1;
pub(super) const MODEL: Dims = 2;
pub(super) const KIND: Dims = 4;
/// Choices alone, as the model of the second answer sees them.
pub(super) const RIVAL: Dims = 8;

/// Counts of one kind: the name of each step that it is counted in.
pub(super) struct Grain {
    pub dims: Dims,
    pub steps: &'static [(Step, &'static str)],
}

/// What is counted, the fewest counts first. Days that a grain lacks are read from the next one that tells no less apart.
#[rustfmt::skip]
pub(super) const GRAINS: [Grain; 11] = [
    Grain { dims: KIND, steps: &[(Step::Day, "type_day"), (Step::Week, "type_week"), (Step::Span, "type_span")] },
    Grain { dims: MODEL, steps: &[(Step::Day, "model_day"), (Step::Week, "model_week"), (Step::Span, "model_span")] },
    Grain { dims: MODEL | KIND, steps: &[(Step::Day, "model_type_day"), (Step::Week, "model_type_week"), (Step::Span, "model_type_span")] },
    Grain { dims: REVIEWER, steps: &[(Step::Day, "reviewer_day"), (Step::Week, "reviewer_week"), (Step::Span, "reviewer_span")] },
    Grain { dims: REVIEWER | KIND, steps: &[(Step::Week, "reviewer_type_week"), (Step::Span, "reviewer_type_span")] },
    Grain { dims: REVIEWER | MODEL, steps: &[(Step::Week, "reviewer_model_week"), (Step::Span, "reviewer_model_span")] },
    Grain { dims: REVIEWER | MODEL | KIND, steps: &[(Step::Day, "cell_day"), (Step::Span, "cell_span")] },
    Grain { dims: RIVAL | MODEL, steps: &[(Step::Day, "rival_day"), (Step::Week, "rival_week"), (Step::Span, "rival_span")] },
    Grain { dims: RIVAL | MODEL | KIND, steps: &[(Step::Day, "rival_type_day"), (Step::Week, "rival_type_week"), (Step::Span, "rival_type_span")] },
    Grain { dims: RIVAL | REVIEWER | MODEL, steps: &[(Step::Week, "rival_reviewer_week"), (Step::Span, "rival_reviewer_span")] },
    Grain { dims: RIVAL | REVIEWER | MODEL | KIND, steps: &[(Step::Day, "rival_cell_day"), (Step::Span, "rival_cell_span")] },
];

/// The fewest counts in such steps that tell so much apart.
pub(super) fn grain_of(dims: Dims, step: Step) -> Option<&'static str> {
    GRAINS
        .iter()
        .filter(|grain| grain.dims & RIVAL == dims & RIVAL && grain.dims & dims == dims)
        .flat_map(|grain| grain.steps)
        .find(|(of, _)| *of == step)
        .map(|(_, name)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_week_begins_on_monday_and_a_span_with_a_week() {
        // 1970-01-01 was a Thursday, 2024-02-05 a Monday.
        let monday = 19_758;
        assert_eq!(Step::Week.first_day(Step::Week.of_day(monday)), monday);
        assert_eq!(Step::Week.of_day(monday + 6), Step::Week.of_day(monday));
        assert_eq!(Step::Week.of_day(monday - 1) + 1, Step::Week.of_day(monday));
        for number in [-3, 0, 700] {
            let first = Step::Span.first_day(number);
            assert_eq!(Step::Week.first_day(Step::Week.of_day(first)), first);
            assert_eq!(Step::Span.of_day(first + 27), number);
        }
    }

    #[test]
    fn every_question_has_counts_for_days_and_for_long_times() {
        for dims in 1..8 {
            for step in [Step::Day, Step::Span] {
                assert!(grain_of(dims, step).is_some(), "{dims} {step:?}");
                assert!(grain_of(dims | MODEL | RIVAL, step).is_some(), "{dims} {step:?}");
            }
        }
        assert_eq!(grain_of(REVIEWER | MODEL, Step::Week), Some("reviewer_model_week"));
        assert_eq!(grain_of(REVIEWER | MODEL, Step::Day), Some("cell_day"));
        assert_eq!(grain_of(KIND, Step::Day), Some("type_day"));
        assert_eq!(grain_of(REVIEWER | MODEL | KIND, Step::Week), None);
    }
}
