//! What holds for any evidence: generated rows of few texts, few people and many contradictions.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::random::{Purpose, Stream};

const CASES: u64 = 400;

/// A generator of evidence.
struct Draw(Stream);

impl Draw {
    fn below(&mut self, n: u32) -> u32 {
        self.0.next_u32() % n
    }

    fn one<'a>(&mut self, words: &[&'a str]) -> &'a str {
        words[self.below(words.len() as u32) as usize]
    }

    fn stars(&mut self) -> Option<Rating> {
        Rating::try_from(self.below(12) as u8).ok()
    }

    fn evidence(&mut self, n: u128) -> Evidence {
        const TEXTS: [&str; 6] = ["a", "b", "c", "d", "", " a"];
        let preferred = Preferred::ALL[self.below(4) as usize];
        let other = self.one(&TEXTS);
        let thumbs = [None, None, Some(Thumbs::Up), Some(Thumbs::Down)][self.below(4) as usize];
        let reviewer = match self.below(5) {
            0 => Reviewer::Unknown,
            1 => Reviewer::Session(self.one(&["s", "t"]).into()),
            _ => Reviewer::User(self.one(&["u", "v", "w"]).into()),
        };
        Evidence {
            reviewer,
            input_text: self.one(&["p", "q", "r", " "]).into(),
            transformation_type: self.one(&["t", "u"]).into(),
            corrected_text: (self.below(3) == 0).then(|| self.one(&TEXTS).into()),
            rating: self.stars(),
            thumbs,
            choice: (self.below(2) == 0).then(|| (preferred, other.into())),
            // Several at one moment: the id decides.
            created_at_ms: i64::from(self.below(20)),
            ..row(n, "", self.one(&TEXTS))
        }
    }

    /// Rows of a few items, some of them decided.
    fn items(&mut self, from: u128) -> Vec<Evidence> {
        let mut rows = vec![];
        for item in 0..u128::from(self.below(5)) {
            let first = self.evidence(0);
            let (output, other) = (first.output_text.clone(), self.one(&["a", "b", "c"]));
            let decided = Decision {
                other_text: (self.below(3) > 0).then(|| other.into()),
                preferred: (self.below(2) == 0).then(|| Preferred::ALL[self.below(4) as usize]),
                corrected_text: (self.below(3) == 0).then(|| self.one(&["a", "b", "e", " "]).into()),
                rating: self.stars(),
                ..decision(item + 1, &output)
            };
            let decided = Arc::new(decided);
            for k in 0..u128::from(self.below(4)) {
                rows.push(Evidence {
                    input_text: first.input_text.clone(),
                    transformation_type: first.transformation_type.clone(),
                    output_text: output.clone(),
                    choice: (self.below(3) > 0).then(|| (Preferred::ALL[self.below(4) as usize], other.into())),
                    decision: (item % 2 == 0).then(|| Arc::clone(&decided)),
                    ..self.evidence(from + item * 10 + k)
                });
            }
        }
        rows
    }

    fn rules(&mut self) -> BuildRules {
        BuildRules {
            corrections: self.below(5) > 0,
            choices: self.below(5) > 0,
            ratings: self.below(5) > 0,
            thumbs: self.below(5) > 0,
            resolutions: self.below(4) > 0,
            min_reviewers: 1 + self.below(3),
            min_agreement: f64::from(self.below(11)) / 10.0,
            min_rating_gap: 1.0 + f64::from(self.below(7)) / 2.0,
            good_rating: 3.0 + f64::from(self.below(5)) / 2.0,
            bad_rating: 1.0 + f64::from(self.below(4)) / 2.0,
        }
    }

    fn shuffled<T>(&mut self, mut items: Vec<T>) -> Vec<T> {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i as u32 + 1) as usize);
        }
        items
    }
}

fn each_case(check: impl Fn(&mut Draw, TrainingKind, &BuildRules, Vec<Evidence>)) {
    for case in 0..CASES {
        let mut draw = Draw(Stream::new(case, 0, Purpose::Grammar, 0));
        let mut evidence: Vec<_> = (1..=u128::from(draw.below(60))).map(|n| draw.evidence(n)).collect();
        evidence.extend(draw.items(1000));
        let rules = draw.rules();
        for kind in TrainingKind::ALL {
            check(&mut draw, *kind, &rules, evidence.clone());
        }
    }
}

#[test]
fn the_order_of_the_evidence_makes_no_difference() {
    each_case(|draw, kind, rules, evidence| {
        let turned = draw.shuffled(evidence.clone());
        assert_eq!(build(kind, rules, &evidence), build(kind, rules, &turned));
    });
}

#[test]
fn every_row_of_feedback_is_behind_a_row_or_left_out_and_never_both() {
    each_case(|_, kind, rules, evidence| {
        let built = build(kind, rules, &evidence);
        let all: BTreeSet<&FeedbackId> = evidence.iter().map(|e| &e.id).collect();
        let behind: BTreeSet<&FeedbackId> = built.rows.iter().flat_map(|r| r.feedback.iter().copied()).collect();
        let left_out: BTreeSet<&FeedbackId> = built.left_out.iter().map(|(id, _)| *id).collect();
        assert_eq!(left_out.len(), built.left_out.len());
        assert!(behind.is_disjoint(&left_out));
        assert_eq!(behind.union(&left_out).copied().collect::<BTreeSet<_>>(), all);
        for row in &built.rows {
            assert!(!row.feedback.is_empty() && row.feedback.is_sorted());
            let prompt = |id: &FeedbackId| &*evidence.iter().find(|e| e.id == *id).unwrap().input_text;
            assert!(row.feedback.iter().all(|id| prompt(id) == row.prompt), "{row:?}");
        }
    });
}

#[test]
fn no_answer_is_blank_and_no_pair_is_equal_turned_or_double() {
    each_case(|_, kind, rules, evidence| {
        let mut seen = BTreeSet::new();
        for row in build(kind, rules, &evidence).rows {
            let texts = match row.lesson {
                Lesson::Accepted { completion } | Lesson::Judged { completion, label: _ } => (completion, completion),
                Lesson::Pair { chosen, rejected, margin } => {
                    assert!(chosen != rejected && margin > 0.0 && margin <= 4.0, "{row:?}");
                    (chosen.min(rejected), chosen.max(rejected))
                }
            };
            assert!(!texts.0.trim().is_empty() && !texts.1.trim().is_empty(), "{row:?}");
            assert!(seen.insert((row.prompt, row.transformation_type, texts)), "{row:?}");
        }
    });
}

#[test]
fn who_only_ties_is_behind_no_pair_and_no_accepted_answer() {
    each_case(|_, kind, rules, evidence| {
        if kind == Kto {
            return;
        }
        let undecided = BuildRules { resolutions: false, ..rules.clone() };
        let only_tied = |e: &Evidence| {
            let tied = matches!(e.choice, Some((NoneBetter | BothBad, _)));
            tied && e.corrected_text.is_none() && e.rating.is_none() && e.thumbs.is_none()
        };
        let built = build(kind, &undecided, &evidence);
        let why: BTreeMap<_, _> = built.left_out.iter().copied().collect();
        for e in evidence.iter().filter(|e| only_tied(e)) {
            assert!(matches!(why[&e.id], Tie | Outranked | NoSignal), "{e:?} {:?}", why[&e.id]);
        }
    });
}

#[test]
fn one_person_never_stands_for_two() {
    each_case(|_, kind, rules, evidence| {
        let alone =
            evidence.into_iter().map(|e| Evidence { reviewer: Reviewer::User("u".into()), decision: None, ..e });
        let alone: Vec<_> = alone.collect();
        let strict = BuildRules { min_reviewers: 2, ..rules.clone() };
        assert_eq!(build(kind, &strict, &alone).rows, []);
    });
}
