//! Rotary embeddings as `config.json` describes them, in the forms of transformers 4 and 5. The angles are tb-nn's.

use serde_json::{Map, Value, json};

use super::families::{RopeForm, Rules};
use super::fields::{Fields, positive, refuse};
use super::{BadConfig, Result};

/// One rotary embedding.
#[derive(Clone, Debug, PartialEq)]
pub struct Rope {
    /// Base period.
    pub theta: f64,
    /// Leading values of a head whose pairs turn, before rounding up to a whole pair: the divisor of the exponents.
    pub rotary_dim: usize,
    /// Change of the frequencies.
    pub scaling: RopeScaling,
}

impl Rope {
    /// Pairs of values that turn.
    #[must_use]
    pub const fn pairs(&self) -> usize {
        self.rotary_dim.div_ceil(2)
    }
}

/// How the rotary frequencies are changed for longer contexts.
#[derive(Clone, Debug, PartialEq)]
pub enum RopeScaling {
    /// Unchanged.
    Default,
    /// All frequencies divided by the factor.
    Linear {
        /// At least 1 in practice; positive.
        factor: f64,
    },
    /// The base grows with the length of the text once that is beyond the trained one ("NTK-aware").
    Dynamic {
        /// How fast it grows.
        factor: f64,
        /// The trained length, in tokens.
        max_position_embeddings: f64,
    },
    /// High frequencies kept, low ones divided, those between blended (Peng et al. 2023, arXiv:2309.00071).
    Yarn {
        /// Divisor of low frequencies.
        factor: f64,
        /// Context before scaling, in tokens.
        original_max_position_embeddings: f64,
        /// Factor of cosines and sines.
        attention_factor: f64,
        /// Turns over the original context above which a frequency is kept.
        beta_fast: f64,
        /// Turns below which it is divided.
        beta_slow: f64,
        /// Whether the bounds are rounded outwards to whole dimensions.
        truncate: bool,
    },
    /// The rule of Llama 3.1: low frequencies divided, high kept, those between interpolated.
    Llama3 {
        /// Divisor of low frequencies.
        factor: f64,
        /// Bounds the long wavelengths: `original / low_freq_factor` tokens.
        low_freq_factor: f64,
        /// Bounds the short wavelengths: `original / high_freq_factor` tokens.
        high_freq_factor: f64,
        /// Context before scaling, in tokens.
        original_max_position_embeddings: f64,
    },
    /// A divisor of its own for each frequency, one set for short and one for long texts (Ding et al. 2024, arXiv:2402.13753).
    LongRope {
        /// Divisors for texts up to the original context.
        short_factor: Vec<f64>,
        /// Divisors for longer ones.
        long_factor: Vec<f64>,
        /// Context before scaling, in tokens.
        original_max_position_embeddings: f64,
        /// Factor of cosines and sines.
        attention_factor: f64,
    },
}

/// What of the rest of the file the rotary embedding depends on.
#[derive(Clone, Copy)]
pub(super) struct Around<'a> {
    pub(super) rules: &'a Rules,
    pub(super) head_dim: usize,
    pub(super) max_positions: usize,
}

const V4: &str = "rope_scaling";
const V5: &str = "rope_parameters";
const ORIGINAL: &str = "original_max_position_embeddings";
const PARTIAL: &str = "partial_rotary_factor";
/// The base of the layers with a window, in transformers 4.
const LOCAL_THETA: &str = "rope_local_base_freq";
/// The tables of transformers 5 where layers differ; the first is that of [`super::LayerKind::rope`] 0.
const LAYER_TYPES: [&str; 2] = ["full_attention", "sliding_attention"];

/// Reads `rope_parameters` (transformers 5), or `rope_theta` with `rope_scaling` (transformers 4).
/// As in transformers, a non-empty `rope_scaling` wins over `rope_parameters`, and values inside the table win over those beside it.
pub(super) fn read_ropes(fields: Fields<'_>, around: Around<'_>) -> Result<Vec<Rope>> {
    match around.rules.rope {
        RopeForm::One | RopeForm::Partial => {
            let found = match fields.table(V4)? {
                Some(table) => Some((V4, table)),
                None => fields.table(V5)?.map(|table| (V5, table)),
            };
            if let Some((name, table)) = found
                && let Some(kind) = LAYER_TYPES.iter().find(|kind| table.0.contains_key(**kind))
            {
                return Err(refuse(&format!("{name}.{kind}"), "this model has one rotary embedding for all layers"));
            }
            let theta = fields.optional_number("rope_theta")?.unwrap_or(around.rules.theta);
            let outer = Outer { theta, original: fields.nullable_positive(ORIGINAL, None)?, fields };
            Ok(vec![read_one(found.map(|(name, table)| (name.to_owned(), table)), outer, around)?])
        }
        RopeForm::PerLayerType { local_theta } => {
            let old = fields.table(V4)?;
            let new = fields.table(V5)?;
            if let Some(table) = new
                && !LAYER_TYPES.iter().any(|kind| table.0.contains_key(*kind))
            {
                return Err(refuse(V5, "must have a table for full_attention and one for sliding_attention"));
            }
            if let Some(table) = old
                && table.set("rope_type").is_none()
            {
                return Err(refuse("rope_scaling.rope_type", "is missing"));
            }
            let nested = |kind: &str| match new {
                None => Ok(None),
                Some(table) => {
                    let inside = table.table(kind).map_err(|e| within(V5, e))?;
                    Ok(inside.map(|table| (format!("{V5}.{kind}"), table)))
                }
            };
            let theta = |name: &str, default: f64| Ok(fields.optional_number(name)?.unwrap_or(default));
            // `rope_scaling` is for the layers that see the whole text, over what the new form says of them.
            let full = match old {
                None => nested(LAYER_TYPES[0])?,
                Some(table) => Some((V4.to_owned(), table)),
            };
            let full_theta = match (old, nested(LAYER_TYPES[0])?) {
                (Some(_), Some((name, table))) => table.optional_number("rope_theta").map_err(|e| within(&name, e))?,
                (_, _) => None,
            };
            let full_theta = match full_theta {
                Some(theta) => theta,
                None => theta("rope_theta", around.rules.theta)?,
            };
            let local_theta = theta(LOCAL_THETA, local_theta)?;
            let outer = |theta| Outer { theta, original: None, fields };
            Ok(vec![
                read_one(full, outer(full_theta), around)?,
                read_one(nested(LAYER_TYPES[1])?, outer(local_theta), around)?,
            ])
        }
    }
}

/// What stands beside the table.
#[derive(Clone, Copy)]
struct Outer<'a> {
    theta: f64,
    original: Option<f64>,
    fields: Fields<'a>,
}

fn within(name: &str, e: BadConfig) -> BadConfig {
    refuse(&format!("{name}.{}", e.field), e.problem)
}

fn read_one(table: Option<(String, Fields<'_>)>, outer: Outer<'_>, around: Around<'_>) -> Result<Rope> {
    let Some((name, table)) = table else {
        let rotary_dim = rotary_dim(None, outer, around)?;
        return Ok(Rope { theta: positive("rope_theta", outer.theta)?, rotary_dim, scaling: RopeScaling::Default });
    };
    let inside = |e: BadConfig| within(&name, e);
    let theta = table.optional_number("rope_theta").map_err(inside)?.unwrap_or(outer.theta);
    let theta = positive(&format!("{name}.rope_theta"), theta)?;
    let rotary_dim = rotary_dim(Some((&name, table)), outer, around)?;
    let kind = match table.optional_text("rope_type").map_err(inside)? {
        Some(kind) => kind,
        None => table.optional_text("type").map_err(inside)?.unwrap_or("default"),
    };
    let pairs = rotary_dim.div_ceil(2);
    let scaling = Table { table, outer, around }.scaling(kind, theta, rotary_dim, pairs).map_err(inside)?;
    Ok(Rope { theta, rotary_dim, scaling })
}

/// Whole values of a head that turn.
fn rotary_dim(table: Option<(&str, Fields<'_>)>, outer: Outer<'_>, around: Around<'_>) -> Result<usize> {
    let mut part = (PARTIAL.to_owned(), outer.fields.optional_number(PARTIAL)?);
    if let Some((name, table)) = table
        && let Some(inner) = table.optional_number(PARTIAL).map_err(|e| within(name, e))?
    {
        part = (format!("{name}.{PARTIAL}"), Some(inner));
    }
    let head_dim = around.head_dim;
    let (field, part) = (part.0, part.1.unwrap_or(1.0));
    let dim = match around.rules.rope {
        RopeForm::Partial if part > 0.0 && part <= 1.0 => (head_dim as f64 * part) as usize,
        RopeForm::Partial => return Err(refuse(&field, format!("{part} must be above 0 and at most 1"))),
        RopeForm::One | RopeForm::PerLayerType { .. } if part == 1.0 => head_dim,
        RopeForm::One | RopeForm::PerLayerType { .. } => {
            return Err(refuse(&field, format!("{part} is not supported: only 1.0")));
        }
    };
    if dim == 0 {
        return Err(refuse(&field, format!("{part} of a head of {head_dim} leaves nothing to rotate")));
    }
    if 2 * dim.div_ceil(2) > head_dim {
        return Err(refuse("head_dim", format!("{head_dim} is odd; rotary embeddings need pairs")));
    }
    Ok(dim)
}

/// A table of a rotary embedding; errors name the field in it.
struct Table<'a> {
    table: Fields<'a>,
    outer: Outer<'a>,
    around: Around<'a>,
}

impl Table<'_> {
    fn scaling(&self, kind: &str, theta: f64, rotary_dim: usize, pairs: usize) -> Result<RopeScaling> {
        const TYPE: &str = "rope_type";
        let supported: &[&str] = match self.around.rules.rope {
            // Phi-3 called its longrope "su" and "yarn" at first.
            RopeForm::Partial => &["default", "longrope", "su", "yarn"],
            RopeForm::One | RopeForm::PerLayerType { .. } => {
                &["default", "linear", "dynamic", "yarn", "llama3", "longrope"]
            }
        };
        if !supported.contains(&kind) {
            let kind: String = kind.chars().take(60).collect();
            return Err(refuse(TYPE, format!("{kind:?} is not supported: only {}", supported.join(", "))));
        }
        let is_long = matches!(kind, "longrope" | "su") || self.around.rules.rope == RopeForm::Partial;
        Ok(match kind {
            "default" => RopeScaling::Default,
            _ if is_long => self.longrope(rotary_dim, pairs)?,
            "linear" => RopeScaling::Linear { factor: self.number("factor", kind)? },
            "dynamic" if rotary_dim <= 2 => return Err(refuse(TYPE, "dynamic needs more than one pair in a head")),
            "dynamic" => RopeScaling::Dynamic {
                factor: self.number("factor", kind)?,
                max_position_embeddings: self.around.max_positions as f64,
            },
            "yarn" => self.yarn(theta)?,
            _ => self.llama3()?,
        })
    }

    fn optional(&self, field: &str) -> Result<Option<f64>> {
        self.table.optional_number(field)?.map(|v| positive(field, v)).transpose()
    }

    fn number(&self, field: &str, kind: &str) -> Result<f64> {
        self.optional(field)?.ok_or_else(|| refuse(field, format!("is missing; rope_type {kind} needs it")))
    }

    /// Beside the table wins over inside it; the trained length where neither is there.
    fn original(&self) -> Result<f64> {
        let fallback = match self.around.rules.rope {
            // The class has a default of its own, which wins like a field.
            RopeForm::Partial => return Ok(self.outer.original.unwrap_or(4096.0)),
            RopeForm::One | RopeForm::PerLayerType { .. } => self.around.max_positions as f64,
        };
        Ok(self.outer.original.or(self.optional(ORIGINAL)?).unwrap_or(fallback))
    }

    fn llama3(&self) -> Result<RopeScaling> {
        let number = |field| self.number(field, "llama3");
        let (low, high) = (number("low_freq_factor")?, number("high_freq_factor")?);
        if high <= low {
            return Err(refuse("high_freq_factor", format!("{high} must be greater than low_freq_factor {low}")));
        }
        Ok(RopeScaling::Llama3 {
            factor: number("factor")?,
            low_freq_factor: low,
            high_freq_factor: high,
            original_max_position_embeddings: self.original()?,
        })
    }

    fn yarn(&self, theta: f64) -> Result<RopeScaling> {
        if theta == 1.0 {
            return Err(refuse("rope_theta", "1 is not supported with yarn: it divides by its logarithm"));
        }
        let original = self.original()?;
        let factor = match self.table.0.get("factor") {
            Some(Value::Null) => self.around.max_positions as f64 / original,
            Some(_) | None => self.number("factor", "yarn")?,
        };
        let mscale = |scale: f64, m: f64| if scale <= 1.0 { 1.0 } else { 0.1 * m * scale.ln() + 1.0 };
        let whole = |field: &str| Ok(self.table.optional_number(field)?.filter(|v| *v != 0.0));
        let attention_factor = match self.table.optional_number("attention_factor")? {
            Some(given) => positive("attention_factor", given)?,
            None => match (whole("mscale")?, whole("mscale_all_dim")?) {
                (Some(m), Some(all)) => positive("mscale", mscale(factor, m) / mscale(factor, all))?,
                (_, _) => mscale(factor, 1.0),
            },
        };
        let beta = |field: &str, default: f64| match whole(field)? {
            Some(v) => positive(field, v),
            None => Ok(default),
        };
        let truncate = self.table.flag("truncate")?.unwrap_or(true);
        if !truncate && self.around.rules.rope != RopeForm::One {
            return Err(refuse("truncate", "false is not supported in a table for one kind of layer"));
        }
        Ok(RopeScaling::Yarn {
            factor,
            original_max_position_embeddings: original,
            attention_factor,
            beta_fast: beta("beta_fast", 32.0)?,
            beta_slow: beta("beta_slow", 1.0)?,
            truncate,
        })
    }

    fn longrope(&self, rotary_dim: usize, pairs: usize) -> Result<RopeScaling> {
        if !rotary_dim.is_multiple_of(2) {
            return Err(refuse(
                PARTIAL,
                format!("longrope needs whole pairs, but {rotary_dim} values of a head rotate"),
            ));
        }
        let original = self.original()?;
        let factor = match self.optional("factor")? {
            Some(factor) => factor,
            None => self.around.max_positions as f64 / original,
        };
        let attention_factor = match self.optional("attention_factor")? {
            Some(given) => given,
            None if factor <= 1.0 => 1.0,
            None if original <= 1.0 => return Err(refuse(ORIGINAL, format!("{original} must be more than one token"))),
            None => (1.0 + factor.ln() / original.ln()).sqrt(),
        };
        Ok(RopeScaling::LongRope {
            short_factor: self.table.positives("short_factor", pairs)?,
            long_factor: self.table.positives("long_factor", pairs)?,
            original_max_position_embeddings: original,
            attention_factor,
        })
    }
}

/// Puts both forms into `out`, which holds the one that was read: transformers 4 reads the old one, transformers 5 either.
pub(super) fn write_ropes(out: &mut Map<String, Value>, ropes: &[Rope], form: RopeForm) {
    let filled = |out: &Map<String, Value>, name: &str| {
        out.get(name).and_then(Value::as_object).filter(|table| !table.is_empty()).cloned()
    };
    // What the other form says where both are there is not read.
    if filled(out, V4).is_none()
        && let Some(new) = filled(out, V5)
    {
        let table = match form {
            RopeForm::One | RopeForm::Partial => Some(new),
            RopeForm::PerLayerType { .. } => new.get(LAYER_TYPES[0]).and_then(Value::as_object).cloned(),
        };
        if let Some(part) = table.as_ref().and_then(|table| table.get(PARTIAL)) {
            out.insert(PARTIAL.into(), part.clone());
        }
        let scaled = ropes.first().is_some_and(|rope| rope.scaling != RopeScaling::Default);
        let old = table.filter(|_| scaled).and_then(|table| old_table(table, form));
        out.insert(V4.into(), old.map_or(Value::Null, Value::Object));
    }
    let Some(first) = ropes.first() else { return };
    out.insert("rope_theta".into(), json!(first.theta));
    if let Some(local) = ropes.get(1) {
        out.insert(LOCAL_THETA.into(), json!(local.theta));
    }
}

/// A table of the new form as the old one has it, if it can say the same.
fn old_table(mut table: Map<String, Value>, form: RopeForm) -> Option<Map<String, Value>> {
    table.remove("rope_theta");
    table.remove(PARTIAL);
    let old_kind = table.remove("type");
    let kind = table.remove("rope_type").or(old_kind)?;
    match form {
        RopeForm::One | RopeForm::PerLayerType { .. } => {
            table.insert("rope_type".into(), kind);
            Some(table)
        }
        // Transformers 4 takes exactly these three of a Phi-3.
        RopeForm::Partial if table.contains_key("factor") || table.contains_key("attention_factor") => None,
        RopeForm::Partial => {
            table.retain(|name, _| name == "short_factor" || name == "long_factor");
            table.insert("type".into(), kind);
            Some(table)
        }
    }
}
