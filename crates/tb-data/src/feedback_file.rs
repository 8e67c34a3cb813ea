//! Feedback rows as a file holds them, to be read again to the byte by `import::feedback`: JSON lines, or CSV with every field of
//! a row as a column.
//!
//! A CSV file is for programs: texts are as they were given, also those that a spreadsheet would take for a formula because they
//! begin with `=`, `+`, `-` or `@`. Whoever opens one there imports its columns as text.

use std::fmt::Write;

use tb_core::{
    dataset::DatasetFormat,
    feedback::{Choice, Feedback},
};

/// The columns of the CSV file, in order.
const COLUMNS: [&str; 27] = [
    "id",
    "user_id",
    "session_id",
    "model_id",
    "input_text",
    "output_text",
    "corrected_text",
    "transformation_type",
    "rating",
    "feedback_type",
    "created_at_ms",
    "source",
    "thumbs",
    "preferred",
    "other_text",
    "other_model_id",
    "shown",
    "critique",
    "flags",
    "answers",
    "duration_ms",
    "correction_distance",
    "idempotency_key",
    "project_id",
    "item_id",
    "withdrawn_at_ms",
    "withdrawn_reason",
];

/// The two formats that feedback leaves in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FeedbackFormat {
    /// One JSON object per line.
    Jsonl,
    /// RFC 4180, with a header. An empty cell is none, an empty text is `""`.
    Csv,
}

impl FeedbackFormat {
    /// The format of that name among the formats of datasets, if feedback leaves in it.
    #[must_use]
    pub fn of(format: DatasetFormat) -> Option<Self> {
        match format {
            DatasetFormat::Jsonl => Some(Self::Jsonl),
            DatasetFormat::Csv => Some(Self::Csv),
            DatasetFormat::Json | DatasetFormat::Parquet => None,
        }
    }

    /// What stands before the first row.
    #[must_use]
    pub fn head(self) -> String {
        match self {
            Self::Jsonl => String::new(),
            Self::Csv => format!("{}\r\n", COLUMNS.join(",")),
        }
    }

    /// Writes a row to the end of `out`.
    ///
    /// # Errors
    /// A row that cannot become JSON; none that was stored is one.
    pub fn row(self, row: &Feedback, out: &mut String) -> Result<(), serde_json::Error> {
        match self {
            Self::Jsonl => {
                out.push_str(&serde_json::to_string(row)?);
                out.push('\n');
            }
            Self::Csv => csv(row, out)?,
        }
        Ok(())
    }
}

fn csv(row: &Feedback, out: &mut String) -> Result<(), serde_json::Error> {
    let said = &row.judgement;
    let choice = said.choice.as_ref();
    let mut line = Line { out, is_first: true };
    line.word(Some(&row.id));
    line.word(row.user_id.as_ref());
    line.name(&said.session_id);
    line.word(said.model_id.as_ref());
    line.text(Some(&said.input_text));
    line.text(Some(&said.output_text));
    line.text(said.corrected_text.as_deref());
    line.name(&said.transformation_type);
    line.word(said.rating.map(u8::from));
    line.word(Some(row.feedback_type));
    line.word(Some(row.created_at_ms));
    line.word(Some(row.source));
    line.word(said.thumbs);
    line.word(choice.map(|c| c.preferred));
    line.text(choice.map(|c| c.other_text.as_str()));
    line.word(choice.and_then(|c: &Choice| c.other_model_id.as_ref()));
    line.word(choice.map(|c| c.shown));
    line.text(said.critique.as_deref());
    line.text((!said.flags.is_empty()).then(|| serde_json::to_string(&said.flags)).transpose()?.as_deref());
    line.text((!said.answers.is_empty()).then(|| serde_json::to_string(&said.answers)).transpose()?.as_deref());
    line.word(said.duration_ms);
    line.word(row.correction_distance);
    line.text(row.idempotency_key.as_deref());
    line.text(row.project_id.as_ref().map(|id| id.as_str()));
    line.text(row.item_id.as_ref().map(|id| id.as_str()));
    line.word(row.withdrawn_at_ms);
    line.text(row.withdrawn_reason.as_deref());
    line.out.push_str("\r\n");
    Ok(())
}

/// A line in the making.
struct Line<'o> {
    out: &'o mut String,
    is_first: bool,
}

impl Line<'_> {
    fn next(&mut self) {
        if !std::mem::take(&mut self.is_first) {
            self.out.push(',');
        }
    }

    /// Something of the program's own words, which needs no quotes.
    fn word(&mut self, word: Option<impl std::fmt::Display>) {
        self.next();
        if let Some(word) = word {
            write!(self.out, "{word}").expect("a String takes all that is written");
        }
    }

    /// A text that is empty where there is none.
    fn name(&mut self, name: &str) {
        self.text((!name.is_empty()).then_some(name));
    }

    /// A text that may be missing; within quotes wherever that could matter.
    fn text(&mut self, text: Option<&str>) {
        self.next();
        let Some(text) = text else { return };
        let plain =
            |b: u8| b.is_ascii_alphanumeric() || b >= 0x80 || matches!(b, b' ' | b'.' | b'-' | b'_' | b':' | b'/');
        if !text.is_empty() && text.bytes().all(plain) && text.trim() == text {
            self.out.push_str(text);
            return;
        }
        self.out.push('"');
        for (i, part) in text.split('"').enumerate() {
            if i > 0 {
                self.out.push_str("\"\"");
            }
            self.out.push_str(part);
        }
        self.out.push('"');
    }
}
