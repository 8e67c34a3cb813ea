//! The rows of a build with their splits: what the rules make, framed. Kinds of rewriting that a frame does not tell apart meet here,
//! and what they say of one prompt must not be double or contradict itself.

use std::collections::{HashMap, HashSet};

use sha2::{Digest, Sha256};
use tb_core::{
    dataset::SplitName,
    ids::FeedbackId,
    preference::{self, BuiltRow, Evidence, LeftOut, Lesson},
};
use tb_data::split::prompts::{PromptKey, PromptSplits};

use super::{frame::Frame, types::BuildData};

/// What a build makes.
pub(super) struct Made<'e> {
    /// Its rows, in the order of the rules.
    pub rows: Vec<MadeRow<'e>>,
    /// Every other feedback row with its reason, in order of ids.
    pub left_out: Vec<(&'e FeedbackId, LeftOut)>,
}

/// A row with its split.
pub(super) struct MadeRow<'e> {
    pub split: SplitName,
    pub built: BuiltRow<'e>,
}

/// What two rows must not both say: of what, and whether it is turned.
struct Statement {
    about: [u8; 16],
    turned: bool,
}

impl Statement {
    fn of(prompt: &str, lesson: &Lesson<'_>) -> Self {
        let (a, b, turned) = match *lesson {
            Lesson::Accepted { completion } => (completion, "", false),
            Lesson::Judged { completion, label } => (completion, "", label),
            Lesson::Pair { chosen, rejected, margin: _ } => {
                (chosen.min(rejected), chosen.max(rejected), chosen > rejected)
            }
        };
        let mut hasher = Sha256::new();
        for text in [prompt, a, b] {
            hasher.update((text.len() as u64).to_le_bytes());
            hasher.update(text);
        }
        let mut about = [0; 16];
        about.copy_from_slice(&hasher.finalize()[..16]);
        Self { about, turned }
    }
}

impl<'e> Made<'e> {
    /// Applies the rules to the evidence.
    pub fn new(args: &BuildData, evidence: &'e [Evidence], frame: &Frame, splits: &PromptSplits) -> Self {
        let built = preference::build(args.kind, &args.rules, evidence);
        let fates = fates(&built.rows, frame);
        let (mut rows, mut dropped) = (Vec::with_capacity(built.rows.len()), Vec::new());
        for (row, fate) in built.rows.into_iter().zip(fates) {
            match fate {
                Some(why) => dropped.push((row, why)),
                None => {
                    let split = splits.split(PromptKey::of(row.prompt), &frame.prompt(&row));
                    rows.push(MadeRow { split, built: row });
                }
            }
        }
        let mut left_out = built.left_out;
        if !dropped.is_empty() {
            let mut told: HashSet<&FeedbackId> =
                rows.iter().flat_map(|row| row.built.feedback.iter().copied()).collect();
            // What is contradicted is told before what is double.
            dropped.sort_by_key(|(_, why)| *why != LeftOut::LowAgreement);
            for (row, why) in dropped {
                left_out.extend(row.feedback.into_iter().filter(|id| told.insert(*id)).map(|id| (id, why)));
            }
            left_out.sort_unstable();
        }
        Self { rows, left_out }
    }
}

/// Of rows that say the same of one prompt the first stays; rows that contradict each other go.
fn fates(rows: &[BuiltRow<'_>], frame: &Frame) -> Vec<Option<LeftOut>> {
    let mut first: HashMap<[u8; 16], usize> = HashMap::with_capacity(rows.len());
    let mut turned = Vec::with_capacity(rows.len());
    let mut fates = vec![None; rows.len()];
    let mut contradicted = HashSet::new();
    let mut later = Vec::new();
    for (i, row) in rows.iter().enumerate() {
        let statement = Statement::of(&frame.prompt(row), &row.lesson);
        turned.push(statement.turned);
        let earlier = *first.entry(statement.about).or_insert(i);
        if earlier != i {
            fates[i] = Some(LeftOut::Duplicate);
            later.push((earlier, i));
            if turned[earlier] != statement.turned {
                contradicted.insert(earlier);
            }
        }
    }
    for (earlier, i) in later {
        if contradicted.contains(&earlier) {
            fates[earlier] = Some(LeftOut::LowAgreement);
            fates[i] = Some(LeftOut::LowAgreement);
        }
    }
    fates
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row<'e>(transformation_type: &'e str, lesson: Lesson<'e>) -> BuiltRow<'e> {
        BuiltRow { prompt: "q", transformation_type, lesson, feedback: vec![] }
    }

    fn pair<'e>(chosen: &'e str, rejected: &'e str) -> Lesson<'e> {
        Lesson::Pair { chosen, rejected, margin: 1.0 }
    }

    #[test]
    fn kinds_of_rewriting_meet_where_the_frame_does_not_tell_them_apart() {
        let rows =
            [row("s", pair("a", "b")), row("t", pair("a", "b")), row("t", pair("a", "c")), row("u", pair("c", "a"))];
        let same = [None, Some(LeftOut::Duplicate), Some(LeftOut::LowAgreement), Some(LeftOut::LowAgreement)];
        assert_eq!(fates(&rows, &Frame::new(None).unwrap()), same);
        assert_eq!(fates(&rows, &Frame::new(Some("{transformation_type}: {input}")).unwrap()), [None; 4]);
        let judged = |completion, label| Lesson::Judged { completion, label };
        let rows = [row("s", judged("a", true)), row("t", judged("a", true)), row("u", judged("a", false))];
        assert_eq!(fates(&rows, &Frame::new(None).unwrap()), [Some(LeftOut::LowAgreement); 3]);
    }
}
