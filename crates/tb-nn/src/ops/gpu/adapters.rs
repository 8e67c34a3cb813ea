//! The narrow side of low-rank adapters on a GPU: h = drop(x) A' and its backward, for the adapters of one input together where they are
//! alike (`adapters.cu`), else each by products.

use candle_core::{DType, Result};

use super::{Gpu, Mask, Mat, Old, Param, Values, View};
use crate::ops::linear::LowRank;

/// Adapters of one input that are computed together.
const MOST_ADAPTERS: usize = 3;
/// Largest rank of the kernels; they are compiled for 8 and 16.
const MOST_RANK: usize = 16;
/// Warps of a block, and the columns that each has.
const WARPS: usize = 4;
const SPAN: usize = 64;
/// Rows of a block of the forward.
const ROWS: usize = 16;
/// Rows of a block that adds to dx: few, so that there are blocks for every multiprocessor.
const ROWS_OF_X: usize = 32;
/// Blocks that make partial sums of dA: as many as a large GPU has at a time.
const BLOCKS_OF_A: usize = 384;

/// Rows of a chunk in the backward, of which there is a partial sum of dA: a function of the shape alone, so that sums have one order.
fn chunk_rows(n: usize, inputs: usize) -> usize {
    let chunks = BLOCKS_OF_A.div_ceil(inputs.div_ceil(SPAN));
    n.div_ceil(chunks).next_multiple_of(WARPS * ROWS)
}

/// What the forward keeps for the backward.
pub(crate) struct Narrow {
    /// h = drop(x) A' (N, r).
    pub(crate) h: Values,
    /// A bit per element of x, set where it is kept, as bytes; none where the mask is made again, or there is none.
    bits: Option<Values>,
}

impl Narrow {
    /// Of an input of which nothing was dropped.
    pub(super) fn whole(h: Values) -> Self {
        Self { h, bits: None }
    }
}

/// The backward of one adapter: what it kept, A (r, I), the gradient of h (N, r) and the place of that of A, (r, I) f32.
pub(crate) struct NarrowBack<'a> {
    pub(crate) low: &'a LowRank,
    pub(crate) kept: &'a Narrow,
    pub(crate) a: View<'a>,
    pub(crate) dh: View<'a>,
    pub(crate) da: View<'a>,
}

/// The masks of adapters that can be computed together: none without dropout.
struct Together {
    masks: Vec<Option<Mask>>,
    rank: usize,
}

impl Together {
    fn of(x: View, lows: &[&LowRank]) -> Option<Self> {
        let first = lows.first()?;
        let n = x.len() / first.inputs;
        let masks: Vec<Option<Mask>> = lows.iter().map(|low| low.mask(n)).collect();
        let alike = |a: &Option<Mask>, b: &Option<Mask>| match (a, b) {
            (None, None) => true,
            (Some(a), Some(b)) => {
                let common = |m: &Mask| (m.stream.key, m.stream.purpose, m.first_row, m.rows, m.threshold);
                common(a) == common(b)
            }
            (None, Some(_)) | (Some(_), None) => false,
        };
        let fits = x.dtype() == DType::BF16
            && x.at().is_multiple_of(16)
            && first.inputs.is_multiple_of(8)
            && first.rank <= MOST_RANK
            && lows.len() <= MOST_ADAPTERS
            && lows.iter().all(|low| low.rank == first.rank && low.inputs == first.inputs)
            && masks.iter().all(|mask| alike(mask, &masks[0]));
        fits.then_some(Self { masks, rank: first.rank })
    }

    fn suffix(&self) -> &'static str {
        if self.rank <= 8 { "_8" } else { "_16" }
    }

    /// The four parameters of each adapter, in (A, h, bits).
    fn params(&self, adapters: &[(View, View, Option<View>)]) -> Vec<Param> {
        let mut params = Vec::with_capacity(4 * MOST_ADAPTERS);
        for ((a, h, bits), mask) in adapters.iter().zip(&self.masks) {
            params.extend([Param::from(*a), (*h).into(), (*bits).into()]);
            params.push(mask.map_or(0, |m| m.stream.lane).into());
        }
        params.resize(4 * MOST_ADAPTERS, 0u64.into());
        params
    }

    fn scale(&self) -> f32 {
        self.masks[0].map_or(1.0, |m| m.scale)
    }
}

impl LowRank {
    fn mask(&self, tokens: usize) -> Option<Mask> {
        self.dropout.as_ref().map(|dropout| dropout.on_gpu(tokens))
    }
}

impl Gpu {
    /// h = drop(x) A' of each adapter, given with its A.
    pub(crate) fn narrow(&self, x: View, adapters: &[(&LowRank, View)]) -> Result<Vec<Narrow>> {
        let lows: Vec<&LowRank> = adapters.iter().map(|(low, _)| *low).collect();
        let Some(together) = Together::of(x, &lows) else {
            return adapters.iter().map(|(low, a)| self.narrow_alone(x, low, *a)).collect();
        };
        let (i, r) = (lows[0].inputs, together.rank);
        let n = x.len() / i;
        let kept = |mask: &Option<Mask>| -> Result<Narrow> {
            let bits = mask.map(|_| self.new_values(n * i / 16 + 1, DType::BF16)).transpose()?;
            Ok(Narrow { h: self.new_values(n * r, x.dtype())?, bits })
        };
        let kept: Vec<Narrow> = together.masks.iter().map(kept).collect::<Result<_>>()?;
        let views: Vec<_> =
            adapters.iter().zip(&kept).map(|((_, a), k)| (*a, k.h.view(), k.bits.as_ref().map(Values::view))).collect();
        let mask = together.masks[0];
        let head: [Param; 5] =
            [x.into(), (n as i32).into(), (i as i32).into(), (r as i32).into(), (lows.len() as i32).into()];
        let tail: [Param; 6] = [
            mask.map_or(0, |m| m.stream.key).into(),
            mask.map_or(0, |m| m.stream.purpose).into(),
            mask.map_or(0, |m| m.first_row).into(),
            mask.map_or(0, |m| m.threshold).into(),
            together.scale().into(),
            (mask.map_or(n, |m| n / m.rows.max(1)) as i32).into(),
        ];
        let mut params: Vec<Param> = head.into_iter().chain(together.params(&views)).chain(tail).collect();
        let blocks = n.div_ceil(ROWS) as u32;
        // SAFETY: shapes were checked where the layers were made; x is aligned to groups of eight.
        unsafe { self.launch(("adapters_down", together.suffix()), ((blocks, 1), 32 * WARPS as u32), 0, &mut params)? };
        Ok(kept)
    }

    /// Writes dA = dh' drop(x) of each adapter, and adds drop'(dh A) to dx, where that is wanted.
    pub(crate) fn narrow_back(&self, x: View, adapters: &[NarrowBack], dx: Option<&mut Values>) -> Result<()> {
        let lows: Vec<&LowRank> = adapters.iter().map(|back| back.low).collect();
        let made_together = adapters.iter().all(|back| back.low.dropout.is_none() || back.kept.bits.is_some());
        let Some(together) = Together::of(x, &lows).filter(|_| made_together) else {
            let mut dx = dx;
            return adapters.iter().try_for_each(|back| self.narrow_back_alone(x, back, dx.as_deref_mut()));
        };
        let (i, r, count) = (lows[0].inputs, together.rank, lows.len());
        let n = x.len() / i;
        let views: Vec<_> = adapters.iter().map(|b| (b.a, b.dh, b.kept.bits.as_ref().map(Values::view))).collect();
        let sizes: [Param; 4] = [(n as i32).into(), (i as i32).into(), (r as i32).into(), (count as i32).into()];
        let chunk = chunk_rows(n, i);
        let chunks = n.div_ceil(chunk);
        let parts = self.new_values(chunks * count * r * i, DType::F32)?;
        let mut params: Vec<Param> = [parts.view().into(), x.into()]
            .into_iter()
            .chain(sizes)
            .chain(together.params(&views))
            .chain([(chunk as i32).into()])
            .collect();
        let grid = (i.div_ceil(SPAN) as u32, chunks as u32);
        // SAFETY: as in the forward; every chunk writes its part.
        unsafe { self.launch(("adapters_of_a", together.suffix()), (grid, 32 * WARPS as u32), 0, &mut params)? };
        for (at, back) in adapters.iter().enumerate() {
            let mine = parts.view().part(at * r * i, parts.len() - at * r * i);
            let mut params = [
                back.da.into(),
                mine.into(),
                (chunks as i32).into(),
                (count * r * i).into(),
                together.scale().into(),
                (r * i).into(),
            ];
            // SAFETY: the parts of one adapter are so far apart.
            unsafe { self.over(("adapters_join", ""), r * i, &mut params)? };
        }
        let Some(dx) = dx else { return Ok(()) };
        let mut params: Vec<Param> = [dx.view().into()]
            .into_iter()
            .chain(sizes)
            .chain(together.params(&views))
            .chain([together.scale().into(), (ROWS_OF_X as i32).into()])
            .collect();
        let grid = (i.div_ceil(WARPS * SPAN) as u32, n.div_ceil(ROWS_OF_X) as u32);
        // SAFETY: as in the forward.
        unsafe { self.launch(("adapters_back", together.suffix()), (grid, 32 * WARPS as u32), 0, &mut params) }
    }

    fn narrow_alone(&self, x: View, low: &LowRank, a: View) -> Result<Narrow> {
        let (r, i) = (low.rank, low.inputs);
        let n = x.len() / i;
        let dropped = low.mask(n).map(|mask| self.dropout(x, &mask, None)).transpose()?.flatten();
        let x = dropped.as_ref().map_or(x, Values::view);
        let h = self.new_product((n, r, i), (Mat::rows(x, i), Mat::transposed(a, i)), 1.0, x.dtype())?;
        Ok(Narrow::whole(h))
    }

    fn narrow_back_alone(&self, x: View, back: &NarrowBack, dx: Option<&mut Values>) -> Result<()> {
        let NarrowBack { low, a, dh, da, .. } = *back;
        let (r, i) = (low.rank, low.inputs);
        let n = x.len() / i;
        let mask = low.mask(n);
        let dropped = mask.map(|mask| self.dropout(x, &mask, None)).transpose()?.flatten();
        let seen = dropped.as_ref().map_or(x, Values::view);
        self.product((r, i, n), da, i, Old::Drop, (Mat::transposed(dh, r), Mat::rows(seen, i)), 1.0)?;
        drop(dropped);
        let Some(dx) = dx else { return Ok(()) };
        let factors = (Mat::rows(dh, r), Mat::rows(a, i));
        match mask {
            None => self.product((n, i, r), dx.view(), i, Old::Add, factors, 1.0),
            Some(mask) => {
                let part = self.new_product((n, i, r), factors, 1.0, dh.dtype())?;
                self.dropout(part.view(), &mask, Some(dx)).map(drop)
            }
        }
    }
}
