//! y (N, O) = x (N, I) W' for a few rows, as in decoding, and a W that is held in q8_0: its bytes are widened in registers, so that a
//! token costs the reading of one byte a weight. x stays in f32.
//!
//! Each y is a sum of 16 partial sums, in an order that depends on I alone: a row of x has the same result whatever is beside it, and with
//! AVX-512 the one of `few_rows` with the dequantised W, to the bit.

use half::f16;
use rayon::prelude::*;

use super::{Old, has_vectors};
use crate::ops::lanes::{LANES, fold, vectorized};
use crate::ops::slices::SharedOut;
use crate::quant::{Q8_0, Q8_0_BLOCK as BLOCK};

/// Rows of W that make a task.
const TASK: usize = 32;

/// Rows of W.
#[derive(Clone, Copy)]
struct Rows<'a> {
    values: &'a [i8],
    scales: &'a [f16],
}

/// Where a product goes: its first value, the stride of its rows, and what happens to what is there.
type Into = (*mut f32, usize, Old);

/// A product of the common x, and its destination y with rows of `stride`.
#[derive(Clone, Copy)]
pub(super) struct Product<'a> {
    pub(super) weight: &'a Q8_0,
    pub(super) y: SharedOut,
    pub(super) stride: usize,
    pub(super) old: Old,
}

/// y (N, O) [+]= x (N, I) W' for each product, all of them as one parallel piece of work.
///
/// # Safety
/// Each y is valid for N x O writes, and initialised where it is added to.
pub(super) unsafe fn products(x: &[f32], i: usize, all: &[Product]) {
    let vectors = has_vectors();
    let tasks = |product: &Product| (product.weight.values.len() / i).div_ceil(TASK);
    let count = all.iter().map(tasks).sum();
    (0..count).into_par_iter().for_each(|mut task: usize| {
        for product in all {
            let own = tasks(product);
            if task < own {
                let Product { weight, y, stride, old } = *product;
                let rows = task * TASK..((task + 1) * TASK).min(weight.values.len() / i);
                let values = &weight.values[rows.start * i..rows.end * i];
                let scales = &weight.scales[rows.start * i / BLOCK..rows.end * i / BLOCK];
                // SAFETY: tasks write columns of their own, inside y by the caller's promise; the processor has the vectors where they are used.
                unsafe {
                    let (rows, y) = (Rows { values, scales }, (y.at(rows.start), stride, old));
                    if vectors { instructions::task(x, rows, i, y) } else { plain(x, rows, i, y) }
                }
                break;
            }
            task -= own;
        }
    });
}

/// The product on any processor.
///
/// # Safety
/// As [`products`].
unsafe fn plain(x: &[f32], weight: Rows, i: usize, (y, stride, old): Into) {
    let rows = weight.values.chunks_exact(i).zip(weight.scales.chunks_exact(i / BLOCK));
    for (column, (values, scales)) in rows.enumerate() {
        for (row, x) in x.chunks_exact(i).enumerate() {
            let sum = dot(x, values, scales);
            // SAFETY: inside y.
            unsafe {
                let at = y.add(row * stride + column);
                *at = if old == Old::Add { *at + sum } else { sum };
            }
        }
    }
}

vectorized! {
    fn dot(x: &[f32], values: &[i8], scales: &[f16]) -> f32 {
        let mut sums = [0f32; LANES];
        for ((x, values), scale) in x.as_chunks::<BLOCK>().0.iter().zip(values.as_chunks::<BLOCK>().0).zip(scales) {
            let scale = scale.to_f32();
            for (x, values) in x.as_chunks::<LANES>().0.iter().zip(values.as_chunks::<LANES>().0) {
                for lane in 0..LANES {
                    sums[lane] += x[lane] * (f32::from(values[lane]) * scale);
                }
            }
        }
        fold(sums)
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod instructions {
    pub(super) unsafe fn task(_: &[f32], _: super::Rows, _: usize, _: super::Into) {
        unreachable!("only where it is available")
    }
}

#[cfg(target_arch = "x86_64")]
mod instructions {
    use std::arch::x86_64::*;

    use super::{BLOCK, Into, LANES, Old, Rows};

    /// Rows of x that are taken together.
    const ROWS: usize = 8;
    /// Rows of W that are taken together with one row of x, and with more.
    const ALONE: usize = 4;
    const PAIR: usize = 2;

    /// Bytes of W that are asked for before they are needed; they fit in the first-level cache.
    const AHEAD: usize = 8 << 10;

    /// A task of a product.
    ///
    /// # Safety
    /// As [`super::products`], and the processor has AVX-512 (F, BW, VL).
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    pub(super) unsafe fn task(x: &[f32], weight: Rows, i: usize, (y, stride, old): Into) {
        let (rows, together) = (weight.values.len() / i, if x.len() == i { ALONE } else { PAIR });
        for first in (0..rows).step_by(together) {
            let n = together.min(rows - first);
            let weight = Rows {
                values: &weight.values[first * i..(first + n) * i],
                scales: &weight.scales[first * i / BLOCK..(first + n) * i / BLOCK],
            };
            for (part, x) in x.chunks(ROWS * i).enumerate() {
                // SAFETY: the tile lies inside y.
                unsafe { tile(x, weight, i, (y.add(ROWS * part * stride + first), stride, old)) };
            }
        }
    }

    /// Up to [`ROWS`] rows of x and a few of W.
    ///
    /// # Safety
    /// As [`sums`].
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    unsafe fn tile(x: &[f32], weight: Rows, i: usize, y: Into) {
        // SAFETY: the caller's promise.
        unsafe {
            match (x.len() / i, weight.values.len() / i) {
                (1, ALONE) => sums::<1, ALONE>(x, weight, i, y),
                (1, PAIR) => sums::<1, PAIR>(x, weight, i, y),
                (2, PAIR) => sums::<2, PAIR>(x, weight, i, y),
                (3, PAIR) => sums::<3, PAIR>(x, weight, i, y),
                (4, PAIR) => sums::<4, PAIR>(x, weight, i, y),
                (5, PAIR) => sums::<5, PAIR>(x, weight, i, y),
                (6, PAIR) => sums::<6, PAIR>(x, weight, i, y),
                (7, PAIR) => sums::<7, PAIR>(x, weight, i, y),
                (ROWS, PAIR) => sums::<ROWS, PAIR>(x, weight, i, y),
                (n, m) => {
                    for (row, column) in (0..n).flat_map(|row| (0..m).map(move |column| (row, column))) {
                        let weight = Rows {
                            values: &weight.values[column * i..(column + 1) * i],
                            scales: &weight.scales[column * i / BLOCK..(column + 1) * i / BLOCK],
                        };
                        sums::<1, 1>(&x[row * i..(row + 1) * i], weight, i, (y.0.add(row * y.1 + column), y.1, y.2));
                    }
                }
            }
        }
    }

    /// # Safety
    /// x holds `X` rows of i values and W `O`, in whole blocks; y has room for `X` rows of `O` values, initialised where they are added to.
    /// The vectors are available.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    #[inline]
    unsafe fn sums<const X: usize, const O: usize>(x: &[f32], weight: Rows, i: usize, (y, stride, old): Into) {
        let blocks = i / BLOCK;
        assert!(x.len() == X * i && weight.values.len() == O * i && weight.scales.len() == O * blocks);
        let (x, values, scales) = (x.as_ptr(), weight.values.as_ptr(), weight.scales.as_ptr());
        // Short rows end before the processor sees where they lead: the next ones are asked for here. In long ones it is what comes next.
        let (ahead, of_block, of_row) = if O * i <= AHEAD { (O * i, O * BLOCK, BLOCK) } else { (AHEAD / O, BLOCK, i) };
        for at in (0..O * blocks).step_by(32) {
            _mm_prefetch::<_MM_HINT_T0>(scales.wrapping_add(O * blocks + at).cast());
        }
        let mut sums = [[_mm512_setzero_ps(); O]; X];
        for block in 0..blocks {
            let mut scale = [_mm512_setzero_ps(); O];
            for (row, scale) in scale.iter_mut().enumerate() {
                _mm_prefetch::<_MM_HINT_T0>(values.wrapping_add(ahead + block * of_block + row * of_row));
                // SAFETY: the block lies inside W.
                let half = unsafe { (*scales.add(row * blocks + block)).to_bits() };
                *scale = _mm512_cvtph_ps(_mm256_set1_epi16(half as i16));
            }
            for at in [block * BLOCK, block * BLOCK + LANES] {
                let mut wide = [_mm512_setzero_ps(); O];
                for (row, (wide, scale)) in wide.iter_mut().zip(scale).enumerate() {
                    // SAFETY: half a block of W.
                    let bytes = unsafe { _mm_loadu_si128(values.add(row * i + at).cast()) };
                    *wide = _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes)), scale);
                }
                for (row, sums) in sums.iter_mut().enumerate() {
                    // SAFETY: inside x.
                    let x = unsafe { _mm512_loadu_ps(x.add(row * i + at)) };
                    for (sum, wide) in sums.iter_mut().zip(wide) {
                        *sum = _mm512_fmadd_ps(x, wide, *sum);
                    }
                }
            }
        }
        for (row, sums) in sums.iter().enumerate() {
            for (column, sum) in sums.iter().enumerate() {
                let sum = _mm512_reduce_add_ps(*sum);
                // SAFETY: inside y.
                unsafe {
                    let at = y.add(row * stride + column);
                    *at = if old == Old::Add { *at + sum } else { sum };
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::few_rows;
    use super::*;
    use crate::quant::{Arena, Quantised, Rounding};

    fn number(seed: usize) -> f32 {
        (seed * 7919 % 331) as f32 / 331.0 - 0.5
    }

    fn blocks(rows: usize, i: usize) -> Q8_0 {
        let n = rows * i;
        let arena = Arena::default();
        let values = arena.part(n, |v| v.iter_mut().enumerate().for_each(|(k, v)| *v = (k * 7919 % 255) as u8 as i8));
        let scale = |k: usize| f16::from_f32(0.01 + number(k) / 100.0);
        let scales = arena.part(n / BLOCK, |s| s.iter_mut().enumerate().for_each(|(k, s)| *s = scale(k)));
        Q8_0 { values: values.unwrap(), scales: scales.unwrap() }
    }

    #[test]
    fn a_row_has_the_same_result_whatever_is_beside_it_and_however_it_is_stored() {
        for (o, i) in [(1, 32), (2, 64), (33, 96), (71, 160), (7, 576)] {
            let (x, weight) = ((0..16 * i).map(number).collect::<Vec<f32>>(), blocks(o, i));
            let run = |x: &[f32], old: Old| {
                let mut y = vec![if old == Old::Add { 1.0 } else { f32::NAN }; x.len() / i * o];
                let product = Product { weight: &weight, y: SharedOut::new(&mut y), stride: o, old };
                // SAFETY: y has the room.
                unsafe { products(x, i, &[product]) };
                y
            };
            let alone: Vec<f32> = x.chunks(i).flat_map(|x| run(x, Old::Drop)).collect();
            for n in 1..=16 {
                assert_eq!(run(&x[..n * i], Old::Drop), alone[..n * o], "{n} rows of {i}");
                let added: Vec<f32> = alone[..n * o].iter().map(|y| y + 1.0).collect();
                assert_eq!(run(&x[..n * i], Old::Add), added);
            }
            let dense = Quantised::from_q8_0(weight.clone(), (o, i), Rounding::F32).dequantise().unwrap();
            let dense = dense.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            let mut any = vec![0f32; 16 * o];
            // SAFETY: it has the room.
            unsafe {
                let rows = Rows { values: &weight.values, scales: &weight.scales };
                plain(&x, rows, i, (any.as_mut_ptr(), o, Old::Drop));
            }
            for (at, y) in alone.iter().enumerate() {
                let (row, column) = (at / o, at % o);
                let exact: f64 = (0..i).map(|k| f64::from(x[row * i + k]) * f64::from(dense[column * i + k])).sum();
                assert!((f64::from(*y) - exact).abs() <= 1e-5 && (f64::from(any[at]) - exact).abs() <= 1e-5);
            }
            if has_vectors() {
                let mut expected = vec![0f32; 16 * o];
                // SAFETY: it is available, and there is the room.
                unsafe { few_rows::product(&x, &dense, i, (expected.as_mut_ptr(), o, Old::Drop)) };
                assert_eq!(alone, expected);
            }
        }
    }
}
