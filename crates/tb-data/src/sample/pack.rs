//! From documents to rows of one width for the pretraining recipe; no batching and no order but the corpus's own.

use tokenizers::Tokenizer;

use super::corpus::corpus;
use super::frame::PAD;

/// One row of whole documents, padded to its width.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackedRow {
    /// Exactly `width` token ids.
    pub ids: Vec<u32>,
    /// For each position its own id where loss falls on it, else -100 (the shift to the next token is the model's).
    pub labels: Vec<i32>,
    /// Tokens before the padding.
    pub length: usize,
}

/// The pretraining rows of a seed, in the order of the corpus: documents are laid one after another while they fit
/// `width`, none is cut, the rest of a row is padding. A document longer than `width` is left out.
///
/// # Errors
/// An item is an error when the tokenizer refuses a text or has no padding token.
pub fn packed_rows(
    seed: u64,
    tokens_target: usize,
    width: usize,
    tokenizer: &Tokenizer,
) -> impl Iterator<Item = tokenizers::Result<PackedRow>> {
    let mut docs = corpus(seed, tokens_target).fuse();
    let mut waiting: Vec<(u32, bool)> = Vec::new();
    std::iter::from_fn(move || {
        let mut row = std::mem::take(&mut waiting);
        for doc in docs.by_ref() {
            let ids = match doc.encode(tokenizer) {
                Ok(ids) => ids,
                Err(error) => return Some(Err(error)),
            };
            if ids.len() > width {
                continue;
            }
            if row.len() + ids.len() > width {
                waiting = ids;
                break;
            }
            row.extend(ids);
        }
        (!row.is_empty()).then(|| padded(&row, width, tokenizer))
    })
}

fn padded(row: &[(u32, bool)], width: usize, tokenizer: &Tokenizer) -> tokenizers::Result<PackedRow> {
    let pad = tokenizer.token_to_id(PAD).ok_or_else(|| format!("the tokenizer has no {PAD} token"))?;
    let mut ids: Vec<u32> = row.iter().map(|(id, _)| *id).collect();
    let mut labels: Vec<i32> = row.iter().map(|(id, supervised)| if *supervised { *id as i32 } else { -100 }).collect();
    ids.resize(width, pad);
    labels.resize(width, -100);
    Ok(PackedRow { ids, labels, length: row.len() })
}
