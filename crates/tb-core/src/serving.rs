//! What the host and a serving worker say to each other: JSON lines on the worker's standard input and output, as types.
//! A serving worker holds one base model and answers prompts with it, bare or through adapters; it keeps nothing on disk.
//!
//! ```text
//! worker  {"id":null,"type":"ready","schema":1,…}                       first line
//! host    {"id":1,"op":"load","device":"cpu","base":"…","dtype":"auto"}
//! worker  {"id":1,"type":"loaded",…}
//! host    {"id":2,"op":"generate","adapter":null,"prompt":{…},"decoding":{…}}
//! worker  {"id":2,"type":"started",…} {"id":2,"type":"text","text":"…"} … {"id":2,"type":"done",…}
//! host    {"id":3,"op":"cancel","target":2}                             request 2 ends with `done`, finish `stopped`
//! host    {"id":4,"op":"shutdown"}                                      or closes the pipe: the worker ends
//! ```
//!
//! Every request but `shutdown` is answered by exactly one `loaded`, `done`, `cancelled` or `failed` line with its id; a line that is no
//! request by a `failed` line with its id, or null where none can be read. Lines of several answers alternate.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::quantization::Quantization;
use crate::{
    dataset::Message,
    error::ApiError,
    recipe::Dtype,
    run_folder::{Decoding, Framing},
    text_enum::text_enum,
};

/// The version of this contract; a host refuses a worker of another.
pub const SCHEMA: u32 = 1;

/// Longest line in either direction, bytes.
pub const MAX_LINE_BYTES: usize = 8 << 20;

/// One line to the worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// Chosen by the host, new for every request; replies carry it.
    pub id: u64,
    /// What to do.
    #[serde(flatten)]
    pub op: Op,
}

/// What a serving worker can be asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum Op {
    /// Loads the base model; once in a worker's life.
    Load(Load),
    /// Answers a prompt.
    Generate(Box<Generate>),
    /// Ends a generation: after its present token, or within the prompt.
    Cancel {
        /// The id of the generation.
        target: u64,
    },
    /// Ends the worker.
    Shutdown,
}

/// The base model that a worker holds.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Load {
    /// `cpu` or `cuda:0`.
    pub device: String,
    /// Folder with config.json, safetensors and tokenizer.json.
    pub base: PathBuf,
    /// Numbers of the base weights.
    pub dtype: Dtype,
    /// How its linear layers are held, if in fewer bits: as they were when the adapters on it were trained.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantization: Option<Quantization>,
}

/// One answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Generate {
    /// Folder of an adapter on the base; none answers with the base alone.
    pub adapter: Option<PathBuf>,
    /// What to answer.
    pub prompt: Prompt,
    /// How to decode.
    pub decoding: Decoding,
}

/// What a model is to answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Prompt {
    /// A conversation in the model's chat template; of a model without one, its messages as plain text with empty lines between.
    Messages {
        /// The conversation; the model says what comes next.
        messages: Vec<Message>,
    },
    /// A text as it stands; special tokens are recognised where it spells them.
    Text {
        /// The text.
        text: String,
    },
}

/// One line of the worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reply {
    /// The request; none in the first line, and where a line's id could not be read.
    pub id: Option<u64>,
    /// What happened.
    #[serde(flatten)]
    pub body: ReplyBody,
}

/// What a serving worker says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ReplyBody {
    /// The first line.
    Ready {
        /// [`SCHEMA`].
        schema: u32,
        /// The worker's version.
        version: String,
    },
    /// The base is in memory.
    Loaded(Loaded),
    /// An answer begins: the prompt is in tokens and the adapter at hand.
    Started {
        /// Tokens of the prompt.
        prompt_tokens: u32,
        /// How it was framed.
        framing: Framing,
    },
    /// More of the answer, in whole characters.
    Text {
        /// The new part.
        text: String,
    },
    /// The answer is whole, or was stopped.
    Done(Finished),
    /// The wish to cancel was heard; also where its target has ended already.
    Cancelled,
    /// The request came to nothing.
    Failed(ApiError),
}

/// What a worker holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loaded {
    /// Weights of the base model.
    pub parameters: u64,
    /// Positions it was made for.
    pub context: u32,
    /// How long loading took.
    pub load_ms: u64,
}

/// How an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finished {
    /// Why.
    pub finish: Finish,
    /// Tokens of the prompt.
    pub prompt_tokens: u32,
    /// Tokens of the answer, without the end token.
    pub tokens: u32,
    /// New tokens per second after the first, of this answer's own share of the work.
    pub tokens_per_s: f64,
    /// From the request to the first token, what others had in between included.
    pub first_token_ms: u64,
    /// From the request to the end.
    pub time_ms: u64,
}

text_enum! {
    /// Why an answer ended.
    Finish, "finish" {
        /// The model gave an end token.
        Eos = "eos",
        /// As many tokens as were asked for.
        Length = "length",
        /// The model's context is full.
        Context = "context",
        /// The asker lost interest.
        Stopped = "stopped",
    }
}

impl ReplyBody {
    /// Whether no further line for the same request follows.
    #[must_use]
    pub fn is_last(&self) -> bool {
        match self {
            Self::Loaded(_) | Self::Done(_) | Self::Cancelled | Self::Failed(_) => true,
            Self::Ready { .. } | Self::Started { .. } | Self::Text { .. } => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorCode;

    #[test]
    fn lines_are_as_documented() {
        let load = Op::Load(Load { device: "cpu".into(), base: "/m".into(), dtype: Dtype::Auto, quantization: None });
        for (request, line) in [
            (Request { id: 1, op: load }, r#"{"id":1,"op":"load","device":"cpu","base":"/m","dtype":"auto"}"#),
            (Request { id: 3, op: Op::Cancel { target: 2 } }, r#"{"id":3,"op":"cancel","target":2}"#),
            (Request { id: 4, op: Op::Shutdown }, r#"{"id":4,"op":"shutdown"}"#),
        ] {
            assert_eq!(serde_json::to_string(&request).unwrap(), line);
            assert_eq!(serde_json::from_str::<Request>(line).unwrap(), request);
        }
        let line = r#"{"id":2,"op":"generate","adapter":null,"prompt":{"kind":"text","text":"Hi"},"decoding":{"temperature":0.5}}"#;
        let Op::Generate(generate) = serde_json::from_str::<Request>(line).unwrap().op else { panic!("{line}") };
        assert_eq!(generate.decoding, Decoding { temperature: 0.5, ..Decoding::default() });
        let failed = Reply { id: None, body: ReplyBody::Failed(ApiError::new(ErrorCode::InvalidArgument, "No.")) };
        let line = r#"{"id":null,"type":"failed","code":"invalid_argument","message":"No.","hint":""}"#;
        assert_eq!(serde_json::to_string(&failed).unwrap(), line);
        assert_eq!(serde_json::from_str::<Reply>(line).unwrap(), failed);
    }
}
