//! What the model writes for a few held-out rows while it learns: the same rows each time, greedily, so that one sees it change.

use tb_core::dataset::Row as DataRow;
use tb_core::run_folder::{Decoding, Sample};
use tb_data::tokenize::{TextTokenizer, prompt_ids, prompt_text, target_text};
use tb_nn::decoder::Decoder;
use tb_nn::generate::{GenerationConfig, Prefixes};

use crate::error::Result;
use crate::generate;

/// Longest answer in tokens, whatever the references are.
const LONGEST: usize = 256;
/// Room beyond twice the longest reference: a model that has not learnt to stop shall show it, but not cost the run.
const ROOM: usize = 16;

/// The rows and how they are answered.
pub struct Samples {
    rows: Vec<Asked>,
    config: GenerationConfig,
    tokenizer: TextTokenizer,
}

struct Asked {
    index: u32,
    prompt_ids: Vec<u32>,
    prompt: String,
    reference: String,
}

impl Samples {
    /// At most `count` of the rows that have a prompt and an answer, spread over the file; none if there are none.
    ///
    /// # Errors
    /// A `generation_config.json` that cannot be read.
    pub fn pick(
        rows: &[DataRow],
        count: u32,
        tokenizer: TextTokenizer,
        base: &std::path::Path,
    ) -> Result<Option<Self>> {
        let asked = spread(rows.len(), count as usize).filter_map(|at| ask(&tokenizer, &rows[at], at));
        let rows: Vec<Asked> = asked.collect();
        if rows.is_empty() {
            return Ok(None);
        }
        let mut longest = 0;
        for row in &rows {
            longest = longest.max(tokenizer.encode(&row.reference)?.len());
        }
        let max_new_tokens = (2 * longest + ROOM).min(LONGEST) as u32;
        let decoding = Decoding { max_new_tokens, ..Decoding::default() };
        let config = generate::config(&decoding, base, &tokenizer)?;
        Ok(Some(Self { rows, config, tokenizer }))
    }

    /// What the model writes now, one answer per row.
    ///
    /// # Errors
    /// Logits that are not finite.
    pub fn write(&self, decoder: &Decoder, step: u64) -> Result<Vec<Sample>> {
        let prompts: Vec<Vec<u32>> = self.rows.iter().map(|row| row.prompt_ids.clone()).collect();
        // The model learns on: nothing that was read stays true.
        let answers = generate::answers(decoder, &prompts, &self.config, 0, &mut Prefixes::new(0))?;
        self.rows
            .iter()
            .zip(answers)
            .map(|(row, answer)| {
                Ok(Sample {
                    step,
                    index: row.index,
                    prompt: row.prompt.clone(),
                    reference: row.reference.clone(),
                    output: self.tokenizer.decode(&answer.ids)?,
                })
            })
            .collect()
    }
}

/// `count` places spread evenly over `n`.
fn spread(n: usize, count: usize) -> impl Iterator<Item = usize> {
    let count = count.min(n);
    (0..count).map(move |i| i * n / count)
}

fn ask(tokenizer: &TextTokenizer, row: &DataRow, at: usize) -> Option<Asked> {
    let reference = target_text(&row.example).filter(|text| !text.is_empty())?;
    let prompt_ids = prompt_ids(tokenizer, &row.example).ok().filter(|ids| !ids.is_empty())?;
    let prompt = prompt_text(tokenizer, &row.example, &prompt_ids).ok()?;
    Some(Asked { index: at as u32, prompt_ids, prompt, reference })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_spread_and_never_twice() {
        assert_eq!(spread(10, 4).collect::<Vec<_>>(), [0, 2, 5, 7]);
        assert_eq!(spread(3, 8).collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!(spread(0, 4).count() + spread(4, 0).count(), 0);
    }
}
