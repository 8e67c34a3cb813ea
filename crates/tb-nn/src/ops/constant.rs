//! The weight of a linear that never trains: a tensor, or a matrix in fewer bits, less what an adapter took out of it. An op owns it, so no
//! gradient of it is ever formed.

use std::sync::Arc;

use candle_core::{DType, Tensor, Var};

use crate::Result;
use crate::quant::Quantised;

/// A constant weight (O, I), as it is handed to an operation.
#[derive(Clone, Copy, Debug)]
pub struct ConstantRef<'a> {
    pub(crate) stored: StoredRef<'a>,
    taken: Option<&'a Taken>,
}

/// Its matrix, as the model holds it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum StoredRef<'a> {
    /// f32 or bf16.
    Dense(&'a Tensor),
    /// 8 or 4 bits, dequantised a panel at a time in every product.
    Quantised(&'a Arc<Quantised>),
}

/// Factors whose product s B A is taken out of a weight that stays as it is: every product with the weight is corrected.
#[derive(Clone, Debug)]
pub struct Taken {
    /// A (r, I), f32.
    pub a: Tensor,
    /// B (O, r), f32.
    pub b: Tensor,
    /// s.
    pub scaling: f64,
}

impl<'a> From<StoredRef<'a>> for ConstantRef<'a> {
    fn from(stored: StoredRef<'a>) -> Self {
        Self { stored, taken: None }
    }
}

impl<'a> From<&'a Tensor> for ConstantRef<'a> {
    fn from(tensor: &'a Tensor) -> Self {
        StoredRef::Dense(tensor).into()
    }
}

impl<'a> From<&'a Var> for ConstantRef<'a> {
    fn from(var: &'a Var) -> Self {
        StoredRef::Dense(var.as_tensor()).into()
    }
}

impl<'a> From<&'a Arc<Quantised>> for ConstantRef<'a> {
    fn from(matrix: &'a Arc<Quantised>) -> Self {
        StoredRef::Quantised(matrix).into()
    }
}

/// The same, as an operation holds it: outside any graph, contiguous.
pub(crate) struct Constant {
    pub(crate) stored: Stored,
    pub(crate) taken: Option<Taken>,
}

/// Its matrix.
pub(crate) enum Stored {
    Dense(Tensor),
    Quantised(Arc<Quantised>),
}

impl<'a> ConstantRef<'a> {
    /// The sizes; two of them, if the weight is a matrix.
    #[must_use]
    pub fn dims(&self) -> Vec<usize> {
        match self.stored {
            StoredRef::Dense(tensor) => tensor.dims().to_vec(),
            StoredRef::Quantised(matrix) => vec![matrix.dims().0, matrix.dims().1],
        }
    }

    /// The weight without this part of it.
    #[must_use]
    pub fn without(self, taken: Option<&'a Taken>) -> Self {
        Self { taken, ..self }
    }

    /// The values of the matrix in f32, outside any graph.
    pub(crate) fn dense(&self) -> Result<Tensor> {
        match self.stored {
            StoredRef::Dense(tensor) => Ok(tensor.detach().to_dtype(DType::F32)?),
            StoredRef::Quantised(matrix) => matrix.dequantise(),
        }
    }

    /// As operations hold it.
    pub(crate) fn held(&self) -> Result<Constant> {
        let stored = match self.stored {
            StoredRef::Dense(tensor) => Stored::Dense(tensor.detach().contiguous()?),
            StoredRef::Quantised(matrix) => Stored::Quantised(Arc::clone(matrix)),
        };
        Ok(Constant { stored, taken: self.taken.cloned() })
    }
}
