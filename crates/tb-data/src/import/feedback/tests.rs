//! Rows by their fields, public layouts, and every kind of bad row.

use serde_json::json;
use tb_core::{
    feedback::{Rating, Thumbs},
    labelling::Answer,
};

use super::*;

const FEEDBACK: &str = "fbk_00000000-0000-0000-0000-000000000001";
const MODEL: &str = "mdl_00000000-0000-0000-0000-000000000001";

fn read_all(name: &str, bytes: impl AsRef<[u8]>) -> (Vec<Given>, Vec<RowProblem>) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    let (mut rows, mut problems) = (Vec::new(), Vec::new());
    read(&path, &Defaults::default(), &mut |row| {
        match row {
            Ok(row) => rows.push(row),
            Err(problem) => problems.push(problem),
        }
        Flow::More
    })
    .unwrap();
    (rows, problems)
}

fn lines(values: &[Value]) -> String {
    values.iter().map(|v| format!("{v}\n")).collect()
}

#[test]
fn rows_by_their_fields_are_read_in_both_formats() {
    let row = json!({"id": 17, "session_id": 4, "model_id": MODEL, "input_text": "in", "output_text": "out\r\n", "rating": 4,
        "corrected_text": "better", "thumbs": "up", "preferred": "tie", "other_text": "o", "critique": "", "flags": ["a", "b"],
        "answers": {"q": 3}, "created_at": "2024-07-26T00:00:00Z", "transformation_type": "t", "duration_ms": 5,
        "source": "somebody", "feedback_type": "correction", "idempotency_key": "k"});
    let csv = "session_id,model_id,input_text,output_text,rating,corrected_text,thumbs,choice,other_text,critique,flags,answers,\
        created_at,transformation_type,duration_ms,source,feedback_type,idempotency_key,id\n";
    let cells = format!(
        "4,{MODEL},in,\"out\r\n\",4,better,up,tie,o,\"\",\"[\"\"a\"\",\"\"b\"\"]\",\"{{\"\"q\"\":3}}\",1721952000000,t,5,somebody,\
         correction,k,17\n"
    );
    let (of_json, none) = read_all("a.jsonl", lines(&[row]));
    assert_eq!(none, []);
    let (mut of_csv, none) = read_all("a.csv", format!("{csv}{cells}"));
    assert_eq!(none, []);
    of_csv[0].line = 1;
    assert_eq!(of_json, of_csv);
    let given = &of_json[0];
    assert_eq!((given.id.clone(), given.source, given.created_at_ms), (None, None, Some(1_721_952_000_000)));
    assert_eq!(given.feedback_type, FeedbackType::Choice);
    assert_eq!(given.idempotency_key.as_deref(), Some("k"));
    assert_eq!(
        given.judgement,
        Judgement {
            session_id: "4".into(),
            model_id: Some(MODEL.parse().unwrap()),
            input_text: "in".into(),
            output_text: "out\r\n".into(),
            corrected_text: Some("better".into()),
            transformation_type: "t".into(),
            rating: Some(Rating::try_from(4).unwrap()),
            thumbs: Some(Thumbs::Up),
            choice: Some(Choice {
                preferred: Preferred::Tie,
                other_text: "o".into(),
                other_model_id: None,
                shown: ShownOrder::AFirst
            }),
            critique: None,
            flags: vec!["a".into(), "b".into()],
            answers: [("q".to_owned(), Answer::Number(3))].into(),
            duration_ms: Some(5),
        }
    );
}

#[test]
fn only_a_row_of_ours_says_where_it_came_from_and_that_it_was_taken_back() {
    let row = |id: &str| {
        json!({"id": id, "input_text": "in", "output_text": "", "corrected_text": "", "critique": "c", "source": "api",
            "withdrawn_at_ms": 7, "withdrawn_reason": "r", "created_at_ms": 5})
    };
    let (rows, problems) = read_all("a.jsonl", lines(&[row(FEEDBACK), row("x")]));
    assert_eq!(problems, []);
    let seen =
        |row: &Given| (row.source, row.withdrawn.clone(), row.judgement.corrected_text.clone(), row.created_at_ms);
    assert_eq!(seen(&rows[0]), (Some(FeedbackSource::Api), Some((7, "r".into())), Some(String::new()), Some(5)));
    assert_eq!(seen(&rows[1]), (None, None, None, Some(5)));
}

#[test]
fn public_preference_layouts_become_choices() {
    let user = json!({"role": "user", "content": "q"});
    let said = |text: &str| json!({"role": "assistant", "content": text});
    let hh = |end: &str| format!("\n\nHuman: hi\n\nAssistant: I think so\n\nHuman: why?\n\nAssistant: I {end}");
    let rows = [
        json!({"prompt": "q", "chosen": "a", "rejected": "b", "source": "somebody", "id": 3, "rating": [1.0, 2.0]}),
        json!({"prompt": "q", "chosen": [user, said("a")], "rejected": [user, said("b")]}),
        json!({"prompt": [user], "chosen": [said("a")], "rejected": [said("b")]}),
        json!({"prompt": "q", "chosen": [said("a")], "rejected": [said("b")]}),
        json!({"chosen": [user, said("a")], "rejected": [user, said("b")]}),
        json!({"conversations": [{"from": "human", "value": "q"}], "chosen": {"from": "gpt", "value": "a"},
            "rejected": {"from": "gpt", "value": "b"}}),
        json!({"question": "q", "chosen": "a", "rejected": "b"}),
        json!({"chosen_messages": [user, said("a")], "rejected_messages": [user, said("b")]}),
        json!({"chosen": hh("know"), "rejected": hh("guess")}),
        json!({"prompt": [user, said("m"), user], "chosen": [said("a")], "rejected": [said("b")]}),
    ];
    let (given, problems) = read_all("a.jsonl", lines(&rows));
    assert_eq!(problems, []);
    let pair = |given: &Given| {
        let choice = given.judgement.choice.clone().unwrap();
        assert_eq!(choice.preferred, Preferred::A);
        (given.judgement.input_text.clone(), given.judgement.output_text.clone(), choice.other_text)
    };
    for row in &given[..8] {
        assert_eq!(pair(row), ("q".into(), "a".into(), "b".into()), "line {}", row.line);
    }
    let prompt = "\n\nHuman: hi\n\nAssistant: I think so\n\nHuman: why?\n\nAssistant:";
    assert_eq!(pair(&given[8]), (prompt.into(), " I know".into(), " I guess".into()));
    assert_eq!(pair(&given[9]), ("\n\nHuman: q\n\nAssistant: m\n\nHuman: q".into(), "a".into(), "b".into()));
}

#[test]
fn labelled_answers_become_thumbs() {
    let turns = |end: Value| json!({"messages": [{"role": "user", "content": "q"}, end], "label": "False"});
    let rows = [
        json!({"prompt": "q", "completion": "a", "label": true}),
        json!({"prompt": [{"role": "user", "content": "q"}], "completion": [{"role": "assistant", "content": "a"}],
            "label": true}),
        turns(json!({"role": "assistant", "content": [{"type": "text", "value": "a"}]})),
        turns(json!({"role": "user", "content": "a"})),
    ];
    let (given, problems) = read_all("a.jsonl", lines(&rows));
    for (row, thumbs) in given.iter().zip([Thumbs::Up, Thumbs::Up, Thumbs::Down]) {
        let said = &row.judgement;
        assert_eq!((said.input_text.as_str(), said.output_text.as_str(), said.thumbs), ("q", "a", Some(thumbs)));
    }
    assert_eq!(given.len(), 3);
    // Without an answer of the assistant it is no conversation to judge.
    assert_eq!(problems.iter().map(|p| (p.line, p.kind)).collect::<Vec<_>>(), [(4, RowProblemKind::BadConversation)]);
}

#[test]
fn every_bad_row_is_named_with_its_reason() {
    let good = json!({"input_text": "in", "output_text": "out", "rating": 3});
    let with = |field: &str, value: Value| {
        let mut row = good.clone();
        row[field] = value;
        row
    };
    let without = |field: &str| {
        let mut row = good.clone();
        row.as_object_mut().unwrap().shift_remove(field);
        row
    };
    let human = "\n\nHuman: hi\n\nAssistant:";
    use RowProblemKind::{Empty, MissingColumn, TooLong, WrongType};
    let cases = [
        (without("input_text"), MissingColumn, "'input_text' is missing"),
        (without("output_text"), MissingColumn, "'output_text' is missing"),
        (without("rating"), MissingColumn, "no judgement"),
        (with("input_text", json!("")), Empty, "input_text is empty"),
        (with("output_text", json!(null)), Empty, "'output_text' is empty"),
        (with("output_text", json!(7)), WrongType, "'output_text' is a number"),
        (with("rating", json!(0)), WrongType, "0 is no rating"),
        (with("rating", json!(4.5)), WrongType, "4.5, not a whole number"),
        (with("rating", json!("four")), WrongType, "\"four\", not a whole number"),
        (with("rating", json!([4])), WrongType, "'rating' is a list"),
        (with("thumbs", json!("sideways")), WrongType, "not a thumb"),
        (with("preferred", json!("a")), MissingColumn, "no 'other_text'"),
        (with("other_text", json!("b")), MissingColumn, "not which is 'preferred'"),
        (with("choice", json!({"preferred": "c", "other_text": ""})), WrongType, "'choice' is not an object"),
        (with("flags", json!({"a": 1})), WrongType, "'flags' is not a list of texts"),
        (with("model_id", json!("gpt")), WrongType, "'gpt' is not a model id"),
        (with("user_id", json!(7)), WrongType, "'user_id' is a number"),
        (with("created_at", json!("yesterday")), WrongType, "neither milliseconds"),
        (with("created_at", json!(1_721_952_000)), WrongType, "no time in milliseconds"),
        (with("created_at_ms", json!(-1)), WrongType, "neither milliseconds"),
        (with("feedback_type", json!("correction")), MissingColumn, "feedback_type is correction"),
        (with("session_id", json!("x".repeat(201))), TooLong, "session_id has 201 bytes"),
        (with("idempotency_key", json!("x".repeat(201))), TooLong, "idempotency_key has 201 bytes"),
        (with("duration_ms", json!(-5)), WrongType, "duration_ms is -5"),
        (json!({"prompt": "q", "chosen": "a"}), MissingColumn, "'rejected' is missing"),
        (json!({"prompt": "q", "chosen": "a", "rejected": 3}), WrongType, "'rejected' is a number"),
        (json!({"prompt": "q", "chosen": "a", "rejected": "a"}), Empty, "are the same"),
        (json!({"chosen": "yes", "rejected": "no"}), MissingColumn, "no column holds the prompt"),
        (json!({"chosen": human, "rejected": format!("{human} b")}), Empty, "chosen dialogue ends"),
        (json!({"prompt": [], "chosen": "a", "rejected": "b"}), Empty, "no messages"),
    ];
    let rows: Vec<Value> = cases.iter().map(|(row, ..)| row.clone()).collect();
    let (given, problems) = read_all("a.jsonl", lines(&rows));
    assert_eq!(given, []);
    assert_eq!(problems.len(), cases.len());
    for ((problem, (row, kind, reason)), line) in problems.iter().zip(&cases).zip(1..) {
        assert_eq!((problem.line, problem.kind), (line, *kind), "{row}: {problem:?}");
        assert!(problem.reason.contains(reason), "{row}: {}", problem.reason);
        assert!(!problem.excerpt.is_empty());
    }
}

#[test]
fn cells_of_csv_are_kept_to_the_byte() {
    let text = "input_text,output_text,rating\r\n\"=1+1\",\"a\"\"b\r\nc\rd\n\n,\0\u{202e}\",5\r\n@x,\"\",1\r\ny,,2\n\"p\"q,-,3\n";
    let (given, problems) = read_all("a.csv", text);
    let texts: Vec<(&str, &str)> =
        given.iter().map(|g| (g.judgement.input_text.as_str(), g.judgement.output_text.as_str())).collect();
    assert_eq!(texts, [("=1+1", "a\"b\r\nc\rd\n\n,\0\u{202e}"), ("@x", ""), ("pq", "-")]);
    assert_eq!(given.iter().map(|g| g.line).collect::<Vec<_>>(), [2, 6, 8]);
    assert_eq!(problems.iter().map(|p| (p.line, p.kind)).collect::<Vec<_>>(), [(7, RowProblemKind::Empty)]);
}
