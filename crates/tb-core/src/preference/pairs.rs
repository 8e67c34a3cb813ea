//! Pairs of a better and a worse answer: corrections, votes, ratings and decisions, each a source of its own. Two sources that say the
//! same make one pair; sources that contradict each other make none.

use std::collections::BTreeMap;

use super::{
    BuildRules, LeftOut, Lesson,
    evidence::is_blank,
    judged::{BothBad, Fates, Judged, Outcome, Rated, Reach, Side, reaches, rounded},
};
use crate::feedback::Preferred;

/// Pairs of ratings in which one answer stands at most: with k answers to one prompt there are k (k - 1) / 2 pairs, which
/// would let a prompt that was answered a thousand times outweigh all others. The widest gaps are taken.
const MOST_PAIRS_OF_AN_ANSWER: usize = 8;
/// Answers that are tried for one before it is given up.
const MOST_TRIES: usize = 64;
/// The margin of a correction, a decision, and a vote without dissent.
const WHOLE: f64 = 1.0;

/// What one source says.
struct Claim<'e> {
    chosen: &'e str,
    rejected: &'e str,
    margin: f64,
    rows: Vec<usize>,
}

/// The pairs of one prompt in order of texts, each with the evidence behind it.
pub(super) fn lessons<'e>(
    rules: &BuildRules,
    judged: &mut Judged<'e>,
    fates: &mut Fates,
) -> Vec<(Lesson<'e>, Vec<usize>)> {
    let mut claims = decided(judged, fates);
    for corrected in judged.corrected(rules, Reach::Answer, fates) {
        let rejected = corrected.output;
        claims.extend(corrected.texts.into_iter().map(|(chosen, _, rows)| Claim {
            chosen,
            rejected,
            margin: WHOLE,
            rows,
        }));
    }
    for tally in judged.tallies(rules, fates) {
        match tally.outcome(rules, BothBad::Ties, fates) {
            Outcome::Won { chosen, rejected, share: _, margin, rows } => {
                claims.push(Claim { chosen, rejected, margin, rows });
            }
            Outcome::BothBad { .. } | Outcome::Open => {}
        }
    }
    rated(rules, &judged.rated(rules, fates), fates, &mut claims);
    merged(claims, fates)
}

fn decided<'e>(judged: &mut Judged<'e>, fates: &mut Fates) -> Vec<Claim<'e>> {
    let corrections = judged.corrections.drain(..).map(|decided| {
        let (rejected, chosen) = decided.what;
        Claim { chosen, rejected, margin: WHOLE, rows: decided.rows }
    });
    let mut claims: Vec<_> = corrections.collect();
    for decided in judged.choices.drain(..) {
        let (a, b, rows) = (decided.what.a, decided.what.b, decided.rows);
        match decided.what.preferred {
            Preferred::A => claims.push(Claim { chosen: a, rejected: b, margin: WHOLE, rows }),
            Preferred::B => claims.push(Claim { chosen: b, rejected: a, margin: WHOLE, rows }),
            Preferred::Tie | Preferred::BothBad => fates.left_out(&rows, LeftOut::Tie),
        }
    }
    claims
}

/// Pairs of answers whose mean ratings lie far enough apart.
fn rated<'e>(rules: &BuildRules, all: &[Rated<'e>], fates: &mut Fates, claims: &mut Vec<Claim<'e>>) {
    let (enough, few): (Vec<_>, Vec<_>) = all.iter().partition(|r| r.has_enough(rules));
    for rated in few {
        fates.left_out(&rated.rows(), LeftOut::FewReviewers);
    }
    let mut best_first: Vec<(f64, &Rated<'e>)> = enough.into_iter().map(|r| (r.mean(), r)).collect();
    best_first.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.text.cmp(b.1.text)));
    let mut pairs = vec![0; best_first.len()];
    let mut worst = best_first.len();
    for better in 0..best_first.len() {
        // Those from `worst` on have as many pairs as they may.
        while worst > 0 && pairs[worst - 1] >= MOST_PAIRS_OF_AN_ANSWER {
            worst -= 1;
        }
        let mut tries = 0;
        for worse in (better + 1..worst).rev() {
            let ((high, chosen), (low, rejected)) = (best_first[better], best_first[worse]);
            tries += 1;
            if !reaches(high - low, rules.min_rating_gap)
                || pairs[better] >= MOST_PAIRS_OF_AN_ANSWER
                || tries > MOST_TRIES
            {
                break;
            }
            if pairs[worse] >= MOST_PAIRS_OF_AN_ANSWER {
                continue;
            }
            let rows = [chosen.rows(), rejected.rows()].concat();
            if agree(rules, chosen, rejected, f64::midpoint(high, low)) {
                pairs[better] += 1;
                pairs[worse] += 1;
                let (chosen, rejected) = (chosen.text, rejected.text);
                claims.push(Claim { chosen, rejected, margin: rounded(high - low), rows });
            } else {
                fates.left_out(&rows, LeftOut::LowAgreement);
            }
        }
    }
    let widest = best_first.first().zip(best_first.last()).map_or(0.0, |(best, worst)| best.0 - worst.0);
    for (mean, rated) in &best_first {
        let (from_best, from_worst) =
            (best_first[0].0 - mean, mean - best_first.last().map_or(*mean, |(worst, _)| *worst));
        let far = reaches(widest, rules.min_rating_gap) && reaches(from_best.max(from_worst), rules.min_rating_gap);
        let why = match best_first.len() {
            1 => LeftOut::NoSignal,
            _ if far => LeftOut::Outranked,
            _ => LeftOut::SmallGap,
        };
        fates.left_out(&rated.rows(), why);
    }
}

/// The share of raters on the right side of the midpoint of the two means.
fn agree(rules: &BuildRules, better: &Rated<'_>, worse: &Rated<'_>, middle: f64) -> bool {
    let right = better.beyond(Side::Above, middle) + worse.beyond(Side::Below, middle);
    let all = better.raters() + worse.raters();
    (better.decided && worse.decided) || reaches(right as f64 / all as f64, rules.min_agreement)
}

/// One pair per two texts, unless sources contradict each other.
fn merged<'e>(claims: Vec<Claim<'e>>, fates: &mut Fates) -> Vec<(Lesson<'e>, Vec<usize>)> {
    let mut by_texts: BTreeMap<(&str, &str), Vec<Claim<'e>>> = BTreeMap::new();
    for claim in claims {
        if is_blank(claim.chosen) || is_blank(claim.rejected) || claim.chosen == claim.rejected {
            continue;
        }
        let texts = (claim.chosen.min(claim.rejected), claim.chosen.max(claim.rejected));
        by_texts.entry(texts).or_default().push(claim);
    }
    let mut lessons = vec![];
    for claims in by_texts.into_values() {
        let (chosen, rejected) = (claims[0].chosen, claims[0].rejected);
        if claims.iter().any(|claim| claim.chosen != chosen) {
            for claim in claims {
                fates.left_out(&claim.rows, LeftOut::LowAgreement);
            }
            continue;
        }
        let margin = claims.iter().map(|claim| claim.margin).fold(0.0, f64::max);
        let rows = claims.into_iter().flat_map(|claim| claim.rows).collect();
        lessons.push((Lesson::Pair { chosen, rejected, margin: rounded(margin) }, rows));
    }
    lessons
}
