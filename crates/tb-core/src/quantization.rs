//! How a frozen base is held in fewer bits: the kinds under transformers' `BitsAndBytesConfig` names, their sizes, and the file that
//! says it. The numbers are tb-nn's.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use ts_rs::TS;

use crate::decoder_config::{BadConfig, DecoderConfig, refuse};
use crate::recipe::Dtype;
use crate::text_enum::text_enum;

/// The file beside an adapter that says how the base was held while it was trained.
pub const FILE: &str = "quantization_config.json";
/// Weights that share a scale in 4 bits.
pub const BLOCK: usize = 64;
/// Values that share a scale in 8 bits: the scales of double quantisation, and the moments of 8-bit AdamW.
pub const BYTE_BLOCK: usize = 256;

text_enum! {
    /// The 16 levels of a 4-bit weight.
    FourBitType, "4-bit type" {
        /// Quantiles of a normal distribution (Dettmers et al. 2023): the better one for weights.
        Nf4 = "nf4",
        /// Floats of one sign, two exponent and one mantissa bit.
        Fp4 = "fp4",
    }
}

text_enum! {
    /// How the scales of 4-bit blocks are kept.
    Scales, "kind of scales" {
        /// One f32 per block.
        Plain = "plain",
        /// Themselves in 8 bits around their mean (double quantisation).
        Double = "double",
    }
}

/// The form of a frozen base's linear layers in memory. Embeddings, norms, biases and the output layer stay as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, TS)]
#[serde(tag = "bits")]
pub enum Quantization {
    /// LLM.int8()'s weights: a byte per weight and a scale per row; products are taken with the dequantised weight.
    #[serde(rename = "8")]
    EightBit,
    /// Half a byte per weight and a scale per 64.
    #[serde(rename = "4")]
    FourBit {
        /// The levels.
        kind: FourBitType,
        /// How the scales are kept.
        scales: Scales,
        /// The numbers to which a dequantised weight is rounded before its product; `auto` takes the model's.
        compute: Dtype,
    },
}

impl Quantization {
    /// Bytes of a matrix of this many rows and columns.
    #[must_use]
    pub fn matrix_bytes(self, rows: usize, columns: usize) -> u64 {
        let n = (rows * columns) as u64;
        match self {
            Self::EightBit => n + 4 * rows as u64,
            Self::FourBit { scales, .. } => {
                let blocks = n.div_ceil(BLOCK as u64);
                n.div_ceil(2)
                    + match scales {
                        Scales::Plain => 4 * blocks,
                        Scales::Double => blocks + 4 * blocks.div_ceil(BYTE_BLOCK as u64),
                    }
            }
        }
    }

    /// Bytes of a whole base whose other weights take `weight_bytes` each.
    #[must_use]
    pub fn base_bytes(self, config: &DecoderConfig, weight_bytes: u64) -> u64 {
        let linears = config.linears();
        let inside: u64 = linears.iter().map(|l| (l.inputs * l.outputs) as u64).sum();
        let quantised: u64 = linears.iter().map(|l| self.matrix_bytes(l.outputs, l.inputs)).sum();
        (config.parameter_count() - inside) * weight_bytes + quantised
    }

    /// transformers' `quantization_config`; `computed` is what `auto` came to.
    #[must_use]
    pub fn to_json(self, computed: Dtype) -> Value {
        match self {
            Self::EightBit => {
                json!({"quant_method": "bitsandbytes", "load_in_8bit": true, "load_in_4bit": false, "llm_int8_threshold": 6.0})
            }
            Self::FourBit { kind, scales, compute } => json!({
                "quant_method": "bitsandbytes", "load_in_8bit": false, "load_in_4bit": true,
                "bnb_4bit_quant_type": kind.as_str(),
                "bnb_4bit_use_double_quant": scales == Scales::Double,
                "bnb_4bit_compute_dtype": if compute == Dtype::Auto { computed } else { compute }.as_str(),
                "bnb_4bit_quant_storage": "uint8",
            }),
        }
    }

    /// Reads transformers' `quantization_config`; absent fields have transformers' defaults.
    ///
    /// # Errors
    /// The field that cannot be used, by name.
    pub fn from_json(value: &Value) -> Result<Self, BadConfig> {
        let field = |name: &str| value.get(name).filter(|v| !v.is_null());
        let switch = |name: &str| match field(name) {
            None => Ok(false),
            Some(v) => v.as_bool().ok_or_else(|| refuse(name, format!("{v} is not true or false"))),
        };
        let text = |name: &'static str, default: &'static str| match field(name) {
            None => Ok(default.to_owned()),
            Some(v) => v.as_str().map(str::to_owned).ok_or_else(|| refuse(name, format!("{v} is not a text"))),
        };
        let method = text("quant_method", "bitsandbytes")?;
        if method != "bitsandbytes" {
            return Err(refuse("quant_method", format!("{method} is not supported: only bitsandbytes")));
        }
        match (switch("load_in_8bit")?, switch("load_in_4bit")?) {
            (true, false) => Ok(Self::EightBit),
            (false, true) => {
                let bad = |name: &str, e: crate::UnknownWord| refuse(name, e.to_string());
                let kind = text("bnb_4bit_quant_type", "fp4")?;
                let compute = text("bnb_4bit_compute_dtype", "float32")?;
                let storage = text("bnb_4bit_quant_storage", "uint8")?;
                if storage != "uint8" {
                    return Err(refuse("bnb_4bit_quant_storage", format!("{storage} is not supported: only uint8")));
                }
                Ok(Self::FourBit {
                    kind: kind.parse().map_err(|e| bad("bnb_4bit_quant_type", e))?,
                    scales: if switch("bnb_4bit_use_double_quant")? { Scales::Double } else { Scales::Plain },
                    // Sums are f32 here: half-precision numbers other than bfloat16 are computed in f32.
                    compute: if compute == "float16" {
                        Dtype::F32
                    } else {
                        compute.parse().map_err(|e| bad("bnb_4bit_compute_dtype", e))?
                    },
                })
            }
            (true, true) => Err(refuse("load_in_8bit", "and load_in_4bit are both true: choose one")),
            (false, false) => Err(refuse("load_in_4bit", "and load_in_8bit are both false")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NF4: Quantization =
        Quantization::FourBit { kind: FourBitType::Nf4, scales: Scales::Double, compute: Dtype::Auto };

    #[test]
    fn sizes_are_those_of_the_layout() {
        assert_eq!(Quantization::EightBit.matrix_bytes(3, 10), 30 + 12);
        let plain = Quantization::FourBit { kind: FourBitType::Fp4, scales: Scales::Plain, compute: Dtype::Auto };
        assert_eq!(plain.matrix_bytes(5, 13), 33 + 2 * 4);
        // 300 blocks of 64: a byte each, and two scales of up to 256 bytes.
        assert_eq!(NF4.matrix_bytes(300, 64), 300 * 32 + 300 + 8);
    }

    #[test]
    fn what_is_written_is_read_back() {
        for computed in [Dtype::F32, Dtype::Bf16] {
            let Quantization::FourBit { kind, scales, .. } = NF4 else { unreachable!() };
            let want = Quantization::FourBit { kind, scales, compute: computed };
            assert_eq!(Quantization::from_json(&NF4.to_json(computed)), Ok(want));
        }
        let eight = Quantization::EightBit;
        assert_eq!(Quantization::from_json(&eight.to_json(Dtype::F32)), Ok(eight));
    }

    #[test]
    fn what_cannot_be_used_is_refused_by_name() {
        for (value, field) in [
            (json!({"quant_method": "gptq"}), "quant_method"),
            (json!({"load_in_4bit": true, "load_in_8bit": true}), "load_in_8bit"),
            (json!({}), "load_in_4bit"),
            (json!({"load_in_4bit": 1}), "load_in_4bit"),
            (json!({"load_in_4bit": true, "bnb_4bit_quant_type": "int4"}), "bnb_4bit_quant_type"),
            (json!({"load_in_4bit": true, "bnb_4bit_compute_dtype": "float8"}), "bnb_4bit_compute_dtype"),
            (json!({"load_in_4bit": true, "bnb_4bit_quant_storage": "bfloat16"}), "bnb_4bit_quant_storage"),
        ] {
            assert_eq!(Quantization::from_json(&value).unwrap_err().field, field, "{value}");
        }
    }
}
