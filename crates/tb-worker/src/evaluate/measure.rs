//! Metrics of rows and of groups of rows, from tb-stats, with bootstrap intervals. Generation and files are elsewhere.

use tb_core::ErrorCode;
use tb_core::eval::MetricValue;
use tb_core::random::{Purpose, Stream, name_key};
use tb_stats::bootstrap::Bootstrap;
use tb_stats::metrics::bleu::{self, BleuCounts, Tokenizer};
use tb_stats::metrics::chrf::{self, ChrfCounts};
use tb_stats::metrics::perplexity::perplexity;
use tb_stats::metrics::rouge::{self, Units};
use tb_stats::metrics::slots::{self, SlotCount};
use tb_stats::metrics::{edit, exact_match};

use crate::error::{Failure, Result};

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    /// Character n-grams in common, 0 to 100.
    Chrf,
    /// Token n-grams in common, 0 to 100.
    Bleu,
    /// Longest common subsequence (F1), percent.
    RougeL,
    /// Rows written exactly, percent.
    ExactMatch,
    /// Normalised edit distance, percent; lower is better.
    Edit,
    /// Names, numbers, dates and objects kept, percent.
    SlotAccuracy,
    /// Of the wanted answers; lower is better.
    Perplexity,
}

impl Metric {
    /// Every metric.
    pub const ALL: [Self; 7] =
        [Self::Chrf, Self::Bleu, Self::RougeL, Self::ExactMatch, Self::Edit, Self::SlotAccuracy, Self::Perplexity];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Chrf => "chrf",
            Self::Bleu => "bleu",
            Self::RougeL => "rouge_l",
            Self::ExactMatch => "exact_match",
            Self::Edit => "edit",
            Self::SlotAccuracy => "slot_accuracy",
            Self::Perplexity => "perplexity",
        }
    }

    /// The metrics of these names; all for none.
    ///
    /// # Errors
    /// A name that is unknown.
    pub fn wanted(names: &[String]) -> Result<Vec<Self>> {
        if names.is_empty() {
            return Ok(Self::ALL.to_vec());
        }
        let find = |name: &String| {
            Self::ALL.into_iter().find(|m| m.as_str() == name).ok_or_else(|| {
                let known: Vec<&str> = Self::ALL.iter().map(|m| m.as_str()).collect();
                Failure::new(ErrorCode::InvalidArgument, format!("there is no metric '{name}'."))
                    .hint(format!("Use some of {}.", known.join(", ")))
            })
        };
        names.iter().map(find).collect()
    }

    /// Its value on one row; `None` if the row does not allow it.
    pub fn of_row(self, row: &RowScore) -> Option<f64> {
        self.applies(row).then(|| match self {
            Self::Bleu => row.bleu.sentence_score(),
            Self::Chrf | Self::RougeL | Self::ExactMatch | Self::Edit | Self::SlotAccuracy | Self::Perplexity => {
                self.of_rows(&[row], &[0])
            }
        })
    }

    fn applies(self, row: &RowScore) -> bool {
        match self {
            Self::Chrf | Self::Bleu | Self::RougeL | Self::ExactMatch | Self::Edit => true,
            Self::SlotAccuracy => row.slots.expected > 0,
            Self::Perplexity => perplexity(row.nll, row.tokens).is_some(),
        }
    }

    /// Its value on rows that allow it, picked by number (at least one).
    fn of_rows(self, rows: &[&RowScore], picked: &[usize]) -> f64 {
        let each = || picked.iter().map(|i| rows[*i]);
        let mean = |value: fn(&RowScore) -> f64| 100.0 * each().map(value).sum::<f64>() / picked.len() as f64;
        match self {
            Self::Chrf => chrf::corpus_of_counts(each().map(|r| r.chrf)).unwrap_or(f64::NAN),
            Self::Bleu => bleu::corpus_of_counts(each().map(|r| r.bleu)).unwrap_or(f64::NAN),
            Self::RougeL => mean(|r| r.rouge_l),
            Self::ExactMatch => mean(|r| f64::from(u8::from(r.exact))),
            Self::Edit => mean(|r| r.edit),
            Self::SlotAccuracy => {
                let mut sum = SlotCount::default();
                each().for_each(|r| sum += r.slots);
                100.0 * sum.share().unwrap_or(f64::NAN)
            }
            Self::Perplexity => {
                let (nll, tokens) = each().fold((0.0, 0), |(nll, tokens), r| (nll + r.nll, tokens + r.tokens));
                perplexity(nll, tokens).unwrap_or(f64::NAN)
            }
        }
    }
}

/// What one row adds to every metric.
#[derive(Clone, Debug)]
pub struct RowScore {
    chrf: ChrfCounts,
    bleu: BleuCounts,
    rouge_l: f64,
    exact: bool,
    edit: f64,
    slots: SlotCount,
    /// Of the wanted answer, nats.
    nll: f64,
    tokens: u64,
}

impl RowScore {
    /// Measures one output. Japanese (by the row's language, else by its script) is cut into characters.
    pub fn new(output: &str, target: &str, language: Option<&str>, slots: &[String], logprobs: &[f32]) -> Self {
        let tokenizer = match language {
            Some("ja") => Tokenizer::Char,
            Some(_) => Tokenizer::V13a,
            None => Tokenizer::suited_to(target),
        };
        let units = match tokenizer {
            Tokenizer::Char => Units::Characters,
            Tokenizer::V13a => Units::Words,
        };
        Self {
            chrf: ChrfCounts::of(output, target),
            bleu: BleuCounts::of(output, target, tokenizer),
            rouge_l: rouge::sentence(output, target, units).rouge_l.f1,
            exact: exact_match::is_exact_match(output, target),
            edit: edit::normalised(output, target),
            slots: slots::count(output, slots),
            nll: -logprobs.iter().map(|v| f64::from(*v)).sum::<f64>(),
            tokens: logprobs.len() as u64,
        }
    }
}

/// The wanted metrics of a group of rows, those left out that no row allows.
///
/// # Errors
/// A metric that is not finite: a fault of the program.
pub fn metrics(wanted: &[Metric], rows: &[&RowScore], seed: u64, group: &str) -> Result<Vec<MetricValue>> {
    let mut values = Vec::new();
    for metric in wanted {
        let rows: Vec<&RowScore> = rows.iter().copied().filter(|r| metric.applies(r)).collect();
        if rows.is_empty() {
            continue;
        }
        let lane = name_key(&format!("{group}/{}", metric.as_str()));
        let mut stream = Stream::new(seed, 0, Purpose::Bootstrap, lane);
        let estimate = Bootstrap::default()
            .estimate(rows.len(), &mut || stream.uniform_f64(), |picked| metric.of_rows(&rows, picked))?;
        values.push(MetricValue {
            name: metric.as_str().to_owned(),
            value: estimate.value,
            interval: Some((estimate.interval.low, estimate.interval.high)),
            n: rows.len() as u32,
        });
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn score(output: &str, target: &str, slots: &[&str]) -> RowScore {
        let slots: Vec<String> = slots.iter().map(|s| (*s).to_owned()).collect();
        RowScore::new(output, target, None, &slots, &[-0.5, -1.5])
    }

    fn value(values: &[MetricValue], name: &str) -> Option<f64> {
        values.iter().find(|m| m.name == name).map(|m| m.value)
    }

    #[test]
    fn shares_are_in_percent_and_intervals_hold_the_value() {
        let rows = [
            score("Could you send it to Ann by 3 pm?", "Could you send it to Ann by 3 pm?", &["Ann", "3 pm"]),
            score("Send it to Bob.", "Please send it to Ann.", &["Ann"]),
            score("お願いいたします。", "お願いいたします。", &[]),
        ];
        let rows: Vec<&RowScore> = rows.iter().collect();
        let got = metrics(&Metric::ALL, &rows, 1, "").unwrap();
        assert_eq!(got.len(), Metric::ALL.len());
        assert!((value(&got, "exact_match").unwrap() - 200.0 / 3.0).abs() < 1e-9);
        assert!((value(&got, "slot_accuracy").unwrap() - 200.0 / 3.0).abs() < 1e-9);
        assert!((value(&got, "perplexity").unwrap() - 1f64.exp()).abs() < 1e-9);
        for m in &got {
            let (low, high) = m.interval.unwrap();
            assert!(low <= m.value && m.value <= high, "{}", m.name);
        }
        assert_eq!(got.iter().find(|m| m.name == "slot_accuracy").unwrap().n, 2);
        assert_eq!(got, metrics(&Metric::ALL, &rows, 1, "").unwrap());
    }

    #[test]
    fn a_metric_that_no_row_allows_is_left_out() {
        let row = RowScore::new("a", "a", Some("en"), &[], &[]);
        let got = metrics(&Metric::ALL, &[&row], 1, "g").unwrap();
        assert!(value(&got, "slot_accuracy").is_none() && value(&got, "perplexity").is_none());
        assert_eq!(value(&got, "chrf"), Some(100.0));
    }

    #[test]
    fn an_unknown_metric_is_refused_by_name() {
        assert_eq!(Metric::wanted(&[]).unwrap().len(), 7);
        let failure = Metric::wanted(&["rouge".to_owned()]).unwrap_err();
        assert!(failure.to_string().contains("'rouge'") && failure.to_string().contains("rouge_l"));
    }
}
