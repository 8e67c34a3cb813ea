//! chrF, BLEU and ROUGE against sacrebleu and rouge-score: `tests/golden/metrics/make.py` made the numbers.

use serde_json::Value;

use super::bleu::{self, Tokenizer};
use super::chrf;
use super::rouge::{self, RougeScore, Units};

const GOLDEN: &str = include_str!("../../../../tests/golden/metrics/metrics.json");

fn golden() -> Value {
    serde_json::from_str(GOLDEN).unwrap()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

#[track_caller]
fn assert_near(got: f64, want: &Value, what: &str, row: &Value) {
    let want = want.as_f64().unwrap();
    assert!((got - want).abs() < 1e-9, "{what}: {got}, peer {want}, of {row:#}");
}

#[test]
fn sentence_scores_equal_sacrebleus() {
    let golden = golden();
    let rows = golden["sentences"].as_array().unwrap();
    assert!(rows.len() > 100);
    for row in rows {
        let (output, target) = (text(&row["output"]), text(&row["target"]));
        assert_near(chrf::sentence(output, target), &row["chrf"], "chrF", row);
        assert_near(bleu::sentence(output, target, Tokenizer::V13a), &row["bleu_13a"], "BLEU 13a", row);
        assert_near(bleu::sentence(output, target, Tokenizer::Char), &row["bleu_char"], "BLEU char", row);
    }
}

#[test]
fn rouge_equals_rouge_scores() {
    for row in golden()["sentences"].as_array().unwrap() {
        for (units, key) in [(Units::Words, "rouge_words"), (Units::Characters, "rouge_chars")] {
            let got = rouge::sentence(text(&row["output"]), text(&row["target"]), units);
            for (kind, RougeScore { precision, recall, f1 }) in [got.rouge1, got.rouge2, got.rouge_l].iter().enumerate()
            {
                for (part, got) in [precision, recall, f1].into_iter().enumerate() {
                    assert_near(*got, &row[key][kind][part], key, row);
                }
            }
        }
    }
}

#[test]
fn corpus_scores_equal_sacrebleus() {
    let golden = golden();
    let every_row: Vec<(&str, &str)> = golden["sentences"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| (text(&row["output"]), text(&row["target"])))
        .collect();
    for corpus in golden["corpora"].as_array().unwrap() {
        let pairs: Vec<(&str, &str)> = match corpus["pairs"].as_array() {
            Some(pairs) => pairs.iter().map(|pair| (text(&pair[0]), text(&pair[1]))).collect(),
            None => every_row.clone(),
        };
        let near = |got: Option<f64>, key: &str| assert_near(got.unwrap(), &corpus[key], key, &corpus["name"]);
        near(chrf::corpus(pairs.iter().copied()), "chrf");
        near(bleu::corpus(pairs.iter().copied(), Tokenizer::V13a), "bleu_13a");
        near(bleu::corpus(pairs.iter().copied(), Tokenizer::Char), "bleu_char");
    }
}
