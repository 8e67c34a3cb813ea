//! What a person sees of a row: each token, its text, and whether it carries loss.

use serde::Serialize;
use tb_core::dataset::Example;
use ts_rs::TS;

use super::{RenderOptions, TextTokenizer, rendering::render};
use crate::error::Result;

/// One token as shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, TS)]
pub struct TokenView {
    /// Its id.
    pub id: u32,
    /// The piece of text it stands for; empty for a later token of the same character.
    pub text: String,
    /// Whether it carries loss.
    pub loss: bool,
    /// Whether it is a mark of the model's own (begin, end, role …) and no text.
    pub special: bool,
}

/// The tokens of an example as training sees them, cut at `max_length`.
///
/// # Errors
/// As [`super::render_row`].
pub fn token_view(tokenizer: &TextTokenizer, example: &Example, options: &RenderOptions) -> Result<Vec<TokenView>> {
    let whole = render(tokenizer, example, options.loss_on, None)?;
    let mut shown = 0;
    let tokens = whole.ids.iter().zip(&whole.offsets).zip(&whole.loss).take(options.max_length);
    Ok(tokens
        .map(|((id, (from, to)), loss)| {
            let text = match whole.text.get((*from).max(shown)..*to) {
                Some(piece) if from < to => piece.to_owned(),
                _ if from < to => String::new(),
                _ => tokenizer.token_text(*id).unwrap_or_default(),
            };
            shown = shown.max(*to);
            TokenView { id: *id, text, loss: *loss, special: tokenizer.is_special(*id) }
        })
        .collect())
}
