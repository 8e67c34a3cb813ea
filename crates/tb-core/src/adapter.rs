//! Which modules of a model an adapter sits on, by PEFT's rules, and how many weights it has. Pure text matching; no tensors.

use std::collections::BTreeSet;

use regex::Regex;

use crate::{
    decoder_config::{BadConfig, DecoderConfig, EMBEDDING, HEAD, LinearShape, refuse as refuse_field},
    recipe,
};

type Result<T> = std::result::Result<T, BadConfig>;

/// Which linears carry an adapter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetModules {
    /// A module whose path is one of these or ends in `.` and one of these.
    List(Vec<String>),
    /// A module whose whole path this pattern matches.
    Regex(String),
    /// Every linear but the output layer.
    AllLinear,
}

impl Default for TargetModules {
    fn default() -> Self {
        Self::List(vec!["q_proj".into(), "v_proj".into()])
    }
}

impl From<&recipe::TargetModules> for TargetModules {
    fn from(targets: &recipe::TargetModules) -> Self {
        match targets {
            recipe::TargetModules::Pattern(pattern) if pattern == "all-linear" => Self::AllLinear,
            recipe::TargetModules::Pattern(pattern) => Self::Regex(pattern.clone()),
            recipe::TargetModules::Suffixes(names) => Self::List(names.clone()),
        }
    }
}

/// The linears of a model that a fresh adapter sits on.
///
/// # Errors
/// A target that names no module; the available ones are listed.
pub fn adapted(config: &DecoderConfig, targets: &TargetModules) -> Result<Vec<LinearShape>> {
    let linears = config.linears();
    let paths: Vec<&str> = linears.iter().map(|l| l.path.as_str()).collect();
    let selected: BTreeSet<&str> =
        select(targets, &paths, &[EMBEDDING, HEAD], Unmatched::Refused)?.into_iter().collect();
    Ok(linears.iter().filter(|l| selected.contains(l.path.as_str())).cloned().collect())
}

/// Weights of an adapter of rank `r` on these linears: A (r, I) and B (O, r) of each.
#[must_use]
pub fn adapter_parameters(linears: &[LinearShape], r: u32) -> u64 {
    linears.iter().map(|l| u64::from(r) * (l.inputs + l.outputs) as u64).sum()
}

/// What to do with an entry of a list that matches nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unmatched {
    /// Name it and refuse: a new adapter.
    Refused,
    /// Pass over it as PEFT does, as long as another entry matches: a finished adapter.
    Tolerated,
}

/// The paths among `linears` that `targets` selects, in their order. `others` are modules that exist but cannot carry an adapter.
///
/// # Errors
/// A target that names nothing, or a module that cannot carry an adapter; the available ones are listed.
pub fn select<'a>(
    targets: &TargetModules,
    linears: &[&'a str],
    others: &[&str],
    unmatched: Unmatched,
) -> Result<Vec<&'a str>> {
    let refuse = |problem: String| refuse_field("target_modules", problem);
    let matches: Box<dyn Fn(&str) -> bool> = match targets {
        TargetModules::AllLinear => return Ok(linears.to_vec()),
        TargetModules::List(entries) => {
            for entry in entries {
                if !linears.iter().chain(others).any(|path| fits(path, entry)) && unmatched == Unmatched::Refused {
                    return Err(refuse(format!("{entry:?} names no module of this model; {}", available(linears))));
                }
            }
            let entries = entries.clone();
            Box::new(move |path| entries.iter().any(|e| fits(path, e)))
        }
        TargetModules::Regex(pattern) => {
            let regex = Regex::new(&format!(r"\A(?:{pattern})\z"))
                .map_err(|e| refuse(format!("{pattern:?} is not a pattern that can be used: {e}")))?;
            Box::new(move |path| regex.is_match(path))
        }
    };
    if let Some(path) = others.iter().find(|path| matches(path)) {
        return Err(refuse(format!("`{path}` cannot carry an adapter yet; {}", available(linears))));
    }
    let selected: Vec<&str> = linears.iter().copied().filter(|path| matches(path)).collect();
    if selected.is_empty() {
        return Err(refuse(format!("matches no module of this model; {}", available(linears))));
    }
    Ok(selected)
}

/// The distinct last parts of the paths, sorted.
#[must_use]
pub fn suffixes(paths: &[&str]) -> Vec<String> {
    let last = |p: &&str| p.rsplit('.').next().map(str::to_owned);
    paths.iter().filter_map(last).collect::<BTreeSet<_>>().into_iter().collect()
}

fn fits(path: &str, entry: &str) -> bool {
    path == entry || path.strip_suffix(entry).is_some_and(|rest| rest.ends_with('.'))
}

fn available(linears: &[&str]) -> String {
    format!("available: {} or \"all-linear\"", suffixes(linears).join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINEARS: [&str; 4] = [
        "model.layers.0.self_attn.q_proj",
        "model.layers.0.mlp.up_proj",
        "model.layers.1.self_attn.q_proj",
        "model.layers.1.mlp.up_proj",
    ];

    fn pick(targets: &TargetModules, unmatched: Unmatched) -> Result<Vec<&'static str>> {
        select(targets, &LINEARS, &["lm_head", "model.embed_tokens"], unmatched)
    }

    fn list(names: &[&str]) -> TargetModules {
        TargetModules::List(names.iter().map(|n| (*n).to_owned()).collect())
    }

    #[test]
    fn a_list_matches_whole_path_parts_from_the_end() {
        assert_eq!(pick(&list(&["q_proj"]), Unmatched::Refused).unwrap(), [LINEARS[0], LINEARS[2]]);
        assert_eq!(pick(&list(&["1.mlp.up_proj"]), Unmatched::Refused).unwrap(), [LINEARS[3]]);
        assert_eq!(pick(&list(&[LINEARS[1]]), Unmatched::Refused).unwrap(), [LINEARS[1]]);
        assert!(pick(&list(&["proj"]), Unmatched::Refused).is_err());
    }

    #[test]
    fn a_pattern_must_match_the_whole_path() {
        let regex = |p: &str| pick(&TargetModules::Regex(p.into()), Unmatched::Refused);
        assert_eq!(regex(r".*\.0\..*(q|up)_proj").unwrap(), [LINEARS[0], LINEARS[1]]);
        assert!(regex("q_proj").is_err());
        assert!(regex("a|(").unwrap_err().to_string().contains("target_modules"));
        assert_eq!(regex("x|.*q_proj").unwrap().len(), 2);
    }

    #[test]
    fn an_unknown_module_is_named_with_what_there_is() {
        let text = pick(&list(&["q_proj", "c_attn"]), Unmatched::Refused).unwrap_err().to_string();
        assert!(text.contains("c_attn") && text.contains("q_proj, up_proj"), "{text}");
        assert_eq!(pick(&list(&["q_proj", "c_attn"]), Unmatched::Tolerated).unwrap().len(), 2);
        assert!(pick(&list(&["c_attn"]), Unmatched::Tolerated).is_err());
        assert!(pick(&list(&["lm_head"]), Unmatched::Refused).unwrap_err().to_string().contains("lm_head"));
        assert_eq!(pick(&TargetModules::AllLinear, Unmatched::Refused).unwrap(), LINEARS);
    }
}
