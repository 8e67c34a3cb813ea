//! Arithmetic of chart layout: value ranges and labels that keep apart. No drawing.

use crate::line_chart::YScale;

/// What an axis shows, from low to high.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Range {
    pub low: f64,
    pub high: f64,
}

/// Whether an axis that could start at zero does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Foot {
    Zero,
    /// Starts above (or below) zero, which the chart must mark.
    Cut,
}

impl Range {
    /// The smallest range over the values; `None` when there is none.
    pub(crate) fn of(values: impl Iterator<Item = f64>) -> Option<Self> {
        values.fold(None, |range: Option<Self>, value| {
            let range = range.unwrap_or(Self { low: value, high: value });
            Some(Self { low: range.low.min(value), high: range.high.max(value) })
        })
    }

    /// The y axis for these values: air above, zero at the foot unless that would waste more than half of the height.
    pub(crate) fn for_y(self, scale: YScale) -> (Self, Foot) {
        match scale {
            YScale::Log => {
                let air = ((self.high.ln() - self.low.ln()) * 0.04).exp().clamp(1.02, 4.0);
                let (low, high) = ((self.low / air).max(f64::MIN_POSITIVE), (self.high * air).min(f64::MAX));
                (Self { low, high }, Foot::Zero)
            }
            YScale::Linear => {
                let span = self.high - self.low;
                let air = if span > 0.0 { span * 0.05 } else { self.high.abs().max(1.0) * 0.1 };
                if self.low < 0.0 {
                    (Self { low: self.low - air, high: self.high.max(0.0) + air }, Foot::Zero)
                } else if self.low <= 0.5 * self.high {
                    (Self { low: 0.0, high: self.high + self.high.max(f64::MIN_POSITIVE) * 0.05 }, Foot::Zero)
                } else {
                    (Self { low: self.low - air, high: self.high + air }, Foot::Cut)
                }
            }
        }
    }

    /// Where a value lies: 0 at the low end, 1 at the high end.
    pub(crate) fn share(self, value: f64, scale: YScale) -> f64 {
        let (low, high, value) = match scale {
            YScale::Linear => (self.low, self.high, value),
            YScale::Log => (self.low.ln(), self.high.ln(), value.ln()),
        };
        if high > low { (value - low) / (high - low) } else { 0.5 }
    }
}

/// Moves boxes (centre wanted, height) so that none overlap and all stay within `[low, high]`, each as near to its
/// wanted place as the order allows. When they cannot fit they are spread evenly. Returns the centres in input order.
pub(crate) fn spread(boxes: &[(f64, f64)], low: f64, high: f64) -> Vec<f64> {
    let mut order: Vec<usize> = (0..boxes.len()).collect();
    order.sort_by(|a, b| boxes[*a].0.total_cmp(&boxes[*b].0).then(a.cmp(b)));
    let total: f64 = boxes.iter().map(|(_, height)| height).sum();
    let squeeze = if total > high - low { (high - low).max(0.0) / total } else { 1.0 };

    // Groups of touching boxes: each settles where the sum of its members' moves is zero, then groups that collide join.
    let mut groups: Vec<(Vec<usize>, f64, f64)> = Vec::new();
    for index in order {
        let (centre, height) = (boxes[index].0, boxes[index].1 * squeeze);
        let mut group = (vec![index], (centre - height / 2.0).clamp(low, (high - height).max(low)), height);
        while let Some(above) = groups.pop_if(|above| above.1 + above.2 > group.1 + 1e-9) {
            let members: Vec<usize> = above.0.into_iter().chain(group.0).collect();
            let height = above.2 + group.2;
            let mut offset = 0.0;
            let mut wanted = 0.0;
            for member in &members {
                let tall = boxes[*member].1 * squeeze;
                wanted += boxes[*member].0 - offset - tall / 2.0;
                offset += tall;
            }
            let top = wanted / members.len() as f64;
            group = (members, top.clamp(low, (high - height).max(low)), height);
        }
        groups.push(group);
    }
    let mut centres = vec![0.0; boxes.len()];
    for (members, mut top, _) in groups {
        for member in members {
            let tall = boxes[member].1 * squeeze;
            centres[member] = top + tall / 2.0;
            top += tall;
        }
    }
    centres
}

#[cfg(test)]
mod tests {
    use super::{Foot, Range, spread};
    use crate::line_chart::YScale;

    #[test]
    fn labels_keep_apart_and_inside() {
        assert_eq!(spread(&[(50.0, 20.0)], 0.0, 100.0), [50.0]);
        assert_eq!(spread(&[(50.0, 20.0), (52.0, 20.0)], 0.0, 100.0), [41.0, 61.0]);
        assert_eq!(spread(&[(99.0, 20.0), (98.0, 20.0)], 0.0, 100.0), [90.0, 70.0]);
        assert_eq!(spread(&[(-5.0, 20.0), (90.0, 20.0)], 0.0, 100.0), [10.0, 90.0]);
        assert_eq!(spread(&[(1.0, 60.0), (1.0, 60.0)], 0.0, 100.0), [25.0, 75.0]);
        assert!(spread(&[], 0.0, 1.0).is_empty());
    }

    #[test]
    fn many_labels_never_overlap() {
        let boxes: Vec<(f64, f64)> = (0..9).map(|i| (f64::from(i * i % 7) * 9.0, 10.0)).collect();
        let mut centres = spread(&boxes, 0.0, 100.0);
        centres.sort_by(f64::total_cmp);
        assert!(centres.windows(2).all(|pair| pair[1] - pair[0] >= 10.0 - 1e-6), "{centres:?}");
        assert!(centres[0] >= 5.0 - 1e-6 && centres[8] <= 95.0 + 1e-6);
    }

    #[test]
    fn the_axis_starts_at_zero_unless_that_wastes_half() {
        let near = Range { low: 0.4, high: 4.0 }.for_y(YScale::Linear);
        assert_eq!((near.0.low, near.1), (0.0, Foot::Zero));
        let far = Range { low: 3.0, high: 4.0 }.for_y(YScale::Linear);
        assert!(far.0.low > 2.9 && far.1 == Foot::Cut);
        let flat = Range { low: 0.0, high: 0.0 }.for_y(YScale::Linear).0;
        assert!(flat.high > flat.low);
        let flat = Range { low: 2.0, high: 2.0 }.for_y(YScale::Linear).0;
        assert!(flat.low < 2.0 && flat.high > 2.0);
        let flat = Range { low: 2.0, high: 2.0 }.for_y(YScale::Log).0;
        assert!(flat.low < 2.0 && flat.high > 2.0);
        let log = Range { low: 1.0, high: 100.0 };
        assert!((log.share(10.0, YScale::Log) - 0.5).abs() < 1e-12);
    }
}
