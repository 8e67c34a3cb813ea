//! Linear layers over a few rows of bf16 (`few_rows.cu`), as a step of decoding has them: a product, its bias, its adapter and the residual are one
//! kernel, and so are the products of one input.

use candle_core::{DType, Result, Tensor};

use super::linear::{Adapters, Half};
use super::{Gpu, Narrow, Param, Values, View, read_gpu, wide};
use crate::ops::constant::{Constant, Stored};
use crate::ops::linear::LowRank;
use crate::ops::projection::Layer;

/// Rows of x that the kernels take, products of eight, spans of a warp that are under way together, and the kernel.
const KERNELS: [(usize, usize, usize, &str); 2] = [(8, 1, 4, "_8"), (16, 2, 3, "_16")];
/// Most products of one x.
const MOST_PARTS: usize = 3;
/// Outputs of a block, and its threads.
const OUTPUTS: usize = 16;
const THREADS: u32 = 256;

/// A constant on the device: where it is, and whether it is f32.
#[derive(Clone, Copy)]
struct Place {
    at: u64,
    wide: i32,
}

impl Place {
    /// That of a contiguous tensor, which must live as long as the place is used.
    fn of(gpu: &Gpu, tensor: &Tensor) -> Result<Option<Self>> {
        if !tensor.is_contiguous() {
            return Ok(None);
        }
        read_gpu!(gpu, values = tensor);
        Ok(Some(Self { at: values.at(), wide: wide(values) }))
    }
}

/// A layer as the kernels take it.
struct Few<'a> {
    weight: Place,
    /// The weight, where it is held in fewer bits.
    _dequantised: Option<Values>,
    bias: Option<Place>,
    outputs: usize,
    /// With A and B.
    adapter: Option<(&'a LowRank, View<'a>, View<'a>)>,
}

impl<'a> Few<'a> {
    /// A layer, if its weight comes in bf16 and nothing is dropped.
    fn of(gpu: &Gpu, layer: &'a Layer, flat: &'a Adapters) -> Result<Option<Self>> {
        let adapter = layer.adapter.as_ref().map(|(low, at)| (low, flat.of(low, *at)));
        let adapter = adapter.map(|(low, (a, b))| (low, a, b));
        if adapter.is_some_and(|(low, a, _)| low.dropout.is_some() || !is_aligned(a)) {
            return Ok(None);
        }
        let bare = Self::bare(gpu, &layer.weight, layer.bias.as_ref(), layer.outputs)?;
        Ok(bare.map(|bare| Self { adapter, ..bare }))
    }

    /// A layer without an adapter.
    fn bare(gpu: &Gpu, weight: &Constant, bias: Option<&Tensor>, outputs: usize) -> Result<Option<Self>> {
        if weight.taken.is_some() {
            return Ok(None);
        }
        let (weight, dequantised) = match &weight.stored {
            Stored::Dense(tensor) => (Place::of(gpu, tensor)?, None),
            Stored::Quantised(matrix) => {
                let values = gpu.dequantised(matrix, DType::BF16)?;
                (Some(Place { at: values.view().at(), wide: 0 }), Some(values))
            }
        };
        let Some(weight) = weight.filter(|w| w.wide == 0 && w.at.is_multiple_of(16)) else { return Ok(None) };
        let bias = bias.map(|bias| Place::of(gpu, bias)).transpose()?;
        Ok(match bias {
            Some(None) => None,
            bias => Some(Self { weight, _dequantised: dequantised, bias: bias.flatten(), outputs, adapter: None }),
        })
    }
}

/// Whether groups of eight are read at once.
fn is_aligned(view: View) -> bool {
    view.dtype() == DType::BF16 && view.at().is_multiple_of(16)
}

/// The kernel for x (N, I), if that is one of few rows, and the shared memory of a block.
fn kernel(x: View, inputs: usize) -> Option<(&'static str, usize)> {
    if !is_aligned(x) || inputs == 0 || !inputs.is_multiple_of(8) {
        return None;
    }
    let n = x.len() / inputs;
    let (_, tiles, stages, name) = KERNELS.into_iter().find(|(most, ..)| (1..=*most).contains(&n))?;
    Some((name, stages * 2 * (2 + tiles) * 16 * THREADS as usize))
}

/// The results of layers of one x, [residual +] x W' + b + the adapter's part, and what the adapters keep; none where the kernels cannot do it.
pub(super) fn few_rows(
    gpu: &Gpu,
    x: View,
    layers: &[Layer],
    residual: Option<View>,
    flat: &Adapters,
) -> Result<Option<(Vec<Values>, Vec<Half>)>> {
    let inputs = layers.first().map_or(0, |layer| layer.inputs);
    let Some(kernel) = kernel(x, inputs).filter(|_| layers.len() <= MOST_PARTS) else { return Ok(None) };
    let few = layers.iter().map(|layer| Few::of(gpu, layer, flat)).collect::<Result<Option<Vec<_>>>>()?;
    few.map(|few| products(gpu, kernel, (x, inputs), &few, residual)).transpose()
}

/// x W' + b; none where the kernels cannot do it.
pub(super) fn few_rows_bare(
    gpu: &Gpu,
    x: View,
    (outputs, inputs): (usize, usize),
    (weight, bias): (&Constant, Option<&Tensor>),
) -> Result<Option<Values>> {
    let Some(kernel) = kernel(x, inputs) else { return Ok(None) };
    let Some(few) = Few::bare(gpu, weight, bias, outputs)? else { return Ok(None) };
    Ok(Some(products(gpu, kernel, (x, inputs), &[few], None)?.0.remove(0)))
}

fn products(
    gpu: &Gpu,
    (name, shared): (&'static str, usize),
    (x, inputs): (View, usize),
    parts: &[Few],
    residual: Option<View>,
) -> Result<(Vec<Values>, Vec<Half>)> {
    let n = x.len() / inputs;
    let kept = down(gpu, x, (n, inputs), parts)?;
    let mut results = Vec::with_capacity(parts.len());
    let mut params: Vec<Param> = vec![x.into(), (n as i32).into(), (inputs as i32).into()];
    let mut blocks = 0;
    for (part, kept) in parts.iter().zip(&kept) {
        let y = gpu.new_values(n * part.outputs, DType::BF16)?;
        params.extend([
            Param::from(part.weight.at),
            part.bias.map_or(0, |bias| bias.at).into(),
            kept.as_ref().map(|kept| kept.h.view()).into(),
            part.adapter.map(|(_, _, b)| b).into(),
            residual.into(),
            y.view().into(),
            (part.outputs as i32).into(),
            part.bias.map_or(0, |bias| bias.wide).into(),
            part.adapter.map_or(0, |(low, ..)| low.rank as i32).into(),
            part.adapter.map_or(0.0, |(low, ..)| low.scaling).into(),
        ]);
        results.push(y);
        blocks += part.outputs.div_ceil(OUTPUTS) as u32;
    }
    // Parts that are not there have no results.
    params.resize(3 + 10 * MOST_PARTS, 0u64.into());
    // SAFETY: the layers' shapes were checked where they were made; weights and biases live as long as the layers.
    unsafe { gpu.launch(("few_rows", name), ((blocks, 1), THREADS), shared, &mut params)? };
    Ok((results, kept))
}

/// h = x A' of the adapters.
fn down(gpu: &Gpu, x: View, (n, inputs): (usize, usize), parts: &[Few]) -> Result<Vec<Half>> {
    let mut params: Vec<Param> = vec![x.into(), (n as i32).into(), (inputs as i32).into()];
    let mut columns = 0;
    let mut kept: Vec<Half> = Vec::with_capacity(parts.len());
    for part in parts {
        let Some((low, a, _)) = part.adapter else {
            kept.push(None);
            continue;
        };
        let h = gpu.new_values(n * low.rank, DType::BF16)?;
        params.extend([Param::from(a), h.view().into(), (low.rank as i32).into()]);
        columns += low.rank as u32;
        kept.push(Some(Narrow::whole(h)));
    }
    params.resize(3 + 3 * MOST_PARTS, 0u64.into());
    // SAFETY: as above; a block per column of each h.
    unsafe { gpu.launch(("few_rows_down", ""), ((columns, 1), THREADS), 0, &mut params)? };
    Ok(kept)
}
