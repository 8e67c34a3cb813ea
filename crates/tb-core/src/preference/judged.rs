//! What was said of the answers to one prompt: last words of reviewers, decisions, votes and mean ratings. What of it becomes a row is
//! decided beside this file.

use std::collections::{BTreeMap, btree_map::Entry};

use super::{
    BuildRules, Evidence, LeftOut, Reviewer,
    evidence::{Decision, is_blank},
};
use crate::feedback::{Preferred, Thumbs};

/// Means and shares are quotients of small integers: what is within this of a bound has reached it.
const SLACK: f64 = 1e-9;

/// Whether a value reaches a bound.
pub(super) fn reaches(value: f64, bound: f64) -> bool {
    value + SLACK >= bound
}

/// A margin without the last bits of its computation.
pub(super) fn rounded(margin: f64) -> f64 {
    (margin * 1e6).round() / 1e6
}

/// What became of each piece of evidence.
pub(super) struct Fates {
    used: Vec<bool>,
    why: Vec<LeftOut>,
}

impl Fates {
    pub fn new(evidence: usize) -> Self {
        Self { used: vec![false; evidence], why: vec![LeftOut::NoSignal; evidence] }
    }

    /// These stand behind a row.
    pub fn used(&mut self, rows: &[usize]) {
        for row in rows {
            self.used[*row] = true;
        }
    }

    /// These did not make this row. A piece of evidence may say several things: the reason that tells most is kept.
    pub fn left_out(&mut self, rows: &[usize], why: LeftOut) {
        for row in rows {
            if weight(why) > weight(self.why[*row]) {
                self.why[*row] = why;
            }
        }
    }

    /// Why one is behind no row; none if it is behind one.
    pub fn why(&self, row: usize) -> Option<LeftOut> {
        (!self.used[row]).then(|| self.why[row])
    }
}

fn weight(why: LeftOut) -> u8 {
    match why {
        LeftOut::NoSignal => 0,
        LeftOut::Duplicate => 1,
        LeftOut::Tie => 2,
        LeftOut::NoChange => 3,
        LeftOut::SmallGap => 4,
        LeftOut::Outranked => 5,
        LeftOut::Overruled => 6,
        LeftOut::FewReviewers => 7,
        LeftOut::LowAgreement => 8,
    }
}

/// One person: a reviewer, and for one of whom nothing is known, the row.
type Person<'e> = (&'e Reviewer, &'e str);

/// A reviewer's last word, with the rows that say so.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Word<T> {
    pub value: T,
    pub rows: Vec<usize>,
}

/// Last words by subject, in order of subjects and people. `said` is in order of time.
fn last_words<'e, S: Ord, T: PartialEq>(
    said: impl Iterator<Item = (S, Person<'e>, T, usize)>,
    fates: &mut Fates,
) -> BTreeMap<S, Vec<Word<T>>> {
    let mut words: BTreeMap<S, BTreeMap<Person<'e>, Word<T>>> = BTreeMap::new();
    for (subject, person, value, row) in said {
        match words.entry(subject).or_default().entry(person) {
            Entry::Vacant(first) => {
                first.insert(Word { value, rows: vec![row] });
            }
            Entry::Occupied(mut earlier) if earlier.get().value == value => earlier.get_mut().rows.push(row),
            Entry::Occupied(mut earlier) => {
                let taken_back = earlier.insert(Word { value, rows: vec![row] });
                fates.left_out(&taken_back.rows, LeftOut::Outranked);
            }
        }
    }
    words.into_iter().map(|(subject, people)| (subject, people.into_values().collect())).collect()
}

/// How far the last word of a reviewer who corrects reaches.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// One text per answer.
    Answer,
    /// One text per prompt.
    Prompt,
}

/// Better texts for one answer (or for any answer to the prompt).
pub(super) struct Corrected<'e> {
    /// The answer; that of the first word where the reach is the prompt.
    pub output: &'e str,
    /// People who corrected.
    pub reviewers: usize,
    /// Each different text with how many people wrote it, and their rows.
    pub texts: Vec<(&'e str, usize, Vec<usize>)>,
}

/// A number of stars, from a rating or a thumb.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stars {
    pub value: u8,
    pub is_thumb: bool,
}

/// The ratings of one text.
pub(super) struct Rated<'e> {
    pub text: &'e str,
    pub words: Vec<Word<Stars>>,
    /// Whether a decision says so, which needs no second voice.
    pub decided: bool,
}

/// What ratings say of one text.
pub(super) enum Verdict {
    /// It is good, by these rows.
    Good(Vec<usize>),
    /// It is bad, by these rows.
    Bad(Vec<usize>),
    /// Nothing.
    Neither,
}

/// The votes on two texts, the first before the second.
pub(super) struct Tally<'e> {
    pub first: &'e str,
    pub second: &'e str,
    words: Vec<Word<Preferred>>,
}

/// What votes say.
pub(super) enum Outcome<'e> {
    Won { chosen: &'e str, rejected: &'e str, share: f64, margin: f64, rows: Vec<usize> },
    BothBad { rows: Vec<usize> },
    Open,
}

/// Something decided, with the rows that stand behind it.
pub(super) struct Decided<T> {
    pub what: T,
    pub rows: Vec<usize>,
}

/// Two texts of which one was decided to be better: A, B, and which.
pub(super) struct DecidedChoice<'e> {
    pub a: &'e str,
    pub b: &'e str,
    pub preferred: Preferred,
}

/// What was said of the answers to one prompt.
pub(super) struct Judged<'e> {
    evidence: &'e [Evidence],
    /// Rows of items that are not decided, in order of time.
    rows: Vec<usize>,
    /// Decided corrections: the answer and the better text.
    pub corrections: Vec<Decided<(&'e str, &'e str)>>,
    pub choices: Vec<Decided<DecidedChoice<'e>>>,
    ratings: Vec<Decided<(&'e str, u8)>>,
}

impl<'e> Judged<'e> {
    /// `group` is the evidence of one prompt, in order of time.
    pub fn of(rules: &BuildRules, evidence: &'e [Evidence], group: &[usize], fates: &mut Fates) -> Self {
        let mut judged = Self { evidence, rows: vec![], corrections: vec![], choices: vec![], ratings: vec![] };
        let mut items: BTreeMap<&str, (&'e Decision, Vec<usize>)> = BTreeMap::new();
        for row in group {
            match &evidence[*row].decision {
                Some(decision) if rules.resolutions => {
                    items.entry(decision.item_id.as_str()).or_insert_with(|| (decision, vec![])).1.push(*row);
                }
                Some(_) | None => judged.rows.push(*row),
            }
        }
        for (decision, rows) in items.into_values() {
            judged.decide(rules, decision, &rows, fates);
        }
        judged
    }

    /// Takes what was decided of an item in place of what its reviewers said.
    fn decide(&mut self, rules: &BuildRules, decision: &'e Decision, rows: &[usize], fates: &mut Fates) {
        let evidence = self.evidence;
        let output = &*decision.output_text;
        let mut behind: Vec<usize> = vec![];
        // The decision was made on what reviewers said: where none of them said it, all that said anything stand behind it.
        let mut agreeing = |agrees: &dyn Fn(&Evidence) -> bool| {
            let judges = |i: &usize| says_something(&evidence[*i]);
            let those = |is: &dyn Fn(&usize) -> bool| rows.iter().copied().filter(|i| is(i)).collect::<Vec<_>>();
            let found = [those(&|i| agrees(&evidence[*i])), those(&judges), rows.to_vec()];
            let found = found.into_iter().find(|rows| !rows.is_empty()).unwrap_or_default();
            behind.extend(&found);
            found
        };
        if let Some(better) = decision.corrected_text.as_deref().filter(|_| rules.corrections) {
            if is_change(output, better) {
                let rows = agreeing(&|e| e.corrected_text.as_deref() == Some(better));
                self.corrections.push(Decided { what: (output, better), rows });
            } else {
                fates.left_out(rows, LeftOut::NoChange);
            }
        }
        if let (Some(preferred), Some(other)) = (decision.preferred, decision.other_text.as_deref())
            && rules.choices
            && output != other
        {
            let rows = agreeing(&|e| e.choice.as_ref().is_some_and(|(p, _)| *p == preferred));
            self.choices.push(Decided { what: DecidedChoice { a: output, b: other, preferred }, rows });
        }
        if let Some(stars) = decision.rating.map(u8::from).filter(|_| rules.ratings) {
            let rows = agreeing(&|e| e.stars(rules).is_some_and(|s| side(rules, s.value) == side(rules, stars)));
            self.ratings.push(Decided { what: (output, stars), rows });
        }
        if !behind.is_empty() {
            let others: Vec<usize> =
                rows.iter().copied().filter(|i| !behind.contains(i) && says_something(&evidence[*i])).collect();
            fates.left_out(&others, LeftOut::Overruled);
        }
    }

    fn person(&self, row: usize) -> Person<'e> {
        let e = &self.evidence[row];
        match &e.reviewer {
            Reviewer::User(_) | Reviewer::Session(_) => (&e.reviewer, ""),
            Reviewer::Unknown => (&e.reviewer, e.id.as_str()),
        }
    }

    /// What reviewers corrected, in order of answers; where `reach` is the prompt, at most one entry.
    pub fn corrected(&self, rules: &BuildRules, reach: Reach, fates: &mut Fates) -> Vec<Corrected<'e>> {
        if !rules.corrections {
            return vec![];
        }
        let mut unchanged = vec![];
        let said: Vec<_> = self
            .rows
            .iter()
            .filter_map(|row| {
                let e = &self.evidence[*row];
                let better = e.corrected_text.as_deref()?;
                let output = &*e.output_text;
                if !is_change(output, better) {
                    unchanged.push(*row);
                    return None;
                }
                let subject = match reach {
                    Reach::Answer => output,
                    Reach::Prompt => "",
                };
                Some((subject, self.person(*row), (output, better), *row))
            })
            .collect();
        fates.left_out(&unchanged, LeftOut::NoChange);
        let words = last_words(said.into_iter(), fates);
        let corrected = words.into_values().filter_map(|words| {
            let (output, reviewers) = (words.first()?.value.0, words.len());
            let mut texts: BTreeMap<&str, (usize, Vec<usize>)> = BTreeMap::new();
            for word in words {
                let text = texts.entry(word.value.1).or_default();
                text.0 += 1;
                text.1.extend(word.rows);
            }
            let texts: Vec<_> = texts.into_iter().map(|(text, (people, rows))| (text, people, rows)).collect();
            Some(Corrected { output, reviewers, texts })
        });
        let few = |c: &Corrected<'_>| c.reviewers < rules.min_reviewers as usize;
        let (few, enough): (Vec<_>, Vec<_>) = corrected.partition(few);
        for (.., rows) in few.iter().flat_map(|c| &c.texts) {
            fates.left_out(rows, LeftOut::FewReviewers);
        }
        enough
    }

    /// The votes on each pair of different texts, in order of texts.
    pub fn tallies(&self, rules: &BuildRules, fates: &mut Fates) -> Vec<Tally<'e>> {
        let rows = self.rows.iter().filter(|_| rules.choices);
        let said = rows.filter_map(|row| {
            let e = &self.evidence[*row];
            let (preferred, other) = e.choice.as_ref()?;
            let (a, b) = (&*e.output_text, &**other);
            let (pair, vote) = if a < b { ((a, b), *preferred) } else { ((b, a), preferred.swapped()) };
            (a != b).then(|| (pair, self.person(*row), vote, *row))
        });
        let words = last_words(said, fates);
        words.into_iter().map(|((first, second), words)| Tally { first, second, words }).collect()
    }

    /// The ratings of each text, in order of texts. What was decided of a text stands for all of its ratings.
    pub fn rated(&self, rules: &BuildRules, fates: &mut Fates) -> Vec<Rated<'e>> {
        let said = self.rows.iter().filter_map(|row| {
            let e = &self.evidence[*row];
            Some((&*e.output_text, self.person(*row), e.stars(rules)?, *row))
        });
        let mut words = last_words(said, fates);
        let mut decided: BTreeMap<&str, Vec<Word<Stars>>> = BTreeMap::new();
        for Decided { what: (text, stars), rows } in &self.ratings {
            let value = Stars { value: *stars, is_thumb: false };
            decided.entry(text).or_default().push(Word { value, rows: rows.clone() });
        }
        for (text, decided) in &mut decided {
            for word in words.remove(text).unwrap_or_default() {
                match decided.iter_mut().find(|d| side(rules, d.value.value) == side(rules, word.value.value)) {
                    Some(same) => same.rows.extend(word.rows),
                    None => fates.left_out(&word.rows, LeftOut::Overruled),
                }
            }
        }
        let decided = decided.into_iter().map(|(text, words)| Rated { text, words, decided: true });
        let mut rated: Vec<_> = words
            .into_iter()
            .map(|(text, words)| Rated { text, words, decided: false })
            .chain(decided)
            .filter(|rated| !is_blank(rated.text))
            .collect();
        rated.sort_unstable_by_key(|r| r.text);
        rated
    }
}

impl Evidence {
    fn stars(&self, rules: &BuildRules) -> Option<Stars> {
        let rating = self.rating.filter(|_| rules.ratings).map(|r| Stars { value: r.into(), is_thumb: false });
        let thumbs = self.thumbs.filter(|_| rules.thumbs).map(|thumbs| match thumbs {
            Thumbs::Up => Stars { value: 5, is_thumb: true },
            Thumbs::Down => Stars { value: 1, is_thumb: true },
        });
        rating.or(thumbs)
    }
}

fn says_something(e: &Evidence) -> bool {
    e.corrected_text.is_some() || e.choice.is_some() || e.rating.is_some() || e.thumbs.is_some()
}

/// Whether a correction says more than its answer: not blank, and not the same but for blanks around it.
fn is_change(output: &str, better: &str) -> bool {
    !is_blank(better) && better.trim() != output.trim()
}

/// On which side a rating is: bad (-1), good (1), or neither.
fn side(rules: &BuildRules, stars: u8) -> i8 {
    let stars = f64::from(stars);
    i8::from(reaches(stars, rules.good_rating)) - i8::from(reaches(rules.bad_rating, stars))
}

impl Rated<'_> {
    pub fn raters(&self) -> usize {
        self.words.len()
    }

    pub fn mean(&self) -> f64 {
        let sum: u32 = self.words.iter().map(|w| u32::from(w.value.value)).sum();
        f64::from(sum) / self.words.len() as f64
    }

    pub fn rows(&self) -> Vec<usize> {
        self.words.iter().flat_map(|w| w.rows.iter().copied()).collect()
    }

    /// How many raters are above (or, with `Below`, below) a value.
    pub fn beyond(&self, side: Side, value: f64) -> usize {
        let beyond = |word: &&Word<Stars>| match side {
            Side::Above => f64::from(word.value.value) > value + SLACK,
            Side::Below => f64::from(word.value.value) < value - SLACK,
        };
        self.words.iter().filter(beyond).count()
    }

    pub fn has_enough(&self, rules: &BuildRules) -> bool {
        self.decided || self.words.len() >= rules.min_reviewers as usize
    }

    /// Whether the text is good or bad; who is left out of the verdict is told why.
    pub fn verdict(&self, rules: &BuildRules, fates: &mut Fates) -> Verdict {
        let mut neither = |why| {
            fates.left_out(&self.rows(), why);
            Verdict::Neither
        };
        if !self.has_enough(rules) {
            return neither(LeftOut::FewReviewers);
        }
        let middle = f64::midpoint(rules.good_rating, rules.bad_rating);
        let share = |side| self.beyond(side, middle) as f64 / self.words.len() as f64;
        if !self.decided && self.words.iter().all(|w| w.value.is_thumb) {
            let (up, down) = (self.beyond(Side::Above, 3.0), self.beyond(Side::Below, 3.0));
            let most = up.max(down) as f64 / self.words.len() as f64;
            if up == down || !reaches(most, rules.min_agreement) {
                return neither(LeftOut::LowAgreement);
            }
            let (for_it, against): (Vec<_>, Vec<_>) =
                self.words.iter().partition(|w| (w.value.value > 3) == (up > down));
            let rows = |words: Vec<&Word<Stars>>| words.iter().flat_map(|w| w.rows.clone()).collect::<Vec<_>>();
            fates.left_out(&rows(against), LeftOut::Overruled);
            return if up > down { Verdict::Good(rows(for_it)) } else { Verdict::Bad(rows(for_it)) };
        }
        let agreed = |side| self.decided || reaches(share(side), rules.min_agreement);
        if reaches(self.mean(), rules.good_rating) {
            if agreed(Side::Above) { Verdict::Good(self.rows()) } else { neither(LeftOut::LowAgreement) }
        } else if reaches(rules.bad_rating, self.mean()) {
            if agreed(Side::Below) { Verdict::Bad(self.rows()) } else { neither(LeftOut::LowAgreement) }
        } else {
            neither(LeftOut::SmallGap)
        }
    }
}

/// A side of a value.
#[derive(Clone, Copy)]
pub(super) enum Side {
    Above,
    Below,
}

impl<'e> Tally<'e> {
    /// What the votes say; who did not say it is told why. "Both bad" is a judgement of its own where `both_bad` says so, else as
    /// good as a tie.
    pub fn outcome(&self, rules: &BuildRules, both_bad: BothBad, fates: &mut Fates) -> Outcome<'e> {
        let rows = |vote: Preferred| -> Vec<usize> {
            self.words.iter().filter(|w| w.value == vote).flat_map(|w| w.rows.iter().copied()).collect()
        };
        let count = |vote: Preferred| self.words.iter().filter(|w| w.value == vote).count();
        let voters = self.words.len();
        let enough = voters >= rules.min_reviewers as usize;
        let share = |vote| count(vote) as f64 / voters as f64;
        let won = |vote: Preferred| {
            let most = Preferred::ALL.iter().all(|other| *other == vote || count(*other) < count(vote));
            enough && most && reaches(share(vote), rules.min_agreement)
        };
        let is_judgement = |vote: Preferred| match vote {
            Preferred::A | Preferred::B => true,
            Preferred::Tie => false,
            Preferred::BothBad => both_bad == BothBad::Counts,
        };
        let winner = Preferred::ALL.iter().copied().find(|vote| is_judgement(*vote) && won(*vote));
        for vote in Preferred::ALL.iter().copied().filter(|vote| Some(*vote) != winner) {
            let why = match () {
                () if !is_judgement(vote) => LeftOut::Tie,
                () if winner.is_some() => LeftOut::Overruled,
                () if !enough => LeftOut::FewReviewers,
                () => LeftOut::LowAgreement,
            };
            fates.left_out(&rows(vote), why);
        }
        let side = |vote: Preferred, chosen, rejected| Outcome::Won {
            chosen,
            rejected,
            share: share(vote),
            margin: (count(vote) as f64 - count(vote.swapped()) as f64) / voters as f64,
            rows: rows(vote),
        };
        match winner {
            Some(Preferred::A) => side(Preferred::A, self.first, self.second),
            Some(Preferred::B) => side(Preferred::B, self.second, self.first),
            Some(Preferred::BothBad) => Outcome::BothBad { rows: rows(Preferred::BothBad) },
            Some(Preferred::Tie) | None => Outcome::Open,
        }
    }
}

/// Whether "both bad" says something.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum BothBad {
    /// It does.
    Counts,
    /// No more than a tie.
    Ties,
}
