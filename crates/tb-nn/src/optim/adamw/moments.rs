//! The two moments of one variable, in f32 or in 8 bits, between two steps, in a step and in a checkpoint. The formula is `adamw.rs`'s.

use std::collections::HashMap;

use candle_core::{DType, Device, Shape, Tensor, Var};
use rayon::prelude::*;
use tb_core::quantization::BYTE_BLOCK;

use super::{Moments, Scalars, update_piece};
use crate::error::{Error, Result};
use crate::ops::slices::read;
use crate::quant::{Map, dequantise_bytes, quantise_bytes};

/// Elements per parallel piece; a whole number of 8-bit blocks.
const PIECE: usize = 1 << 13;
/// Below so many values, moments stay f32 (bitsandbytes' `min_8bit_size`).
const MIN_8BIT_VALUES: usize = 4096;

/// Both moments of a variable.
pub(super) enum State {
    F32 {
        mean: Vec<f32>,
        square: Vec<f32>,
    },
    EightBit {
        mean: Bytes,
        square: Bytes,
    },
    /// f32 beside a variable that is not in the host's memory.
    Device {
        mean: Var,
        square: Var,
    },
}

/// A moment in 8 bits: a byte per value and a scale per block.
pub(super) struct Bytes {
    bytes: Vec<u8>,
    scales: Vec<f32>,
}

impl Bytes {
    fn zero(n: usize) -> Self {
        // Any level times a scale of 0 is 0.
        Self { bytes: vec![0; n], scales: vec![0.0; n.div_ceil(BYTE_BLOCK)] }
    }

    /// Bytes and scales of each parallel piece.
    fn pieces(&mut self) -> impl IndexedParallelIterator<Item = (&mut [u8], &mut [f32])> {
        self.bytes.par_chunks_mut(PIECE).zip(self.scales.par_chunks_mut(PIECE / BYTE_BLOCK))
    }
}

impl State {
    pub(super) fn zero(var: &Var, moments: Moments) -> Self {
        let n = var.elem_count();
        match moments {
            Moments::EightBit if n >= MIN_8BIT_VALUES => {
                Self::EightBit { mean: Bytes::zero(n), square: Bytes::zero(n) }
            }
            Moments::EightBit | Moments::F32 if var.device().is_cuda() => {
                let zeros = || Var::zeros(var.shape(), DType::F32, var.device());
                match (zeros(), zeros()) {
                    (Ok(mean), Ok(square)) => Self::Device { mean, square },
                    // No room there: they stay in the host's memory, and the step goes through it.
                    (Err(_), _) | (_, Err(_)) => Self::F32 { mean: vec![0.0; n], square: vec![0.0; n] },
                }
            }
            Moments::EightBit | Moments::F32 => Self::F32 { mean: vec![0.0; n], square: vec![0.0; n] },
        }
    }

    /// One step of all values. In 8 bits each block is widened, moved and rounded again; the values take the unrounded moments.
    pub(super) fn update(&mut self, values: &mut [f32], gradient: &[f32], scalars: Scalars) {
        let pieces = values.par_chunks_mut(PIECE).zip(gradient.par_chunks(PIECE));
        match self {
            Self::F32 { mean, square } => pieces
                .zip(mean.par_chunks_mut(PIECE))
                .zip(square.par_chunks_mut(PIECE))
                .for_each(|(((p, g), m), v)| update_piece(p, g, m, v, scalars)),
            Self::Device { .. } => unreachable!("moments on a device are stepped there"),
            Self::EightBit { mean, square } => {
                pieces.zip(mean.pieces()).zip(square.pieces()).for_each(|(((p, g), m), v)| {
                    let blocks = p.chunks_mut(BYTE_BLOCK).zip(g.chunks(BYTE_BLOCK));
                    let bytes = m.0.chunks_mut(BYTE_BLOCK).zip(v.0.chunks_mut(BYTE_BLOCK));
                    let scales = m.1.iter_mut().zip(v.1.iter_mut());
                    for (((p, g), (m, v)), (m_scale, v_scale)) in blocks.zip(bytes).zip(scales) {
                        let (mut wide_m, mut wide_v) = ([0f32; BYTE_BLOCK], [0f32; BYTE_BLOCK]);
                        let (wide_m, wide_v) = (&mut wide_m[..p.len()], &mut wide_v[..p.len()]);
                        dequantise_bytes(m, *m_scale, Map::signed(), wide_m);
                        dequantise_bytes(v, *v_scale, Map::unsigned(), wide_v);
                        update_piece(p, g, wide_m, wide_v, scalars);
                        *m_scale = quantise_bytes(wide_m, Map::signed(), m);
                        *v_scale = quantise_bytes(wide_v, Map::unsigned(), v);
                    }
                });
            }
        }
    }

    /// The moments as named tensors.
    pub(super) fn tensors(&self, name: &str, shape: &Shape) -> Result<Vec<(String, Tensor)>> {
        let named = |kind: &str, tensor: candle_core::Result<Tensor>| Ok((format!("{name}.{kind}"), tensor?));
        match self {
            Self::F32 { mean, square } => [("exp_avg", mean), ("exp_avg_sq", square)]
                .into_iter()
                .map(|(kind, values)| named(kind, Tensor::from_slice(values, shape, &Device::Cpu)))
                .collect(),
            Self::Device { mean, square } => [("exp_avg", mean), ("exp_avg_sq", square)]
                .into_iter()
                .map(|(kind, moment)| named(kind, moment.to_device(&Device::Cpu)))
                .collect(),
            Self::EightBit { mean, square } => [("1", mean), ("2", square)]
                .into_iter()
                .flat_map(|(number, moment)| {
                    let scales = moment.scales.len();
                    [
                        named(&format!("state{number}"), Tensor::from_slice(&moment.bytes, shape, &Device::Cpu)),
                        named(&format!("absmax{number}"), Tensor::from_slice(&moment.scales, scales, &Device::Cpu)),
                    ]
                })
                .collect(),
        }
    }

    /// A state of the same kind from named tensors.
    pub(super) fn read(&self, name: &str, shape: &Shape, all: &HashMap<String, Tensor>) -> Result<Self> {
        let find = |kind: &str, shape: &Shape, dtype: DType| -> Result<&Tensor> {
            let name = format!("{name}.{kind}");
            let tensor = all.get(&name).ok_or_else(|| Error::State { what: format!("`{name}` is missing") })?;
            if tensor.shape() != shape || tensor.dtype() != dtype {
                let found = format!("{:?} of {:?}", tensor.dims(), tensor.dtype());
                let what = format!("`{name}` is {found}, {:?} of {dtype:?} belongs here", shape.dims());
                return Err(Error::State { what });
            }
            Ok(tensor)
        };
        let floats = |kind: &str, shape: &Shape| -> Result<Vec<f32>> {
            read!(values = find(kind, shape, DType::F32)?);
            Ok(values.into_owned())
        };
        let moment = |number: &str| -> Result<Bytes> {
            let bytes = find(&format!("state{number}"), shape, DType::U8)?.flatten_all()?.to_vec1()?;
            let scales = shape.elem_count().div_ceil(BYTE_BLOCK);
            Ok(Bytes { bytes, scales: floats(&format!("absmax{number}"), &Shape::from(scales))? })
        };
        Ok(match self {
            Self::F32 { .. } => Self::F32 { mean: floats("exp_avg", shape)?, square: floats("exp_avg_sq", shape)? },
            Self::EightBit { .. } => Self::EightBit { mean: moment("1")?, square: moment("2")? },
            Self::Device { mean, .. } => {
                let there = |kind| -> Result<Var> {
                    Ok(Var::from_tensor(&find(kind, shape, DType::F32)?.to_device(mean.device())?)?)
                };
                Self::Device { mean: there("exp_avg")?, square: there("exp_avg_sq")? }
            }
        })
    }
}
