//! Rows with the same content: the first stays, each later one is named as a problem.

use std::collections::HashMap;

use tb_core::dataset::{Example, Row, RowProblem, RowProblemKind};

use crate::{files::sha256_bytes, import::problem};

/// Leaves the first row of each content; the others become problems that name the line of the first. What stands in columns
/// that the mapping does not use makes no difference.
#[must_use]
pub fn dedup(rows: Vec<Row>) -> (Vec<Row>, Vec<RowProblem>) {
    let mut first: HashMap<String, u64> = HashMap::with_capacity(rows.len());
    let mut problems = Vec::new();
    let kept = rows
        .into_iter()
        .filter(|row| {
            let text = canonical(&row.example);
            let earlier = *first.entry(sha256_bytes(text.as_bytes())).or_insert(row.line);
            if earlier == row.line {
                return true;
            }
            let reason = format!("the same content as line {earlier}");
            problems.push(problem(row.line, RowProblemKind::Duplicate, reason, &text));
            false
        })
        .collect();
    (kept, problems)
}

/// The one JSON text of an example.
pub(crate) fn canonical(example: &Example) -> String {
    serde_json::to_string(example).expect("an example is texts and JSON values and always becomes JSON")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(line: u64, text: &str) -> Row {
        Row { line, example: Example::Text { text: text.into() }, more: serde_json::Map::new() }
    }

    #[test]
    fn the_first_stays_and_the_others_name_it() {
        let (rows, problems) = dedup(vec![row(1, "a"), row(2, "b"), row(4, "a"), row(9, "a")]);
        assert_eq!(rows.iter().map(|r| r.line).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(problems.iter().map(|p| p.line).collect::<Vec<_>>(), [4, 9]);
        assert_eq!(problems[1].reason, "the same content as line 1");
        assert_eq!(problems[1].kind, RowProblemKind::Duplicate);
    }
}
