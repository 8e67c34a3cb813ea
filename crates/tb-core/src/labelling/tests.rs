use super::*;

fn option(value: &str) -> LabelOption {
    LabelOption { value: value.into(), title: value.to_uppercase() }
}

fn question(name: &str, required: bool, kind: QuestionKind) -> Question {
    Question { name: name.into(), title: name.into(), required, kind }
}

fn project(questions: Vec<Question>) -> LabelProject {
    LabelProject {
        id: LabelProjectId::from_uuid(uuid::Uuid::from_u128(1)),
        name: "Polite".into(),
        guidelines: String::new(),
        source: ItemSource::Traffic { model_id: None, transformation_type: None, since_ms: 0 },
        questions,
        overlap: 2,
        order: ItemOrder::Random,
        seed: 7,
        status: ProjectStatus::Active,
        transformation_type: "casual_to_polite".into(),
        max_items: 100,
        num_items: 1,
        num_done: 0,
        num_answers: 0,
        message: None,
        created_by: None,
        revision: 1,
        created_at_ms: 0,
    }
}

fn item() -> LabelItem {
    LabelItem {
        id: LabelItemId::from_uuid(uuid::Uuid::from_u128(2)),
        project_id: LabelProjectId::from_uuid(uuid::Uuid::from_u128(1)),
        place: 1,
        input_text: "in".into(),
        source_text: None,
        output_text: "out".into(),
        model_id: None,
        other_text: Some("other".into()),
        other_model_id: None,
        transformation_type: "casual_to_polite".into(),
        disagreement: 0.5,
        gold: None,
        resolution: None,
        resolved_by: None,
        resolved_at_ms: None,
        held: 0,
        submitted: 0,
        flagged: 0,
    }
}

fn whole() -> LabelProject {
    project(vec![
        question("better", true, QuestionKind::Choice),
        question("rating", false, QuestionKind::Rating { labels: Vec::new() }),
        question("correction", false, QuestionKind::Correction),
        question("meaning", false, QuestionKind::Label { options: vec![option("kept"), option("lost")] }),
        question("problems", false, QuestionKind::Labels { options: vec![option("honorific"), option("facts")] }),
        question("note", false, QuestionKind::Text),
    ])
}

fn text(word: &str) -> Answer {
    Answer::Text(word.into())
}

#[test]
fn a_choice_is_stored_with_the_sides_of_the_item_whatever_stood_first() {
    let answers = Answers::from([("better".to_owned(), text("a"))]);
    let left = judgement(&whole(), &item(), &answers, ShownOrder::AFirst);
    assert_eq!(left.choice.as_ref().unwrap().preferred, Preferred::A);
    let swapped = judgement(&whole(), &item(), &answers, ShownOrder::BFirst);
    let choice = swapped.choice.unwrap();
    assert_eq!((choice.preferred, choice.shown), (Preferred::B, ShownOrder::BFirst));
    assert_eq!(choice.other_text, "other");
    assert_eq!(swapped.answers["better"], text("b"));
    for even in ["tie", "both_bad"] {
        let answers = Answers::from([("better".to_owned(), text(even))]);
        assert_eq!(stored(&whole(), &answers, ShownOrder::BFirst), answers);
    }
}

#[test]
fn every_kind_of_answer_finds_its_place_in_the_row() {
    let answers = Answers::from([
        ("better".to_owned(), text("tie")),
        ("rating".to_owned(), Answer::Number(4)),
        ("correction".to_owned(), text("better")),
        ("meaning".to_owned(), text("kept")),
        ("problems".to_owned(), Answer::Many(vec!["facts".into()])),
        ("note".to_owned(), text("so-so")),
    ]);
    whole().check_answers(&answers).unwrap();
    let made = judgement(&whole(), &item(), &answers, ShownOrder::AFirst);
    assert_eq!(made.rating.map(u8::from), Some(4));
    assert_eq!(made.corrected_text.as_deref(), Some("better"));
    assert_eq!(made.critique.as_deref(), Some("so-so"));
    assert_eq!(made.flags, ["facts"]);
    assert_eq!(made.answers, answers);
    for unchanged in ["out", "other"] {
        let same = Answers::from([("better".to_owned(), text("a")), ("correction".to_owned(), text(unchanged))]);
        assert_eq!(judgement(&whole(), &item(), &same, ShownOrder::AFirst).corrected_text, None);
    }
}

#[test]
fn answers_that_do_not_fit_are_refused_by_question() {
    let refused = |name: &str, answer: Answer| {
        let answers = Answers::from([("better".to_owned(), text("a")), (name.to_owned(), answer)]);
        whole().check_answers(&answers).unwrap_err()
    };
    assert_eq!(whole().check_answers(&Answers::new()), Err(BadAnswers::Missing("better".into())));
    assert_eq!(refused("colour", text("red")), BadAnswers::Unknown("colour".into()));
    assert!(matches!(refused("rating", Answer::Number(6)), BadAnswers::Wrong { .. }));
    assert!(matches!(refused("rating", text("4")), BadAnswers::Wrong { .. }));
    assert!(matches!(refused("meaning", text("half")), BadAnswers::Wrong { .. }));
    assert!(matches!(
        refused("problems", Answer::Many(vec!["facts".into(), "facts".into()])),
        BadAnswers::Wrong { .. }
    ));
    assert!(matches!(refused("better", text("left")), BadAnswers::Wrong { .. }));
}

#[test]
fn a_project_that_cannot_work_is_refused() {
    let bad = |questions| project(questions).check(false).unwrap_err();
    assert_eq!(bad(vec![]), BadProject::NoQuestion);
    assert_eq!(bad(vec![question("note", false, QuestionKind::Text)]), BadProject::NoQuestion);
    assert_eq!(bad(vec![question("b", true, QuestionKind::Choice)]), BadProject::NoSecondAnswer("b".into()));
    let text_question = |name| question(name, true, QuestionKind::Text);
    assert!(matches!(bad(vec![text_question("a"), text_question("a")]), BadProject::QuestionName(_)));
    assert!(matches!(bad(vec![text_question("A b")]), BadProject::QuestionName(_)));
    let rating = |name| question(name, true, QuestionKind::Rating { labels: Vec::new() });
    assert_eq!(bad(vec![rating("a"), rating("b")]), BadProject::Twice("rating"));
    let one = QuestionKind::Label { options: vec![option("x")] };
    assert_eq!(bad(vec![question("a", true, one)]), BadProject::Options("a".into()));
    assert_eq!(LabelProject { overlap: 0, ..whole() }.check(true), Err(BadProject::Overlap(0)));
    whole().check(true).unwrap();
}

#[test]
fn gold_judges_only_what_it_answers() {
    let answers = Answers::from([("rating".to_owned(), Answer::Number(4)), ("better".to_owned(), text("a"))]);
    assert_eq!(agrees_with_gold(&item(), &answers), None);
    let gold =
        |stars| LabelItem { gold: Some(Answers::from([("rating".to_owned(), Answer::Number(stars))])), ..item() };
    assert_eq!(agrees_with_gold(&gold(4), &answers), Some(true));
    assert_eq!(agrees_with_gold(&gold(3), &answers), Some(false));
}
