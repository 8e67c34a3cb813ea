//! Student's t distribution: its quantile and its tails, for any positive degrees of freedom, also fractional ones.

use super::normal_quantile;

/// The most terms of a continued fraction; some hundred are the most that t needs.
const MOST_TERMS: usize = 20_000;

/// The quantile of Student's t distribution: the `t` with `P(T <= t) = p`, for `p` in (0, 1) and `df > 0`.
///
/// Relative error about 1e-13 (compared with scipy). Negative or positive infinity at 0 and 1; NaN for `p` outside
/// [0, 1] or `df` not above 0. Infinite `df` is the normal distribution.
pub fn student_t_quantile(p: f64, df: f64) -> f64 {
    if p.is_nan() || !(0.0..=1.0).contains(&p) || df.is_nan() || df <= 0.0 {
        return f64::NAN;
    }
    if df.is_infinite() || p == 0.0 || p == 1.0 || p == 0.5 {
        return normal_quantile(p);
    }
    let tail = p.min(1.0 - p);
    let size = critical(1.0 - 2.0 * tail, 2.0 * tail, df);
    if p < 0.5 { -size } else { size }
}

/// The two-sided p-value of a t statistic: `P(|T| >= |t|) = I_x(df/2, 1/2)` with `x = df / (df + t²)`.
///
/// NaN where `t` is NaN or `df` is not above 0.
pub fn student_t_two_sided(t: f64, df: f64) -> f64 {
    if t.is_nan() || df.is_nan() || df <= 0.0 {
        return f64::NAN;
    }
    if t == 0.0 {
        return 1.0;
    }
    if t.is_infinite() {
        return 0.0;
    }
    // Beyond this the difference from the normal distribution is under one part in 10^16.
    Shares::at(t.abs(), df.min(1e18)).outside
}

/// The `t` with `P(|T| <= t) = confidence`: half the width of a two-sided interval, in standard errors.
pub(crate) fn student_t_critical(confidence: f64, df: f64) -> f64 {
    if df.is_infinite() {
        return normal_quantile(0.5 + confidence / 2.0);
    }
    critical(confidence, 1.0 - confidence, df)
}

/// The positive `t` with `inside` of the probability in [-t, t] and `outside` of it beyond.
///
/// Newton's method on ln(share) against ln(t) for the smaller share: both curves are concave, a straight line towards
/// 0 and towards infinity, so that it converges from the normal quantile for every df.
fn critical(inside: f64, outside: f64, df: f64) -> f64 {
    let start = if inside < 0.5 { normal_quantile(0.5 + inside / 2.0) } else { -normal_quantile(outside / 2.0) };
    if start <= 0.0 || !start.is_finite() {
        return start.max(0.0);
    }
    let df = df.min(1e18);
    let mut log_t = start.ln();
    for _ in 0..200 {
        let at = Shares::at(log_t.exp(), df);
        // d inside / d ln t = 2 t f(t) = 2 density.
        let step = if inside < 0.5 {
            (inside / at.inside).ln() * at.inside / (2.0 * at.density)
        } else {
            (at.outside / outside).ln() * at.outside / (2.0 * at.density)
        };
        if !step.is_finite() {
            break;
        }
        log_t += step;
        if step.abs() <= 4.0 * f64::EPSILON {
            break;
        }
    }
    log_t.exp()
}

/// What of the t distribution lies within [-t, t] and beyond, and `t f(t)` with its density `f`.
struct Shares {
    inside: f64,
    outside: f64,
    density: f64,
}

impl Shares {
    /// For `t > 0`. With `a = df/2`, `x = df/(df + t²)`, `y = 1 - x`: `t f(t) = x^a y^(1/2) / B(a, 1/2)`.
    fn at(t: f64, df: f64) -> Self {
        let a = df / 2.0;
        let ratio = t / df.sqrt();
        // ln(1/x), without overflow of the square.
        let log_inverse_x = if ratio > 1e100 { 2.0 * ratio.ln() } else { (ratio * ratio).ln_1p() };
        let x = (-log_inverse_x).exp();
        let y = -(-log_inverse_x).exp_m1();
        let log_density = -a * log_inverse_x + ratio.ln() - log_inverse_x / 2.0 + log_gamma_half_step(a)
            - std::f64::consts::PI.ln() / 2.0;
        let density = log_density.exp();
        // The side on which its continued fraction converges fast (Numerical Recipes, 3rd edition, 6.4).
        if x < (a + 1.0) / (a + 2.5) {
            let outside = (density * tail_fraction(a, x, y)).min(1.0);
            Self { inside: 1.0 - outside, outside, density }
        } else {
            let inside = (2.0 * density * centre_fraction(a, y)).min(1.0);
            Self { inside, outside: 1.0 - inside, density }
        }
    }
}

/// `ln(Γ(a + 1/2) / Γ(a))` for `a > 0`, without the cancellation of two logarithms of Γ.
///
/// Asymptotic series from Bernoulli polynomials at 1/2 (DLMF 5.11.8), after stepping `a` up to 16 with
/// `Γ(a + 1) = a Γ(a)`.
fn log_gamma_half_step(mut a: f64) -> f64 {
    let mut stepped = 1.0;
    while a < 16.0 {
        stepped *= a / (a + 0.5);
        a += 1.0;
    }
    let square = 1.0 / (a * a);
    let series = -1.0 / 8.0
        + square * (1.0 / 192.0 + square * (-1.0 / 640.0 + square * (17.0 / 14_336.0 + square * (-31.0 / 18_432.0))));
    a.ln() / 2.0 + series / a + stepped.ln()
}

/// `I_x(a, b) B(a, b) / (x^a y^b)` for `b = 1/2` and `y = 1 - x`: the even part of DLMF 8.17.22 (as in Boost's
/// `ibeta`), which takes `a y` as it is: `x` near 1 times a large `a` has lost its digits.
fn tail_fraction(a: f64, x: f64, y: f64) -> f64 {
    let b = 0.5;
    let denominator = |m: f64| {
        let first = if m == 0.0 { 0.0 } else { m + m * (b - m) * x / (a + 2.0 * m - 1.0) };
        first + (a + m) * (a * y - b * x + 1.0 + m * (2.0 - x)) / (a + 2.0 * m + 1.0)
    };
    let numerator =
        |m: f64| (a + m - 1.0) * (a + b + m - 1.0) * m * (b - m) * x * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m - 1.0));
    1.0 / lentz(denominator(0.0), |m| [(numerator(m), denominator(m))])
}

/// `I_y(b, a) b B(b, a) / (y^b (1 - y)^a)` for `b = 1/2` (DLMF 8.17.22).
fn centre_fraction(a: f64, y: f64) -> f64 {
    let b = 0.5;
    let even = |m: f64| m * (a - m) * y / ((b + 2.0 * m - 1.0) * (b + 2.0 * m));
    let odd = |m: f64| -(b + m) * (b + a + m) * y / ((b + 2.0 * m) * (b + 2.0 * m + 1.0));
    1.0 / lentz(1.0, |m| [(odd(m - 1.0), 1.0), (even(m), 1.0)])
}

/// `b0 + a1 / (b1 + a2 / (b2 + ...))` by the modified Lentz algorithm; `terms` gives pairs (a, b), some for each
/// m = 1, 2, ...
fn lentz<const N: usize>(b0: f64, terms: impl Fn(f64) -> [(f64, f64); N]) -> f64 {
    let nonzero = |v: f64| if v.abs() < 1e-300 { 1e-300 } else { v };
    let mut value = nonzero(b0);
    let (mut c, mut d) = (value, 0.0);
    for m in 1..MOST_TERMS {
        let mut moved: f64 = 0.0;
        for (a, b) in terms(m as f64) {
            d = 1.0 / nonzero(b + a * d);
            c = nonzero(b + a / c);
            value *= c * d;
            moved = moved.max((c * d - 1.0).abs());
        }
        if moved <= f64::EPSILON {
            break;
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use super::{student_t_critical, student_t_quantile, student_t_two_sided};
    use crate::special::normal_quantile;

    #[test]
    fn one_and_two_degrees_have_closed_forms() {
        for p in [1e-12, 1e-3, 0.1, 0.4, 0.499, 0.6, 0.975, 0.9999] {
            let cauchy = -1.0 / (std::f64::consts::PI * p).tan();
            let got = student_t_quantile(p, 1.0);
            assert!((got - cauchy).abs() <= 1e-12 * cauchy.abs().max(1e-3), "{p}: {got}, {cauchy}");
            let two = (2.0 * p - 1.0) / (2.0 * p * (1.0 - p)).sqrt();
            let got = student_t_quantile(p, 2.0);
            assert!((got - two).abs() <= 1e-12 * two.abs().max(1e-3), "{p}: {got}, {two}");
        }
        // P(|T| >= t) is 1 - 2/π atan(t) for one degree of freedom.
        for t in [1e-6, 0.1, 1.0, 7.0] {
            let want = 1.0 - std::f64::consts::FRAC_2_PI * f64::atan(t);
            assert!((student_t_two_sided(-t, 1.0) - want).abs() < 1e-15, "{t}");
        }
    }

    #[test]
    fn many_degrees_are_the_normal_distribution() {
        for p in [1e-9, 0.025, 0.3, 0.975] {
            let z = normal_quantile(p);
            // t = z + (z³ + z) / (4 df) + ...
            assert!((student_t_quantile(p, 1e15) - z).abs() < 1e-12 * z.abs(), "{p}");
            let first = z + (z * z * z + z) / 4e8;
            assert!((student_t_quantile(p, 1e8) - first).abs() < 1e-12 * z.abs(), "{p}");
            assert_eq!(student_t_quantile(p, f64::INFINITY), z);
        }
        assert_eq!(student_t_critical(0.95, f64::INFINITY), normal_quantile(0.975));
    }

    #[test]
    fn quantile_and_tails_are_inverse() {
        for df in [0.5, 1.0, 1.7, 4.0, 29.3, 400.0, 1e6, 1e12] {
            for tails in [1e-15, 1e-6, 0.05, 0.4, 0.6, 0.99, 1.0 - 1e-9] {
                let t = student_t_quantile(tails / 2.0, df);
                let got = student_t_two_sided(t, df);
                assert!((got / tails - 1.0).abs() < 1e-12, "df {df}, {tails}: t {t}, {got}");
            }
        }
    }

    #[test]
    fn the_ends_are_infinite_and_nonsense_is_nan() {
        assert_eq!(student_t_quantile(0.0, 3.0), f64::NEG_INFINITY);
        assert_eq!(student_t_quantile(1.0, 3.0), f64::INFINITY);
        assert_eq!(student_t_quantile(0.5, 3.0), 0.0);
        assert!(student_t_quantile(1.5, 3.0).is_nan() && student_t_quantile(f64::NAN, 3.0).is_nan());
        assert!(student_t_quantile(0.5, 0.0).is_nan() && student_t_two_sided(1.0, f64::NAN).is_nan());
        assert!(student_t_two_sided(f64::NAN, 2.0).is_nan());
        assert_eq!((student_t_two_sided(0.0, 2.0), student_t_two_sided(f64::NEG_INFINITY, 2.0)), (1.0, 0.0));
    }
}
