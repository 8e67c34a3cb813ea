//! Answers that are good or bad, each by itself: a correction is good and what it corrects bad, the winner of votes is good and the loser
//! bad, two answers of which neither can be used are bad, and ratings say it of one answer. What is both is neither.

use std::collections::BTreeMap;

use super::{
    BuildRules, LeftOut, Lesson,
    evidence::is_blank,
    judged::{BothBad, Fates, Judged, Outcome, Reach, Verdict},
};
use crate::feedback::Preferred;

/// Who calls a text good, and who bad.
#[derive(Default)]
struct Labels<'e>(BTreeMap<&'e str, [Vec<usize>; 2]>);

impl<'e> Labels<'e> {
    fn bad(&mut self, text: &'e str, rows: &[usize]) {
        self.0.entry(text).or_default()[0].extend(rows);
    }

    fn good(&mut self, text: &'e str, rows: &[usize]) {
        self.0.entry(text).or_default()[1].extend(rows);
    }
}

/// The labelled answers to one prompt in order of texts, each with the evidence behind it.
pub(super) fn lessons<'e>(
    rules: &BuildRules,
    judged: &mut Judged<'e>,
    fates: &mut Fates,
) -> Vec<(Lesson<'e>, Vec<usize>)> {
    let mut labels = Labels::default();
    for decided in judged.corrections.drain(..) {
        let (answer, better) = decided.what;
        labels.good(better, &decided.rows);
        labels.bad(answer, &decided.rows);
    }
    for decided in judged.choices.drain(..) {
        let (a, b, rows) = (decided.what.a, decided.what.b, decided.rows);
        match decided.what.preferred {
            Preferred::A => {
                labels.good(a, &rows);
                labels.bad(b, &rows);
            }
            Preferred::B => {
                labels.good(b, &rows);
                labels.bad(a, &rows);
            }
            Preferred::BothBad => {
                labels.bad(a, &rows);
                labels.bad(b, &rows);
            }
            Preferred::Tie => fates.left_out(&rows, LeftOut::Tie),
        }
    }
    for corrected in judged.corrected(rules, Reach::Answer, fates) {
        for (better, _, rows) in &corrected.texts {
            labels.good(better, rows);
            labels.bad(corrected.output, rows);
        }
    }
    for tally in judged.tallies(rules, fates) {
        match tally.outcome(rules, BothBad::Counts, fates) {
            Outcome::Won { chosen, rejected, share: _, margin: _, rows } => {
                labels.good(chosen, &rows);
                labels.bad(rejected, &rows);
            }
            Outcome::BothBad { rows } => {
                labels.bad(tally.first, &rows);
                labels.bad(tally.second, &rows);
            }
            Outcome::Open => {}
        }
    }
    for rated in judged.rated(rules, fates) {
        match rated.verdict(rules, fates) {
            Verdict::Good(rows) => labels.good(rated.text, &rows),
            Verdict::Bad(rows) => labels.bad(rated.text, &rows),
            Verdict::Neither => {}
        }
    }
    let mut lessons = vec![];
    for (completion, [bad, good]) in labels.0 {
        match (bad.is_empty(), good.is_empty()) {
            _ if is_blank(completion) => {}
            (true, true) => {}
            (true, false) => lessons.push((Lesson::Judged { completion, label: true }, good)),
            (false, true) => lessons.push((Lesson::Judged { completion, label: false }, bad)),
            (false, false) => {
                fates.left_out(&bad, LeftOut::LowAgreement);
                fates.left_out(&good, LeftOut::LowAgreement);
            }
        }
    }
    lessons
}
