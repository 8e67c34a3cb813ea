use tb_stats::Interval;
use tb_stats::bootstrap::Estimate;
use tb_stats::retrieval::Overlap;

use super::{Adapter, Base, Better, Data, Evaluation, KnownError, Lineage, Metric, ModelCard};

fn card() -> ModelCard {
    ModelCard {
        name: "Polite".into(),
        version: "v3".into(),
        summary: "Rewrites casual messages politely.".into(),
        base: Base {
            name: "tone/base".into(),
            sha256: "ab12".into(),
            licence: "Apache-2.0".into(),
            parameters: 3_800_000,
        },
        adapter: Some(Adapter {
            description: "LoRA r=16 alpha=32, all linear layers".into(),
            trainable_parameters: 200_000,
            sha256: "cd34".into(),
        }),
        data: vec![Data {
            name: "sample".into(),
            split: "training".into(),
            rows: 6000,
            sha256: "ef56".into(),
            origin: "own grammar".into(),
        }],
        hyperparameters: vec![("learning_rate".into(), "0.003".into())],
        evaluation: Some(Evaluation {
            on: "the held-out rows".into(),
            rows: 300,
            systems: vec!["This model".into(), "Base".into(), "Nearest row".into()],
            metrics: vec![
                Metric {
                    name: "chrF".into(),
                    unit: String::new(),
                    decimals: 1,
                    better: Better::Higher,
                    values: vec![Some(95.04), Some(21.0), Some(56.0)],
                    difference: Some(Estimate { value: 74.0, interval: Interval { low: 72.5, high: 75.4 }, rows: 300 }),
                },
                Metric {
                    name: "perplexity".into(),
                    unit: String::new(),
                    decimals: 2,
                    better: Better::Lower,
                    values: vec![Some(1.2), Some(9.0), None],
                    difference: Some(Estimate { value: -7.8, interval: Interval { low: -8.0, high: -7.5 }, rows: 300 }),
                },
            ],
            overlap: Some(Overlap { rows: 300, verbatim_share: 0.0, chrf_p10: 56.0, chrf_p50: 67.2, chrf_p90: 79.0 }),
        }),
        known_errors: vec![KnownError {
            source: "send it | now".into(),
            target: "Please send it.".into(),
            output: "Please <b>send</b>\nthem.".into(),
            remark: String::new(),
        }],
        limits: vec!["English and Japanese only.".into()],
        lineage: Lineage { job_id: "job_1".into(), seed: 7, steps: 1200, training_s: 168.4, ..Lineage::default() },
        loss_chart: "loss.png".into(),
    }
}

#[test]
fn a_table_shows_every_system_the_best_in_bold_and_the_interval() {
    let text = card().markdown();
    assert!(text.contains("| Metric | This model | Base | Nearest row | Difference from base |\n| --- | ---: |"));
    assert!(text.contains("| chrF ↑ | **95.0** | 21.0 | 56.0 | +74.0 [72.5, 75.4] n=300 |"));
    assert!(text.contains("| perplexity ↓ | **1.20** | 9.00 | – | −7.80 [−8.00, −7.50] n=300 |"));
    assert!(text.contains("0.0 % of the held-out sources"));
    assert!(text.contains("56 / 67 / 79"));
}

#[test]
fn hashes_shares_and_lineage_are_named() {
    let text = card().markdown();
    assert!(text.starts_with("---\nbase_model: \"tone/base\"\n"));
    assert!(text.contains("# Polite v3\n"));
    for part in [
        "`ab12`",
        "`cd34`",
        "`ef56`",
        "200,000 (5.00 % of all)",
        "| Continues version | none |",
        "| Steps | 1,200 |",
        "168 s",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    assert!(text.contains("![Training and validation loss by step](<loss.png>)"));
    assert!(text.ends_with("|\n") && !text.ends_with("\n\n"));
}

#[test]
fn texts_cannot_add_markup_or_cells() {
    let text = card().markdown();
    assert!(text.contains("| send it \\| now | Please send it. | Please &lt;b&gt;send&lt;/b&gt; them. |  |"));
    let mut evil = card();
    evil.name = "x\n# [y](http://z) `".into();
    evil.base.name = "a\"\nb: c".into();
    evil.hyperparameters = vec![("a|`b".into(), String::new())];
    let text = evil.markdown();
    assert!(text.contains("# x \\# \\[y\\](http://z) \\` v3"));
    assert!(text.contains("base_model: \"a\\\"b: c\"\n"));
    assert!(text.contains("| `a\\|b` | – |"));
}

#[test]
fn an_unmeasured_model_says_so() {
    let text = ModelCard { name: "m".into(), ..ModelCard::default() }.markdown();
    assert!(text.contains("This version has not been evaluated."));
    assert!(text.contains("| Base licence | unknown |"));
}
