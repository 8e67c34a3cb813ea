//! Datasets: their rows in every shape the importer reads, and the dataset version as stored.

use serde::{Deserialize, Serialize};
use ts_rs::TS;

use crate::{ids::DatasetId, text_enum::text_enum};

text_enum! {
    /// What a dataset is for.
    DatasetType, "dataset type" {
        /// To learn from.
        Training = "training",
        /// To watch the loss on.
        Validation = "validation",
        /// To measure on, once.
        Test = "test",
        /// Made of feedback.
        Feedback = "feedback",
    }
}

text_enum! {
    /// The file formats that are imported.
    DatasetFormat, "dataset format" {
        /// One array of objects.
        Json = "json",
        /// One object per line.
        Jsonl = "jsonl",
        /// Comma-separated, with a header.
        Csv = "csv",
        /// Apache Parquet.
        Parquet = "parquet",
    }
}

text_enum! {
    /// The shape of a row.
    RowShape, "row shape" {
        /// Plain documents.
        Text = "text",
        /// Conversations.
        Messages = "messages",
        /// A prompt and its completion.
        PromptCompletion = "prompt_completion",
        /// A prompt with a better and a worse answer.
        Preference = "preference",
        /// A prompt with an answer and whether it is good.
        Unpaired = "unpaired",
    }
}

text_enum! {
    /// The split a row belongs to.
    SplitName, "split" {
        /// To learn from.
        Train = "train",
        /// To watch the loss on.
        Validation = "validation",
        /// To measure on.
        Test = "test",
    }
}

/// Which column of a file is what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(tag = "shape", rename_all = "snake_case", deny_unknown_fields)]
pub enum ColumnMapping {
    /// A column of plain documents.
    Text {
        /// Its name.
        text: String,
    },
    /// A column of conversations: `[{role, content}]`, or `[{from, value}]`.
    Messages {
        /// Its name.
        messages: String,
    },
    /// A prompt and a completion, each plain text or a list of messages.
    PromptCompletion {
        /// Column of the prompt.
        prompt: String,
        /// Column of the completion.
        completion: String,
    },
    /// An input and an output, put into a frame.
    InputOutput {
        /// Column of the input.
        input: String,
        /// Column of the output.
        output: String,
        /// The prompt as a text with `{column}` for any column; `{{` and `}}` stand for braces.
        template: String,
    },
    /// A prompt with a chosen and a rejected answer.
    Preference {
        /// Column of the prompt; none takes the longest common prefix of the two.
        prompt: Option<String>,
        /// Column of the better answer.
        chosen: String,
        /// Column of the worse answer.
        rejected: String,
    },
    /// A prompt with an answer and whether it is good.
    Unpaired {
        /// Column of the prompt.
        prompt: String,
        /// Column of the answer.
        completion: String,
        /// Column that says whether it is good: true or false, as a value or a word, or 1 or 0.
        label: String,
    },
}

/// One message of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct Message {
    /// `system`, `user`, `assistant` or `tool`.
    pub role: String,
    /// What was said.
    pub content: String,
    /// Whatever else the row gives for the message, such as `tool_calls`; the chat template sees it.
    #[serde(flatten)]
    pub more: serde_json::Map<String, serde_json::Value>,
}

/// A text, or a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(untagged)]
pub enum Said {
    /// Plain text.
    Text(String),
    /// Messages.
    Messages(Vec<Message>),
}

/// What a row holds. Written without a tag: a variant stands before every other whose fields are among its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(untagged)]
pub enum Example {
    /// A prompt with a chosen and a rejected answer.
    Preference {
        /// The prompt.
        prompt: Said,
        /// The better answer.
        chosen: Said,
        /// The worse answer.
        rejected: Said,
    },
    /// A prompt with an answer and whether it is good (TRL's unpaired preference).
    Unpaired {
        /// The prompt.
        prompt: Said,
        /// The answer.
        completion: Said,
        /// Whether it is good.
        label: bool,
    },
    /// A prompt and its completion.
    PromptCompletion {
        /// The prompt.
        prompt: Said,
        /// The completion.
        completion: Said,
    },
    /// A conversation.
    Messages {
        /// Its messages.
        messages: Vec<Message>,
    },
    /// A plain document.
    Text {
        /// The text.
        text: String,
    },
}

impl Example {
    /// Its shape.
    #[must_use]
    pub fn shape(&self) -> RowShape {
        match self {
            Self::Preference { .. } => RowShape::Preference,
            Self::Unpaired { .. } => RowShape::Unpaired,
            Self::PromptCompletion { .. } => RowShape::PromptCompletion,
            Self::Messages { .. } => RowShape::Messages,
            Self::Text { .. } => RowShape::Text,
        }
    }
}

/// A row as imported: what it holds, where it stood, and its other columns (`slots`, `direction`, `source` … are read by evaluation).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
pub struct Row {
    /// Line in the file from 1 (jsonl, csv), or number of the element from 1 (json, parquet).
    #[ts(type = "number")]
    pub line: u64,
    /// What it holds.
    pub example: Example,
    /// The columns that the mapping does not use.
    #[ts(type = "Record<string, unknown>")]
    pub more: serde_json::Map<String, serde_json::Value>,
}

/// A row that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct RowProblem {
    /// Line in the file from 1, or number of the element from 1.
    #[ts(type = "number")]
    pub line: u64,
    /// What a program acts on.
    pub kind: RowProblemKind,
    /// Why, in words.
    pub reason: String,
    /// The beginning of the row.
    pub excerpt: String,
}

text_enum! {
    /// Why a row cannot be used.
    RowProblemKind, "row problem" {
        /// Not JSON, not CSV, not UTF-8.
        Unreadable = "unreadable",
        /// A column of the mapping is missing.
        MissingColumn = "missing_column",
        /// A column holds something of another kind.
        WrongType = "wrong_type",
        /// A text that must not be empty is.
        Empty = "empty",
        /// A conversation whose roles do not make sense.
        BadConversation = "bad_conversation",
        /// The same content as an earlier row.
        Duplicate = "duplicate",
        /// Longer than the importer accepts.
        TooLong = "too_long",
    }
}

/// A dataset version as stored: frozen, hashed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
pub struct Dataset {
    /// Its id.
    pub id: DatasetId,
    /// A name for people; versions of one dataset share it.
    pub name: String,
    /// Version of the name, from 1.
    pub version: u32,
    /// What it is about.
    pub description: String,
    /// What it is for.
    #[serde(rename = "type")]
    pub dataset_type: DatasetType,
    /// The folder with `train.jsonl`, `validation.jsonl`, `test.jsonl` and `problems.jsonl`.
    pub file_path: String,
    /// Format of the file it was imported from.
    pub format: DatasetFormat,
    /// Size of the imported file in megabytes (10^6 bytes).
    pub size_mb: f64,
    /// Rows that can be used.
    #[ts(type = "number")]
    pub num_samples: u64,
    /// Rows in each split.
    pub splits: Vec<SplitInfo>,
    /// Rows left out.
    #[ts(type = "number")]
    pub num_problems: u64,
    /// Shape of its rows.
    pub shape: RowShape,
    /// How its columns were read.
    pub mapping: ColumnMapping,
    /// SHA-256 over the splits: the same rows in the same splits give the same hash.
    pub sha256: String,
    /// When it was imported.
    #[ts(type = "number")]
    pub created_at_ms: i64,
}

impl Dataset {
    /// A split by name, if it has rows.
    #[must_use]
    pub fn split(&self, name: SplitName) -> Option<&SplitInfo> {
        self.splits.iter().find(|s| s.name == name && s.rows > 0)
    }
}

/// One split of a dataset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct SplitInfo {
    /// Which.
    pub name: SplitName,
    /// File name inside the dataset's folder.
    pub file: String,
    /// Rows.
    #[ts(type = "number")]
    pub rows: u64,
    /// SHA-256 of the file.
    pub sha256: String,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_shape_reads_back_as_itself() {
        let said = |text: &str| Said::Text(text.into());
        let messages = vec![Message { role: "user".into(), content: "q".into(), more: serde_json::Map::new() }];
        let examples = [
            Example::Preference { prompt: said("q"), chosen: said("a"), rejected: said("b") },
            Example::Unpaired { prompt: said("q"), completion: said("a"), label: true },
            Example::Unpaired { prompt: Said::Messages(messages.clone()), completion: said("a"), label: false },
            Example::PromptCompletion { prompt: said("q"), completion: said("a") },
            Example::Messages { messages },
            Example::Text { text: "t".into() },
        ];
        for example in &examples {
            let json = serde_json::to_value(example).unwrap();
            assert_eq!(serde_json::from_value::<Example>(json).unwrap(), *example);
        }
        let shapes: Vec<RowShape> = examples.iter().map(Example::shape).collect();
        assert!(RowShape::ALL.iter().all(|shape| shapes.contains(shape)), "{shapes:?}");
    }

    #[test]
    fn only_true_or_false_makes_a_label() {
        let row = json!({"prompt": "q", "completion": "a", "label": "good"});
        assert_eq!(serde_json::from_value::<Example>(row).unwrap().shape(), RowShape::PromptCompletion);
    }
}
