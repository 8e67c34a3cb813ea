//! What a frozen dataset is made of: rows, characters, tokens, lengths, languages. Kept beside it, for it never changes.

use std::{collections::BTreeMap, path::PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tb_core::{
    ApiError,
    dataset::{Dataset, Example, Message, Row, RowProblemKind, Said, SplitName},
    ids::DatasetId,
    recipe::LossOn,
};
use tb_data::{files::atomic_write, frozen};
use ts_rs::TS;

use super::{
    lengths::{self, HeldLengths, Question, RowLength},
    read_problems, split_file,
};
use crate::{Ctx, ctx::blocking, found};

/// Bars of the histogram.
const BINS: u32 = 24;

/// Arguments of `data_stats`.
#[derive(Clone, Debug, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub struct StatsOf {
    /// The dataset.
    pub id: DatasetId,
    /// Folder of the model whose tokenizer counts; characters are counted without one.
    #[serde(default)]
    pub model: Option<PathBuf>,
}

/// What a dataset is made of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
pub struct DataStats {
    /// Each split that has rows.
    pub splits: Vec<SplitStats>,
    /// How long the rows of all splits are.
    pub lengths: LengthStats,
    /// Tokens of the training split that carry loss, with a model.
    #[ts(type = "number | null")]
    pub supervised_tokens: Option<u64>,
    /// Rows that the tokenizer's chat template cannot render, with a model.
    #[ts(type = "number | null")]
    pub unrendered_rows: Option<u64>,
    /// Rows by language: of the column `language` where rows have it, else by script; the most frequent first.
    pub languages: Vec<NamedCount>,
    /// Rows by `direction` or `group`, where rows have such a column; the most frequent first.
    pub groups: Vec<NamedCount>,
    /// Rows left out at import, by reason; the most frequent first.
    pub problems: Vec<NamedCount>,
    /// Rows left out because an earlier one has the same content.
    #[ts(type = "number")]
    pub duplicates_removed: u64,
}

/// One split in figures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
pub struct SplitStats {
    /// Which.
    pub split: SplitName,
    /// Rows.
    #[ts(type = "number")]
    pub rows: u64,
    /// Characters of what is said in them.
    #[ts(type = "number")]
    pub characters: u64,
    /// Tokens, with a model.
    #[ts(type = "number | null")]
    pub tokens: Option<u64>,
}

/// How long rows are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
pub struct LengthStats {
    /// What is counted.
    pub unit: LengthUnit,
    /// Half of the rows are at most so long.
    pub p50: u32,
    /// 95 of 100 rows are at most so long.
    pub p95: u32,
    /// 99 of 100 rows are at most so long.
    pub p99: u32,
    /// The longest.
    pub max: u32,
    /// A histogram without gaps.
    pub bins: Vec<LengthBin>,
}

/// What lengths are counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum LengthUnit {
    /// Tokens of a model's tokenizer.
    Tokens,
    /// Characters.
    Characters,
}

/// One bar: rows with `from <= length < to`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct LengthBin {
    /// Shortest.
    pub from: u32,
    /// One above the longest.
    pub to: u32,
    /// Rows.
    #[ts(type = "number")]
    pub rows: u64,
}

/// A name and how many rows have it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct NamedCount {
    /// The name.
    pub name: String,
    /// Rows.
    #[ts(type = "number")]
    pub rows: u64,
}

pub(crate) async fn stats(ctx: &Ctx, args: StatsOf) -> Result<DataStats, ApiError> {
    let dataset = found::dataset(ctx.db(), &args.id).await?;
    let loss_on = ctx.settings().hyperparameters().loss_on;
    let ctx = ctx.clone();
    blocking(move || {
        let plain = plain_stats(&dataset)?;
        match args.model {
            None => Ok(plain),
            Some(model) => with_tokens(plain, &dataset, &model, loss_on, ctx.held_lengths()),
        }
    })
    .await
}

/// Everything but tokens: from the file beside the dataset, or counted now and written there.
fn plain_stats(dataset: &Dataset) -> Result<DataStats, ApiError> {
    let cache = PathBuf::from(&dataset.file_path).join("cache").join("stats.json");
    if let Some(stats) = std::fs::read(&cache).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()) {
        return Ok(stats);
    }
    let mut splits = Vec::new();
    let mut all = Vec::new();
    let (mut languages, mut groups, mut problems) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    for info in dataset.splits.iter().filter(|s| s.rows > 0) {
        let rows = frozen::read_split(PathBuf::from(&dataset.file_path).as_path(), info, dataset.shape)?.rows;
        let mut characters = 0;
        for row in &rows {
            let length = text_of(&row.example, &mut |text| text.chars().count());
            characters += length as u64;
            all.push(length as u32);
            *languages.entry(language(row)).or_insert(0) += 1;
            if let Some(group) = ["direction", "group"].iter().find_map(|c| row.more.get(*c)?.as_str()) {
                *groups.entry(group.to_owned()).or_insert(0) += 1;
            }
        }
        splits.push(SplitStats { split: info.name, rows: rows.len() as u64, characters, tokens: None });
    }
    for problem in read_problems(dataset)? {
        *problems.entry(problem.kind.to_string()).or_insert(0_u64) += 1;
    }
    let stats = DataStats {
        splits,
        lengths: length_stats(LengthUnit::Characters, all),
        supervised_tokens: None,
        unrendered_rows: None,
        languages: counts(languages),
        groups: counts(groups),
        duplicates_removed: problems.get(RowProblemKind::Duplicate.as_str()).copied().unwrap_or(0),
        problems: counts(problems),
    };
    if std::fs::create_dir_all(cache.parent().unwrap_or(&cache)).is_ok()
        && let Ok(bytes) = serde_json::to_vec(&stats)
        && let Err(error) = atomic_write(&cache, &bytes)
    {
        tracing::warn!(%error, "the figures of a dataset could not be kept");
    }
    Ok(stats)
}

fn with_tokens(
    plain: DataStats,
    dataset: &Dataset,
    model: &std::path::Path,
    loss_on: LossOn,
    held: &HeldLengths,
) -> Result<DataStats, ApiError> {
    let folder = PathBuf::from(&dataset.file_path);
    let mut stats = plain;
    let mut all = Vec::new();
    let mut unrendered = 0;
    for split in &mut stats.splits {
        let path = split_file(dataset, split.split)?;
        let question = Question { path: &path, mapping: None, model, loss_on, beside: Some(&folder) };
        let found = lengths::lengths(held, &question)?;
        let rows: &[RowLength] = &found.rows;
        split.tokens = Some(rows.iter().map(|r| u64::from(r.tokens)).sum());
        unrendered += rows.iter().filter(|r| r.tokens == 0).count() as u64;
        all.extend(rows.iter().map(|r| r.tokens).filter(|n| *n > 0));
        if split.split == SplitName::Train {
            stats.supervised_tokens = Some(rows.iter().map(|r| u64::from(r.supervised)).sum());
        }
    }
    stats.unrendered_rows = Some(unrendered);
    stats.lengths = length_stats(LengthUnit::Tokens, all);
    Ok(stats)
}

/// Applies `count` to every text of an example and adds up.
fn text_of(example: &Example, count: &mut dyn FnMut(&str) -> usize) -> usize {
    let messages = |all: &[Message], count: &mut dyn FnMut(&str) -> usize| -> usize {
        all.iter().map(|m| count(&m.content)).sum()
    };
    let said = |said: &Said, count: &mut dyn FnMut(&str) -> usize| match said {
        Said::Text(text) => count(text),
        Said::Messages(all) => messages(all, count),
    };
    match example {
        Example::Text { text } => count(text),
        Example::Messages { messages: all } => all.iter().map(|m| count(&m.content)).sum(),
        Example::PromptCompletion { prompt, completion } | Example::Unpaired { prompt, completion, label: _ } => {
            said(prompt, count) + said(completion, count)
        }
        Example::Preference { prompt, chosen, rejected } => {
            said(prompt, count) + said(chosen, count) + said(rejected, count)
        }
    }
}

/// The row's own word for its language, or what its script tells: kana `ja`, hangul `ko`, ideographs alone `zh`, else `latin`,
/// `cyrillic` or `other`.
fn language(row: &Row) -> String {
    if let Some(named) = row.more.get("language").and_then(Value::as_str).filter(|l| !l.is_empty()) {
        return named.to_owned();
    }
    let (mut kana, mut hangul, mut ideographs, mut latin, mut cyrillic) = (0, 0, 0, 0, 0);
    text_of(&row.example, &mut |text| {
        for c in text.chars() {
            match c {
                '\u{3040}'..='\u{30ff}' => kana += 1,
                '\u{ac00}'..='\u{d7a3}' => hangul += 1,
                '\u{4e00}'..='\u{9fff}' => ideographs += 1,
                '\u{0400}'..='\u{04ff}' => cyrillic += 1,
                c if c.is_alphabetic() && c < '\u{0250}' => latin += 1,
                _ => {}
            }
        }
        0
    });
    let eastern = kana + hangul + ideographs;
    match () {
        // An ideograph says about as much as three letters.
        () if eastern * 3 > latin && kana > 0 && kana >= hangul => "ja",
        () if eastern * 3 > latin && hangul > 0 => "ko",
        () if eastern * 3 > latin && ideographs > 0 => "zh",
        () if cyrillic > latin => "cyrillic",
        () if latin > 0 => "latin",
        () => "other",
    }
    .to_owned()
}

fn counts(by_name: BTreeMap<String, u64>) -> Vec<NamedCount> {
    let mut all: Vec<NamedCount> = by_name.into_iter().map(|(name, rows)| NamedCount { name, rows }).collect();
    all.sort_by_key(|count| std::cmp::Reverse(count.rows));
    all
}

fn length_stats(unit: LengthUnit, mut all: Vec<u32>) -> LengthStats {
    all.sort_unstable();
    let max = all.last().copied().unwrap_or(0);
    // Nearest rank: the smallest length that so many rows do not exceed.
    let at = |share: f64| {
        let rank = (share * all.len() as f64).ceil() as usize;
        all.get(rank.saturating_sub(1)).copied().unwrap_or(0)
    };
    let step = nice_step(max / BINS + 1);
    let bins = (0..=max / step).map(|i| {
        let (from, to) = (i * step, (i + 1) * step);
        let rows = all.partition_point(|n| *n < to) - all.partition_point(|n| *n < from);
        LengthBin { from, to, rows: rows as u64 }
    });
    let bins = if all.is_empty() { Vec::new() } else { bins.collect() };
    LengthStats { unit, p50: at(0.5), p95: at(0.95), p99: at(0.99), max, bins }
}

/// The next of 1, 2, 5, 10, 20, 50 …
fn nice_step(least: u32) -> u32 {
    let mut step = 1;
    loop {
        for factor in [1, 2, 5] {
            if step * factor >= least {
                return step * factor;
            }
        }
        step *= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_nearest_ranks_and_bins_have_no_gap() {
        let stats = length_stats(LengthUnit::Tokens, (1..=100).collect());
        assert_eq!((stats.p50, stats.p95, stats.p99, stats.max), (50, 95, 99, 100));
        assert_eq!(stats.bins.iter().map(|b| b.rows).sum::<u64>(), 100);
        assert!(stats.bins.windows(2).all(|w| w[0].to == w[1].from) && stats.bins.len() <= BINS as usize + 1);
        let one = length_stats(LengthUnit::Tokens, vec![7]);
        assert_eq!((one.p50, one.max, one.bins.iter().map(|b| b.rows).sum::<u64>()), (7, 7, 1));
        assert!(length_stats(LengthUnit::Tokens, vec![]).bins.is_empty());
    }

    #[test]
    fn scripts_tell_languages_and_a_column_wins() {
        let of = |text: &str| {
            language(&Row { line: 1, example: Example::Text { text: text.into() }, more: Default::default() })
        };
        assert_eq!(of("明日の会議、Annに伝えて。"), "ja");
        assert_eq!(of("회의는 내일입니다"), "ko");
        assert_eq!(of("明天开会"), "zh");
        assert_eq!(of("Tell Ann about the 会議 tomorrow"), "latin");
        assert_eq!(of("12 + 3"), "other");
        let mut row = Row { line: 1, example: Example::Text { text: "hi".into() }, more: Default::default() };
        row.more.insert("language".into(), "en".into());
        assert_eq!(language(&row), "en");
    }
}
