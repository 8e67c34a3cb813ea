//! What each layer's attention sees and how it rotates, from the fields in which the families say so.

use serde_json::Value;

use super::Result;
use super::families::{RopeForm, Rules, Windows};
use super::fields::{Fields, refuse, shown};

/// The attention of one layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerKind {
    /// Tokens that a query sees, itself included; all before it where there is none.
    pub window: Option<usize>,
    /// Which of the configuration's rotary embeddings turns queries and keys; none where they stay as they are.
    pub rope: Option<usize>,
}

/// The kind of each of `layers` layers.
pub(super) fn read_layers(rules: &Rules, fields: Fields<'_>, layers: usize) -> Result<Vec<LayerKind>> {
    let rotated = rotated(rules, fields, layers)?;
    let windows = windows(rules, fields, &rotated)?;
    let rope = |window: Option<usize>| match rules.rope {
        RopeForm::One | RopeForm::Partial => 0,
        RopeForm::PerLayerType { .. } => usize::from(window.is_some()),
    };
    Ok(windows
        .into_iter()
        .zip(rotated)
        .map(|(window, rotated)| LayerKind { window, rope: rotated.then(|| rope(window)) })
        .collect())
}

/// Whether each layer rotates: SmolLM3 leaves some out (`no_rope_layers` holds 1 where it rotates).
fn rotated(rules: &Rules, fields: Fields<'_>, layers: usize) -> Result<Vec<bool>> {
    match rules.windows {
        Windows::Unrotated => {}
        Windows::Never | Windows::Everywhere { .. } | Windows::FromLayer | Windows::ButEveryNth { .. } => {
            return Ok(vec![true; layers]);
        }
    }
    const LIST: &str = "no_rope_layers";
    let Some(list) = fields.list(LIST)? else {
        let interval = fields.optional_count("no_rope_layer_interval")?.unwrap_or(4);
        return Ok((1..=layers).map(|n| n % interval != 0).collect());
    };
    if list.len() != layers {
        return Err(refuse(LIST, format!("must say 0 or 1 for each of {layers} layers, found {}", list.len())));
    }
    list.iter()
        .map(|v| match v.as_u64() {
            Some(0) => Ok(false),
            Some(1) => Ok(true),
            Some(_) | None => Err(refuse(LIST, format!("must hold 0 or 1, found {}", shown(v)))),
        })
        .collect()
}

/// The window of each layer.
fn windows(rules: &Rules, fields: Fields<'_>, rotated: &[bool]) -> Result<Vec<Option<usize>>> {
    const WINDOW: &str = "sliding_window";
    let layers = rotated.len();
    let used = || Ok(fields.flag("use_sliding_window")?.unwrap_or(false));
    let (window, without_list): (Option<usize>, Vec<bool>) = match rules.windows {
        Windows::Never => (None, vec![false; layers]),
        Windows::Everywhere { default } => {
            let window = fields.nullable_count(WINDOW, default)?;
            (window, vec![window.is_some(); layers])
        }
        Windows::FromLayer => {
            let window = if used()? { fields.nullable_count(WINDOW, Some(4096))? } else { None };
            let first = first_window_layer(fields)?;
            (window, (0..layers).map(|i| window.is_some() && i >= first).collect())
        }
        Windows::ButEveryNth { field, n } => {
            let n = match field {
                None => n,
                Some(field) => fields.optional_count(field)?.unwrap_or(n),
            };
            (fields.nullable_count(WINDOW, Some(4096))?, (1..=layers).map(|i| i % n != 0).collect())
        }
        Windows::Unrotated => {
            let window = if used()? { fields.nullable_count(WINDOW, None)? } else { None };
            (window, rotated.iter().map(|r| window.is_some() && !r).collect())
        }
    };
    let narrow = listed(fields, layers)?;
    let narrow = match (rules.windows, narrow) {
        (_, None) => without_list,
        // These models do not read the list: one that says otherwise describes another model.
        (Windows::Never | Windows::Everywhere { .. }, Some(listed)) if listed != without_list => {
            let kind = if without_list[0] { "sliding_attention" } else { "full_attention" };
            return Err(refuse("layer_types", format!("must be {kind:?} for every layer of a {}", rules.model_type)));
        }
        (_, Some(listed)) => listed,
    };
    if window.is_none() && narrow.iter().any(|n| *n) {
        return Err(refuse("layer_types", "has layers with a window, but `sliding_window` is not set or not used"));
    }
    Ok(narrow.into_iter().map(|narrow| if narrow { window } else { None }).collect())
}

/// `max_window_layers`: the layers from here on have a window. Unlike other counts it may be 0.
fn first_window_layer(fields: Fields<'_>) -> Result<usize> {
    const NAME: &str = "max_window_layers";
    match fields.set(NAME) {
        None => Ok(28),
        Some(v) => v
            .as_u64()
            .and_then(|n| usize::try_from(n).ok())
            .ok_or_else(|| refuse(NAME, format!("must be a whole number from 0, found {}", shown(v)))),
    }
}

/// For each layer of `layer_types`, whether it has a window.
fn listed(fields: Fields<'_>, layers: usize) -> Result<Option<Vec<bool>>> {
    const NAME: &str = "layer_types";
    let Some(list) = fields.list(NAME)? else { return Ok(None) };
    if list.len() != layers {
        return Err(refuse(NAME, format!("must name the kind of each of {layers} layers, found {}", list.len())));
    }
    let one = |v: &Value| match v.as_str() {
        Some("full_attention") => Ok(false),
        Some("sliding_attention") => Ok(true),
        Some(_) | None => {
            Err(refuse(NAME, format!("{} is not supported: only full_attention and sliding_attention", shown(v))))
        }
    };
    list.iter().map(one).collect::<Result<_>>().map(Some)
}
