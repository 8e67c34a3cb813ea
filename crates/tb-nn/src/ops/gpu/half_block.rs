//! What both halves of a block do alike on a GPU: norms around the half, its last linear with the residual, and its adapters' gradients.

use candle_core::{DType, Result, Tensor};

use super::{Adapters, Gpu, Half, Values, View, read_gpu};
use crate::ops::projection::Layer;
use crate::ops::rms_norm::NormLayer;

/// x through a norm; none where there is no norm.
pub(crate) fn normed(gpu: &Gpu, norm: Option<&NormLayer>, x: View) -> Result<Option<Values>> {
    norm.map(|norm| norm.gpu_forward(gpu, x)).transpose()
}

/// x + after(last(inner)): the last linear's result where a norm follows it, the half's result, and what the adapter keeps.
pub(crate) fn finished(
    gpu: &Gpu,
    last: &Layer,
    after: Option<&NormLayer>,
    (inner, x): (View, View),
    flat: &Adapters,
) -> Result<(Option<Values>, Values, Half)> {
    let Some(norm) = after else {
        let (y, h) = last.gpu_forward(gpu, inner, Some(x), flat)?;
        return Ok((None, y, h));
    };
    let (result, h) = last.gpu_forward(gpu, inner, None, flat)?;
    let y = gpu.add(norm.gpu_forward(gpu, result.view())?.view(), x)?;
    Ok((Some(result), y, h))
}

/// dy through the norm of the last linear's result; none where no norm follows it.
pub(crate) fn through(
    gpu: &Gpu,
    after: Option<&NormLayer>,
    result: Option<&Values>,
    dy: View,
) -> Result<Option<Values>> {
    after.zip(result).map(|(norm, result)| norm.gpu_backward(gpu, result.view(), dy, None)).transpose()
}

/// The gradient of x from that of before(x) and of the residual.
pub(crate) fn input_gradient(gpu: &Gpu, before: Option<&NormLayer>, x: View, dn: View, dy: View) -> Result<Values> {
    match before {
        None => gpu.add(dn, dy),
        Some(norm) => norm.gpu_backward(gpu, x, dn, Some(dy)),
    }
}

/// The adapters of a half-block, and room for their gradients.
pub(crate) struct Gradients<'a> {
    pub(crate) adapters: Adapters<'a>,
    room: Option<(Values, &'a Tensor)>,
}

impl<'a> Gradients<'a> {
    /// Of a flat vector, if there are adapters, for activations in these numbers.
    pub(crate) fn new(gpu: &Gpu, flat: Option<&'a Tensor>, dtype: DType) -> Result<Self> {
        let Some(flat) = flat else { return Ok(Self { adapters: Adapters::own(gpu, None, dtype)?, room: None }) };
        read_gpu!(gpu, values = flat);
        let adapters = Adapters::own(gpu, Some(values), dtype)?;
        Ok(Self { adapters, room: Some((gpu.new_values(values.len(), DType::F32)?, flat)) })
    }

    /// Where the gradients are written.
    pub(crate) fn view(&self) -> Option<View<'_>> {
        self.room.as_ref().map(|(values, _)| values.view())
    }

    /// The gradients, shaped like the flat vector; none where nothing learns from them.
    pub(crate) fn into_tensor(self) -> Option<Tensor> {
        self.room.filter(|(_, flat)| flat.track_op()).map(|(values, flat)| values.into_tensor(flat.shape()))
    }
}
