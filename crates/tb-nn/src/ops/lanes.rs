//! Row kernels that the compiler turns into vector instructions: exponentials, sums, maxima. Single-threaded.
//!
//! Every function adds in a fixed order of `LANES` partial sums and uses no fused multiply-add, so that it gives the
//! same bits on every processor.

/// Partial sums kept side by side; a multiple of every vector width in use.
pub(crate) const LANES: usize = 16;

/// Compiles the body once for AVX2 and once for the baseline, and picks at run time.
macro_rules! vectorized {
    ($(#[$meta:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? $body:block) => {
        $(#[$meta])*
        $vis fn $name($($arg: $ty),*) $(-> $ret)? {
            #[inline(always)]
            fn body($($arg: $ty),*) $(-> $ret)? $body
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2")]
                fn avx2($($arg: $ty),*) $(-> $ret)? { body($($arg),*) }
                if std::arch::is_x86_feature_detected!("avx2") {
                    // SAFETY: the feature was just detected.
                    return unsafe { avx2($($arg),*) };
                }
            }
            body($($arg),*)
        }
    };
}
pub(crate) use vectorized;

/// e^x to about 2 units in the last place: x = n ln 2 + r, 2^n (1 + r + r^2 P(r)) with Cephes' polynomial.
/// Below -87.3 the result is 0; NaN stays NaN.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0; // 1.5 * 2^23: adding it rounds to an integer in the low mantissa bits
    let c = if x > 88.7 { 88.7 } else { x };
    let c = if c < -87.3 { -87.3 } else { c };
    let shifted = c * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = (c - n * 0.693_359_4) - n * -2.121_944_4e-4;
    let p = 1.987_569_1e-4;
    let p = p * r + 1.398_199_9e-3;
    let p = p * r + 8.333_452e-3;
    let p = p * r + 4.166_579_6e-2;
    let p = p * r + 1.666_666_5e-1;
    let p = p * r + 0.5;
    let y = p * (r * r) + r + 1.0;
    let power = f32::from_bits(shifted.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127) << 23);
    if x < -87.3 { 0.0 } else { y * power }
}

/// 1 / (1 + e^-x).
#[inline(always)]
pub(crate) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// tanh x to about 2 units in the last place: Cephes' polynomial below 0.625, 1 - 2 / (e^2x + 1) above.
#[inline(always)]
pub(crate) fn tanh(x: f32) -> f32 {
    let z = x * x;
    let p = -5.704_988_7e-3;
    let p = p * z + 2.063_909e-2;
    let p = p * z - 5.373_971_6e-2;
    let p = p * z + 1.333_144_2e-1;
    let p = p * z - 3.333_328e-1;
    let small = p * z * x + x;
    let size = x.abs();
    let large = (1.0 - 2.0 / (exp(2.0 * size) + 1.0)).copysign(x);
    if size < 0.625 { small } else { large }
}

vectorized! {
    /// Each value v becomes cap * tanh(v / cap).
    pub(crate) fn soft_cap(row: &mut [f32], cap: f32) {
        for v in row.iter_mut() {
            *v = cap * tanh(*v / cap);
        }
    }
}

/// The sum of all lanes, in a fixed order.
#[inline(always)]
pub(crate) fn fold(lanes: [f32; LANES]) -> f32 {
    let mut half = LANES / 2;
    let mut lanes = lanes;
    while half > 0 {
        for i in 0..half {
            lanes[i] += lanes[i + half];
        }
        half /= 2;
    }
    lanes[0]
}

/// Sum of f over two rows of equal length, in a fixed order.
#[inline(always)]
pub(crate) fn sum2(a: &[f32], b: &[f32], f: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [0f32; LANES];
    let (a_full, a_rest) = a.as_chunks::<LANES>();
    let (b_full, b_rest) = b.as_chunks::<LANES>();
    for (x, y) in a_full.iter().zip(b_full) {
        for i in 0..LANES {
            lanes[i] += f(x[i], y[i]);
        }
    }
    for (i, (x, y)) in a_rest.iter().zip(b_rest).enumerate() {
        lanes[i] += f(*x, *y);
    }
    fold(lanes)
}

/// Inner product, in a fixed order.
#[inline(always)]
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    sum2(a, b, |x, y| x * y)
}

/// The largest value; negative infinity of an empty row. A NaN in the row may or may not be seen.
#[inline(always)]
pub(crate) fn max(a: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (full, rest) = a.as_chunks::<LANES>();
    for x in full {
        for i in 0..LANES {
            lanes[i] = if x[i] > lanes[i] { x[i] } else { lanes[i] };
        }
    }
    rest.iter().chain(&lanes).fold(f32::NEG_INFINITY, |m, x| if *x > m { *x } else { m })
}

/// Replaces each value by e^(value - shift) and returns their sum.
#[inline(always)]
pub(crate) fn exp_and_sum(row: &mut [f32], shift: f32) -> f32 {
    let mut lanes = [0f32; LANES];
    let (full, rest) = row.as_chunks_mut::<LANES>();
    for x in full {
        for i in 0..LANES {
            x[i] = exp(x[i] - shift);
            lanes[i] += x[i];
        }
    }
    for (i, x) in rest.iter_mut().enumerate() {
        *x = exp(*x - shift);
        lanes[i] += *x;
    }
    fold(lanes)
}

#[cfg(test)]
mod tests {
    use super::*;

    vectorized! {
        fn exp_row(row: &mut [f32], shift: f32) -> f32 { exp_and_sum(row, shift) }
    }

    #[test]
    fn exp_is_within_three_units_in_the_last_place() {
        let mut worst = 0f64;
        for i in -8_700..8_800 {
            let x = i as f32 / 100.0;
            let want = f64::from(x).exp();
            worst = worst.max(((f64::from(exp(x)) - want) / want).abs());
        }
        assert!(worst < 3.0 * f64::from(f32::EPSILON), "{worst:e}");
        assert_eq!(exp(-100.0), 0.0);
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp(0.0), 1.0);
        assert!(exp(f32::NAN).is_nan());
    }

    #[test]
    fn tanh_is_within_three_units_in_the_last_place() {
        let mut worst = 0f64;
        for i in -20_000..20_000 {
            let x = i as f32 / 1000.0;
            let want = f64::from(x).tanh();
            let off = (f64::from(tanh(x)) - want).abs();
            worst = worst.max(if want == 0.0 { off } else { off / want.abs() });
        }
        assert!(worst < 3.0 * f64::from(f32::EPSILON), "{worst:e}");
        assert_eq!((tanh(100.0), tanh(-100.0), tanh(0.0)), (1.0, -1.0, 0.0));
        assert!(tanh(f32::NAN).is_nan());
    }

    #[test]
    fn vector_and_plain_code_give_the_same_bits() {
        let row: Vec<f32> = (0..77).map(|i| (i as f32 * 0.37).sin() * 9.0).collect();
        let (mut a, mut b) = (row.clone(), row);
        assert_eq!(exp_row(&mut a, 1.5).to_bits(), exp_and_sum(&mut b, 1.5).to_bits());
        assert_eq!(a, b);
    }

    #[test]
    fn sums_cover_the_ragged_end() {
        let a: Vec<f32> = (1..=37).map(|i| i as f32).collect();
        assert_eq!(dot(&a, &a), 17_575.0);
        assert_eq!(max(&a), 37.0);
        assert_eq!(max(&[]), f32::NEG_INFINITY);
    }
}
