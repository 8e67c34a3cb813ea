//! The rewrite rows: balanced over direction, language and act; no held-out target stands in training.

use std::collections::HashSet;

use tb_core::random::{Purpose, Stream};

use super::compose::{acts, content, render, slots};
use super::frame;
use super::types::{Direction, Language, SampleRow, SampleSet};

/// Training rows per direction and language.
pub const TRAIN_PER_GROUP: usize = 1200;
/// Held-out rows per direction and language.
pub const HELDOUT_PER_GROUP: usize = 60;

/// The rewrite rows of a seed: 7,200 to train on and 360 held out, balanced over the six pairs of direction and
/// language and, within each, over the acts. Sources and targets are unique over both files.
#[must_use]
pub fn rows(seed: u64) -> SampleSet {
    let mut set = SampleSet { train: Vec::new(), heldout: Vec::new() };
    for (d, direction) in Direction::ALL.into_iter().enumerate() {
        for (l, language) in Language::ALL.into_iter().enumerate() {
            let lane = (d * Language::ALL.len() + l) as u64;
            let group = group(seed, lane, direction, language);
            let (heldout, train) = group.split_at(HELDOUT_PER_GROUP);
            set.heldout.extend_from_slice(heldout);
            set.train.extend_from_slice(train);
        }
    }
    let mut stream = Stream::new(seed, 1, Purpose::Grammar, 0);
    stream.shuffle(&mut set.train);
    stream.shuffle(&mut set.heldout);
    set
}

fn group(seed: u64, lane: u64, direction: Direction, language: Language) -> Vec<SampleRow> {
    let mut stream = Stream::new(seed, 0, Purpose::Grammar, lane);
    let acts = acts(language).len();
    let wanted = HELDOUT_PER_GROUP + TRAIN_PER_GROUP;
    let (mut sources, mut targets) = (HashSet::new(), HashSet::new());
    let mut rows = Vec::with_capacity(wanted);
    while rows.len() < wanted {
        let message = content(&mut stream, language, rows.len() % acts);
        let source = render(&message, direction.source(), &mut stream);
        let target = render(&message, direction.target(), &mut stream);
        if sources.contains(&source) || targets.contains(&target) {
            continue;
        }
        sources.insert(source.clone());
        targets.insert(target.clone());
        rows.push(SampleRow {
            id: format!("{}-{}-{:04}", direction.as_str(), language.as_str(), rows.len()),
            direction,
            language,
            prompt: frame::prompt(&frame::instruction(direction, language, &source)),
            source,
            completion: target,
            slots: slots(&message),
        });
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::compose::slot_names;
    use crate::sample::types::Register;
    use std::collections::BTreeSet;

    #[test]
    fn every_register_of_an_act_uses_the_same_known_slots() {
        for language in Language::ALL {
            for (i, act) in acts(language).iter().enumerate() {
                let names = |t: &str| -> BTreeSet<String> { slot_names(t).map(str::to_lowercase).collect() };
                let expected = names(act.sentences);
                for register in Register::ALL {
                    for template in act.templates(register) {
                        assert_eq!(names(template), expected, "{language:?} act {i}: {template}");
                    }
                }
            }
        }
    }

    #[test]
    fn no_source_template_serves_two_acts() {
        for language in Language::ALL {
            for register in Register::ALL {
                let mut seen = HashSet::new();
                for template in acts(language).iter().flat_map(|a| a.templates(register)) {
                    assert!(seen.insert(template), "{template}");
                }
            }
        }
    }

    #[test]
    fn rows_are_balanced_unique_and_keep_their_slots() {
        let set = rows(7);
        assert_eq!(set.train.len(), 6 * TRAIN_PER_GROUP);
        assert_eq!(set.heldout.len(), 6 * HELDOUT_PER_GROUP);
        let all = || set.train.iter().chain(&set.heldout);
        let ids: HashSet<_> = all().map(|r| &r.id).collect();
        assert_eq!(ids.len(), set.train.len() + set.heldout.len());
        for row in all() {
            assert!(!row.slots.is_empty());
            for slot in &row.slots {
                assert!(row.completion.contains(slot), "{slot} in {}", row.completion);
                assert!(row.source.contains(slot), "{slot} in {}", row.source);
            }
            for text in [&row.source, &row.completion] {
                assert!(!text.contains(['{', '}']), "{text}");
                assert!(!text.contains("  ") && text.trim() == text.as_str(), "{text}");
            }
        }
        let train: HashSet<_> = set.train.iter().map(|r| &r.completion).collect();
        assert!(set.heldout.iter().all(|r| !train.contains(&r.completion)));
    }

    #[test]
    fn a_seed_gives_the_same_rows_again_and_another_seed_others() {
        assert_eq!(rows(3), rows(3));
        assert_ne!(rows(3).train[0], rows(4).train[0]);
    }
}
