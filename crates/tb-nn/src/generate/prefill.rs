//! Prompts into caches: which rows are read together, what of a prompt is known already, and the pass itself.
//!
//! A row's keys, values and logits have the same bits however its prompt is read: beside which others, in how many pieces, or from kept
//! keys and values on. That holds because a piece begins at a multiple of [`BLOCK`] tokens, as the tiles of attention do, and because a
//! product adds a row in the same order whatever rows are beside it, as long as these are many, or few (`ops/matmul/rows.rs`). So the last
//! piece of a prompt is never one of few tokens, unless the whole prompt is, and such prompts are not read together with others. A GPU
//! chooses its products by their sizes: there every prompt is read as a whole.

use std::collections::HashMap;
use std::ops::Range;

use candle_core::Tensor;

use super::Flow;
use super::cache::{RowCache, attend, projected, reach};
use super::prefixes::Shared;
use crate::Result;
use crate::decoder::rope::Angles;
use crate::decoder::{Batch, Decoder, Pass};
use crate::ops::attention::QUERIES;
use crate::ops::matmul::MOST_ROWS;
use crate::ops::rope::Positions;
use crate::ops::rows::pick_rows;

/// Tokens of a piece of a prompt that can be kept.
pub(super) const BLOCK: usize = QUERIES;

/// Most positions that one pass computes at once.
const PASS_TOKENS: usize = 16_384;

/// Reads every prompt; `each` takes the rows of a pass, their logits (rows, V) and their caches. What several prompts begin with is read
/// once, and kept in `shared`.
pub(super) fn read_prompts(
    decoder: &Decoder,
    prompts: &[Vec<u32>],
    shared: &mut Shared<'_>,
    mut each: impl FnMut(Range<usize>, &Tensor, Vec<RowCache>) -> Result<()>,
) -> Result<()> {
    let reaches: Vec<Vec<usize>> = prompts.iter().map(|ids| reach(decoder, ids.len())).collect();
    let mut caches: Vec<RowCache> = prompts.iter().map(|ids| RowCache::new(decoder.config(), ids.len())).collect();
    if is_read_in_pieces(decoder) {
        for Beginning { rows, tokens } in beginnings(prompts, &reaches) {
            let (text, reach) = (&prompts[rows[0]], &reaches[rows[0]]);
            let mut common = RowCache::new(decoder.config(), tokens);
            shared.fill(reach, &text[..tokens], &mut common);
            if common.tokens() < tokens {
                let common = std::slice::from_mut(&mut common);
                pass(decoder, &[&text[..tokens]], text.len(), common, &mut || Flow::Continue)?;
            }
            shared.keep(reach, &common, tokens);
            for row in rows {
                caches[row].extend(&common.part(0, tokens), &text[..tokens]);
            }
        }
        for ((ids, reach), cache) in prompts.iter().zip(&reaches).zip(&mut caches).filter(|(_, c)| c.tokens() == 0) {
            shared.fill(reach, &ids[..reusable(ids.len())], cache);
        }
    }
    let prompts: Vec<Prompt> = (prompts.iter().zip(reaches).zip(&caches))
        .map(|((ids, reach), cache)| Prompt { reach, tokens: ids.len(), held: cache.tokens(), ids })
        .collect();
    let mut caches = caches.into_iter();
    for rows in groups(&prompts) {
        let texts: Vec<&[u32]> = prompts[rows.clone()].iter().map(|p| p.ids).collect();
        let mut own: Vec<RowCache> = caches.by_ref().take(rows.len()).collect();
        let logits = read_on(decoder, &texts, &mut own, &mut || Flow::Continue)?;
        each(rows, &logits.expect("the listener never stops it"), own)?;
    }
    Ok(())
}

/// Reads one prompt from what `shared` holds of it on, and keeps it there; the logits (1, V) after it, and its cache. `wanted` is asked
/// before every layer; none once it stops.
pub(super) fn read_prompt(
    decoder: &Decoder,
    ids: &[u32],
    shared: &mut Shared<'_>,
    wanted: &mut dyn FnMut() -> Flow,
) -> Result<Option<(Tensor, RowCache)>> {
    let reach = reach(decoder, ids.len());
    let mut cache = RowCache::new(decoder.config(), ids.len());
    if is_read_in_pieces(decoder) {
        shared.fill(&reach, &ids[..reusable(ids.len())], &mut cache);
    }
    let Some(logits) = read_on(decoder, &[ids], std::slice::from_mut(&mut cache), wanted)? else { return Ok(None) };
    if is_read_in_pieces(decoder) {
        shared.keep(&reach, &cache, ids.len() / BLOCK * BLOCK);
    }
    Ok(Some((logits, cache)))
}

/// Fills caches up to the end of these texts, which have one [`reach`], from what they hold on; logits after the last token of each, (B, V).
/// None, and caches of no use, once `wanted` stops it.
pub(super) fn read_on(
    decoder: &Decoder,
    texts: &[&[u32]],
    caches: &mut [RowCache],
    wanted: &mut dyn FnMut() -> Flow,
) -> Result<Option<Tensor>> {
    let longest = texts.iter().map(|ids| ids.len()).max().unwrap_or(0);
    let Some((x, batch)) = pass(decoder, texts, longest, caches, wanted)? else { return Ok(None) };
    let last: Vec<u32> = batch.lengths.iter().enumerate().map(|(r, n)| (r * batch.width + n - 1) as u32).collect();
    let flat = x.reshape((batch.rows * batch.width, decoder.config().hidden_size))?; // (B*T, C)
    let mut logits = Vec::new();
    for last in last.chunks(MOST_ROWS) {
        let last = decoder.model().norm.forward(&pick_rows(&flat, last)?, decoder.context(Pass::Eval))?.detach();
        logits.push(decoder.project(&last)?);
    }
    Ok(Some(Tensor::cat(&logits, 0)?))
}

/// As [`read_on`], of texts that are the beginnings of texts of the reach of `tokens` tokens: hidden states of what was new, (B, T, C), and
/// that as a batch.
fn pass(
    decoder: &Decoder,
    texts: &[&[u32]],
    tokens: usize,
    caches: &mut [RowCache],
    wanted: &mut dyn FnMut() -> Flow,
) -> Result<Option<(Tensor, Batch)>> {
    let new: Vec<Vec<u32>> = texts.iter().zip(&*caches).map(|(ids, cache)| ids[cache.tokens()..].to_vec()).collect();
    let batch = Batch::from_ids(&new, 0)?;
    batch.check(decoder.config().vocab_size)?;
    let (model, ctx) = (decoder.model(), decoder.context(Pass::Eval));
    let mut x = model.embed(&batch.ids, batch.rows, batch.width, ctx)?.detach(); // (B, T, C)
    // Padding stands at 0.
    let place = |(r, t): (usize, usize)| if t < batch.lengths[r] { caches[r].tokens() + t } else { 0 };
    let places = (0..batch.rows * batch.width).map(|at| place((at / batch.width, at % batch.width)) as u32);
    let angles = Angles::for_text(&model.ropes, tokens, Positions::Tokens(places.collect()))?;
    for (layer, block) in model.blocks.iter().enumerate() {
        match wanted() {
            Flow::Continue => {}
            Flow::Stop => return Ok(None),
        }
        let (q, k, v) = projected(block, &x, &angles, ctx)?;
        let attended = attend(decoder, &batch, caches, layer, (&q, &k, &v))?;
        x = block.feed_forward(&block.add_attended(&x, &attended, ctx)?, ctx)?.detach();
    }
    for (cache, ids) in caches.iter_mut().zip(&new) {
        cache.add_ids(ids);
    }
    Ok(Some((x, batch)))
}

/// Whether the numbers of a prompt do not depend on how it is cut.
fn is_read_in_pieces(decoder: &Decoder) -> bool {
    decoder.device().is_cpu()
}

/// Of a prompt of so many tokens, those that can be taken from kept ones: whole blocks, and more than a few rows are left to compute.
fn reusable(tokens: usize) -> usize {
    tokens.saturating_sub(MOST_ROWS + 1) / BLOCK * BLOCK
}

/// Rows, two or more, and the tokens that they all begin with.
#[derive(Debug, PartialEq, Eq)]
struct Beginning {
    rows: Vec<usize>,
    tokens: usize,
}

/// The rows that have their first block in common, and all the blocks that they have in common.
fn beginnings(prompts: &[Vec<u32>], reaches: &[Vec<usize>]) -> Vec<Beginning> {
    let mut by_block: HashMap<(&[usize], &[u32]), usize> = HashMap::new();
    let mut all: Vec<Beginning> = Vec::new();
    for (row, (ids, reach)) in prompts.iter().zip(reaches).enumerate() {
        let own = reusable(ids.len());
        if own == 0 {
            continue;
        }
        let at = *by_block.entry((reach.as_slice(), &ids[..BLOCK])).or_insert(all.len());
        match all.get_mut(at) {
            None => all.push(Beginning { rows: vec![row], tokens: own }),
            Some(beginning) => {
                let alike = prompts[beginning.rows[0]].iter().zip(ids).take_while(|(a, b)| a == b).count();
                beginning.tokens = beginning.tokens.min(own).min(alike / BLOCK * BLOCK);
                beginning.rows.push(row);
            }
        }
    }
    all.retain(|beginning| beginning.rows.len() > 1);
    all
}

/// A prompt on its way into its cache.
struct Prompt<'a> {
    reach: Vec<usize>,
    tokens: usize,
    /// Tokens that the cache holds already.
    held: usize,
    ids: &'a [u32],
}

/// Neighbouring prompts that are read in one pass: of one reach, all of a few tokens or none, and of a padded size within bounds.
fn groups(prompts: &[Prompt<'_>]) -> Vec<Range<usize>> {
    let mut groups = Vec::new();
    let (mut start, mut width) = (0, 0);
    for (row, prompt) in prompts.iter().enumerate() {
        let (first, few) = (&prompts[start], prompt.tokens <= MOST_ROWS);
        let own = prompt.tokens - prompt.held;
        let wider = width.max(own);
        let most = if few { MOST_ROWS } else { PASS_TOKENS };
        let alike = prompt.reach == first.reach && few == (first.tokens <= MOST_ROWS);
        if row > start && !(alike && wider * (row + 1 - start) <= most) {
            groups.push(start..row);
            (start, width) = (row, own);
        } else {
            width = wider;
        }
    }
    groups.push(start..prompts.len());
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(lengths: &[(usize, usize)], reach: fn(usize) -> usize) -> Vec<usize> {
        let prompt = |(tokens, held): &(usize, usize)| Prompt {
            reach: vec![reach(*tokens)],
            tokens: *tokens,
            held: *held,
            ids: &[],
        };
        groups(&lengths.iter().map(prompt).collect::<Vec<_>>()).into_iter().map(|g| g.len()).collect()
    }

    #[test]
    fn prompts_are_grouped_by_what_is_left_to_read() {
        let whole = |lengths: &[usize]| sizes(&lengths.iter().map(|n| (*n, 0)).collect::<Vec<_>>(), |_| 0);
        assert_eq!(whole(&[50, 90]), [2]);
        assert_eq!(sizes(&[(25, 0), (29, 0), (40, 0), (41, 0)], |n| n.max(36)), [2, 1, 1]);
        assert_eq!(whole(&[9000, 9000, 20]), [1, 1, 1]);
        assert_eq!(whole(&[20, 4000, 4000]), [3]);
        assert_eq!(whole(&[20_000]), [1]);
        assert_eq!(sizes(&[(9000, 8960), (9000, 8960), (20, 0)], |_| 0), [3]);
    }

    #[test]
    fn prompts_of_a_few_tokens_are_read_apart() {
        let whole = |lengths: &[usize]| sizes(&lengths.iter().map(|n| (*n, 0)).collect::<Vec<_>>(), |_| 0);
        assert_eq!(whole(&[5, 8, 3]), [2, 1]);
        assert_eq!(whole(&[16, 17, 16]), [1, 1, 1]);
    }

    #[test]
    fn a_beginning_is_whole_blocks_and_leaves_more_than_a_few_tokens() {
        let text = |common: usize, own: usize, mark: u32| -> Vec<u32> {
            (0..common as u32).chain((0..own as u32).map(|t| 1000 * mark + t)).collect()
        };
        let found = |prompts: &[Vec<u32>]| beginnings(prompts, &vec![vec![0]; prompts.len()]);
        let three = [text(150, 40, 1), text(0, 100, 2), text(150, 90, 3)];
        assert_eq!(found(&three), [Beginning { rows: vec![0, 2], tokens: 128 }]);
        assert_eq!(found(&[text(150, 0, 1), text(150, 0, 1)]), [Beginning { rows: vec![0, 1], tokens: 128 }]);
        assert_eq!(found(&[text(128, 16, 1), text(128, 90, 2)]), [Beginning { rows: vec![0, 1], tokens: 64 }]);
        assert_eq!(found(&[text(63, 90, 1), text(63, 90, 2)]), []);
        let apart = beginnings(&[text(150, 40, 1), text(150, 41, 2)], &[vec![0], vec![1]]);
        assert_eq!(apart, [], "texts that turn by other frequencies");
    }
}
