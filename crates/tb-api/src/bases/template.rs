//! A base model's chat template: as it is written, and what it makes of a short conversation.

use serde::{Deserialize, Serialize};
use serde_json::Map;
use tb_core::{ApiError, ErrorCode, dataset::Message};
use tb_data::{
    chat_template::{Ending, Marks},
    tokenize::TextTokenizer,
};
use ts_rs::TS;

use super::{InspectBase, existing};
use crate::{Ctx, ctx::blocking};

/// A chat template.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct BaseTemplate {
    /// The template, in Jinja.
    pub source: String,
    /// A short conversation as the model sees it; none if the template refuses it.
    pub example: Option<String>,
    /// Why there is no example.
    pub refusal: Option<String>,
    /// Whether it marks what the assistant says (`{% generation %}`).
    pub marks_answers: bool,
}

pub(crate) async fn get(_: &Ctx, args: InspectBase) -> Result<BaseTemplate, ApiError> {
    blocking(move || {
        let path = existing(&args.path)?;
        let tokenizer = TextTokenizer::load(&path)?;
        let source = tokenizer
            .chat_template_source()
            .map(str::to_owned)
            .ok_or_else(|| ApiError::new(ErrorCode::NotFound, format!("{} has no chat template.", path.display())))?;
        let message =
            |role: &str, content: &str| Message { role: role.into(), content: content.into(), more: Map::new() };
        let conversation = [message("user", "Hello"), message("assistant", "Good day."), message("user", "Bye")];
        let rendered = tokenizer.apply_chat_template(&conversation, Ending::Open, None);
        let marks_answers = tokenizer.chat_marks() == Marks::Generation;
        Ok(match rendered {
            Ok(rendered) => BaseTemplate { source, example: Some(rendered.text), refusal: None, marks_answers },
            Err(e) => BaseTemplate { source, example: None, refusal: Some(e.to_string()), marks_answers },
        })
    })
    .await
}
