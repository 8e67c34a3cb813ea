//! Matrices that bitsandbytes has quantised and transformers has saved: `<name>` with `<name>.absmax` and its kin, or with `SCB`.

use super::dynamic::Map;
use super::four_bit::{BlockScales, FourBit, levels};
use super::int8::Int8;
use super::{Form, Quantised, Rounding};
use crate::weights::Weights;
use crate::{Error, Result};
use candle_core::{Device, Tensor};
use serde_json::Value;
use tb_core::quantization::{BLOCK, BYTE_BLOCK, FourBitType};

/// The matrix `name` if the files hold it quantised; `None` where it is stored as plain numbers.
///
/// Errors name the file and the tensor that is missing, of another shape, or in a layout that bitsandbytes does not write today.
pub(crate) fn read(
    weights: &Weights,
    name: &str,
    (rows, columns): (usize, usize),
    rounding: Rounding,
) -> Result<Option<Quantised>> {
    let stored = Stored { weights, name };
    let int8_scales = name.strip_suffix(".weight").map(|module| format!("{module}.SCB"));
    let form = if let Some(scales) = int8_scales.filter(|n| weights.shape_of(n).is_some()) {
        let values = stored.bytes_of(name, &[rows, columns])?.into_iter().map(|b| b as i8).collect();
        Form::Int8(Int8::from_parts(values, stored.floats_of(&scales, rows)?))
    } else if weights.shape_of(&stored.part("absmax")).is_some() {
        Form::FourBit(stored.four_bit(rows * columns, (rows, columns))?)
    } else {
        return Ok(None);
    };
    Ok(Some(Quantised::of(rows, columns, form, rounding)))
}

struct Stored<'a> {
    weights: &'a Weights,
    name: &'a str,
}

impl Stored<'_> {
    fn part(&self, part: &str) -> String {
        format!("{}.{part}", self.name)
    }

    fn bad(&self, name: &str, problem: impl std::fmt::Display) -> Error {
        Error::file(self.weights.origin(), format!("tensor `{name}` {problem}"))
    }

    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let tensor = self.weights.tensor_as_stored(name, &Device::Cpu)?;
        if tensor.dims() != shape {
            return Err(self.bad(name, format!("has shape {:?}, but {shape:?} belongs here", tensor.dims())));
        }
        Ok(tensor.flatten_all()?)
    }

    fn bytes_of(&self, name: &str, shape: &[usize]) -> Result<Vec<u8>> {
        self.tensor(name, shape)?.to_vec1().map_err(|e| self.bad(name, format!("does not hold bytes: {e}")))
    }

    fn floats_of(&self, name: &str, n: usize) -> Result<Vec<f32>> {
        let values: Vec<f32> =
            self.tensor(name, &[n])?.to_vec1().map_err(|e| self.bad(name, format!("does not hold f32: {e}")))?;
        match values.iter().all(|v| v.is_finite()) {
            true => Ok(values),
            false => Err(self.bad(name, "holds a number that is not finite")),
        }
    }

    fn four_bit(&self, n: usize, (rows, columns): (usize, usize)) -> Result<FourBit> {
        let (kind, state) = self.state()?;
        let state_name = self.part(&format!("quant_state.bitsandbytes__{kind}"));
        let whole = |field: &str| state.get(field).and_then(Value::as_u64);
        if whole("blocksize") != Some(BLOCK as u64) {
            let found = state.get("blocksize").unwrap_or(&Value::Null);
            return Err(self.bad(&state_name, format!("has blocksize {found}: only {BLOCK} is supported")));
        }
        let shape =
            state.get("shape").and_then(Value::as_array).map(|s| s.iter().map(Value::as_u64).collect::<Vec<_>>());
        if shape != Some(vec![Some(rows as u64), Some(columns as u64)]) {
            return Err(self.bad(&state_name, format!("is not of a matrix of {rows} x {columns}")));
        }
        self.expect_map(&self.part("quant_map"), levels(kind))?;
        let packed = self.bytes_of(self.name, &[n.div_ceil(2), 1])?;
        let blocks = n.div_ceil(BLOCK);
        let scales = match state.get("nested_offset").filter(|v| !v.is_null()) {
            None => BlockScales::Plain(self.floats_of(&self.part("absmax"), blocks)?),
            Some(offset) => {
                if whole("nested_blocksize") != Some(BYTE_BLOCK as u64) {
                    return Err(self.bad(&state_name, format!("has nested blocks of other than {BYTE_BLOCK}")));
                }
                self.expect_map(&self.part("nested_quant_map"), Map::signed().levels())?;
                let offset = offset.as_f64().filter(|v| (*v as f32).is_finite());
                BlockScales::Double {
                    bytes: self.bytes_of(&self.part("absmax"), &[blocks])?,
                    outer: self.floats_of(&self.part("nested_absmax"), blocks.div_ceil(BYTE_BLOCK))?,
                    offset: offset.ok_or_else(|| self.bad(&state_name, "has an offset that is no number"))? as f32,
                }
            }
        };
        Ok(FourBit::from_parts(kind, packed, scales))
    }

    /// The packed JSON of bitsandbytes' `QuantState`, and the type that its tensor's name tells.
    fn state(&self) -> Result<(FourBitType, Value)> {
        for kind in FourBitType::ALL {
            let name = self.part(&format!("quant_state.bitsandbytes__{kind}"));
            let Some(&[n]) = self.weights.shape_of(&name) else { continue };
            let text = self.bytes_of(&name, &[n])?;
            let state = serde_json::from_slice(&text).map_err(|e| self.bad(&name, format!("is not JSON: {e}")))?;
            return Ok((*kind, state));
        }
        Err(self.bad(&self.part("quant_state.bitsandbytes__nf4"), "is missing, and so is its fp4 kin"))
    }

    /// Files may carry levels of their own; others than the standard ones are refused.
    fn expect_map(&self, name: &str, standard: &[f32]) -> Result<()> {
        match self.floats_of(name, standard.len())? == standard {
            true => Ok(()),
            false => Err(self.bad(name, "holds other levels than bitsandbytes' own")),
        }
    }
}
