//! Linear layers on a GPU: a constant weight of any form, its bias and its low-rank adapter, and the first linears of a half-block.

use candle_core::{DType, Result, Tensor};

use super::few_rows::{few_rows, few_rows_bare};
use super::{Gpu, Mat, Narrow, NarrowBack, Old, Values, View, read_gpu};
use crate::ops::constant::{Constant, Stored, Taken};
use crate::ops::inputs::InputLayers;
use crate::ops::linear::LowRank;
use crate::ops::projection::Layer;

/// The adapters of an operation in one flat vector, in the numbers of the activations.
pub(crate) struct Adapters<'a> {
    /// Where it came in others, or is kept apart.
    made: Option<Values>,
    given: Option<View<'a>>,
}

impl<'a> Adapters<'a> {
    /// Of a flat vector for activations in these numbers.
    pub(crate) fn new(gpu: &Gpu, flat: Option<View<'a>>, dtype: DType) -> Result<Self> {
        let made = flat.map(|flat| gpu.in_other(flat, dtype)).transpose()?.flatten();
        Ok(Self { made, given: flat })
    }

    /// As [`Self::new`], apart from the vector.
    pub(super) fn own(gpu: &Gpu, flat: Option<View>, dtype: DType) -> Result<Self> {
        Ok(Self { made: flat.map(|flat| gpu.converted(flat, dtype)).transpose()?, given: None })
    }

    /// A and B of the adapter that begins at `at`.
    pub(super) fn of(&self, low: &LowRank, at: usize) -> (View<'_>, View<'_>) {
        let values = self.made.as_ref().map(Values::view).or(self.given);
        let values = values.expect("a layer with an adapter has its values");
        let (a, b) = (low.rank * low.inputs, low.rank * low.outputs);
        (values.part(at, a), values.part(at + a, b))
    }
}

/// What the adapter's forward keeps, where there is one.
pub(crate) type Half = Option<Narrow>;

/// y (N, O) = [old +] x W', without bias and adapter.
fn bare(gpu: &Gpu, weight: &Constant, (n, o, i): (usize, usize, usize), y: View, old: Old, x: View) -> Result<()> {
    with_weight(gpu, weight, x.dtype(), |w| {
        gpu.product((n, o, i), y, o, old, (Mat::rows(x, i), Mat::transposed(w, i)), 1.0)
    })?;
    let Some((a, b, r, s)) = factors(gpu, weight.taken.as_ref(), x.dtype())? else { return Ok(()) };
    let h = gpu.new_product((n, r, i), (Mat::rows(x, i), Mat::transposed(a.view(), i)), -s, x.dtype())?;
    gpu.product((n, o, r), y, o, Old::Add, (Mat::rows(h.view(), r), Mat::transposed(b.view(), r)), 1.0)
}

/// dx (N, I) = [old +] dy W.
fn bare_back(
    gpu: &Gpu,
    weight: &Constant,
    (n, o, i): (usize, usize, usize),
    dx: View,
    old: Old,
    dy: View,
) -> Result<()> {
    with_weight(gpu, weight, dy.dtype(), |w| {
        gpu.product((n, i, o), dx, i, old, (Mat::rows(dy, o), Mat::rows(w, i)), 1.0)
    })?;
    let Some((a, b, r, s)) = factors(gpu, weight.taken.as_ref(), dy.dtype())? else { return Ok(()) };
    let dh = gpu.new_product((n, r, o), (Mat::rows(dy, o), Mat::rows(b.view(), r)), -s, dy.dtype())?;
    gpu.product((n, i, r), dx, i, Old::Add, (Mat::rows(dh.view(), r), Mat::rows(a.view(), i)), 1.0)
}

/// Calls `f` with the weight in these numbers.
fn with_weight<T>(gpu: &Gpu, weight: &Constant, dtype: DType, f: impl FnOnce(View) -> Result<T>) -> Result<T> {
    match &weight.stored {
        Stored::Dense(tensor) => {
            read_gpu!(gpu, w = tensor);
            let other = gpu.in_other(w, dtype)?;
            f(other.as_ref().map_or(w, Values::view))
        }
        Stored::Quantised(matrix) => f(gpu.dequantised(matrix, dtype)?.view()),
    }
}

/// A, B, r and s of what was taken out of a weight.
fn factors(gpu: &Gpu, taken: Option<&Taken>, dtype: DType) -> Result<Option<(Values, Values, usize, f32)>> {
    let Some(taken) = taken else { return Ok(None) };
    read_gpu!(gpu, a = taken.a);
    read_gpu!(gpu, b = taken.b);
    Ok(Some((gpu.converted(a, dtype)?, gpu.converted(b, dtype)?, taken.a.dim(0)?, taken.scaling as f32)))
}

impl LowRank {
    /// y += s h B'.
    fn gpu_up(&self, gpu: &Gpu, h: View, b: View, y: View) -> Result<()> {
        let (r, o) = (self.rank, self.outputs);
        let factors = (Mat::rows(h, r), Mat::transposed(b, r));
        gpu.product((y.len() / o, o, r), y, o, Old::Add, factors, self.scaling)
    }

    /// Writes dB (O, r), f32, and gives dh (N, r).
    fn gpu_up_back(&self, gpu: &Gpu, h: View, b: View, dy: View, db: View) -> Result<Values> {
        let (r, o) = (self.rank, self.outputs);
        let n = dy.len() / o;
        gpu.product((o, r, n), db, r, Old::Drop, (Mat::transposed(dy, o), Mat::rows(h, r)), self.scaling)?;
        gpu.new_product((n, r, o), (Mat::rows(dy, o), Mat::rows(b, r)), self.scaling, dy.dtype())
    }

    /// y += s (drop(x) A') B'; gives what the backward needs.
    pub(crate) fn gpu_forward(&self, gpu: &Gpu, x: View, (a, b): (View, View), y: View) -> Result<Narrow> {
        let kept = gpu.narrow(x, &[(self, a)])?.remove(0);
        self.gpu_up(gpu, kept.h.view(), b, y)?;
        Ok(kept)
    }

    /// Writes dA (r, I) and dB (O, r), f32, and adds to dx, where it is wanted.
    pub(crate) fn gpu_backward(
        &self,
        gpu: &Gpu,
        (x, kept): (View, &Narrow),
        (a, b): (View, View),
        dy: View,
        dx: Option<&mut Values>,
        (da, db): (View, View),
    ) -> Result<()> {
        let dh = self.gpu_up_back(gpu, kept.h.view(), b, dy, db)?;
        gpu.narrow_back(x, &[NarrowBack { low: self, kept, a, dh: dh.view(), da }], dx)
    }
}

impl Layer {
    /// y = [residual +] x W' + b + the adapter's part, and what the adapter keeps.
    pub(crate) fn gpu_forward(
        &self,
        gpu: &Gpu,
        x: View,
        residual: Option<View>,
        flat: &Adapters,
    ) -> Result<(Values, Half)> {
        if let Some((mut ys, mut kept)) = few_rows(gpu, x, std::slice::from_ref(self), residual, flat)? {
            return Ok((ys.remove(0), kept.remove(0)));
        }
        let y = self.gpu_base(gpu, x, residual)?;
        let kept = adapted(gpu, x, std::slice::from_ref(self), std::slice::from_ref(&y), flat)?.remove(0);
        Ok((y, kept))
    }

    /// Writes the adapter's gradients into `dflat`, and adds the input's gradient to `dx` (or makes it, where there is none yet).
    pub(crate) fn gpu_backward(
        &self,
        gpu: &Gpu,
        (x, kept): (Option<View>, &Half),
        flat: &Adapters,
        dy: View,
        dx: Option<&mut Option<Values>>,
        dflat: Option<View>,
    ) -> Result<()> {
        back(gpu, (x, std::slice::from_ref(kept)), flat, (std::slice::from_ref(self), &[dy]), dx, dflat)
    }

    /// [residual +] x W' + b.
    fn gpu_base(&self, gpu: &Gpu, x: View, residual: Option<View>) -> Result<Values> {
        let n = x.len() / self.inputs;
        let mut y = gpu.new_values(n * self.outputs, x.dtype())?;
        let old = residual.map_or(Old::Drop, Old::From);
        bare(gpu, &self.weight, (n, self.outputs, self.inputs), y.view(), old, x)?;
        if let Some(bias) = &self.bias {
            read_gpu!(gpu, bias = bias);
            gpu.add_bias(&mut y, bias)?;
        }
        Ok(y)
    }
}

/// Adds each layer's adapter, where it has one, to its y; gives what the adapters keep.
fn adapted(gpu: &Gpu, x: View, layers: &[Layer], ys: &[Values], flat: &Adapters) -> Result<Vec<Half>> {
    let worn: Vec<(&LowRank, View, View, View)> = layers
        .iter()
        .zip(ys)
        .filter_map(|(layer, y)| layer.adapter.as_ref().map(|(low, at)| (low, flat.of(low, *at), y.view())))
        .map(|(low, (a, b), y)| (low, a, b, y))
        .collect();
    let narrow: Vec<(&LowRank, View)> = worn.iter().map(|(low, a, ..)| (*low, *a)).collect();
    let made = if narrow.is_empty() { Vec::new() } else { gpu.narrow(x, &narrow)? };
    for ((low, _, b, y), kept) in worn.iter().zip(&made) {
        low.gpu_up(gpu, kept.h.view(), *b, *y)?;
    }
    let mut made = made.into_iter();
    Ok(layers.iter().map(|layer| layer.adapter.as_ref().and_then(|_| made.next())).collect())
}

/// The backward of layers of one input: their adapters' gradients into `dflat`, the input's added to `dx` (or made).
fn back(
    gpu: &Gpu,
    (x, kept): (Option<View>, &[Half]),
    flat: &Adapters,
    (layers, dys): (&[Layer], &[View]),
    mut dx: Option<&mut Option<Values>>,
    dflat: Option<View>,
) -> Result<()> {
    let mut narrow = Vec::with_capacity(layers.len());
    for ((layer, kept), dy) in layers.iter().zip(kept).zip(dys) {
        let n = dy.len() / layer.outputs;
        let dims = (n, layer.outputs, layer.inputs);
        if let Some(dx) = dx.as_deref_mut() {
            match dx {
                None => {
                    let fresh = gpu.new_values(n * layer.inputs, dy.dtype())?;
                    bare_back(gpu, &layer.weight, dims, fresh.view(), Old::Drop, *dy)?;
                    *dx = Some(fresh);
                }
                Some(dx) => bare_back(gpu, &layer.weight, dims, dx.view(), Old::Add, *dy)?,
            }
        }
        if let (Some((low, at)), Some(kept), Some(dflat)) = (&layer.adapter, kept, dflat) {
            let ((a, b), of_a) = (flat.of(low, *at), low.rank * low.inputs);
            let (da, db) = (dflat.part(*at, of_a), dflat.part(at + of_a, low.rank * low.outputs));
            narrow.push((low, kept, a, low.gpu_up_back(gpu, kept.h.view(), b, *dy, db)?, da));
        }
    }
    let Some(x) = x.filter(|_| !narrow.is_empty()) else { return Ok(()) };
    let backs: Vec<NarrowBack> =
        narrow.iter().map(|(low, kept, a, dh, da)| NarrowBack { low, kept, a: *a, dh: dh.view(), da: *da }).collect();
    gpu.narrow_back(x, &backs, dx.and_then(Option::as_mut))
}

impl<const N: usize> InputLayers<N> {
    /// The N results of x, and what the adapters keep.
    pub(crate) fn gpu_forward(&self, gpu: &Gpu, x: View, flat: &Adapters) -> Result<([Values; N], Vec<Half>)> {
        let (results, kept) = match few_rows(gpu, x, &self.layers, None, flat)? {
            Some(made) => made,
            None => {
                let bases = self.layers.iter().map(|layer| layer.gpu_base(gpu, x, None));
                let results = bases.collect::<Result<Vec<_>>>()?;
                let kept = adapted(gpu, x, &self.layers, &results, flat)?;
                (results, kept)
            }
        };
        let joined = match <[Values; N]>::try_from(results) {
            Ok(results) => return Ok((results, kept)),
            Err(mut one) => one.remove(0),
        };
        let row: usize = self.widths.iter().sum();
        let mut from = 0;
        let mut parts = Vec::with_capacity(N);
        for width in self.widths {
            parts.push(gpu.cut(joined.view(), row, from, width)?);
            from += width;
        }
        let parts = <[Values; N]>::try_from(parts).unwrap_or_else(|_| unreachable!("one part was cut for each of N"));
        Ok((parts, kept))
    }

    /// Writes the adapters' gradients into `dflat`, and the input's gradient to `dx`, where it is wanted.
    pub(crate) fn gpu_backward(
        &self,
        gpu: &Gpu,
        (x, kept): (Option<View>, &[Half]),
        flat: &Adapters,
        dys: [Values; N],
        dx: Option<&mut Option<Values>>,
        dflat: Option<View>,
    ) -> Result<()> {
        let dys = if self.layers.len() == N { Vec::from(dys) } else { vec![self.joined(gpu, &dys)?] };
        let views: Vec<View> = dys.iter().map(Values::view).collect();
        back(gpu, (x, kept), flat, (&self.layers, &views), dx, dflat)
    }

    fn joined(&self, gpu: &Gpu, parts: &[Values; N]) -> Result<Values> {
        let row: usize = self.widths.iter().sum();
        let mut joined = gpu.new_values(parts.iter().map(Values::len).sum(), parts[0].dtype())?;
        let mut to = 0;
        for (part, width) in parts.iter().zip(self.widths) {
            gpu.paste(&mut joined, row, to, part.view(), width)?;
            to += width;
        }
        Ok(joined)
    }
}

impl Gpu {
    /// A fresh x W' + b.
    pub(crate) fn linear(
        &self,
        weight: &Constant,
        bias: Option<&Tensor>,
        dims: (usize, usize, usize),
        x: View,
    ) -> Result<Values> {
        if let Some(y) = few_rows_bare(self, x, (dims.1, dims.2), (weight, bias))? {
            return Ok(y);
        }
        let mut y = self.new_values(dims.0 * dims.1, x.dtype())?;
        bare(self, weight, dims, y.view(), Old::Drop, x)?;
        if let Some(bias) = bias {
            read_gpu!(self, bias = bias);
            self.add_bias(&mut y, bias)?;
        }
        Ok(y)
    }

    /// A fresh dy W.
    pub(crate) fn linear_back(&self, weight: &Constant, dims: (usize, usize, usize), dy: View) -> Result<Values> {
        let dx = self.new_values(dims.0 * dims.2, dy.dtype())?;
        bare_back(self, weight, dims, dx.view(), Old::Drop, dy)?;
        Ok(dx)
    }
}
