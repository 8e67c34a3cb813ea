//! Every format, every shape, every kind of bad row, and damaged files of every kind.

use std::sync::Arc;

use arrow_array::{
    ArrayRef, RecordBatch,
    builder::{LargeStringBuilder, ListBuilder, StringBuilder, StructBuilder},
};
use arrow_schema::{DataType, Field};
use serde_json::json;
use tb_core::dataset::{Example, Message, Said};

use super::*;

struct File {
    dir: tempfile::TempDir,
    name: &'static str,
}

impl File {
    fn new(name: &'static str, bytes: impl AsRef<[u8]>) -> Self {
        let file = Self { dir: tempfile::tempdir().unwrap(), name };
        file.write(bytes);
        file
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join(self.name)
    }

    fn write(&self, bytes: impl AsRef<[u8]>) {
        std::fs::write(self.path(), bytes).unwrap();
    }

    fn import(&self) -> Result<Imported> {
        import(&self.path(), None)
    }
}

fn pair(prompt: &str, completion: &str) -> Example {
    Example::PromptCompletion { prompt: Said::Text(prompt.into()), completion: Said::Text(completion.into()) }
}

fn message(role: &str, content: &str) -> Message {
    Message { role: role.into(), content: content.into(), more: Map::new() }
}

fn problems(imported: &Imported) -> Vec<(u64, RowProblemKind)> {
    imported.problems.iter().map(|p| (p.line, p.kind)).collect()
}

#[test]
fn jsonl_names_every_bad_line() {
    use RowProblemKind::{Empty, MissingColumn, Unreadable, WrongType};
    let mut bytes = b"\xef\xbb\xbf{\"prompt\":\"a\",\"completion\":\"b\",\"slots\":[1]}\r\n\n".to_vec();
    bytes.extend(b"{\"prompt\":\"a\",\"completion\":\"\xff\"}\n{\"prompt\":\"a\0\",\"completion\":\"b\"}\n");
    bytes.extend(
        b"{\"prompt\":\"a\"}\r\n{\"prompt\":3,\"completion\":\"b\"}\n{\"prompt\":\"  \",\"completion\":\"b\"}\n[1]\n",
    );
    bytes.extend(b"{\"prompt\":\"\\ud800\",\"completion\":\"b\"}\n{\"prompt\":null,\"completion\":\"b\"}\n");
    bytes.extend("{\"prompt\":\"言\",\"completion\":\"葉\"}\n{\"prompt\":\"cut".as_bytes());
    let file = File::new("a.jsonl", bytes);
    let imported = file.import().unwrap();
    assert_eq!(imported.rows.iter().map(|r| r.line).collect::<Vec<_>>(), [1, 11]);
    assert_eq!(imported.rows[0].example, pair("a", "b"));
    assert_eq!(imported.rows[0].more, json!({"slots": [1]}).as_object().unwrap().clone());
    assert_eq!(
        problems(&imported),
        [
            (3, Unreadable),
            (4, Unreadable),
            (5, MissingColumn),
            (6, WrongType),
            (7, Empty),
            (8, Unreadable),
            (9, Unreadable),
            (10, MissingColumn),
            (12, Unreadable)
        ]
    );
    assert_eq!(imported.num_read, 11);
    assert!(imported.problems[0].reason.contains("not UTF-8 at byte 29"), "{}", imported.problems[0].reason);
    assert_eq!(imported.sha256, sha256_file(&file.path()).unwrap());
}

#[test]
fn a_line_that_is_too_long_or_too_deep_costs_that_line_only() {
    let long = format!("{{\"text\":\"{}\"}}\n", "x".repeat(MAX_RECORD_BYTES));
    let deep = format!("{{\"text\":{}}}\n", "[".repeat(100_000));
    let file = File::new("a.jsonl", [&long, "{\"text\":\"ok\"}\n", &deep, "{\"text\":\"ok too\"}"].concat());
    let imported = file.import().unwrap();
    assert_eq!(problems(&imported), [(1, RowProblemKind::TooLong), (3, RowProblemKind::Unreadable)]);
    assert_eq!(imported.rows.iter().map(|r| r.line).collect::<Vec<_>>(), [2, 4]);
    assert!(imported.problems[0].excerpt.chars().count() <= EXCERPT_CHARS + 1);
}

#[test]
fn utf16_is_refused_with_the_reason() {
    for (name, text) in [("a.jsonl", "{\"text\":\"x\"}"), ("a.csv", "text\nx"), ("a.json", "[{\"text\":\"x\"}]")] {
        for mark in [true, false] {
            let units = mark.then_some('\u{feff}').into_iter().chain(text.chars()).map(|c| c as u16);
            let file = File::new(name, units.flat_map(u16::to_le_bytes).collect::<Vec<_>>());
            let error = file.import().unwrap_err().to_string();
            assert!(error.contains("UTF-16") && error.contains(name), "{error}");
        }
    }
}

#[test]
fn json_arrays_are_read_and_a_break_is_refused() {
    let file = File::new("a.json", r#"[{"text":"a"}, 3, {"text":"b","n":1}]"#);
    let imported = file.import().unwrap();
    assert_eq!(imported.rows.iter().map(|r| r.line).collect::<Vec<_>>(), [1, 3]);
    assert_eq!(problems(&imported), [(2, RowProblemKind::Unreadable)]);
    for bad in [r#"[{"text":"a"}, {"text":"b"#, r#"[{"text":"a"}] x"#, r#"{"text":"a"}"#, "", "3"] {
        file.write(bad);
        assert!(matches!(file.import(), Err(Error::BadFile { .. })), "{bad}");
    }
}

#[test]
fn csv_lines_are_those_of_the_file() {
    let text = "\u{feff}prompt,completion,note\r\n\r\na,\"b\nb2\",1\n\n\"say \"\"hi\"\"\",c,2\r\nonly,two\n,empty,3\nlast,row,";
    let imported = File::new("a.csv", text).import().unwrap();
    assert_eq!(imported.rows.iter().map(|r| r.line).collect::<Vec<_>>(), [3, 6, 9]);
    assert_eq!(imported.rows[0].example, pair("a", "b\nb2"));
    assert_eq!(imported.rows[1].example, pair("say \"hi\"", "c"));
    assert_eq!(imported.rows[1].more["note"], "2");
    assert_eq!(problems(&imported), [(7, RowProblemKind::Unreadable), (8, RowProblemKind::Empty)]);
    assert_eq!(imported.problems[0].reason, "2 fields where the header has 3");
}

#[test]
fn a_quote_that_is_never_closed_is_named_with_its_line() {
    let imported = File::new("a.csv", "text\none\n\"two\nthree\nfour\n").import().unwrap();
    assert_eq!(problems(&imported), [(3, RowProblemKind::Unreadable)]);
    assert!(imported.problems[0].reason.contains("lines 3 to 5"), "{}", imported.problems[0].reason);
    for bad in ["a,a\n1,2\n", "a,,b\n1,2,3\n", "\"a\n"] {
        assert!(matches!(File::new("a.csv", bad).import(), Err(Error::BadFile { .. })), "{bad}");
    }
    let semicolons = File::new("a.csv", "prompt;completion\na;b, c\n").import().unwrap();
    assert_eq!(semicolons.rows[0].example, pair("a", "b, c"));
}

#[test]
fn conversations_of_every_kind_become_messages() {
    let lines = [
        json!({"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]}),
        json!({"conversations": [{"role": "system", "content": "s"}, {"role": "user", "content": "a"},
            {"role": "assistant", "content": [{"type": "text", "text": "b"}]}]}),
        json!({"conversations": "[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"assistant\",\"content\":\"b\"}]"}),
        json!({"conversations": [{"from": "alien", "value": "a"}]}),
        json!({"conversations": [{"role": "user", "content": "a"}]}),
        json!({"conversations": []}),
        json!({"conversations": [{"role": "user", "content": "a"}, {"role": "system", "content": "s"}]}),
        json!({"conversations": [{"role": "user", "content": [{"type": "image"}]}]}),
        json!({"conversations": [{"role": "user", "content": "a"}, {"role": "assistant", "content": null,
            "tool_calls": [{"function": {"name": "f"}}]}]}),
    ];
    let text: String = lines.iter().map(|l| format!("{l}\n")).collect();
    let imported = File::new("a.jsonl", text).import().unwrap();
    assert_eq!(imported.rows.iter().map(|r| r.line).collect::<Vec<_>>(), [1, 2, 3, 9]);
    let two = vec![message("user", "a"), message("assistant", "b")];
    assert_eq!(imported.rows[0].example, Example::Messages { messages: two.clone() });
    assert_eq!(imported.rows[2].example, Example::Messages { messages: two });
    use RowProblemKind::{BadConversation, Empty, WrongType};
    let expected = [(4, BadConversation), (5, BadConversation), (6, Empty), (7, BadConversation), (8, WrongType)];
    assert_eq!(problems(&imported), expected);
}

#[test]
fn instructions_are_framed_and_an_empty_input_is_left_out() {
    let text = concat!(
        "{\"instruction\":\"Rewrite\",\"input\":\"hi\",\"output\":\"Good day\"}\n",
        "{\"instruction\":\"Say\",\"input\":\"\",\"output\":\"x\"}\n",
        "{\"instruction\":\"\",\"input\":\"\",\"output\":\"x\"}\n"
    );
    let imported = File::new("a.jsonl", text).import().unwrap();
    let first = "### Instruction:\nRewrite\n\n### Input:\nhi\n\n### Response:\n";
    assert_eq!(imported.rows[0].example, pair(first, "Good day"));
    assert_eq!(imported.rows[1].example, pair("### Instruction:\nSay\n\n### Response:\n", "x"));
    assert_eq!(problems(&imported), [(3, RowProblemKind::Empty)]);
    let mapping =
        ColumnMapping::InputOutput { input: "q".into(), output: "a".into(), template: "{{json}} {q} ({n})\n".into() };
    let file = File::new("a.jsonl", "{\"q\":\"why\",\"a\":\"so\",\"n\":2}\n{\"q\":\"why\",\"a\":\"so\"}\n");
    let imported = import(&file.path(), Some(&mapping)).unwrap();
    assert_eq!(imported.rows[0].example, pair("{json} why (2)\n", "so"));
    assert_eq!(problems(&imported), [(2, RowProblemKind::MissingColumn)]);
}

#[test]
fn a_preference_without_a_prompt_takes_the_common_beginning() {
    let lines = [
        json!({"chosen": "Q: hi A: good", "rejected": "Q: hi A: go away"}),
        json!({"chosen": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}],
            "rejected": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "b"}]}),
        json!({"chosen": "same", "rejected": "same"}),
        json!({"chosen": "a b", "rejected": "a c"}),
    ];
    let text: String = lines.iter().map(|l| format!("{l}\n")).collect();
    let imported = File::new("a.jsonl", text).import().unwrap();
    let said = |t: &str| Said::Text(t.into());
    assert_eq!(
        imported.rows[0].example,
        Example::Preference { prompt: said("Q: hi A: go"), chosen: said("od"), rejected: said(" away") }
    );
    assert_eq!(
        imported.rows[1].example,
        Example::Preference {
            prompt: Said::Messages(vec![message("user", "q")]),
            chosen: Said::Messages(vec![message("assistant", "a")]),
            rejected: Said::Messages(vec![message("assistant", "b")]),
        }
    );
    // TRL: a space before the difference goes with the answers.
    assert_eq!(
        imported.rows[2].example,
        Example::Preference { prompt: said("a"), chosen: said(" b"), rejected: said(" c") }
    );
    assert_eq!(problems(&imported), [(3, RowProblemKind::Empty)]);
}

#[test]
fn unknown_columns_and_formats_are_named() {
    let error = File::new("a.jsonl", "{\"foo\":1,\"bar\":2}\n").import().unwrap_err();
    assert!(error.to_string().contains("foo, bar"), "{error}");
    assert!(matches!(File::new("a.xlsx", "").import(), Err(Error::UnknownFormat { .. })));
    assert!(matches!(File::new("a.jsonl", "").import(), Err(Error::NoRows { .. })));
    assert!(matches!(File::new("a.jsonl", "garbage\n").import(), Err(Error::NoRows { problems: 1, .. })));
    let missing = import(Path::new("/nowhere/a.jsonl"), None).unwrap_err();
    assert_eq!(missing.code(), tb_core::ErrorCode::NotFound);
}

#[test]
fn a_preview_shows_the_beginning_even_without_a_mapping() {
    let file = File::new("a.csv", "foo,bar\n1,2\n3,4\n5,6\n");
    let seen = preview(&file.path(), None, 2).unwrap();
    assert_eq!((seen.columns, seen.mapping, seen.records.len()), (vec!["foo".to_owned(), "bar".to_owned()], None, 2));
    let mapping = ColumnMapping::Text { text: "foo".into() };
    assert_eq!(preview(&file.path(), Some(&mapping), 2).unwrap().rows.len(), 2);
}

fn parquet_bytes() -> Vec<u8> {
    let mut prompt = StringBuilder::new();
    let mut completion = LargeStringBuilder::new();
    for i in 0..50 {
        prompt.append_value(format!("質問 {i}"));
        if i == 7 { completion.append_null() } else { completion.append_value(format!("答え {i}")) }
    }
    let fields = vec![Field::new("role", DataType::Utf8, true), Field::new("content", DataType::Utf8, true)];
    let mut history = ListBuilder::new(StructBuilder::from_fields(fields, 0));
    for _ in 0..50 {
        for (role, content) in [("user", "a"), ("assistant", "b")] {
            let one = history.values();
            one.field_builder::<StringBuilder>(0).unwrap().append_value(role);
            one.field_builder::<StringBuilder>(1).unwrap().append_value(content);
            one.append(true);
        }
        history.append(true);
    }
    let batch = RecordBatch::try_from_iter([
        ("prompt", Arc::new(prompt.finish()) as ArrayRef),
        ("completion", Arc::new(completion.finish())),
        ("history", Arc::new(history.finish())),
    ])
    .unwrap();
    let mut bytes = Vec::new();
    let mut writer = ::parquet::arrow::ArrowWriter::try_new(&mut bytes, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    bytes
}

#[test]
fn parquet_strings_lists_and_structs_are_read() {
    let file = File::new("a.parquet", parquet_bytes());
    let imported = file.import().unwrap();
    assert_eq!((imported.rows.len(), problems(&imported)), (49, vec![(8, RowProblemKind::MissingColumn)]));
    assert_eq!(imported.rows[0].example, pair("質問 0", "答え 0"));
    let mapping = ColumnMapping::Messages { messages: "history".into() };
    let talks = import(&file.path(), Some(&mapping)).unwrap();
    assert_eq!(talks.rows.len(), 50);
    assert_eq!(
        talks.rows[49].example,
        Example::Messages { messages: vec![message("user", "a"), message("assistant", "b")] }
    );
}

#[test]
fn damaged_files_of_every_kind_never_panic_and_are_named() {
    let text = "{\"prompt\":\"a\",\"completion\":\"言葉\"}\n".repeat(8);
    let kinds: [(&'static str, Vec<u8>); 4] = [
        ("a.jsonl", text.clone().into_bytes()),
        ("a.json", format!("[{}]", text.trim_end().replace('\n', ",")).into_bytes()),
        ("a.csv", "prompt,completion\n\"a\",\"言\n葉\"\nb,c\n".repeat(4).into_bytes()),
        ("a.parquet", parquet_bytes()),
    ];
    for (name, whole) in kinds {
        let file = File::new(name, &whole);
        let rows = file.import().unwrap().num_read;
        let check = |bytes: &[u8]| {
            file.write(bytes);
            match file.import() {
                Ok(imported) => {
                    assert_eq!(imported.num_read as usize, imported.rows.len() + imported.problems.len());
                    Some(imported.num_read)
                }
                Err(error) => {
                    assert!(error.to_string().contains(name), "{error}");
                    None
                }
            }
        };
        for at in (0..whole.len()).step_by(whole.len() / 250 + 1) {
            let cut = check(&whole[..at]);
            assert!(cut.is_none_or(|n| n <= rows), "{name} cut at {at}");
            if name == "a.parquet" || name == "a.json" {
                assert_eq!(cut, None, "{name} cut at {at}: what follows the cut cannot be counted");
            }
            for bit in [0, 3, 7] {
                let mut flipped = whole.clone();
                flipped[at] ^= 1 << bit;
                check(&flipped);
            }
        }
        let mut random = tb_core::random::Stream::new(7, 0, tb_core::random::Purpose::Shuffle, 0);
        let garbage: Vec<u8> = (0..5000).map(|_| random.next_u32() as u8).collect();
        check(&garbage);
    }
    // apache/arrow-rs#9874: ten bytes that claim a huge list.
    let file = File::new("a.parquet", b"PAR1\x19\xfc\xff\xff\xff\xff\x0f\x07\x00\x00\x00PAR1");
    assert!(matches!(file.import(), Err(Error::BadFile { .. })));
}

#[test]
fn answers_with_a_label_are_unpaired_where_every_label_is_true_or_false() {
    let said = |text: &str| Said::Text(text.into());
    let unpaired =
        |completion: &str, label| Example::Unpaired { prompt: said("q"), completion: said(completion), label };
    let found = |name: &'static str, text: &str| File::new(name, text).import().unwrap();
    let rows = |imported: Imported| imported.rows.into_iter().map(|r| r.example).collect::<Vec<_>>();
    let jsonl = "{\"prompt\":\"q\",\"completion\":\"a\",\"label\":true}\n{\"prompt\":\"q\",\"completion\":\"b\",\"label\":false}\n";
    assert_eq!(rows(found("a.jsonl", jsonl)), [unpaired("a", true), unpaired("b", false)]);
    let csv = "prompt,completion,Label\nq,a,True\nq,b,false\n";
    assert_eq!(rows(found("a.csv", csv)), [unpaired("a", true), unpaired("b", false)]);
    // The number of a class, a word, or a gap is another column.
    for label in ["1", "\"good\"", "null"] {
        let text = format!("{{\"prompt\":\"q\",\"completion\":\"a\",\"label\":{label}}}\n");
        assert_eq!(rows(found("a.jsonl", &text)), [pair("q", "a")], "{label}");
    }
    // Where a person says that it is the label, 1 and 0 are as good, and anything else is a problem of the row.
    let mapping = ColumnMapping::Unpaired { prompt: "p".into(), completion: "c".into(), label: "good".into() };
    let text = "{\"p\":\"q\",\"c\":\"a\",\"good\":1}\n{\"p\":\"q\",\"c\":\"b\",\"good\":0}\n{\"p\":\"q\",\"c\":\"c\",\"good\":2}\n";
    let imported = import(&File::new("a.jsonl", text).path(), Some(&mapping)).unwrap();
    assert_eq!(problems(&imported), [(3, RowProblemKind::WrongType)]);
    assert_eq!(rows(imported), [unpaired("a", true), unpaired("b", false)]);
}
