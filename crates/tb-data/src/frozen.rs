//! A frozen dataset version: split files of canonical rows, the problems beside them, and one hash over it all.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, BufWriter, Write},
    path::{Path, PathBuf},
};

use serde_json::Value;
use sha2::{Digest, Sha256};
use tb_core::dataset::{ColumnMapping, Row, RowProblem, RowShape, SplitInfo, SplitName};

use crate::{
    error::{Error, Result},
    files::{atomic_write, hex, sha256_bytes},
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
    let mut freezer = Freezer::new(dir)?;
    for name in SplitName::ALL {
        for row in splits.rows(*name) {
            freezer.row(*name, row)?;
        }
    }
    freezer.finish(problems)
}

/// A dataset version that is written a row at a time, for rows that are made while they are written.
#[derive(Debug)]
pub struct Freezer {
    dir: PathBuf,
    splits: Vec<SplitFile>,
}

/// A split that is being written under another name.
#[derive(Debug)]
struct SplitFile {
    name: SplitName,
    temp: PathBuf,
    file: BufWriter<File>,
    whole: Sha256,
    rows: Vec<[u8; 32]>,
}

impl Freezer {
    /// Begins in a folder, which is made if it is missing.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn new(dir: &Path) -> Result<Self> {
        fs::create_dir_all(dir).map_err(Error::io("create", dir))?;
        let splits = SplitName::ALL.iter().map(|name| {
            let temp = dir.join(format!(".{}.tmp", file_of(*name)));
            let file = File::create(&temp).map_err(Error::io("create", &temp))?;
            Ok(SplitFile { name: *name, temp, file: BufWriter::new(file), whole: Sha256::new(), rows: Vec::new() })
        });
        Ok(Self { splits: splits.collect::<Result<_>>()?, dir: dir.to_path_buf() })
    }

    /// Adds a row to a split.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn row(&mut self, split: SplitName, row: &Row) -> Result<()> {
        let mut line = canonical_line(row);
        let hash = Sha256::digest(line.as_bytes()).into();
        line.push('\n');
        for file in self.splits.iter_mut().filter(|file| file.name == split) {
            file.rows.push(hash);
            file.whole.update(line.as_bytes());
            file.file.write_all(line.as_bytes()).map_err(Error::io("write", &file.temp))?;
        }
        Ok(())
    }

    /// Ends: files that are on the disk get their names, the problems beside them.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn finish(self, problems: &[RowProblem]) -> Result<Frozen> {
        let mut infos = Vec::new();
        let mut summary = String::new();
        for SplitFile { name, temp, file, whole, mut rows } in self.splits {
            let file_name = file_of(name);
            let path = self.dir.join(&file_name);
            let file = file.into_inner().map_err(|e| Error::io("write", &temp)(e.into_error()))?;
            file.sync_all().map_err(Error::io("flush", &temp))?;
            fs::rename(&temp, &path).map_err(Error::io("write", &path))?;
            rows.sort_unstable();
            let mut sorted = Sha256::new();
            for (i, hash) in rows.iter().enumerate() {
                sorted.update(if i > 0 { "\n" } else { "" });
                sorted.update(hex(hash));
            }
            summary += &format!("{name} {}\n", hex(&sorted.finalize()));
            let sha256 = hex(&whole.finalize());
            infos.push(SplitInfo { name, file: file_name, rows: rows.len() as u64, sha256 });
        }
        let bytes: String = problems
            .iter()
            .map(|p| serde_json::to_string(p).expect("a row problem is plain data and always becomes JSON") + "\n")
            .collect();
        // It also waits for the folder, and with it for the names of the splits.
        atomic_write(&self.dir.join(PROBLEMS), bytes.as_bytes())?;
        Ok(Frozen { splits: infos, sha256: sha256_bytes(summary.as_bytes()) })
    }
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
        RowShape::Unpaired => {
            ColumnMapping::Unpaired { prompt: "prompt".into(), completion: "completion".into(), label: "label".into() }
        }
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

/// Gives the rows of one split of a frozen dataset to `take` one after another, without holding them.
///
/// # Errors
/// [`Error::Io`]; [`Error::BadFile`] for a line that is no row.
pub fn each_row(dir: &Path, split: &SplitInfo, shape: RowShape, mut take: impl FnMut(Row)) -> Result<()> {
    let path = dir.join(&split.file);
    let mapping = canonical_mapping(shape);
    let file = BufReader::new(File::open(&path).map_err(Error::io("open", &path))?);
    for (line, number) in file.lines().zip(1_u64..) {
        let line = line.map_err(Error::io("read", &path))?;
        let bad = |reason: String| Error::bad_file(&path, format!("line {number}: {reason}"));
        let record = serde_json::from_str(&line).map_err(|e| bad(e.to_string()))?;
        take(import::map_record(&mapping, number, record).map_err(|problem| bad(problem.reason))?);
    }
    Ok(())
}

/// The example's fields, then the other columns; a column that would hide a field, or make another shape of the row to whoever
/// finds the mapping by its columns, is named `original_<name>`.
fn canonical_line(row: &Row) -> String {
    let mut value = serde_json::to_value(&row.example).expect("an example always becomes JSON");
    if let Value::Object(map) = &mut value {
        for (name, cell) in &row.more {
            let mut name = name.clone();
            let misleads = |name: &str| {
                row.example.shape() == RowShape::PromptCompletion
                    && name.eq_ignore_ascii_case("label")
                    && import::mapping::is_truth(cell)
            };
            while map.contains_key(&name) || misleads(&name) {
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
    fn a_shape_is_found_again_in_what_was_frozen() {
        let dir = tempfile::tempdir().unwrap();
        let said = |t: &str| Said::Text(t.into());
        let more = json!({"label": true, "feedback": ["fbk_1"]}).as_object().unwrap().clone();
        let examples = [
            Example::Unpaired { prompt: said("a"), completion: said("b"), label: false },
            Example::PromptCompletion { prompt: said("a"), completion: said("b") },
            Example::Preference { prompt: said("a"), chosen: said("b"), rejected: said("c") },
        ];
        for example in examples {
            let rows = vec![Row { line: 1, example: example.clone(), more: more.clone() }];
            freeze(&Splits { train: rows, ..Splits::default() }, &[], dir.path()).unwrap();
            let path = dir.path().join("train.jsonl");
            for mapping in [None, Some(canonical_mapping(example.shape()))] {
                let read = import::import(&path, mapping.as_ref()).unwrap();
                assert_eq!(read.rows[0].example, example);
                assert_eq!(read.rows[0].more["feedback"], more["feedback"]);
            }
        }
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
