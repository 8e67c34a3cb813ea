//! The playground: a prompt answered by several models side by side, word by word.

use std::{future, path::PathBuf};

use futures_util::{StreamExt, stream, stream::BoxStream};
use serde::{Deserialize, Serialize};
use tb_core::{
    ApiError, ErrorCode,
    dataset::Message,
    ids::ModelId,
    recipe::Dtype,
    run_folder::{Decoding, Framing},
    serving::{Finish, Generate, Load, Prompt},
};
use tb_data::model_folder;
use tb_jobs::{serving::Piece, workers};
use ts_rs::TS;

use crate::{
    Ctx,
    ctx::{blocking, no_worker},
    models,
};

/// Most models that answer one prompt.
const MAX_SIDES: usize = 4;

/// One model that answers: a registered version, or a folder.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields, default)]
pub struct Side {
    /// A registered model version: its adapter on its base.
    #[ts(optional)]
    pub model_id: Option<ModelId>,
    /// Folder of a base model; without `adapter` the base alone answers.
    #[ts(optional, type = "string")]
    pub base_model: Option<PathBuf>,
    /// Folder of an adapter on `base_model`.
    #[ts(optional, type = "string")]
    pub adapter: Option<PathBuf>,
}

/// Arguments of the stream `generate`: one of `messages` and `prompt`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub struct GenerateArgs {
    /// The models, 1 to 4. Each answers the same prompt with the same decoding and the same seed.
    pub sides: Vec<Side>,
    /// A conversation; the model says what comes next. It goes through the model's chat template; of a model without one, the
    /// messages go in as plain text with empty lines between.
    #[serde(default)]
    #[ts(optional)]
    pub messages: Option<Vec<Message>>,
    /// A text that goes to the model as it stands, such as the `prompt` of a dataset's row. Special tokens are recognised where it
    /// spells them (the sample's `<|user|>…<|assistant|>`).
    #[serde(default)]
    #[ts(optional)]
    pub prompt: Option<String>,
    /// How to decode; fields that are left out have their defaults (greedy, at most 256 tokens).
    #[serde(default)]
    #[ts(optional)]
    pub decoding: Option<Decoding>,
}

/// What comes out of `generate`. Every side has one `started`, then `text` parts, then `done`; or it ends with `failed`, the other
/// sides unharmed. The sides' items may alternate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum GenerateItem {
    /// The model is in memory and reads the prompt. Until then a side may be loading.
    Started {
        /// Index into `sides`.
        side: u32,
        /// The model's name for people.
        name: String,
        /// Tokens of the prompt.
        prompt_tokens: u32,
        /// How the prompt reached the model: through its chat template, or plain.
        framing: Framing,
    },
    /// More of the answer, in whole characters.
    Text {
        /// Index into `sides`.
        side: u32,
        /// The new part.
        text: String,
    },
    /// The answer is whole.
    Done {
        /// Index into `sides`.
        side: u32,
        /// Tokens of the prompt.
        prompt_tokens: u32,
        /// Tokens of the answer.
        tokens: u32,
        /// Tokens per second, of this side's own share of the work.
        tokens_per_s: f64,
        /// Why it ended.
        finish: Finish,
        /// From the request to the first token.
        #[ts(type = "number")]
        first_token_ms: u64,
        /// From the request to the end, what other sides had in between included.
        #[ts(type = "number")]
        time_ms: u64,
    },
    /// This side has no answer, or only a part of one.
    Failed {
        /// Index into `sides`.
        side: u32,
        /// Why.
        error: ApiError,
    },
}

pub(crate) async fn generate(
    ctx: &Ctx,
    args: GenerateArgs,
) -> Result<BoxStream<'static, Result<GenerateItem, ApiError>>, ApiError> {
    let refuse = |message: &str| ApiError::new(ErrorCode::InvalidArgument, format!("Nothing was generated: {message}"));
    if args.sides.is_empty() || args.sides.len() > MAX_SIDES {
        return Err(refuse(&format!("name 1 to {MAX_SIDES} models, not {}.", args.sides.len())));
    }
    let prompt = match (args.messages, args.prompt) {
        (Some(messages), None) if !messages.is_empty() => Prompt::Messages { messages },
        (None, Some(text)) if !text.is_empty() => Prompt::Text { text },
        (Some(_), Some(_)) => return Err(refuse("give messages or a prompt, not both.")),
        (Some(_), None) | (None, Some(_)) | (None, None) => return Err(refuse("there is no prompt.")),
    };
    let decoding = args.decoding.unwrap_or_default();
    let device = workers::best_device(ctx.jobs().workers()).ok_or_else(no_worker)?;
    let dtype = if ctx.settings().fp16_training { Dtype::Auto } else { Dtype::F32 };
    let mut chosen = Vec::new();
    for side in &args.sides {
        let (model, name) =
            models::source(ctx, side.model_id.as_ref(), side.base_model.as_deref(), side.adapter.as_deref()).await?;
        // An adapter answers on its base in the form that it was trained on.
        let quantization = match model.adapter.clone() {
            Some(folder) => blocking(move || Ok(model_folder::adapter_quantization(&folder)?)).await,
            None => Ok(None),
        };
        chosen.push((model, name, quantization));
    }
    let mut answers = Vec::new();
    for (side, (model, name, quantization)) in (0..).zip(chosen) {
        let generate = Generate { adapter: model.adapter, prompt: prompt.clone(), decoding: decoding.clone() };
        let answer = match quantization {
            Ok(quantization) => {
                let load = Load { device: device.clone(), base: model.base, dtype, quantization };
                ctx.serving().generate(load, generate).await
            }
            Err(error) => Err(error),
        };
        answers.push(match answer {
            Ok(answer) => answer.into_stream().map(move |piece| item(side, &name, piece)).boxed(),
            Err(error) => stream::once(future::ready(GenerateItem::Failed { side, error })).boxed(),
        });
    }
    Ok(stream::select_all(answers).map(Ok).boxed())
}

fn item(side: u32, name: &str, piece: Result<Piece, ApiError>) -> GenerateItem {
    match piece {
        Ok(Piece::Started { prompt_tokens, framing }) => {
            GenerateItem::Started { side, name: name.to_owned(), prompt_tokens, framing }
        }
        Ok(Piece::Text(text)) => GenerateItem::Text { side, text },
        Ok(Piece::Done(done)) => GenerateItem::Done {
            side,
            prompt_tokens: done.prompt_tokens,
            tokens: done.tokens,
            tokens_per_s: done.tokens_per_s,
            finish: done.finish,
            first_token_ms: done.first_token_ms,
            time_ms: done.time_ms,
        },
        Err(error) => GenerateItem::Failed { side, error },
    }
}
