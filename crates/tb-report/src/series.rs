//! A line of a chart: its points, its look, and the pure transforms on points (smoothing, thinning, gaps).

use serde::{Deserialize, Serialize};

/// The most points of one line that reach a picture; more than the pixels of any screen.
pub const MAX_POINTS: usize = 4000;

/// How a line is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stroke {
    /// A full line: training, or the main value.
    Solid,
    /// A dashed line: validation.
    Dashed,
    /// A pale line behind others: raw values under a smoothed line.
    Faint,
}

/// One line: `(x, y)` points in ascending x. A `y` that is not finite is missing and leaves a gap.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Series {
    /// Name written at the line's end; empty for none.
    pub label: String,
    /// Second, smaller line under the name; empty for none.
    pub remark: String,
    /// The points, in ascending x.
    pub points: Vec<(f64, f64)>,
    /// Solid, dashed or faint.
    pub stroke: Stroke,
    /// Position in the palette, from 0; grey beyond the sixth.
    pub colour: usize,
    /// A jump in x larger than this is missing data and leaves a gap.
    pub gap_x: Option<f64>,
}

impl Series {
    /// The last finite point.
    pub fn last(&self) -> Option<(f64, f64)> {
        self.points.iter().rev().copied().find(|(x, y)| x.is_finite() && y.is_finite())
    }

    /// The unbroken pieces of the line, thinned to at most [`MAX_POINTS`] points together, none of them empty.
    pub fn pieces(&self) -> Vec<Vec<(f64, f64)>> {
        let pieces = split_at_gaps(&self.points, self.gap_x);
        let total: usize = pieces.iter().map(Vec::len).sum();
        if total <= MAX_POINTS {
            return pieces;
        }
        pieces.iter().map(|piece| thin(piece, (MAX_POINTS * piece.len() / total).max(2))).collect()
    }
}

/// Debiased exponential moving average, as TensorBoard and W&B draw it.
///
/// With weight `w` in [0, 1): `m_t = w m_(t-1) + (1 - w) y_t`, shown as `m_t / (1 - w^t)`, so the line starts at the
/// first value instead of at zero. Missing values stay missing and do not count. A weight outside [0, 1) is clamped.
pub fn smoothed(points: &[(f64, f64)], weight: f64) -> Vec<(f64, f64)> {
    let weight = if weight.is_nan() { 0.0 } else { weight.clamp(0.0, 0.9999) };
    let (mut sum, mut share) = (0.0, 0.0);
    points
        .iter()
        .map(|&(x, y)| {
            if !y.is_finite() {
                return (x, f64::NAN);
            }
            sum = weight * sum + (1.0 - weight) * y;
            share = weight * share + (1.0 - weight);
            (x, sum / share)
        })
        .collect()
}

/// At most `most` points that keep every peak: of each bucket of neighbours its lowest and its highest point, in order,
/// and the two ends. `most` below 2 counts as 2.
pub fn thin(points: &[(f64, f64)], most: usize) -> Vec<(f64, f64)> {
    let most = most.max(2);
    if points.len() <= most {
        return points.to_vec();
    }
    let (first, last) = (points[0], points[points.len() - 1]);
    let inner = &points[1..points.len() - 1];
    let mut result = vec![first];
    let buckets = (most - 2) / 2;
    for bucket in 0..buckets {
        let bucket = &inner[inner.len() * bucket / buckets..inner.len() * (bucket + 1) / buckets];
        let by_height = |a: &&(f64, f64), b: &&(f64, f64)| a.1.total_cmp(&b.1);
        let (Some(low), Some(high)) = (bucket.iter().min_by(by_height), bucket.iter().max_by(by_height)) else {
            continue;
        };
        let (one, two) = if low.0 <= high.0 { (low, high) } else { (high, low) };
        result.push(*one);
        if one != two {
            result.push(*two);
        }
    }
    result.push(last);
    result
}

/// Cuts a line where a value is missing or x jumps by more than `gap_x`; the pieces hold finite points only.
fn split_at_gaps(points: &[(f64, f64)], gap_x: Option<f64>) -> Vec<Vec<(f64, f64)>> {
    let mut pieces: Vec<Vec<(f64, f64)>> = Vec::new();
    let mut open = false;
    for &(x, y) in points {
        if !(x.is_finite() && y.is_finite()) {
            open = false;
            continue;
        }
        match pieces.last_mut().filter(|_| open) {
            Some(piece) if !jumps(piece.last(), x, gap_x) => piece.push((x, y)),
            _ => pieces.push(vec![(x, y)]),
        }
        open = true;
    }
    pieces
}

fn jumps(before: Option<&(f64, f64)>, x: f64, gap_x: Option<f64>) -> bool {
    matches!((before, gap_x), (Some(before), Some(gap)) if x - before.0 > gap)
}

/// The median distance between neighbouring x values; `None` for fewer than two points.
pub fn usual_spacing(points: &[(f64, f64)]) -> Option<f64> {
    let spacings: Vec<f64> = points.windows(2).map(|pair| pair[1].0 - pair[0].0).filter(|d| d.is_finite()).collect();
    tb_stats::quantile::quantile(&spacings, 0.5)
}

#[cfg(test)]
mod tests {
    use super::{MAX_POINTS, Series, Stroke, smoothed, thin, usual_spacing};

    fn series(points: Vec<(f64, f64)>, gap_x: Option<f64>) -> Series {
        Series { label: String::new(), remark: String::new(), points, stroke: Stroke::Solid, colour: 0, gap_x }
    }

    #[test]
    fn smoothing_starts_at_the_first_value_and_keeps_a_constant() {
        // By hand, w = 0.5: 4; (0.25*4 + 0.5*1) / 0.75 = 2; then (0.125*4 + 0.25*1 + 0.5*2) / 0.875 = 2.
        let got = smoothed(&[(0.0, 4.0), (1.0, 1.0), (2.0, 2.0)], 0.5);
        for ((_, y), want) in got.iter().zip([4.0, 2.0, 2.0]) {
            assert!((y - want).abs() < 1e-12, "{y}");
        }
        assert!(smoothed(&[(0.0, 3.0); 50], 0.99).iter().all(|(_, y)| (y - 3.0).abs() < 1e-9));
    }

    #[test]
    fn a_missing_value_stays_missing_and_does_not_count() {
        let got = smoothed(&[(0.0, 4.0), (1.0, f64::NAN), (2.0, 1.0)], 0.5);
        assert!(got[1].1.is_nan());
        assert!((got[2].1 - 2.0).abs() < 1e-12);
        assert_eq!(smoothed(&[(0.0, 4.0), (1.0, 1.0)], f64::NAN)[1].1, 1.0);
    }

    #[test]
    fn thinning_keeps_ends_order_and_peaks() {
        let mut points: Vec<(f64, f64)> = (0..100_000).map(|i| (f64::from(i), (f64::from(i) * 0.01).sin())).collect();
        points[54_321].1 = 99.0;
        points[60_000].1 = -99.0;
        let got = thin(&points, MAX_POINTS);
        assert!(got.len() <= MAX_POINTS && got.len() > MAX_POINTS / 2);
        assert!(got.contains(&(54_321.0, 99.0)) && got.contains(&(60_000.0, -99.0)));
        assert_eq!((got[0], *got.last().unwrap()), (points[0], points[99_999]));
        assert!(got.windows(2).all(|pair| pair[0].0 < pair[1].0));
        assert_eq!(thin(&points[..7], 1).len(), 2);
        assert!(thin(&[], 10).is_empty());
    }

    #[test]
    fn gaps_break_the_line() {
        let points = vec![(0.0, 1.0), (1.0, 2.0), (2.0, f64::NAN), (3.0, 1.0), (4.0, 1.0), (90.0, 1.0)];
        let pieces = series(points.clone(), Some(10.0)).pieces();
        assert_eq!(pieces.iter().map(Vec::len).collect::<Vec<_>>(), [2, 2, 1]);
        assert_eq!(series(points, None).pieces().len(), 2);
        assert!(series(vec![(0.0, f64::NAN)], None).pieces().is_empty());
    }

    #[test]
    fn pieces_stay_within_the_limit() {
        let points = (0..50_000).map(|i| (f64::from(i), if i % 1000 == 0 { f64::NAN } else { f64::from(i % 7) }));
        let pieces = series(points.collect(), None).pieces();
        assert_eq!(pieces.len(), 50);
        assert!(pieces.iter().map(Vec::len).sum::<usize>() <= MAX_POINTS);
    }

    #[test]
    fn the_usual_spacing_is_the_median() {
        assert_eq!(usual_spacing(&[(0.0, 0.0), (5.0, 0.0), (10.0, 0.0), (99.0, 0.0)]), Some(5.0));
        assert_eq!(usual_spacing(&[(0.0, 0.0)]), None);
    }
}
