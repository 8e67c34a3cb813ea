//! Two models on the same texts: largest difference of a logit, mean divergence, and how often they agree on the likeliest token.

use candle_core::{Device, Tensor};
use tb_core::ErrorCode;
use tb_core::export::{Comparison, ExportSamples};
use tb_core::recipe::LossOn;
use tb_core::run_folder::{DataSource, Framing};
use tb_data::tokenize::{RenderOptions, TextTokenizer, frame_prompt};
use tb_nn::decoder::{Batch, Decoder};

use crate::data;
use crate::error::{Failure, Result};

/// Rows that are looked at.
const MOST_ROWS: usize = 64;
/// Tokens of a row that are looked at.
const ROW_TOKENS: usize = 256;
/// The original's logits wait in memory while the written model is loaded.
const LOGIT_BYTES: usize = 256 << 20;
/// Fewer positions say nothing.
const FEWEST_POSITIONS: usize = 64;

/// Where no rows are at hand.
const PROMPTS: [&str; 12] = [
    "Dear team, please find the report attached. I would be grateful for your comments by Friday.",
    "hey, can you send me the numbers for last week? need them asap, thanks!",
    "The meeting on 14 March is moved to 10:30. Room 2.04 is booked; please bring your laptops.",
    "- budget: 12,500 EUR\n- deadline: end of June\n- open: who signs the contract?",
    "いつもお世話になっております。株式会社山田の高橋です。ご確認のほど、よろしくお願いいたします。",
    "明日の会議は10時からに変更になりました。資料を準備してください。",
    "Once upon a time there was a small village at the foot of a mountain, and nobody there had ever seen the sea.",
    "def area(width, height):\n    return width * height\n\nprint(area(3, 4))",
    "Q: What is the capital of France?\nA: Paris.\nQ: And of Japan?\nA:",
    "Je vous remercie de votre réponse et reste à votre disposition pour toute question.",
    "Wir haben Ihre Bestellung erhalten und melden uns, sobald die Ware verschickt ist.",
    "1, 2, 4, 8, 16, 32, 64, 128",
];

/// Rows of tokens, and the texts that they spell.
pub struct Samples {
    source: ExportSamples,
    rows: Vec<Vec<u32>>,
    texts: Vec<String>,
    /// Tokens of each text under the original tokenizer.
    tokens: Vec<Vec<u32>>,
}

impl Samples {
    /// Rows of a data file, or the texts of this program.
    ///
    /// # Errors
    /// A file that cannot be read or has no usable row.
    pub fn collect(file: Option<&DataSource>, tokenizer: &TextTokenizer, vocab_size: usize) -> Result<Self> {
        let (source, mut rows) = match file {
            Some(file) => {
                let options = RenderOptions { max_length: ROW_TOKENS, loss_on: LossOn::All };
                let rows = data::first_rows(file, tokenizer, &options, MOST_ROWS)?;
                (ExportSamples::Rows, rows.into_iter().map(|row| row.ids).collect())
            }
            None => (ExportSamples::BuiltIn, built_in(tokenizer)?),
        };
        let positions = (LOGIT_BYTES / 4 / vocab_size.max(1)).max(FEWEST_POSITIONS);
        let mut left = positions;
        rows.retain_mut(|row: &mut Vec<u32>| {
            row.truncate(ROW_TOKENS.min(left));
            left -= row.len();
            !row.is_empty()
        });
        if rows.is_empty() {
            return Err(Failure::new(ErrorCode::DataInvalid, "Nothing was written: there is no row to compare on.")
                .hint("Name a data file with at least one usable row."));
        }
        let texts = rows.iter().map(|ids| Ok(tokenizer.decode_all(ids)?)).collect::<Result<Vec<String>>>()?;
        let tokens = texts.iter().map(|text| Ok(tokenizer.encode_with_special(text)?)).collect::<Result<_>>()?;
        Ok(Self { source, rows, texts, tokens })
    }

    /// Where they come from.
    pub fn source(&self) -> ExportSamples {
        self.source
    }

    /// How many there are.
    pub fn rows(&self) -> u32 {
        self.rows.len() as u32
    }

    /// What they spell, special tokens included.
    pub fn texts(&self) -> &[String] {
        &self.texts
    }

    /// How many texts become other tokens under another tokenizer.
    ///
    /// # Errors
    /// A tokenizer that fails.
    pub fn differing_tokens(&self, other: &TextTokenizer) -> Result<usize> {
        let mut differing = 0;
        for (text, tokens) in self.texts.iter().zip(&self.tokens) {
            differing += usize::from(other.encode_with_special(text)? != *tokens);
        }
        Ok(differing)
    }

    /// The logits of a model at every position, one (T, V) per row, on the CPU.
    ///
    /// # Errors
    /// Logits that are not finite.
    pub fn logits(&self, decoder: &Decoder) -> Result<Vec<Tensor>> {
        self.rows.iter().map(|ids| row_logits(decoder, ids, "the original model")).collect()
    }

    /// Compares a model with logits from [`Self::logits`].
    ///
    /// # Errors
    /// Logits that are not finite.
    pub fn compare(&self, expected: &[Tensor], written: &Decoder) -> Result<Comparison> {
        let mut all = Comparison::default();
        let (mut divergence, mut agreed) = (0.0, 0_u64);
        for (ids, expected) in self.rows.iter().zip(expected) {
            let found = row_logits(written, ids, "the written model")?.to_vec2::<f32>()?;
            for (p, q) in expected.to_vec2::<f32>()?.iter().zip(&found) {
                let position = compare_position(p, q);
                all.positions += 1;
                all.max_logit_difference = all.max_logit_difference.max(position.difference);
                divergence += position.divergence;
                agreed += u64::from(position.same);
            }
        }
        all.mean_kl_nats = divergence / all.positions.max(1) as f64;
        all.top1_agreement = agreed as f64 / all.positions.max(1) as f64;
        Ok(all)
    }
}

fn built_in(tokenizer: &TextTokenizer) -> Result<Vec<Vec<u32>>> {
    let mut rows = Vec::new();
    for text in PROMPTS {
        rows.push(tokenizer.encode_with_special(text)?);
        if tokenizer.has_chat_template() {
            rows.push(frame_prompt(tokenizer, text, Framing::Chat)?);
        }
    }
    Ok(rows)
}

fn row_logits(decoder: &Decoder, ids: &[u32], whose: &str) -> Result<Tensor> {
    let batch = Batch::from_ids(&[ids.to_vec()], 0)?;
    let logits = decoder.logits(&batch)?.squeeze(0)?.to_device(&Device::Cpu)?; // (T, V)
    // A sum over absolute values is finite only if each of them is.
    if logits.abs()?.sum_all()?.to_scalar::<f32>()?.is_finite() {
        return Ok(logits);
    }
    let message = format!("Nothing was written: {whose} gives logits that are not finite.");
    Err(Failure::new(ErrorCode::NotFinite, message).hint("Check the adapter: its training may have diverged."))
}

struct Position {
    difference: f64,
    divergence: f64,
    same: bool,
}

/// KL(P || Q) = sum p (log p - log q) over the softmax of both rows, in f64.
fn compare_position(p: &[f32], q: &[f32]) -> Position {
    let likeliest = |x: &[f32]| x.iter().enumerate().fold(0, |best, (i, v)| if *v > x[best] { i } else { best });
    let log_sum = |x: &[f32], top: f32| x.iter().map(|v| f64::from(v - top).exp()).sum::<f64>().ln() + f64::from(top);
    let (a, b) = (likeliest(p), likeliest(q));
    let (sum_p, sum_q) = (log_sum(p, p[a]), log_sum(q, q[b]));
    let mut out = Position { difference: 0.0, divergence: 0.0, same: a == b };
    for (x, y) in p.iter().zip(q) {
        let (x, y) = (f64::from(*x), f64::from(*y));
        out.difference = out.difference.max((x - y).abs());
        let log_p = x - sum_p;
        out.divergence += log_p.exp() * (log_p - (y - sum_q));
    }
    // Rounding may leave a hair below 0.
    out.divergence = out.divergence.max(0.0);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn divergence_and_agreement_by_hand() {
        // p = (1/2, 1/2), q = (1/4, 3/4): KL = ln(2) / 2 + ln(2/3) / 2.
        let position = compare_position(&[0.0, 0.0], &[0.25_f32.ln(), 0.75_f32.ln()]);
        let expected = 0.5 * 2.0_f64.ln() + 0.5 * (2.0_f64 / 3.0).ln();
        assert!((position.divergence - expected).abs() < 1e-7, "{}", position.divergence);
        assert!((position.difference - 4.0_f64.ln()).abs() < 1e-6 && !position.same);
        // A constant added to all logits changes no distribution.
        let shifted = compare_position(&[1.0, 2.0, 3.0], &[11.0, 12.0, 13.0]);
        assert!(shifted.divergence < 1e-12 && shifted.same && (shifted.difference - 10.0).abs() < 1e-6);
    }
}
