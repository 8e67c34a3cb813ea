//! Each rule as a fact, with rows that are derived by hand. What holds for any evidence is in `tests/properties.rs`.

mod properties;

use std::sync::Arc;

use super::*;
use crate::{
    feedback::{Preferred, Rating, Thumbs},
    ids::LabelItemId,
};

fn id(n: u128) -> FeedbackId {
    FeedbackId::from_uuid(uuid::Uuid::from_u128(n))
}

/// Row `n` of reviewer `who` on the answer `output` to the prompt "q", at the time `n`.
fn row(n: u128, who: &str, output: &str) -> Evidence {
    Evidence {
        id: id(n),
        reviewer: Reviewer::of((!who.is_empty()).then_some(who), ""),
        input_text: "q".into(),
        transformation_type: "polite".into(),
        output_text: output.into(),
        corrected_text: None,
        rating: None,
        thumbs: None,
        choice: None,
        created_at_ms: n as i64,
        decision: None,
    }
}

fn corrects(n: u128, who: &str, output: &str, better: &str) -> Evidence {
    Evidence { corrected_text: Some(better.into()), ..row(n, who, output) }
}

fn rates(n: u128, who: &str, output: &str, stars: u8) -> Evidence {
    Evidence { rating: Some(Rating::try_from(stars).unwrap()), ..row(n, who, output) }
}

fn thumbs(n: u128, who: &str, output: &str, thumbs: Thumbs) -> Evidence {
    Evidence { thumbs: Some(thumbs), ..row(n, who, output) }
}

fn votes(n: u128, who: &str, (a, b): (&str, &str), preferred: Preferred) -> Evidence {
    Evidence { choice: Some((preferred, b.into())), ..row(n, who, a) }
}

fn decision(item: u128, output: &str) -> Decision {
    Decision {
        item_id: LabelItemId::from_uuid(uuid::Uuid::from_u128(item)),
        output_text: output.into(),
        other_text: None,
        preferred: None,
        corrected_text: None,
        rating: None,
    }
}

fn decided(rows: Vec<Evidence>, decision: &Decision) -> Vec<Evidence> {
    let decision = Arc::new(decision.clone());
    rows.into_iter().map(|row| Evidence { decision: Some(Arc::clone(&decision)), ..row }).collect()
}

/// A row as one line, with the numbers of the feedback rows behind it.
fn line(row: &BuiltRow<'_>) -> String {
    let number = |id: &&FeedbackId| id.as_str().rsplit('-').next().unwrap().trim_start_matches('0').to_owned();
    let numbers: Vec<String> = row.feedback.iter().map(number).collect();
    let said = match row.lesson {
        Lesson::Accepted { completion } => completion.to_owned(),
        Lesson::Pair { chosen, rejected, margin } => format!("{chosen} > {rejected} by {margin}"),
        Lesson::Judged { completion, label } => format!("{completion} {}", if label { "good" } else { "bad" }),
    };
    format!("{said} [{}]", numbers.join(" "))
}

fn built(kind: TrainingKind, rules: &BuildRules, evidence: &[Evidence]) -> (Vec<String>, Vec<LeftOut>) {
    let built = build(kind, rules, evidence);
    (built.rows.iter().map(line).collect(), built.left_out.iter().map(|(_, why)| *why).collect())
}

/// Rows and reasons, the latter in order of the numbers of the rows.
fn made(kind: TrainingKind, evidence: &[Evidence]) -> (Vec<String>, Vec<LeftOut>) {
    built(kind, &BuildRules::default(), evidence)
}

fn rows_of(kind: TrainingKind, evidence: &[Evidence]) -> Vec<String> {
    made(kind, evidence).0
}

use LeftOut::*;
use Preferred::{A, B, BothBad, Tie as NoneBetter};
use TrainingKind::{Kto, Preference, Sft};

#[test]
fn a_correction_is_better_than_what_it_corrects_to_the_byte() {
    let evidence = [corrects(1, "ann", "no", " No, thank you.\n")];
    let built = build(Preference, &BuildRules::default(), &evidence);
    let expected = Lesson::Pair { chosen: " No, thank you.\n", rejected: "no", margin: 1.0 };
    assert_eq!(
        (built.rows[0].lesson, built.rows[0].prompt, built.rows[0].transformation_type),
        (expected, "q", "polite")
    );
    assert_eq!(rows_of(Sft, &evidence), [" No, thank you.\n [1]"]);
    assert_eq!(rows_of(Kto, &evidence), [" No, thank you.\n good [1]", "no bad [1]"]);
}

#[test]
fn a_correction_that_changes_nothing_or_is_blank_is_no_pair() {
    let evidence = [corrects(1, "ann", "no", " no "), corrects(2, "bob", "no", "  "), corrects(3, "cy", "no", "no")];
    for kind in TrainingKind::ALL {
        assert_eq!(made(*kind, &evidence), (vec![], vec![NoChange, NoChange, NoChange]), "{kind}");
    }
}

#[test]
fn a_blank_answer_is_in_no_row() {
    let evidence = [corrects(1, "ann", "", "b"), votes(2, "ann", ("a", " "), A), rates(3, "ann", "\n", 1)];
    assert_eq!(made(Preference, &evidence), (vec![], vec![NoSignal, NoSignal, NoSignal]));
    assert_eq!(made(Kto, &evidence), (vec!["a good [2]".into(), "b good [1]".into()], vec![NoSignal]));
}

#[test]
fn corrections_of_one_answer_are_a_pair_each_and_equal_ones_merge() {
    let evidence = [corrects(1, "ann", "x", "b"), corrects(2, "bob", "x", "c"), corrects(3, "cy", "x", "b")];
    assert_eq!(rows_of(Preference, &evidence), ["b > x by 1 [1 3]", "c > x by 1 [2]"]);
    // Two wrote b, one c: b is the accepted answer.
    assert_eq!(made(Sft, &evidence), (vec!["b [1 3]".into()], vec![Outranked]));
    assert_eq!(rows_of(Kto, &evidence), ["b good [1 3]", "c good [2]", "x bad [1 2 3]"]);
}

#[test]
fn the_last_correction_of_a_reviewer_counts() {
    let evidence = [corrects(1, "ann", "x", "b"), corrects(2, "ann", "x", "c"), corrects(3, "ann", "x", "c")];
    assert_eq!(made(Preference, &evidence), (vec!["c > x by 1 [2 3]".into()], vec![Outranked]));
    // Of another answer: for pairs a word of its own; one accepted answer per reviewer and prompt.
    let other = [corrects(1, "ann", "x", "b"), corrects(2, "ann", "y", "c")];
    assert_eq!(rows_of(Preference, &other), ["b > x by 1 [1]", "c > y by 1 [2]"]);
    assert_eq!(made(Sft, &other), (vec!["c [2]".into()], vec![Outranked]));
}

#[test]
fn votes_count_whatever_side_a_text_stood_on() {
    let evidence = [votes(1, "ann", ("x", "y"), A), votes(2, "bob", ("y", "x"), B), votes(3, "cy", ("y", "x"), A)];
    // x 2, y 1 of 3 voters: share 2/3, margin 1/3.
    assert_eq!(made(Preference, &evidence), (vec!["x > y by 0.333333 [1 2]".into()], vec![Overruled]));
    assert_eq!(made(Sft, &evidence), (vec!["x [1 2]".into()], vec![Overruled]));
    assert_eq!(rows_of(Kto, &evidence), ["x good [1 2]", "y bad [1 2]"]);
}

#[test]
fn ties_and_both_bad_count_against_agreement() {
    // 2 of 4 for x: 0.5 is less than 0.6.
    let evidence = [
        votes(1, "a", ("x", "y"), A),
        votes(2, "b", ("x", "y"), A),
        votes(3, "c", ("x", "y"), NoneBetter),
        votes(4, "d", ("x", "y"), BothBad),
    ];
    assert_eq!(made(Preference, &evidence), (vec![], vec![LowAgreement, LowAgreement, Tie, Tie]));
    let half = BuildRules { min_agreement: 0.5, ..BuildRules::default() };
    assert_eq!(built(Preference, &half, &evidence), (vec!["x > y by 0.5 [1 2]".into()], vec![Tie, Tie]));
    // 3 of 5 is 0.6 and enough.
    let five = [&evidence[..], &[votes(5, "e", ("x", "y"), A)]].concat();
    assert_eq!(rows_of(Preference, &five), ["x > y by 0.6 [1 2 5]"]);
}

#[test]
fn a_tie_is_not_a_pair() {
    let ties = [votes(1, "ann", ("x", "y"), NoneBetter), votes(2, "bob", ("x", "y"), NoneBetter)];
    for kind in TrainingKind::ALL {
        assert_eq!(made(*kind, &ties), (vec![], vec![Tie, Tie]), "{kind}");
    }
    let both_bad = [votes(1, "ann", ("x", "y"), BothBad)];
    assert_eq!(made(Preference, &both_bad), (vec![], vec![Tie]));
    assert_eq!(made(Sft, &both_bad), (vec![], vec![Tie]));
    assert_eq!(rows_of(Kto, &both_bad), ["x bad [1]", "y bad [1]"]);
    let even = [votes(1, "ann", ("x", "y"), A), votes(2, "bob", ("x", "y"), B)];
    let any = BuildRules { min_agreement: 0.0, ..BuildRules::default() };
    assert_eq!(built(Preference, &any, &even), (vec![], vec![LowAgreement, LowAgreement]));
}

#[test]
fn a_choice_between_equal_texts_says_nothing() {
    for kind in TrainingKind::ALL {
        assert_eq!(made(*kind, &[votes(1, "ann", ("x", "x"), A)]), (vec![], vec![NoSignal]), "{kind}");
    }
}

#[test]
fn a_reviewer_has_one_vote_and_the_nameless_are_people_of_their_own() {
    let two = BuildRules { min_reviewers: 2, ..BuildRules::default() };
    let one_voter = [votes(1, "ann", ("x", "y"), A), votes(2, "ann", ("y", "x"), B)];
    assert_eq!(built(Preference, &two, &one_voter), (vec![], vec![FewReviewers, FewReviewers]));
    let two_voters = [votes(1, "ann", ("x", "y"), A), votes(2, "", ("x", "y"), A), votes(3, "", ("x", "y"), A)];
    assert_eq!(built(Preference, &two, &two_voters).0, ["x > y by 1 [1 2 3]"]);
    // Who votes again means the last vote.
    let changed = [votes(1, "ann", ("x", "y"), A), votes(2, "ann", ("x", "y"), B)];
    assert_eq!(made(Preference, &changed), (vec!["y > x by 1 [2]".into()], vec![Outranked]));
}

#[test]
fn sessions_tell_outside_people_apart() {
    let of = |n, session: &str| Evidence { reviewer: Reviewer::of(None, session), ..votes(n, "", ("x", "y"), A) };
    let two = BuildRules { min_reviewers: 2, ..BuildRules::default() };
    assert!(built(Preference, &two, &[of(1, "s"), of(2, "s")]).0.is_empty());
    assert_eq!(built(Preference, &two, &[of(1, "s"), of(2, "t")]).0.len(), 1);
    assert_eq!(Reviewer::of(Some("u"), "s"), Reviewer::User("u".into()));
}

#[test]
fn means_far_enough_apart_make_a_pair_with_the_gap_as_margin() {
    // x: (5 + 4) / 2 = 4.5, y: 2, z: 3. x-y 2.5, x-z 1.5, z-y 1.
    let evidence = [rates(1, "a", "x", 5), rates(2, "b", "x", 4), rates(3, "a", "y", 2), rates(4, "a", "z", 3)];
    assert_eq!(made(Preference, &evidence), (vec!["x > y by 2.5 [1 2 3]".into()], vec![SmallGap]));
    assert_eq!(made(Preference, &evidence[..2]), (vec![], vec![NoSignal, NoSignal]));
    assert_eq!(made(Preference, &evidence[2..]), (vec![], vec![SmallGap, SmallGap]));
    // 4.1 - 2.1 is 1.9999999999999996 in binary, and a gap of 2.
    let tens = |text: &str, from: u128, stars: [u8; 10]| -> Vec<Evidence> {
        (from..).zip(stars).map(|(n, s)| rates(n, "", text, s)).collect()
    };
    let even = [tens("x", 1, [5, 4, 4, 4, 4, 4, 4, 4, 4, 4]), tens("y", 20, [3, 2, 2, 2, 2, 2, 2, 2, 2, 2])].concat();
    assert!(rows_of(Preference, &even)[0].starts_with("x > y by 2 ["));
}

#[test]
fn thumbs_are_five_and_one_where_a_row_has_no_rating() {
    let both = Evidence { rating: Rating::try_from(4).ok(), ..thumbs(3, "b", "x", Thumbs::Up) };
    let evidence = [thumbs(1, "a", "x", Thumbs::Up), thumbs(2, "a", "y", Thumbs::Down), both];
    assert_eq!(rows_of(Preference, &evidence), ["x > y by 3.5 [1 2 3]"]);
    let no_ratings = BuildRules { ratings: false, ..BuildRules::default() };
    assert_eq!(built(Preference, &no_ratings, &evidence).0, ["x > y by 4 [1 2 3]"]);
    let no_thumbs = BuildRules { thumbs: false, ..BuildRules::default() };
    assert_eq!(built(Preference, &no_thumbs, &evidence), (vec![], vec![NoSignal, NoSignal, NoSignal]));
}

#[test]
fn raters_agree_who_are_on_their_side_of_the_midpoint() {
    // x: 5 5 1 -> 3.67, y: 1 1 2 -> 1.33; midpoint 2.5; right: two of x, three of y: 5 of 6.
    let mut evidence: Vec<_> = (1..).zip([5, 5, 1]).map(|(n, s)| rates(n, "", "x", s)).collect();
    evidence.extend((4..).zip([1, 1, 2]).map(|(n, s)| rates(n, "", "y", s)));
    assert_eq!(rows_of(Preference, &evidence), ["x > y by 2.333333 [1 2 3 4 5 6]"]);
    let strict = BuildRules { min_agreement: 0.9, ..BuildRules::default() };
    assert_eq!(built(Preference, &strict, &evidence), (vec![], vec![LowAgreement; 6]));
    let three = BuildRules { min_reviewers: 3, ..BuildRules::default() };
    assert_eq!(built(Preference, &three, &evidence).0.len(), 1);
    assert_eq!(
        built(Preference, &three, &evidence[..5]).1[..],
        [NoSignal, NoSignal, NoSignal, FewReviewers, FewReviewers]
    );
}

#[test]
fn an_answer_stands_in_eight_pairs_of_ratings_at_most() {
    let mut evidence = vec![rates(1, "a", "best", 5)];
    evidence.extend((2..22).map(|n| rates(n, "a", &format!("worst {n}"), 1)));
    let (rows, why) = made(Preference, &evidence);
    assert_eq!((rows.len(), why), (8, vec![Outranked; 12]));
    let even: Vec<_> = (0..400).map(|n| rates(n + 1, "", &format!("{n}"), if n % 2 == 0 { 5 } else { 1 })).collect();
    assert_eq!(rows_of(Preference, &even).len(), 200 * 8);
}

#[test]
fn sources_that_agree_make_one_pair_and_sources_that_do_not_make_none() {
    let correction = corrects(1, "ann", "x", "y");
    let same = [correction.clone(), votes(2, "bob", ("x", "y"), B), rates(3, "cy", "y", 5), rates(4, "cy", "x", 1)];
    assert_eq!(rows_of(Preference, &same), ["y > x by 4 [1 2 3 4]"]);
    let against = [correction, votes(2, "bob", ("x", "y"), A)];
    assert_eq!(made(Preference, &against), (vec![], vec![LowAgreement, LowAgreement]));
    let turned = [corrects(1, "ann", "x", "y"), corrects(2, "bob", "y", "x")];
    assert_eq!(made(Preference, &turned), (vec![], vec![LowAgreement, LowAgreement]));
    assert_eq!(made(Kto, &turned), (vec![], vec![LowAgreement, LowAgreement]));
}

#[test]
fn prompts_and_kinds_of_rewriting_do_not_mix() {
    let elsewhere = Evidence { input_text: "other".into(), ..rates(2, "a", "y", 1) };
    let other_kind = Evidence { transformation_type: "short".into(), ..rates(3, "a", "y", 1) };
    assert_eq!(made(Preference, &[rates(1, "a", "x", 5), elsewhere, other_kind]).1, [NoSignal; 3]);
    let blank = Evidence { input_text: " ".into(), ..corrects(1, "a", "x", "y") };
    assert_eq!(made(Sft, &[blank]), (vec![], vec![NoSignal]));
}

#[test]
fn a_decision_stands_for_all_votes_on_its_item() {
    let item = Decision { other_text: Some("y".into()), preferred: Some(B), ..decision(9, "x") };
    let pair = ("x", "y");
    let rows = || {
        vec![votes(1, "a", pair, A), votes(2, "b", pair, A), votes(3, "c", pair, B), votes(4, "d", pair, NoneBetter)]
    };
    let two = BuildRules { min_reviewers: 2, ..BuildRules::default() };
    let expected = (vec!["y > x by 1 [3]".into()], vec![Overruled, Overruled, Overruled]);
    assert_eq!(built(Preference, &two, &decided(rows(), &item)), expected);
    let ignored = BuildRules { resolutions: false, min_agreement: 0.5, ..BuildRules::default() };
    assert_eq!(built(Preference, &ignored, &decided(rows(), &item)).0, ["x > y by 0.25 [1 2]"]);
    // Nobody said so: the decision was made on all of them.
    assert_eq!(made(Preference, &decided(rows()[..2].to_vec(), &item)), (vec!["y > x by 1 [1 2]".into()], vec![]));
    let tie = Decision { preferred: Some(NoneBetter), ..item };
    assert_eq!(made(Preference, &decided(rows(), &tie)), (vec![], vec![Overruled, Overruled, Overruled, Tie]));
}

#[test]
fn a_decision_leaves_other_items_alone_and_counts_once() {
    let item = Decision { other_text: Some("y".into()), preferred: Some(A), ..decision(9, "x") };
    let mut evidence = decided(vec![votes(1, "a", ("x", "y"), A), votes(2, "b", ("x", "y"), A)], &item);
    evidence.push(votes(3, "c", ("x", "y"), A));
    assert_eq!(rows_of(Preference, &evidence), ["x > y by 1 [1 2 3]"]);
    evidence[2].choice = Some((B, "y".into()));
    assert_eq!(made(Preference, &evidence), (vec![], vec![LowAgreement; 3]));
}

#[test]
fn decided_texts_and_ratings_count_alone() {
    let text = Decision { corrected_text: Some("better".into()), ..decision(9, "x") };
    let corrections = || vec![corrects(1, "a", "x", "better"), corrects(2, "b", "x", "worse"), rates(3, "c", "x", 5)];
    let expected = (vec!["better > x by 1 [1]".into()], vec![Overruled, Overruled]);
    assert_eq!(made(Preference, &decided(corrections(), &text)), expected);
    let good = Decision { rating: Rating::try_from(5).ok(), ..decision(9, "x") };
    let ratings = || vec![rates(1, "a", "x", 4), rates(2, "b", "x", 1), rates(3, "c", "x", 1)];
    assert_eq!(made(Sft, &decided(ratings(), &good)), (vec!["x [1]".into()], vec![Overruled, Overruled]));
    // A rating of the same text from elsewhere bows to the decision, too.
    let mut evidence = decided(ratings(), &good);
    evidence.extend([rates(4, "d", "x", 2), rates(5, "e", "x", 5)]);
    assert_eq!(rows_of(Kto, &evidence), ["x good [1 5]"]);
}

#[test]
fn a_decided_answer_outranks_corrections_ratings_and_votes() {
    let item = Decision { other_text: Some("y".into()), preferred: Some(A), ..decision(9, "x") };
    let mut evidence = decided(vec![votes(1, "a", ("x", "y"), A)], &item);
    evidence.extend([corrects(2, "b", "z", "zz"), rates(3, "c", "r", 5)]);
    assert_eq!(made(Sft, &evidence), (vec!["x [1]".into()], vec![Outranked, Outranked]));
}

#[test]
fn corrections_outrank_ratings_and_these_outrank_votes() {
    let (vote, rating) = (votes(1, "a", ("v", "w"), A), rates(2, "a", "r", 4));
    let correction = corrects(3, "a", "x", "c");
    assert_eq!(rows_of(Sft, &[vote.clone(), rating.clone(), correction]), ["c [3]"]);
    assert_eq!(made(Sft, &[vote.clone(), rating]), (vec!["r [2]".into()], vec![Outranked]));
    assert_eq!(rows_of(Sft, &[vote]), ["v [1]"]);
}

#[test]
fn the_highest_mean_is_accepted_and_equal_ones_are_both() {
    let evidence = [rates(1, "a", "x", 4), rates(2, "a", "y", 5), rates(3, "a", "z", 5), rates(4, "a", "m", 3)];
    assert_eq!(made(Sft, &evidence), (vec!["y [2]".into(), "z [3]".into()], vec![Outranked, SmallGap]));
}

#[test]
fn an_answer_that_ratings_call_bad_is_never_accepted() {
    let evidence = [votes(1, "a", ("x", "y"), A), rates(2, "b", "x", 1)];
    assert_eq!(made(Sft, &evidence), (vec![], vec![LowAgreement, NoSignal]));
    assert_eq!(made(Sft, &[thumbs(1, "a", "x", Thumbs::Down)]), (vec![], vec![NoSignal]));
}

#[test]
fn a_winner_that_lost_elsewhere_is_not_accepted() {
    let evidence = [votes(1, "a", ("x", "y"), A), votes(2, "a", ("z", "x"), A)];
    assert_eq!(made(Sft, &evidence), (vec!["z [2]".into()], vec![Outranked]));
}

#[test]
fn thumbs_alone_decide_by_majority() {
    // Mean 3.67 is below 4, and two of three are for it.
    let evidence =
        [thumbs(1, "a", "x", Thumbs::Up), thumbs(2, "b", "x", Thumbs::Up), thumbs(3, "c", "x", Thumbs::Down)];
    assert_eq!(made(Sft, &evidence), (vec!["x [1 2]".into()], vec![Overruled]));
    assert_eq!(rows_of(Kto, &evidence), ["x good [1 2]"]);
    assert_eq!(made(Kto, &evidence[1..]), (vec![], vec![LowAgreement, LowAgreement]));
    assert_eq!(rows_of(Kto, &[thumbs(1, "a", "x", Thumbs::Down)]), ["x bad [1]"]);
}

#[test]
fn ratings_label_what_is_good_and_what_is_bad() {
    let evidence = [rates(1, "a", "x", 4), rates(2, "a", "y", 2), rates(3, "a", "z", 3)];
    assert_eq!(made(Kto, &evidence), (vec!["x good [1]".into(), "y bad [2]".into()], vec![SmallGap]));
    // 5 5 5 5 1 1: mean 3.67 is neither; 5 5 5 1 -> 4.0, three of four above the middle.
    let mixed: Vec<_> = (1..).zip([5, 5, 5, 1]).map(|(n, s)| rates(n, "", "x", s)).collect();
    assert_eq!(rows_of(Kto, &mixed), ["x good [1 2 3 4]"]);
    let strict = BuildRules { min_agreement: 0.8, ..BuildRules::default() };
    assert_eq!(built(Kto, &strict, &mixed), (vec![], vec![LowAgreement; 4]));
}

#[test]
fn an_answer_judged_both_ways_has_no_label() {
    let evidence = [corrects(1, "a", "x", "y"), rates(2, "b", "x", 5)];
    assert_eq!(made(Kto, &evidence), (vec!["y good [1]".into()], vec![LowAgreement]));
    let chain = [votes(1, "a", ("x", "y"), A), votes(2, "a", ("z", "x"), A)];
    assert_eq!(rows_of(Kto, &chain), ["y bad [1]", "z good [2]"]);
}

#[test]
fn a_rule_that_is_off_says_nothing() {
    let evidence =
        [corrects(1, "a", "x", "y"), votes(2, "a", ("v", "w"), A), rates(3, "a", "r", 5), rates(4, "a", "s", 1)];
    let off = BuildRules { corrections: false, choices: false, ratings: false, ..BuildRules::default() };
    for kind in TrainingKind::ALL {
        assert_eq!(built(*kind, &off, &evidence), (vec![], vec![NoSignal; 4]), "{kind}");
    }
}

#[test]
fn rules_out_of_range_are_refused() {
    let rules = BuildRules::default();
    assert_eq!(rules.check(), Ok(()));
    let bad = BuildRules { min_agreement: f64::NAN, ..rules.clone() };
    assert!(matches!(bad.check(), Err(BadRules::OutOfRange { name: "min_agreement", .. })));
    assert!(BuildRules { min_reviewers: 0, ..rules.clone() }.check().is_err());
    assert_eq!(BuildRules { bad_rating: 4.0, ..rules.clone() }.check(), Err(BadRules::Crossed { bad: 4.0, good: 4.0 }));
    let nothing = BuildRules { corrections: false, choices: false, ratings: false, thumbs: false, ..rules };
    assert_eq!(nothing.check(), Err(BadRules::Nothing));
}

#[test]
fn withdrawn_rows_are_no_evidence_and_decisions_without_a_judgement_are_none() {
    use crate::{
        feedback::{Feedback, FeedbackSource, FeedbackType, Judgement},
        labelling::{Answer, Question, QuestionKind},
    };
    let judgement = Judgement { input_text: "q".into(), output_text: "x".into(), ..Judgement::default() };
    let feedback = Feedback {
        id: id(1),
        user_id: None,
        feedback_type: FeedbackType::Thumbs,
        source: FeedbackSource::Api,
        project_id: None,
        item_id: None,
        judgement,
        correction_distance: None,
        idempotency_key: None,
        created_at_ms: 1,
        withdrawn_at_ms: Some(2),
        withdrawn_reason: None,
    };
    assert_eq!(Evidence::of(feedback.clone(), None), None);
    assert_eq!(
        Evidence::of(Feedback { withdrawn_at_ms: None, ..feedback }, None),
        Some(row(1, "", "x")).map(|row| Evidence { transformation_type: "".into(), ..row })
    );
    let question = |name: &str, kind| Question { name: name.into(), title: name.into(), required: false, kind };
    let questions = [
        question("better", QuestionKind::Choice),
        question("stars", QuestionKind::Rating { labels: vec![] }),
        question("text", QuestionKind::Correction),
        question("note", QuestionKind::Text),
    ];
    let of = |answers: &[(&str, Answer)], other: Option<&str>| {
        let answers = answers.iter().map(|(name, answer)| ((*name).to_owned(), answer.clone())).collect();
        Decision::of(decision(9, "").item_id, "x".into(), other.map(Into::into), &questions, &answers)
    };
    let word = |word: &str| Answer::Text(word.into());
    assert_eq!(of(&[("note", word("a"))], None), None);
    assert_eq!(of(&[("text", word("x"))], None), None, "the answer stands");
    assert_eq!(of(&[("better", word("b"))], None), None, "there is no second answer");
    let all = of(&[("better", word("b")), ("stars", Answer::Number(2)), ("text", word("y"))], Some("z")).unwrap();
    let expected = Decision {
        other_text: Some("z".into()),
        preferred: Some(B),
        rating: Rating::try_from(2).ok(),
        corrected_text: Some("y".into()),
        ..decision(9, "x")
    };
    assert_eq!(all, expected);
}
