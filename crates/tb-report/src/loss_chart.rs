//! The loss chart of one run: smoothed training loss over its faint raw values, validation loss dashed.

use std::path::Path;

use crate::error::ReportError;
use crate::layout::Range;
use crate::line_chart::{LineChart, Size, YScale, value_decimals};
use crate::palette::Theme;
use crate::series::{Series, Stroke, smoothed, usual_spacing};
use crate::ticks::number;

/// The weight of the debiased moving average over training loss.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Smoothing {
    /// 0.9 for short runs; for long ones, the weight that averages over about a fiftieth of the points.
    #[default]
    Auto,
    /// This weight, in [0, 1).
    Weight(f64),
    /// The raw values only.
    Off,
}

impl Smoothing {
    /// The weight for that many points; `None` when there is no smoothing.
    fn weight(self, points: usize) -> Option<f64> {
        match self {
            Self::Auto => Some(1.0 - 1.0 / (points as f64 / 50.0).max(10.0)),
            Self::Weight(weight) => Some(weight).filter(|weight| *weight > 0.0),
            Self::Off => None,
        }
    }
}

/// What a loss chart shows. Points are `(step, loss in nats per token)` in ascending step; a loss that is not finite is a gap.
#[derive(Debug, Clone, PartialEq)]
pub struct LossChart<'a> {
    /// First line: usually the name of the run.
    pub title: &'a str,
    /// Second line: model, data, method; empty for none.
    pub subtitle: &'a str,
    /// Training loss.
    pub train: &'a [(f64, f64)],
    /// Validation loss; may be empty.
    pub eval: &'a [(f64, f64)],
    /// How training loss is smoothed; the chart names the weight.
    pub smoothing: Smoothing,
    /// Linear or logarithmic height.
    pub y_scale: YScale,
    /// Light or dark.
    pub theme: Theme,
    /// Size in CSS pixels.
    pub size: Size,
}

impl Default for LossChart<'_> {
    fn default() -> Self {
        Self {
            title: "Loss",
            subtitle: "",
            train: &[],
            eval: &[],
            smoothing: Smoothing::Auto,
            y_scale: YScale::default(),
            theme: Theme::default(),
            size: Size::default(),
        }
    }
}

/// A jump of this many usual distances between logged steps is missing data.
const GAP: f64 = 20.0;

impl LossChart<'_> {
    /// The lines of this chart, for writing in other sizes or reading in tests.
    pub fn chart(&self) -> LineChart {
        let gap_x = usual_spacing(self.train).map(|spacing| spacing * GAP);
        let raw = Series {
            label: String::new(),
            remark: String::new(),
            points: self.train.to_vec(),
            stroke: Stroke::Faint,
            colour: 0,
            gap_x,
        };
        let mut series = Vec::new();
        if let Some(weight) = self.smoothing.weight(self.train.len()) {
            series.push(raw.clone());
            series.push(Series {
                label: "train".into(),
                remark: format!("smoothed, weight {}", number(weight, if weight > 0.99 { 4 } else { 2 })),
                points: smoothed(self.train, weight),
                stroke: Stroke::Solid,
                ..raw
            });
        } else {
            series.push(Series { label: "train".into(), stroke: Stroke::Solid, ..raw });
        }
        series.push(Series {
            label: "validation".into(),
            remark: self.best_remark(),
            points: self.eval.to_vec(),
            stroke: Stroke::Dashed,
            colour: 1,
            gap_x: None,
        });
        LineChart {
            title: self.title.into(),
            subtitle: self.subtitle.into(),
            x_label: "step".into(),
            y_label: match self.y_scale {
                YScale::Linear => "loss (nats per token)".into(),
                YScale::Log => "loss (nats per token, logarithmic)".into(),
            },
            series,
            y_scale: self.y_scale,
            theme: self.theme,
            size: self.size,
        }
    }

    /// Names the lowest validation loss when it is not the last one.
    fn best_remark(&self) -> String {
        let finite = || self.eval.iter().filter(|(x, y)| x.is_finite() && y.is_finite());
        let (Some(best), Some(last)) = (finite().min_by(|a, b| a.1.total_cmp(&b.1)), finite().next_back()) else {
            return String::new();
        };
        if best.1 >= last.1 {
            return String::new();
        }
        let all = self.train.iter().chain(self.eval).map(|p| p.1).filter(|y| y.is_finite());
        let decimals = Range::of(all).map_or(3, |range| value_decimals(&range.for_y(self.y_scale).0));
        format!("best {} at step {}", number(best.1, decimals), number(best.0, 0))
    }
}

/// Writes a loss chart as PNG and as SVG. Both folders must exist; present files are replaced.
///
/// Errors when there is no finite point, the size is out of range or a file cannot be written.
pub fn loss_chart(spec: &LossChart<'_>, path_png: &Path, path_svg: &Path) -> Result<(), ReportError> {
    let chart = spec.chart();
    chart.write_png(path_png)?;
    chart.write_svg(path_svg)
}

#[cfg(test)]
mod tests {
    use super::{LossChart, Smoothing, loss_chart};
    use crate::error::ReportError;
    use crate::series::Stroke;

    const TRAIN: [(f64, f64); 3] = [(10.0, 4.0), (20.0, 2.0), (30.0, 1.0)];
    const EVAL: [(f64, f64); 3] = [(10.0, 3.0), (20.0, 1.5), (30.0, 1.6)];

    #[test]
    fn training_is_solid_over_faint_and_validation_dashed() {
        let chart = LossChart { train: &TRAIN, eval: &EVAL, ..LossChart::default() }.chart();
        let strokes: Vec<Stroke> = chart.series.iter().map(|series| series.stroke).collect();
        assert_eq!(strokes, [Stroke::Faint, Stroke::Solid, Stroke::Dashed]);
        assert_eq!(chart.series[1].remark, "smoothed, weight 0.90");
        assert_eq!(chart.series[2].remark, "best 1.500 at step 20");
        let raw = LossChart { train: &TRAIN, smoothing: Smoothing::Off, ..LossChart::default() }.chart();
        assert_eq!((raw.series[0].stroke, raw.series[0].points.as_slice()), (Stroke::Solid, TRAIN.as_slice()));
    }

    #[test]
    fn long_runs_are_smoothed_more() {
        assert_eq!(Smoothing::Auto.weight(300), Some(0.9));
        assert_eq!(Smoothing::Auto.weight(10_000), Some(0.995));
        assert_eq!(Smoothing::Weight(0.0).weight(300), None);
    }

    #[test]
    fn both_files_are_written() {
        let folder = tempfile::tempdir().unwrap();
        let (png, svg) = (folder.path().join("loss.png"), folder.path().join("loss.svg"));
        loss_chart(&LossChart { train: &TRAIN, eval: &EVAL, ..LossChart::default() }, &png, &svg).unwrap();
        let bytes = std::fs::read(&png).unwrap();
        assert_eq!(&bytes[..8], b"\x89PNG\r\n\x1a\n");
        // Width and height of the IHDR block.
        assert_eq!(bytes[16..24], [0, 0, 7, 128, 0, 0, 3, 192]);
        assert!(std::fs::read_to_string(&svg).unwrap().ends_with("</svg>\n"));
    }

    #[test]
    fn nothing_to_draw_and_a_missing_folder_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let (png, svg) = (folder.path().join("no/loss.png"), folder.path().join("loss.svg"));
        let empty = loss_chart(&LossChart { train: &[(1.0, f64::NAN)], ..LossChart::default() }, &png, &svg);
        assert!(matches!(empty, Err(ReportError::NothingToDraw { .. })), "{empty:?}");
        let lost = loss_chart(&LossChart { train: &TRAIN, ..LossChart::default() }, &png, &svg);
        assert!(matches!(lost, Err(ReportError::Write { .. })), "{lost:?}");
    }
}
