//! The playground: a prompt answered by several models side by side, word by word.

use std::path::PathBuf;

use futures_util::{StreamExt, stream, stream::BoxStream};
use serde::{Deserialize, Serialize};
use tb_core::{
    ApiError, ErrorCode,
    dataset::Message,
    ids::ModelId,
    recipe::Dtype,
    run_folder::{Decoding, Framing, GenerateTask, ModelSource, RunEventBody, Task},
    serving::Finish,
};
use tb_data::{chat_template::Ending, tokenize::TextTokenizer};
use ts_rs::TS;

use crate::{
    Ctx,
    ctx::blocking,
    models,
    oneshot::{self, Keep},
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
    let asked = match (args.messages, args.prompt) {
        (Some(messages), None) if !messages.is_empty() => Asked::Messages(messages),
        (None, Some(text)) if !text.is_empty() => Asked::Text(text),
        (Some(_), Some(_)) => return Err(refuse("give messages or a prompt, not both.")),
        (Some(_), None) | (None, Some(_)) | (None, None) => return Err(refuse("there is no prompt.")),
    };
    let mut sides = Vec::new();
    for (side, chosen) in (0..).zip(&args.sides) {
        let (model, name) =
            models::source(ctx, chosen.model_id.as_ref(), chosen.base_model.as_deref(), chosen.adapter.as_deref())
                .await?;
        sides.push((side, model, name));
    }
    let (ctx, decoding) = (ctx.clone(), args.decoding.unwrap_or_default());
    let answers = stream::iter(sides).then(move |(side, model, name)| {
        let (ctx, asked, decoding) = (ctx.clone(), asked.clone(), decoding.clone());
        async move {
            let items = match answer(&ctx, side, name, model, asked, decoding).await {
                Ok(items) => items,
                Err(error) => vec![GenerateItem::Failed { side, error }],
            };
            stream::iter(items.into_iter().map(Ok))
        }
    });
    Ok(answers.flatten().boxed())
}

#[derive(Clone)]
enum Asked {
    Messages(Vec<Message>),
    Text(String),
}

async fn answer(
    ctx: &Ctx,
    side: u32,
    name: String,
    model: ModelSource,
    asked: Asked,
    decoding: Decoding,
) -> Result<Vec<GenerateItem>, ApiError> {
    let base = model.base.clone();
    let (text, prompt_tokens, framing) = blocking(move || {
        let tokenizer = TextTokenizer::load(&base)?;
        let (text, framing) = match asked {
            Asked::Messages(messages) if tokenizer.has_chat_template() => {
                (tokenizer.apply_chat_template(&messages, Ending::Open, None)?.text, Framing::Chat)
            }
            Asked::Messages(messages) => {
                let said: Vec<String> = messages.into_iter().map(|m| m.content).collect();
                (said.join("\n\n"), Framing::Plain)
            }
            Asked::Text(text) => (text, Framing::Plain),
        };
        let tokens = tokenizer.encode(&text)?.len() as u32;
        Ok((text, tokens, framing))
    })
    .await?;
    let begun = std::time::Instant::now();
    let task = Task::Generate(GenerateTask {
        model,
        prompts: vec![text],
        framing: Framing::Plain,
        decoding,
        dtype: Dtype::Auto,
    });
    let mut items = vec![GenerateItem::Started { side, name, prompt_tokens, framing }];
    oneshot::run(ctx, task, Keep::No, &mut |event| {
        if let RunEventBody::Generated { text, tokens, finish, .. } = &event.body {
            let time_ms = begun.elapsed().as_millis() as u64;
            items.push(GenerateItem::Text { side, text: text.clone() });
            items.push(GenerateItem::Done {
                side,
                prompt_tokens,
                tokens: *tokens,
                tokens_per_s: f64::from(*tokens) * 1000.0 / time_ms.max(1) as f64,
                finish: finish.parse().unwrap_or(Finish::Stopped),
                first_token_ms: time_ms,
                time_ms,
            });
        }
    })
    .await?;
    Ok(items)
}
