//! Accepted answers: the best of what is known to be good, one per prompt unless several are equally good.
//!
//! Order: what was decided (a text, then a rating, then a choice), then corrections (by how many people wrote the same), then ratings (by
//! the mean), then answers that won votes and lost none (by the share of voters). An answer that ratings call bad is never taken.

use std::collections::BTreeMap;

use super::{
    BuildRules, LeftOut, Lesson,
    evidence::is_blank,
    judged::{BothBad, Fates, Judged, Outcome, Reach, Verdict},
};
use crate::feedback::Preferred;

/// How an answer came to be accepted, the weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum How {
    Votes,
    Rated,
    Corrected,
    DecidedChoice,
    DecidedRating,
    DecidedText,
}

/// A rank: the kind of evidence, then a number of that kind, in millionths.
type Rank = (How, i64);

#[derive(Default)]
struct Candidates<'e>(BTreeMap<&'e str, (Option<Rank>, Vec<usize>)>);

impl<'e> Candidates<'e> {
    fn add(&mut self, text: &'e str, how: How, number: f64, rows: Vec<usize>) {
        if !is_blank(text) {
            let candidate = self.0.entry(text).or_default();
            candidate.0 = candidate.0.max(Some((how, (number * 1e6).round() as i64)));
            candidate.1.extend(rows);
        }
    }
}

/// The accepted answers to one prompt in order of texts, each with the evidence behind it.
pub(super) fn lessons<'e>(
    rules: &BuildRules,
    judged: &mut Judged<'e>,
    fates: &mut Fates,
) -> Vec<(Lesson<'e>, Vec<usize>)> {
    let mut candidates = Candidates::default();
    for decided in judged.corrections.drain(..) {
        candidates.add(decided.what.1, How::DecidedText, 0.0, decided.rows);
    }
    // Winners with the share of their votes, and whatever lost.
    let (mut won, mut lost) = (vec![], vec![]);
    for decided in judged.choices.drain(..) {
        let (winner, loser) = match decided.what.preferred {
            Preferred::A => (decided.what.a, decided.what.b),
            Preferred::B => (decided.what.b, decided.what.a),
            Preferred::Tie | Preferred::BothBad => {
                fates.left_out(&decided.rows, LeftOut::Tie);
                continue;
            }
        };
        won.push((winner, How::DecidedChoice, 1.0, decided.rows));
        lost.push(loser);
    }
    for corrected in judged.corrected(rules, Reach::Prompt, fates) {
        for (text, people, rows) in corrected.texts {
            candidates.add(text, How::Corrected, people as f64, rows);
        }
    }
    let mut bad = vec![];
    for rated in judged.rated(rules, fates) {
        let how = if rated.decided { How::DecidedRating } else { How::Rated };
        match rated.verdict(rules, fates) {
            Verdict::Good(rows) => candidates.add(rated.text, how, rated.mean(), rows),
            Verdict::Bad(_) => bad.push(rated.text),
            Verdict::Neither => {}
        }
    }
    for tally in judged.tallies(rules, fates) {
        match tally.outcome(rules, BothBad::Ties, fates) {
            Outcome::Won { chosen, rejected, share, margin: _, rows } => {
                won.push((chosen, How::Votes, share, rows));
                lost.push(rejected);
            }
            Outcome::BothBad { .. } | Outcome::Open => {}
        }
    }
    lost.sort_unstable();
    for (text, how, share, rows) in won {
        if lost.binary_search(&text).is_ok() {
            fates.left_out(&rows, LeftOut::Outranked);
        } else {
            candidates.add(text, how, share, rows);
        }
    }
    for text in bad {
        if let Some((_, rows)) = candidates.0.remove(text) {
            fates.left_out(&rows, LeftOut::LowAgreement);
        }
    }
    let best = candidates.0.values().filter_map(|(rank, _)| *rank).max();
    let mut lessons = vec![];
    for (completion, (rank, rows)) in candidates.0 {
        if rank == best {
            lessons.push((Lesson::Accepted { completion }, rows));
        } else {
            fates.left_out(&rows, LeftOut::Outranked);
        }
    }
    lessons
}
