//! Where axis ticks stand and how their numbers are written. No drawing.

/// A tick: its place on the axis and its label.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Tick {
    pub value: f64,
    pub label: String,
}

/// The smallest of 1, 2, 2.5, 5 times a power of ten that is at least `span / most`.
fn nice_step(span: f64, most: usize) -> f64 {
    let rough = span / most.max(1) as f64;
    let power = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 2.5, 5.0, 10.0].into_iter().find(|m| m * power >= rough * (1.0 - 1e-9)).unwrap_or(10.0);
    step * power
}

/// Round values within `[low, high]`, about `most` of them, evenly spaced.
pub(crate) fn linear(low: f64, high: f64, most: usize) -> Vec<Tick> {
    spaced(low, high, nice_step(high - low, most))
}

/// As [`linear`] for counts such as steps: never between two whole numbers.
pub(crate) fn whole(low: f64, high: f64, most: usize) -> Vec<Tick> {
    let step = nice_step(high - low, most);
    spaced(
        low,
        high,
        if step < 1.0 {
            1.0
        } else if step == 2.5 {
            5.0
        } else {
            step
        },
    )
}

fn spaced(low: f64, high: f64, step: f64) -> Vec<Tick> {
    if !(step.is_finite() && step > 0.0) || high < low {
        return vec![Tick { value: low, label: number(low, 3) }];
    }
    let decimals = decimals_of(step);
    let (first, last) = ((low / step - 1e-9).ceil() as i64, (high / step + 1e-9).floor() as i64);
    (first..=last)
        .map(|i| {
            let value = i as f64 * step;
            Tick { value, label: number(value, decimals) }
        })
        .collect()
}

/// Ticks of a logarithmic axis from `low > 0` to `high`: 1, 2 and 5 times powers of ten, or only the powers when the
/// range is wide, or evenly spaced ones when it is narrower than a doubling.
pub(crate) fn logarithmic(low: f64, high: f64, most: usize) -> Vec<Tick> {
    for factors in [[1.0, 2.0, 5.0].as_slice(), &[1.0]] {
        let ticks: Vec<Tick> = (low.log10().floor() as i32..=high.log10().ceil() as i32)
            .flat_map(|power| factors.iter().map(move |factor| factor * 10_f64.powi(power)))
            .filter(|value| *value >= low * (1.0 - 1e-9) && *value <= high * (1.0 + 1e-9))
            .map(|value| Tick { value, label: number(value, decimals_of(value)) })
            .collect();
        if (3..=most + 2).contains(&ticks.len()) {
            return ticks;
        }
        if ticks.len() < 3 {
            return linear(low, high, most);
        }
    }
    let powers = (high / low).log10().max(1.0);
    let every = (powers / most.max(1) as f64).ceil() as i32;
    (low.log10().ceil() as i32..=high.log10().floor() as i32)
        .filter(|power| power % every == 0)
        .map(|power| Tick { value: 10_f64.powi(power), label: format!("1e{power}") })
        .collect()
}

/// Digits after the point that a multiple of `step` needs, at most 9.
fn decimals_of(step: f64) -> usize {
    let is_whole = |scaled: f64| scaled.round() >= 1.0 && (scaled - scaled.round()).abs() < 1e-6 * scaled;
    (0..9).find(|decimals| is_whole(step * 10_f64.powi(*decimals))).unwrap_or(9) as usize
}

/// A number with `decimals` digits after the point, commas between thousands, and a real minus sign;
/// `k`, `M` or `G` from ten thousand on, an exponent where even these are too long.
pub(crate) fn number(value: f64, decimals: usize) -> String {
    let size = value.abs();
    if size == 0.0 && decimals >= 9 {
        return "0".to_owned();
    }
    if size >= 1e12 || (decimals >= 9 && size > 0.0 && size < 1e-6) {
        return format!("{value:.1e}").replace(".0e", "e").replace('-', "\u{2212}");
    }
    for (unit, sign) in [(1e9, "G"), (1e6, "M"), (1e3, "k")] {
        if size >= unit && size >= 1e4 {
            let text = format!("{:.2}", value / unit);
            return text.trim_end_matches('0').trim_end_matches('.').replace('-', "\u{2212}") + sign;
        }
    }
    let text = format!("{value:.decimals$}");
    let text = if text.trim_start_matches('-').chars().all(|c| matches!(c, '0' | '.')) {
        text.trim_start_matches('-').to_owned()
    } else {
        text.replace('-', "\u{2212}")
    };
    match text.find(|c: char| c.is_ascii_digit()) {
        Some(first) if text[first..].split('.').next().is_some_and(|whole| whole.len() > 3) => {
            let whole_end = text.find('.').unwrap_or(text.len());
            let (head, tail) = text.split_at(whole_end - 3);
            format!("{head},{tail}")
        }
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::{linear, logarithmic, number, whole};

    fn labels(ticks: Vec<super::Tick>) -> String {
        ticks.into_iter().map(|tick| tick.label).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn ticks_are_round_and_inside() {
        assert_eq!(labels(linear(0.0, 4.3, 5)), "0 1 2 3 4");
        assert_eq!(labels(linear(0.13, 0.61, 5)), "0.2 0.3 0.4 0.5 0.6");
        assert_eq!(labels(linear(-1.0, 1.0, 4)), "−1.0 −0.5 0.0 0.5 1.0");
        assert_eq!(labels(linear(0.0, 1.1, 5)), "0.00 0.25 0.50 0.75 1.00");
        assert_eq!(labels(whole(0.0, 3.0, 8)), "0 1 2 3");
        assert_eq!(labels(whole(1.0, 1200.0, 6)), "200 400 600 800 1,000 1,200");
        assert_eq!(labels(whole(0.0, 90_000.0, 4)), "0 25k 50k 75k");
        assert_eq!(labels(linear(3.0, 3.0, 5)), "3.000");
    }

    #[test]
    fn logarithmic_ticks_suit_the_range() {
        assert_eq!(labels(logarithmic(0.03, 8.0, 6)), "0.05 0.1 0.2 0.5 1 2 5");
        assert_eq!(labels(logarithmic(1e-4, 1e3, 6)), "0.0001 0.001 0.01 0.1 1 10 100 1,000");
        assert_eq!(labels(logarithmic(1.1, 1.9, 4)), "1.2 1.4 1.6 1.8");
        assert_eq!(labels(logarithmic(1e-12, 1e6, 5)), "1e-12 1e-8 1e-4 1e0 1e4");
    }

    #[test]
    fn numbers_are_written_for_people() {
        assert_eq!(number(-0.0001, 2), "0.00");
        assert_eq!(number(1234.0, 0), "1,234");
        assert_eq!(number(-1234.5, 1), "−1,234.5");
        assert_eq!(number(12_500.0, 0), "12.5k");
        assert_eq!(number(3_000_000.0, 0), "3M");
        assert_eq!(number(9_999.9, 0), "10,000");
        assert_eq!(number(-2.5e300, 0), "−2.5e300");
        assert_eq!(labels(linear(0.0, 3e-12, 3)), "0 1e−12 2e−12 3e−12");
    }
}
