//! The nearest training row by chrF: an exact search through an inverted index of character n-grams.
//! It serves the baseline "answer with the target of the nearest row" and the report on overlap between splits.

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};

use crate::metrics::chrf::{CHAR_ORDER, ChrfCounts, ChrfProfile};
use crate::metrics::exact_match;
use crate::quantile::quantile;

/// Training text indexed at once, in characters; an index takes roughly 60 bytes per character.
const SHARD_CHARS: usize = 2_000_000;

/// The training row most like a query.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Match {
    /// Position of the row in the training sources, from 0; the first of equals.
    pub row: usize,
    /// Sentence chrF (0 to 100) of the row against the query: how much of the query the row holds.
    pub chrf: f64,
}

/// An index over training sources that finds the nearest one without comparing with each.
///
/// Each n-gram (1 to 6 characters) lists the rows that hold it, so the matched counts of all rows are summed from the
/// lists of the query's n-grams. The result is the true maximum, not an approximation.
#[derive(Debug)]
pub struct Nearest {
    lists: HashMap<(u8, u128), Vec<Posting>>,
    /// n-grams of each row per order.
    totals: Vec<[u32; CHAR_ORDER]>,
}

#[derive(Debug, Clone, Copy)]
struct Posting {
    row: u32,
    count: u32,
}

impl Nearest {
    /// Indexes the sources; time and memory grow with their characters (see [`nearest_rows`] for large sets).
    pub fn new<S: AsRef<str>>(sources: &[S]) -> Self {
        let mut lists: HashMap<(u8, u128), Vec<Posting>> = HashMap::new();
        let mut totals = Vec::with_capacity(sources.len());
        for (row, source) in sources.iter().enumerate() {
            let profile = ChrfProfile::new(source.as_ref());
            totals.push(std::array::from_fn(|order| profile.grams[order].len() as u32));
            for (order, key, count) in distinct(&profile) {
                lists.entry((order as u8, key)).or_default().push(Posting { row: row as u32, count });
            }
        }
        Self { lists, totals }
    }

    /// The row with the highest chrF against `query`; `None` when no row shares a character with it.
    pub fn find(&self, query: &str) -> Option<Match> {
        let profile = ChrfProfile::new(query);
        let mut matched = vec![[0_u32; CHAR_ORDER]; self.totals.len()];
        for (order, key, count) in distinct(&profile) {
            for posting in self.lists.get(&(order as u8, key)).into_iter().flatten() {
                matched[posting.row as usize][order] += posting.count.min(count);
            }
        }
        let target: [u64; CHAR_ORDER] = std::array::from_fn(|order| profile.grams[order].len() as u64);
        let mut best: Option<Match> = None;
        for (row, matched) in matched.iter().enumerate().filter(|(_, matched)| matched[0] > 0) {
            let output = std::array::from_fn(|o| if target[o] == 0 { 0 } else { u64::from(self.totals[row][o]) });
            let chrf = ChrfCounts { output, target, matched: matched.map(u64::from) }.score();
            if best.is_none_or(|best| chrf > best.chrf) {
                best = Some(Match { row, chrf });
            }
        }
        best
    }
}

/// The distinct n-grams of a text: order (0 for single characters), packed n-gram, count.
fn distinct(profile: &ChrfProfile) -> impl Iterator<Item = (usize, u128, u32)> + '_ {
    profile
        .grams
        .iter()
        .enumerate()
        .flat_map(|(order, grams)| grams.chunk_by(|a, b| a == b).map(move |run| (order, run[0], run.len() as u32)))
}

/// The nearest training row of each query, with bounded memory: large training sets are indexed piece by piece.
/// `None` for a query that shares no character with any row.
pub fn nearest_rows<S: AsRef<str>, Q: AsRef<str>>(sources: &[S], queries: &[Q]) -> Vec<Option<Match>> {
    nearest_in_shards(sources, queries, SHARD_CHARS)
}

fn nearest_in_shards<S: AsRef<str>, Q: AsRef<str>>(
    sources: &[S],
    queries: &[Q],
    shard_chars: usize,
) -> Vec<Option<Match>> {
    let mut best: Vec<Option<Match>> = vec![None; queries.len()];
    let mut start = 0;
    while start < sources.len() {
        let mut end = start;
        let mut chars = 0;
        while end < sources.len() && (end == start || chars < shard_chars) {
            chars += sources[end].as_ref().chars().count();
            end += 1;
        }
        let shard = Nearest::new(&sources[start..end]);
        for (best, query) in best.iter_mut().zip(queries) {
            if let Some(found) = shard.find(query.as_ref())
                && best.is_none_or(|best| found.chrf > best.chrf)
            {
                *best = Some(Match { row: start + found.row, chrf: found.chrf });
            }
        }
        start = end;
    }
    best
}

/// How near held-out texts are to training texts.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Overlap {
    /// Held-out texts compared.
    pub rows: usize,
    /// Share (0 to 1) of held-out texts found in training, whitespace aside.
    pub verbatim_share: f64,
    /// chrF with the nearest training text that a tenth of the held-out texts stay under.
    pub chrf_p10: f64,
    /// The median of the nearest chrF.
    pub chrf_p50: f64,
    /// chrF with the nearest training text that a tenth of the held-out texts exceed.
    pub chrf_p90: f64,
}

/// Measures the overlap of held-out texts with training texts; `None` without held-out texts.
pub fn overlap<S: AsRef<str>, Q: AsRef<str>>(training: &[S], held_out: &[Q]) -> Option<Overlap> {
    let known: HashSet<String> = training.iter().map(|text| exact_match::normalised(text.as_ref())).collect();
    let verbatim = held_out.iter().filter(|text| known.contains(&exact_match::normalised(text.as_ref()))).count();
    let nearest: Vec<f64> =
        nearest_rows(training, held_out).into_iter().map(|found| found.map_or(0.0, |found| found.chrf)).collect();
    Some(Overlap {
        rows: held_out.len(),
        verbatim_share: verbatim as f64 / held_out.len().max(1) as f64,
        chrf_p10: quantile(&nearest, 0.1)?,
        chrf_p50: quantile(&nearest, 0.5)?,
        chrf_p90: quantile(&nearest, 0.9)?,
    })
}

#[cfg(test)]
mod tests;
