//! Text metrics of one output against one target, and of a whole corpus of such pairs.
//!
//! Scales follow the field: chrF and BLEU run from 0 to 100, shares and ROUGE from 0 to 1.
//! A corpus without rows has no score (`None`); nothing here panics or yields NaN.

pub mod bleu;
pub mod chrf;
pub mod edit;
pub mod exact_match;
pub mod perplexity;
pub mod rouge;
pub mod slots;

#[cfg(test)]
mod golden_tests;
