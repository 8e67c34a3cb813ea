//! A quantised matrix on a GPU: sent there once, dequantised whole for each product.

use std::sync::OnceLock;

use candle_core::{DType, Result};
use cudarc::driver::CudaSlice;

use super::{Gpu, Values, suffix};
use crate::quant::{Packed, Quantised, Rounding};

/// The copy of a quantised matrix on a GPU, made when it is first needed. A clone of the matrix makes its own.
#[derive(Default)]
pub(crate) struct OnGpu(OnceLock<Copy>);

struct Copy {
    bytes: CudaSlice<u8>,
    scales: CudaSlice<f32>,
    levels: Option<CudaSlice<f32>>,
}

impl Clone for OnGpu {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl PartialEq for OnGpu {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl std::fmt::Debug for OnGpu {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OnGpu")
    }
}

impl OnGpu {
    fn copy(&self, gpu: &Gpu, packed: impl FnOnce() -> Packed) -> Result<&Copy> {
        if let Some(copy) = self.0.get() {
            return Ok(copy);
        }
        let Packed { bytes, scales, levels } = packed();
        let copy = Copy {
            bytes: gpu.device.clone_htod(&bytes)?,
            scales: gpu.device.clone_htod(&scales)?,
            levels: levels.map(|levels| gpu.device.clone_htod(levels)).transpose()?,
        };
        Ok(self.0.get_or_init(|| copy))
    }
}

impl Gpu {
    /// The whole matrix (O, I) in this number type.
    pub(crate) fn dequantised(&self, matrix: &Quantised, dtype: DType) -> Result<Values> {
        let (rows, columns) = matrix.dims();
        let n = rows * columns;
        let copy = matrix.on_gpu().copy(self, || matrix.packed())?;
        let round = i32::from(matrix.rounding() == Rounding::Bf16);
        let y = self.new_values(n, dtype)?;
        let (bytes, scales) = (self.address(&copy.bytes), self.address(&copy.scales));
        // SAFETY: bytes and scales are those of n values.
        unsafe {
            match &copy.levels {
                None => {
                    let columns = columns as i32;
                    let mut params =
                        [y.view().into(), bytes.into(), scales.into(), columns.into(), round.into(), n.into()];
                    self.over(("int8_weight", suffix(dtype)), n, &mut params)?;
                }
                Some(levels) => {
                    let levels = self.address(levels);
                    let mut params =
                        [y.view().into(), bytes.into(), scales.into(), levels.into(), round.into(), n.into()];
                    self.over(("four_bit_weight", suffix(dtype)), n.div_ceil(2), &mut params)?;
                }
            }
        }
        Ok(y)
    }
}
