//! The weight of a linear that never trains: a tensor, or a matrix in fewer bits. An op owns it, so no gradient of it is ever formed.

use std::sync::Arc;

use candle_core::{DType, Tensor, Var};

use crate::Result;
use crate::quant::Quantised;

/// A constant weight (O, I), as it is handed to an operation.
#[derive(Clone, Copy, Debug)]
pub enum ConstantRef<'a> {
    /// f32 or bf16.
    Dense(&'a Tensor),
    /// 8 or 4 bits, dequantised a panel at a time in every product.
    Quantised(&'a Arc<Quantised>),
}

impl<'a> From<&'a Tensor> for ConstantRef<'a> {
    fn from(tensor: &'a Tensor) -> Self {
        Self::Dense(tensor)
    }
}

impl<'a> From<&'a Var> for ConstantRef<'a> {
    fn from(var: &'a Var) -> Self {
        Self::Dense(var.as_tensor())
    }
}

impl<'a> From<&'a Arc<Quantised>> for ConstantRef<'a> {
    fn from(matrix: &'a Arc<Quantised>) -> Self {
        Self::Quantised(matrix)
    }
}

/// The same, as an operation holds it: outside any graph, contiguous.
pub(crate) enum Constant {
    Dense(Tensor),
    Quantised(Arc<Quantised>),
}

impl ConstantRef<'_> {
    /// The sizes; two of them, if the weight is a matrix.
    #[must_use]
    pub fn dims(&self) -> Vec<usize> {
        match self {
            Self::Dense(tensor) => tensor.dims().to_vec(),
            Self::Quantised(matrix) => vec![matrix.dims().0, matrix.dims().1],
        }
    }

    /// The values in f32, outside any graph.
    pub(crate) fn dense(&self) -> Result<Tensor> {
        match self {
            Self::Dense(tensor) => Ok(tensor.detach().to_dtype(DType::F32)?),
            Self::Quantised(matrix) => matrix.dequantise(),
        }
    }

    pub(crate) fn held(&self) -> Result<Constant> {
        Ok(match self {
            Self::Dense(tensor) => Constant::Dense(tensor.detach().contiguous()?),
            Self::Quantised(matrix) => Constant::Quantised(Arc::clone(matrix)),
        })
    }
}
