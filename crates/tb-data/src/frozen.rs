//! A frozen dataset version: split files of canonical rows, the problems beside them, and one hash over it all.

use std::{fs, path::Path};

use serde_json::Value;
use tb_core::dataset::{ColumnMapping, Row, RowProblem, RowShape, SplitInfo, SplitName};

use crate::{
    error::{Error, Result},
    files::{atomic_write, sha256_bytes},
    import::{self, Imported},
    split::Splits,
};

/// Name of the file of problems in a dataset's folder.
pub const PROBLEMS: &str = "problems.jsonl";

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frozen {
    /// One entry per split, also for an empty one.
    pub splits: Vec<SplitInfo>,
    /// SHA-256 over the splits' rows, whatever their order in the file.
    pub sha256: String,
}

/// Writes `train.jsonl`, `validation.jsonl`, `test.jsonl` and `problems.jsonl` into `dir`, which is made if it is missing.
///
/// # Errors
/// [`Error::Io`].
pub fn freeze(splits: &Splits, problems: &[RowProblem], dir: &Path) -> Result<Frozen> {
    fs::create_dir_all(dir).map_err(Error::io("create", dir))?;
    let mut infos = Vec::new();
    let mut summary = String::new();
    for name in SplitName::ALL {
        let lines: Vec<String> = splits.rows(*name).iter().map(canonical_line).collect();
        let bytes: String = lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect();
        let file = file_of(*name);
        atomic_write(&dir.join(&file), bytes.as_bytes())?;
        let mut hashes: Vec<String> = lines.iter().map(|line| sha256_bytes(line.as_bytes())).collect();
        hashes.sort_unstable();
        summary += &format!("{name} {}\n", sha256_bytes(hashes.join("\n").as_bytes()));
        infos.push(SplitInfo { name: *name, file, rows: lines.len() as u64, sha256: sha256_bytes(bytes.as_bytes()) });
    }
    let bytes: String = problems
        .iter()
        .map(|p| serde_json::to_string(p).expect("a row problem is plain data and always becomes JSON") + "\n")
        .collect();
    atomic_write(&dir.join(PROBLEMS), bytes.as_bytes())?;
    Ok(Frozen { splits: infos, sha256: sha256_bytes(summary.as_bytes()) })
}

/// Name of a split's file in a dataset's folder.
#[must_use]
pub fn file_of(name: SplitName) -> String {
    format!("{name}.jsonl")
}

/// The mapping that reads a frozen file of rows of this shape.
#[must_use]
pub fn canonical_mapping(shape: RowShape) -> ColumnMapping {
    match shape {
        RowShape::Text => ColumnMapping::Text { text: "text".into() },
        RowShape::Messages => ColumnMapping::Messages { messages: "messages".into() },
        RowShape::PromptCompletion => {
            ColumnMapping::PromptCompletion { prompt: "prompt".into(), completion: "completion".into() }
        }
        RowShape::Preference => ColumnMapping::Preference {
            prompt: Some("prompt".into()),
            chosen: "chosen".into(),
            rejected: "rejected".into(),
        },
    }
}

/// Reads one split of a frozen dataset and checks it against its hash.
///
/// # Errors
/// As [`import::import`]; [`Error::BadFile`] if the file is not the one that was frozen.
pub fn read_split(dir: &Path, split: &SplitInfo, shape: RowShape) -> Result<Imported> {
    let path = dir.join(&split.file);
    let read = import::import(&path, Some(&canonical_mapping(shape)))?;
    if read.sha256 != split.sha256 {
        return Err(Error::bad_file(path, "it was changed after it was frozen (SHA-256 differs)"));
    }
    Ok(read)
}

/// The example's fields, then the other columns; a column that would hide a field is named `original_<name>`.
fn canonical_line(row: &Row) -> String {
    let mut value = serde_json::to_value(&row.example).expect("an example always becomes JSON");
    if let Value::Object(map) = &mut value {
        for (name, cell) in &row.more {
            let mut name = name.clone();
            while map.contains_key(&name) {
                name.insert_str(0, "original_");
            }
            map.insert(name, cell.clone());
        }
    }
    value.to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tb_core::dataset::{Example, RowProblemKind, Said};

    use super::*;

    fn row(line: u64, prompt: &str, more: Value) -> Row {
        let Value::Object(more) = more else { panic!("an object") };
        let said = |t: &str| Said::Text(t.into());
        Row { line, example: Example::PromptCompletion { prompt: said(prompt), completion: said("答え") }, more }
    }

    #[test]
    fn what_is_frozen_comes_back_and_changes_are_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let train = vec![row(3, "a", json!({"slots": ["x"], "prompt": "hidden"})), row(5, "b", json!({}))];
        let problems =
            vec![import::problem(4, RowProblemKind::Empty, "column 'completion' is empty", r#"{"prompt":"q"}"#)];
        let frozen = freeze(&Splits { train: train.clone(), ..Splits::default() }, &problems, dir.path()).unwrap();
        assert_eq!(frozen.splits.iter().map(|s| s.rows).collect::<Vec<_>>(), [2, 0, 0]);
        let back = read_split(dir.path(), &frozen.splits[0], RowShape::PromptCompletion).unwrap();
        assert_eq!(back.rows.iter().map(|r| &r.example).collect::<Vec<_>>(), [&train[0].example, &train[1].example]);
        assert_eq!(
            back.rows[0].more,
            json!({"slots": ["x"], "original_prompt": "hidden"}).as_object().unwrap().clone()
        );
        let kept: RowProblem = serde_json::from_str(&fs::read_to_string(dir.path().join(PROBLEMS)).unwrap()).unwrap();
        assert_eq!(kept, problems[0]);
        fs::write(dir.path().join("train.jsonl"), r#"{"prompt":"a","completion":"b"}"#).unwrap();
        assert!(read_split(dir.path(), &frozen.splits[0], RowShape::PromptCompletion).is_err());
    }

    #[test]
    fn the_hash_follows_rows_and_splits_but_not_order_or_lines() {
        let dir = tempfile::tempdir().unwrap();
        let hash = |train: Vec<Row>, test: Vec<Row>| {
            freeze(&Splits { train, test, ..Splits::default() }, &[], dir.path()).unwrap().sha256
        };
        let (a, b) = (row(1, "a", json!({})), row(2, "b", json!({})));
        let one = hash(vec![a.clone(), b.clone()], vec![]);
        assert_eq!(hash(vec![b.clone(), row(7, "a", json!({}))], vec![]), one);
        assert_ne!(hash(vec![a.clone()], vec![b.clone()]), one);
        assert_ne!(hash(vec![a, row(2, "c", json!({}))], vec![]), one);
    }
}
