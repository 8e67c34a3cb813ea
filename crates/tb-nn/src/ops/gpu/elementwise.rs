//! The kernels whose time is that of reading and writing, as calls: norms, rotation, gates, sums, conversions, dropout, gathering, cross-entropy of logits
//! that exist, AdamW. The kernels are in `elementwise.cu` and `cross_entropy.cu`.

use candle_core::{DType, Error, Result, Tensor};
use tb_core::decoder_config::Activation;

use super::{BLOCKS, Gpu, Mask, THREADS, Values, View, driver, halves, suffix, wide};
use crate::optim::Scalars;

impl Gpu {
    /// y = x / rms(x) * w per row of w's length.
    pub(crate) fn rms_norm(&self, x: View, w: View, eps: f32) -> Result<Values> {
        let y = self.new_values(x.len(), x.dtype())?;
        let rows = (x.len() / w.len()) as u32;
        let mut params = [y.view().into(), x.into(), w.into(), wide(w).into(), (w.len() as i32).into(), eps.into()];
        // SAFETY: a block per row; y has x's length.
        unsafe { self.launch(("rms_norm", suffix(x.dtype())), ((rows, 1), norm_threads(w.len())), 0, &mut params)? };
        Ok(y)
    }

    /// [residual +] the gradient of x for the upstream gradient dy.
    pub(crate) fn rms_norm_back(&self, x: View, w: View, eps: f32, dy: View, residual: Option<View>) -> Result<Values> {
        let dx = self.new_values(x.len(), x.dtype())?;
        let rows = (x.len() / w.len()) as u32;
        let mut params = [
            dx.view().into(),
            x.into(),
            w.into(),
            wide(w).into(),
            dy.into(),
            residual.into(),
            (w.len() as i32).into(),
            eps.into(),
        ];
        // SAFETY: a block per row; all have x's length.
        unsafe {
            self.launch(("rms_norm_back", suffix(x.dtype())), ((rows, 1), norm_threads(w.len())), 0, &mut params)?
        };
        Ok(dx)
    }

    /// Rotates x (tokens, heads, size) in place; the angles are (P, pairs) f32. `sign` is 1 forward and -1 back.
    pub(crate) fn rope(
        &self,
        x: &mut Values,
        (cos, sin, pairs): (View, View, usize),
        positions: &[u32],
        (heads, size): (usize, usize),
        sign: f32,
    ) -> Result<()> {
        let positions_on = self.uploaded(positions)?;
        let dtype = x.dtype();
        let mut params = [
            x.view().into(),
            cos.into(),
            sin.into(),
            self.address(&positions_on).into(),
            (heads as i32).into(),
            (size as i32).into(),
            (pairs as i32).into(),
            sign.into(),
        ];
        // SAFETY: a block per token; positions were checked against the table.
        unsafe { self.launch(("rope", suffix(dtype)), ((positions.len() as u32, 1), THREADS), 0, &mut params) }
    }

    /// act(gate) up.
    pub(crate) fn gated(&self, activation: Activation, gate: View, up: View) -> Result<Values> {
        let y = self.new_values(gate.len(), gate.dtype())?;
        let mut params = [y.view().into(), gate.into(), up.into(), gelu(activation).into(), gate.len().into()];
        // SAFETY: all have one length.
        unsafe { self.over(("gated", suffix(gate.dtype())), gate.len().div_ceil(8), &mut params)? };
        Ok(y)
    }

    /// (dgate, dup).
    pub(crate) fn gated_back(&self, activation: Activation, gate: View, up: View, dy: View) -> Result<[Values; 2]> {
        let n = gate.len();
        let grads = [self.new_values(n, gate.dtype())?, self.new_values(n, gate.dtype())?];
        let mut params = [
            grads[0].view().into(),
            grads[1].view().into(),
            gate.into(),
            up.into(),
            dy.into(),
            gelu(activation).into(),
            n.into(),
        ];
        // SAFETY: all have one length.
        unsafe { self.over(("gated_back", suffix(gate.dtype())), n.div_ceil(8), &mut params)? };
        Ok(grads)
    }

    /// a + b.
    pub(crate) fn add(&self, a: View, b: View) -> Result<Values> {
        let y = self.new_values(a.len(), a.dtype())?;
        // SAFETY: all have one length.
        unsafe {
            let mut params = [y.view().into(), a.into(), b.into(), a.len().into()];
            self.over(("add", suffix(a.dtype())), a.len().div_ceil(8), &mut params)?;
        }
        Ok(y)
    }

    /// Adds the bias to each row of y.
    pub(crate) fn add_bias(&self, y: &mut Values, bias: View) -> Result<()> {
        let (n, dtype) = (y.len(), y.dtype());
        let mut params = [y.view().into(), bias.into(), wide(bias).into(), (bias.len() as i32).into(), n.into()];
        // SAFETY: y holds whole rows of the bias' length.
        unsafe { self.over(("add_bias", suffix(dtype)), n, &mut params) }
    }

    /// x times the f32 number at `by`.
    pub(crate) fn scaled_by(&self, x: View, by: View) -> Result<Values> {
        let y = self.new_values(x.len(), x.dtype())?;
        // SAFETY: both have one length.
        unsafe {
            let mut params = [y.view().into(), x.into(), by.into(), x.len().into()];
            self.over(("scaled_by", suffix(x.dtype())), x.len(), &mut params)?;
        }
        Ok(y)
    }

    /// Writes values where as many of the same type are.
    pub(crate) fn copy(&self, to: View, from: View) -> Result<()> {
        assert!(to.len() == from.len() && to.dtype() == from.dtype(), "a copy between unlike places");
        let bytes = from.len() * from.dtype().size_in_bytes();
        // SAFETY: both have so many bytes.
        unsafe { cudarc::driver::result::memcpy_dtod_async(to.at(), from.at(), bytes, self.stream.cu_stream()) }
            .map_err(|e| driver("copy", e))
    }

    /// The values in this number type, where they have another.
    pub(crate) fn in_other(&self, x: View, dtype: DType) -> Result<Option<Values>> {
        (x.dtype() != dtype).then(|| self.converted(x, dtype)).transpose()
    }

    /// The values in another number type, f32 or bf16.
    pub(crate) fn converted(&self, x: View, dtype: DType) -> Result<Values> {
        let y = self.new_values(x.len(), dtype)?;
        let kernel = match (x.dtype(), dtype) {
            (DType::F32, DType::BF16) => "to_bf16",
            (DType::BF16, DType::F32) => "to_f32",
            _ => {
                self.copy(y.view(), x)?;
                return Ok(y);
            }
        };
        // SAFETY: both have one length.
        unsafe { self.over((kernel, ""), x.len(), &mut [y.view().into(), x.into(), x.len().into()])? };
        Ok(y)
    }

    /// `width` columns from column `from` of x, whose rows have `row` values.
    pub(crate) fn cut(&self, x: View, row: usize, from: usize, width: usize) -> Result<Values> {
        let n = x.len() / row * width;
        let y = self.new_values(n, x.dtype())?;
        let mut params = [
            y.view().into(),
            (width as i32).into(),
            x.part(from, x.len() - from).into(),
            (row as i32).into(),
            (width as i32).into(),
            n.into(),
        ];
        // SAFETY: every row has the columns.
        unsafe { self.over(("columns", suffix(x.dtype())), n, &mut params)? };
        Ok(y)
    }

    /// Writes x, of rows of `width`, into the columns of y from `to` on; y's rows have `row` values.
    pub(crate) fn paste(&self, y: &mut Values, row: usize, to: usize, x: View, width: usize) -> Result<()> {
        let len = y.len();
        let mut params = [
            y.view().part(to, len - to).into(),
            (row as i32).into(),
            x.into(),
            (width as i32).into(),
            (width as i32).into(),
            x.len().into(),
        ];
        // SAFETY: every row has the columns.
        unsafe { self.over(("columns", suffix(x.dtype())), x.len(), &mut params) }
    }

    /// table[ids[n]], rows of `width`.
    pub(crate) fn gather(&self, table: View, ids: &[u32], width: usize) -> Result<Values> {
        let y = self.new_values(ids.len() * width, table.dtype())?;
        let ids_on = self.uploaded(ids)?;
        let mut params = [y.view().into(), table.into(), self.address(&ids_on).into(), (width as i32).into()];
        // SAFETY: a block per row; the ids were checked against the table.
        unsafe { self.launch(("gather", suffix(table.dtype())), ((ids.len() as u32, 1), THREADS), 0, &mut params)? };
        Ok(y)
    }

    /// `count` rows of `width` that are zeros, but for those of x at `rows`.
    pub(crate) fn scatter(&self, x: View, rows: &[u32], count: usize, width: usize) -> Result<Values> {
        let y = self.zeros(count * width, x.dtype())?;
        let rows_on = self.uploaded(rows)?;
        let mut params = [y.view().into(), x.into(), self.address(&rows_on).into(), (width as i32).into()];
        // SAFETY: a block per row; the rows were checked against the count.
        unsafe { self.launch(("scatter", suffix(x.dtype())), ((rows.len() as u32, 1), THREADS), 0, &mut params)? };
        Ok(y)
    }

    /// Dropout of x (rows, ...): as a new value, or added to `onto`.
    pub(crate) fn dropout(&self, x: View, mask: &Mask, onto: Option<&mut Values>) -> Result<Option<Values>> {
        let row_width = x.len() / mask.rows.max(1);
        let (fresh, to, add) = match onto {
            None => {
                let fresh = self.new_values(x.len(), x.dtype())?;
                let at = fresh.view().at();
                (Some(fresh), at, 0)
            }
            Some(onto) => (None, onto.view().at(), 1),
        };
        let blocks = (row_width.div_ceil(8 * THREADS as usize) as u32).clamp(1, BLOCKS);
        let mut params = [
            to.into(),
            x.into(),
            mask.stream.key.into(),
            mask.stream.lane.into(),
            mask.stream.purpose.into(),
            mask.first_row.into(),
            mask.threshold.into(),
            mask.scale.into(),
            add.into(),
            row_width.into(),
        ];
        let grid = (blocks, mask.rows as u32);
        // SAFETY: both have x's length, which is a whole number of rows.
        unsafe { self.launch(("dropout", suffix(x.dtype())), (grid, THREADS), 0, &mut params)? };
        Ok(fresh)
    }

    /// Each row of f32 logits' negative log-likelihood; with `grads` the logits become their gradients in that number type, each row at
    /// its own place.
    pub(crate) fn cross_entropy(
        &self,
        logits: &mut Values,
        targets: &[u32],
        nll: View,
        cap: Option<f32>,
        grads: Option<DType>,
    ) -> Result<()> {
        let v = logits.len() / targets.len().max(1);
        let targets_on = self.uploaded(targets)?;
        let mut params = [
            logits.view().into(),
            self.address(&targets_on).into(),
            nll.into(),
            cap.unwrap_or(0.0).into(),
            i32::from(grads.is_some()).into(),
            (v as i32).into(),
        ];
        let kernel = ("cross_entropy", suffix(grads.unwrap_or(DType::F32)));
        // SAFETY: a block per row; targets were checked against the vocabulary.
        unsafe { self.launch(kernel, ((targets.len() as u32, 1), 1024), 0, &mut params) }
    }

    /// The id of the largest of each row of `v` f32 logits, the lowest among equals; none for a row with one that is not a number.
    pub(crate) fn best_logits(&self, logits: View, v: usize) -> Result<Vec<Option<u32>>> {
        let rows = logits.len() / v;
        // SAFETY: a block per row writes its one number.
        let ids: Vec<u32> = unsafe {
            let out = self.device.alloc::<u32>(rows)?;
            let mut params = [self.address(&out).into(), logits.into(), (v as i32).into()];
            self.launch(("best_logits", ""), ((rows as u32, 1), 1024), 0, &mut params)?;
            self.device.clone_dtoh(&out)?
        };
        Ok(ids.into_iter().map(|id| (id != u32::MAX).then_some(id)).collect())
    }

    /// AdamW's step of f32 tensors (values, gradient, mean, square, what decay leaves), the gradients times `by`.
    pub(crate) fn adamw(&self, all: &[(&Tensor, &Tensor, &Tensor, &Tensor, f32)], by: f32, s: Scalars) -> Result<()> {
        let mut table: Vec<u32> = Vec::with_capacity(12 * all.len());
        let mut most = 0;
        for (values, gradient, mean, square, keep) in all {
            let n = values.elem_count();
            most = most.max(n);
            for tensor in [values, gradient, mean, square] {
                if tensor.elem_count() != n || tensor.dtype() != DType::F32 {
                    return Err(Error::Msg("AdamW on a GPU takes f32 tensors of one size".into()));
                }
                let (guard, layout) = tensor.storage_and_layout();
                table.extend(halves(View::of_storage(self, &guard, layout)?.at()));
            }
            table.extend(halves(n as u64));
            table.extend([keep.to_bits(), 0]);
        }
        let table = self.uploaded(&table)?;
        let mut params = [
            self.address(&table).into(),
            by.into(),
            s.one_minus_beta1.into(),
            s.beta2.into(),
            s.one_minus_beta2.into(),
            s.step_size.into(),
            s.root_correction.into(),
            s.eps.into(),
        ];
        let blocks = (most.div_ceil(THREADS as usize) as u32).clamp(1, 64);
        // SAFETY: the table names tensors that live until the call returns, and memory is given back in the order of the stream.
        unsafe { self.launch(("adamw", ""), ((blocks, all.len() as u32), THREADS), 0, &mut params) }
    }

    /// The sum of squares of each f32 tensor, in f64.
    pub(crate) fn square_sums(&self, all: &[&Tensor]) -> Result<Vec<f64>> {
        let mut table: Vec<u32> = Vec::with_capacity(4 * all.len());
        for tensor in all {
            let (guard, layout) = tensor.storage_and_layout();
            let view = View::of_storage(self, &guard, layout)?;
            table.extend(halves(view.at()).into_iter().chain(halves(view.len() as u64)));
        }
        let table = self.uploaded(&table)?;
        // SAFETY: a block per tensor writes its one number.
        unsafe {
            let out = self.device.alloc::<f64>(all.len())?;
            let mut params = [self.address(&out).into(), self.address(&table).into()];
            self.launch(("square_sums", ""), ((all.len() as u32, 1), 1024), 0, &mut params)?;
            self.device.clone_dtoh(&out)
        }
    }

    /// The sum of f32 values, in f64 in a fixed order, as one f32 number.
    pub(crate) fn sum(&self, values: View) -> Result<Values> {
        let out = self.new_values(1, DType::F32)?;
        // SAFETY: one block of 1,024 threads.
        unsafe {
            let mut params = [out.view().into(), values.into(), values.len().into()];
            self.launch(("sum_all", ""), ((1, 1), 1024), 0, &mut params)?;
        }
        Ok(out)
    }
}

fn gelu(activation: Activation) -> i32 {
    match activation {
        Activation::Silu => 0,
        Activation::GeluTanh => 1,
    }
}

/// Threads for a row: whole warps, at most 512.
fn norm_threads(width: usize) -> u32 {
    (width.div_ceil(8).next_multiple_of(32)).clamp(32, 512) as u32
}
