//! y (N, O) = x (N, I) W' for a few rows, as in decoding: every value of W is read once and meets all rows of x, which stay in the cache.
//!
//! Each y is a sum of 16 partial sums, in an order that depends on I alone: a row of x has the same result whatever is beside it.

use half::bf16;

use super::Old;

/// Most rows for which this is the fastest way.
pub(crate) const MOST_ROWS: usize = 16;

#[cfg(not(target_arch = "x86_64"))]
mod instructions {
    use super::Old;

    pub(in super::super) unsafe fn product<W>(_: &[f32], _: &[W], _: usize, _: (*mut f32, usize, Old)) {
        unreachable!("only where it is available")
    }
}

#[cfg(target_arch = "x86_64")]
mod instructions {
    use std::arch::x86_64::*;

    use rayon::prelude::*;

    use super::super::{Place, lane_mask};
    use super::{Old, bf16};

    /// Partial sums of a product: a vector.
    const LANES: usize = 16;
    /// Rows of x that are taken together.
    const ROWS: usize = 8;
    /// Rows of W that are taken together.
    const PAIR: usize = 2;
    /// Rows of W that make a task.
    const TASK: usize = 32;

    /// A number of W as it is stored.
    pub(in super::super) trait Stored: Copy + Sync {
        /// The numbers at `at` whose bits are set in `mask`, 0 elsewhere.
        ///
        /// # Safety
        /// Those numbers can be read, and the processor has AVX-512 (F, BW, VL).
        unsafe fn load(at: *const Self, mask: u16) -> __m512;
    }

    impl Stored for f32 {
        #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
        #[inline]
        unsafe fn load(at: *const Self, mask: u16) -> __m512 {
            // SAFETY: the caller's promise.
            unsafe { _mm512_maskz_loadu_ps(mask, at) }
        }
    }

    impl Stored for bf16 {
        #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
        #[inline]
        unsafe fn load(at: *const Self, mask: u16) -> __m512 {
            // SAFETY: the caller's promise.
            let narrow = unsafe { _mm256_maskz_loadu_epi16(mask, at.cast()) };
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(narrow)))
        }
    }

    /// y (N, O) [+]= x (N, I) W' for the rows (O, I) of `weight`; y has rows of `stride`.
    ///
    /// # Safety
    /// [`super::super::has_vectors`]; y is valid for N x O writes, and initialised where it is added to.
    pub(in super::super) unsafe fn product<W: Stored>(
        x: &[f32],
        weight: &[W],
        i: usize,
        (y, stride, old): (*mut f32, usize, Old),
    ) {
        let place = Place(y);
        weight.par_chunks(TASK * i).enumerate().for_each(|(task, weight)| {
            for (pair, weight) in weight.chunks(PAIR * i).enumerate() {
                for (part, x) in x.chunks(ROWS * i).enumerate() {
                    // SAFETY: the vectors are available; the tile lies inside y, and no two tasks share a column.
                    unsafe {
                        let y = place.at(ROWS * part * stride + task * TASK + pair * PAIR);
                        tile(x, weight, i, (y, stride, old));
                    }
                }
            }
        });
    }

    /// Up to [`ROWS`] rows of x and up to [`PAIR`] of W.
    ///
    /// # Safety
    /// As [`sums`].
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    unsafe fn tile<W: Stored>(x: &[f32], weight: &[W], i: usize, y: (*mut f32, usize, Old)) {
        // SAFETY: the caller's promise.
        unsafe {
            match (x.len() / i, weight.len() / i) {
                (1, PAIR) => sums::<W, 1, PAIR>(x, weight, i, y),
                (2, PAIR) => sums::<W, 2, PAIR>(x, weight, i, y),
                (3, PAIR) => sums::<W, 3, PAIR>(x, weight, i, y),
                (4, PAIR) => sums::<W, 4, PAIR>(x, weight, i, y),
                (5, PAIR) => sums::<W, 5, PAIR>(x, weight, i, y),
                (6, PAIR) => sums::<W, 6, PAIR>(x, weight, i, y),
                (7, PAIR) => sums::<W, 7, PAIR>(x, weight, i, y),
                (ROWS, PAIR) => sums::<W, ROWS, PAIR>(x, weight, i, y),
                (n, _) => {
                    for row in 0..n {
                        sums::<W, 1, 1>(&x[row * i..], weight, i, (y.0.add(row * y.1), y.1, y.2));
                    }
                }
            }
        }
    }

    /// # Safety
    /// x holds `X` rows and W `O`; y has room for `X` rows of `O` values, initialised where they are added to. The vectors are available.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    #[inline]
    unsafe fn sums<W: Stored, const X: usize, const O: usize>(
        x: &[f32],
        weight: &[W],
        i: usize,
        (y, stride, old): (*mut f32, usize, Old),
    ) {
        let mut sums = [[_mm512_setzero_ps(); O]; X];
        for at in (0..i).step_by(LANES) {
            let mask = lane_mask(i - at);
            let mut wide = [_mm512_setzero_ps(); O];
            for (row, wide) in wide.iter_mut().enumerate() {
                // SAFETY: the mask ends with the row.
                *wide = unsafe { W::load(weight.as_ptr().add(row * i + at), mask) };
            }
            for (row, sums) in sums.iter_mut().enumerate() {
                // SAFETY: as above.
                let x = unsafe { _mm512_maskz_loadu_ps(mask, x.as_ptr().add(row * i + at)) };
                for (sum, wide) in sums.iter_mut().zip(wide) {
                    *sum = _mm512_fmadd_ps(x, wide, *sum);
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

pub(super) use instructions::product;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_the_same_result_whatever_is_beside_it() {
        if !super::super::has_vectors() {
            return;
        }
        let number = |seed: usize| (seed * 7919 % 331) as f32 / 331.0 - 0.5;
        for (o, i) in [(1, 1), (2, 16), (33, 40), (70, 100), (7, 577)] {
            let (x, w): (Vec<f32>, Vec<f32>) =
                ((0..16 * i).map(number).collect(), (5..5 + o * i).map(number).collect());
            let narrow: Vec<bf16> = w.iter().map(|w| bf16::from_f32(*w)).collect();
            let run = |x: &[f32], old: Old| {
                let mut y = vec![if old == Old::Add { 1.0 } else { f32::NAN }; x.len() / i * o];
                // SAFETY: it is available, and y has the room.
                unsafe { product(x, &w, i, (y.as_mut_ptr(), o, old)) };
                y
            };
            let alone: Vec<f32> = x.chunks(i).flat_map(|x| run(x, Old::Drop)).collect();
            for n in 1..=16 {
                assert_eq!(run(&x[..n * i], Old::Drop), alone[..n * o], "{n} rows of {i}");
                let added: Vec<f32> = alone[..n * o].iter().map(|y| y + 1.0).collect();
                assert_eq!(run(&x[..n * i], Old::Add), added);
            }
            for (at, y) in alone.iter().enumerate() {
                let (row, column) = (at / o, at % o);
                let exact: f64 = (0..i).map(|k| f64::from(x[row * i + k]) * f64::from(w[column * i + k])).sum();
                assert!((f64::from(*y) - exact).abs() <= 1e-5, "{y} {exact}");
            }
            let widened: Vec<f32> = narrow.iter().map(|w| w.to_f32()).collect();
            let (mut a, mut b) = (vec![0f32; o], vec![0f32; o]);
            // SAFETY: as above.
            unsafe {
                product(&x[..i], &narrow, i, (a.as_mut_ptr(), o, Old::Drop));
                product(&x[..i], &widened, i, (b.as_mut_ptr(), o, Old::Drop));
            }
            assert_eq!(a, b);
        }
    }
}
