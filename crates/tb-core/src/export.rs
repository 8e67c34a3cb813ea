//! The certificate of an export: how the written model answers beside the model that it was made from, and what is usual for its form.

use serde::{Deserialize, Serialize};
use ts_rs::TS;

use crate::{
    ids::{ExportId, ModelId},
    run_folder::{ExportFormat, FileHash},
    text_enum::text_enum,
};

/// Name of the certificate in the folder of an export.
pub const CERTIFICATE: &str = "certificate.json";

text_enum! {
    /// What the two models were compared on.
    ExportSamples, "kind of samples" {
        /// Rows of a data file.
        Rows = "rows",
        /// Texts of this program.
        BuiltIn = "built_in",
    }
}

text_enum! {
    /// How the way in which a GGUF file's tokenizer splits text was found.
    TokenizerFit, "tokenizer fit" {
        /// The tokenizer's own expressions are those of a way that llama.cpp knows.
        Expressions = "expressions",
        /// It gives the same tokens as a way that llama.cpp knows, on every text that was tried.
        Tried = "tried",
        /// It does not split: merges run over the whole text by score.
        Scores = "scores",
        /// It came out of a GGUF file and went back as it was.
        Copied = "copied",
    }
}

/// What of both models was compared, and the result. It lies in the export's folder as `certificate.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
pub struct ExportCertificate {
    /// The form.
    pub format: ExportFormat,
    /// The base model.
    pub base: String,
    /// The adapter, if there is one.
    pub adapter: Option<String>,
    /// What the two models were compared on.
    pub samples: ExportSamples,
    /// Rows or texts.
    pub rows: u32,
    /// Positions of them, each with a distribution over the whole vocabulary.
    #[ts(type = "number")]
    pub positions: u64,
    /// Largest absolute difference of any logit.
    pub max_logit_difference: f64,
    /// Mean Kullback-Leibler divergence of the written model's distribution from the original's, in nats.
    pub mean_kl_nats: f64,
    /// Share of positions at which both find the same token likeliest.
    pub top1_agreement: f64,
    /// What is usual for the form.
    pub limits: ExportLimits,
    /// Whether all three figures are within the limits.
    pub passed: bool,
    /// The result in a sentence.
    pub verdict: String,
    /// Of a GGUF file: its tokenizer beside the original one.
    pub tokenizer: Option<TokenizerCertificate>,
    /// The written files, this one left out.
    pub files: Vec<FileHash>,
}

/// What an export of a form may differ by.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, TS)]
pub struct ExportLimits {
    /// Largest difference of a logit; none where numbers are rounded to a few bits.
    pub max_logit_difference: Option<f64>,
    /// Mean divergence in nats.
    pub mean_kl_nats: f64,
    /// Least share of positions with the same likeliest token.
    pub top1_agreement: f64,
}

/// A written tokenizer beside the original one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct TokenizerCertificate {
    /// Name of the way of splitting in the file.
    pub pre: String,
    /// How it was found.
    pub fit: TokenizerFit,
    /// Texts that both tokenizers were given.
    pub texts: u32,
    /// Of these, how many became other tokens.
    pub differing: u32,
}

/// An export of a registered model version.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
pub struct Export {
    /// Its id.
    pub id: ExportId,
    /// The version.
    pub model_id: ModelId,
    /// The folder that was written.
    pub path: String,
    /// What was written, and how it answers.
    pub certificate: ExportCertificate,
    /// When.
    #[ts(type = "number")]
    pub created_at_ms: i64,
}

/// The three figures of a comparison.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Comparison {
    /// Positions compared.
    pub positions: u64,
    /// Largest absolute difference of any logit.
    pub max_logit_difference: f64,
    /// Mean divergence in nats.
    pub mean_kl_nats: f64,
    /// Share of positions with the same likeliest token.
    pub top1_agreement: f64,
}

impl ExportLimits {
    /// What is usual for a form; `half` says that the weights of a merged model are stored in 16 bits.
    ///
    /// The figures of quantised forms are those of the smallest models on texts that they do not know, where they lose the most: the
    /// sample model (7 million bytes) keeps 97 % of its likeliest tokens in q8_0 and 75 % in q4_k_m, with 9e-4 and 8e-2 nats.
    #[must_use]
    pub fn of(format: ExportFormat, half: bool) -> Self {
        let limits = |delta: Option<f64>, kl: f64, top1: f64| Self {
            max_logit_difference: delta,
            mean_kl_nats: kl,
            top1_agreement: top1,
        };
        match (format, half) {
            (ExportFormat::Peft, _) => limits(Some(1e-4), 1e-6, 0.999),
            (ExportFormat::Merged, false) => limits(Some(1e-3), 1e-6, 0.999),
            (ExportFormat::Merged, true) => limits(Some(0.5), 5e-3, 0.98),
            (ExportFormat::GgufF16, _) => limits(Some(0.5), 1e-3, 0.99),
            (ExportFormat::GgufQ8_0, _) => limits(None, 5e-3, 0.95),
            (ExportFormat::GgufQ4KM, _) => limits(None, 0.2, 0.7),
        }
    }

    /// Whether a comparison is within them; a figure that is not finite never is.
    #[must_use]
    pub fn hold(&self, found: &Comparison) -> bool {
        self.max_logit_difference.is_none_or(|limit| found.max_logit_difference <= limit)
            && found.max_logit_difference.is_finite()
            && found.mean_kl_nats <= self.mean_kl_nats
            && found.top1_agreement >= self.top1_agreement
    }
}

impl Comparison {
    /// The result in a sentence.
    #[must_use]
    pub fn verdict(&self, format: ExportFormat, limits: &ExportLimits) -> String {
        let found = format!(
            "The same token is likeliest at {:.1} % of {} positions, and the mean divergence is {:.2e} nats",
            100.0 * self.top1_agreement,
            self.positions,
            self.mean_kl_nats
        );
        if limits.hold(self) {
            format!("{found}: within what {format} usually loses.")
        } else {
            format!("{found}: more than {format} usually loses. Try a form with more bits.")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_that_is_not_a_number_is_never_within_the_limits() {
        let good = Comparison { positions: 10, max_logit_difference: 1e-5, mean_kl_nats: 1e-9, top1_agreement: 1.0 };
        for format in ExportFormat::ALL {
            let limits = ExportLimits::of(*format, false);
            assert!(limits.hold(&good), "{format}");
            assert!(!limits.hold(&Comparison { max_logit_difference: f64::NAN, ..good }), "{format}");
            assert!(!limits.hold(&Comparison { mean_kl_nats: f64::NAN, ..good }), "{format}");
            assert!(!limits.hold(&Comparison { top1_agreement: f64::NAN, ..good }), "{format}");
        }
        let limits = ExportLimits::of(ExportFormat::GgufQ8_0, false);
        assert!(good.verdict(ExportFormat::GgufQ8_0, &limits).contains("100.0 % of 10 positions"));
        let worse = Comparison { top1_agreement: 0.5, ..good };
        assert!(worse.verdict(ExportFormat::GgufQ8_0, &limits).contains("more than gguf_q8_0 usually loses"));
    }
}
