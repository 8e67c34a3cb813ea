//! A chart of lines as PNG and SVG: title, quiet grid, and each line named at its end instead of in a legend box.

use std::path::Path;

use plotters::prelude::SVGBackend;
use plotters_backend::DrawingBackend;
use serde::{Deserialize, Serialize};

use crate::canvas::Canvas;
use crate::error::ReportError;
use crate::layout::{Foot, Range, spread};
use crate::palette::{Colours, Theme};
use crate::pen::{Align, LineLook, Pen, TextLook, UNITS};
use crate::series::{Series, Stroke};
use crate::ticks::{self, Tick};
use crate::typeface::{Weight, fitted, width};

/// How values map to height.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum YScale {
    /// Equal steps are equal heights; starts at zero, or carries a mark where it does not.
    #[default]
    Linear,
    /// Equal factors are equal heights; values of zero or below are left out.
    Log,
}

/// The size of a picture in CSS pixels; the PNG has twice as many in each direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Size {
    /// 320 to 4000.
    pub width_px: u32,
    /// 200 to 4000.
    pub height_px: u32,
}

impl Default for Size {
    fn default() -> Self {
        Self { width_px: 960, height_px: 480 }
    }
}

/// A chart of lines over one x axis.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LineChart {
    /// First line, in bold.
    pub title: String,
    /// Second line: what was measured on what; empty for none.
    pub subtitle: String,
    /// Name (and unit) of the x axis, such as `step`.
    pub x_label: String,
    /// Name and unit of the y axis, such as `loss (nats per token)`.
    pub y_label: String,
    /// The lines; later ones are drawn on top.
    pub series: Vec<Series>,
    /// Linear or logarithmic height.
    pub y_scale: YScale,
    /// Light or dark.
    pub theme: Theme,
    /// Size in CSS pixels.
    pub size: Size,
}

const MARGIN: f64 = 24.0;
const TICK_EM: f64 = 11.0;
const LABEL_EM: f64 = 12.0;

/// The rectangle of the plot and the ranges it shows.
struct Plot {
    left: f64,
    right: f64,
    top: f64,
    bottom: f64,
    x: Range,
    y: Range,
    foot: Foot,
    scale: YScale,
}

impl Plot {
    fn at(&self, (x, y): (f64, f64)) -> (f64, f64) {
        let x = self.left + (self.right - self.left) * self.x.share(x, YScale::Linear);
        (x, self.height(y))
    }

    fn height(&self, y: f64) -> f64 {
        self.bottom - (self.bottom - self.top) * self.y.share(y, self.scale)
    }
}

/// A name at the end of a line.
struct EndLabel<'a> {
    series: &'a Series,
    name: String,
    remark: String,
    value: String,
    end: (f64, f64),
}

impl EndLabel<'_> {
    fn height_px(&self) -> f64 {
        if self.remark.is_empty() { 20.0 } else { 34.0 }
    }

    fn width_px(&self) -> f64 {
        let first = width(&self.name, LABEL_EM, Weight::Regular) + 6.0 + width(&self.value, LABEL_EM, Weight::SemiBold);
        first.max(width(&self.remark, TICK_EM, Weight::Regular))
    }
}

impl LineChart {
    /// Writes the chart as PNG, two picture pixels per CSS pixel. The folder must exist; a present file is replaced.
    pub fn write_png(&self, path: &Path) -> Result<(), ReportError> {
        self.paint()?.save(path)
    }

    /// Writes the chart as SVG. The folder must exist; a present file is replaced.
    pub fn write_svg(&self, path: &Path) -> Result<(), ReportError> {
        std::fs::write(path, self.svg()?).map_err(|source| ReportError::Write { path: path.to_owned(), source })
    }

    /// The chart as the text of an SVG file; letters stay letters, set in Inter or the reader's own font.
    pub fn svg(&self) -> Result<String, ReportError> {
        self.check_size()?;
        let Size { width_px, height_px } = self.size;
        let units = (width_px * UNITS as u32, height_px * UNITS as u32);
        let mut text = String::new();
        {
            let mut backend = SVGBackend::with_string(&mut text, units);
            self.draw(&mut Pen(&mut backend))?;
            backend.present().map_err(|e| ReportError::Draw { reason: e.to_string() })?;
        }
        // plotters counts in our drawing units; the reader shall see CSS pixels, round joins and even figures.
        let (_, body) = text.split_once('>').unwrap_or(("", ""));
        let body = body.replace("font-weight=\"bold\"", "font-weight=\"600\"");
        Ok(format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width_px}\" height=\"{height_px}\" viewBox=\"0 0 {} {}\" \
             role=\"img\" stroke-linecap=\"round\" stroke-linejoin=\"round\" \
             style=\"font-variant-numeric:tabular-nums\">\n<title>{}</title>{body}",
            units.0,
            units.1,
            escaped(&self.title),
        ))
    }

    pub(crate) fn paint(&self) -> Result<Canvas, ReportError> {
        self.check_size()?;
        let mut canvas = Canvas::new(self.size.width_px, self.size.height_px);
        self.draw(&mut Pen(&mut canvas))?;
        Ok(canvas)
    }

    fn check_size(&self) -> Result<(), ReportError> {
        let Size { width_px, height_px } = self.size;
        if (320..=4000).contains(&width_px) && (200..=4000).contains(&height_px) {
            Ok(())
        } else {
            Err(ReportError::Size { width_px, height_px })
        }
    }

    fn draw<B: DrawingBackend>(&self, pen: &mut Pen<'_, B>) -> Result<(), ReportError> {
        let colours = self.theme.colours();
        let (width_px, height_px) = (f64::from(self.size.width_px), f64::from(self.size.height_px));
        let series: Vec<Series> = self.series.iter().map(|series| self.showable(series)).collect();
        let (mut plot, y_ticks) = self.plot(&series)?;

        let labels: Vec<EndLabel<'_>> = series
            .iter()
            .filter(|series| !series.label.is_empty())
            .filter_map(|series| Some((series, series.last()?)))
            .map(|(series, end)| EndLabel {
                name: fitted(&series.label, LABEL_EM, Weight::Regular, 0.25 * width_px),
                remark: fitted(&series.remark, TICK_EM, Weight::Regular, 0.3 * width_px),
                value: ticks::number(end.1, value_decimals(&plot.y)),
                series,
                end,
            })
            .collect();
        let widest = labels.iter().map(EndLabel::width_px).fold(0.0, f64::max);
        if !labels.is_empty() {
            plot.right = (width_px - MARGIN - widest - 34.0).max(plot.left + 0.4 * width_px);
        }

        pen.fill((0.0, 0.0), (width_px, height_px), colours.background)?;
        self.draw_titles(pen, colours, plot.foot)?;
        self.draw_axes(pen, colours, &plot, &y_ticks)?;
        for series in &series {
            self.draw_series(pen, &plot, series)?;
        }
        self.draw_labels(pen, colours, &plot, &labels)
    }

    /// The series as this axis can show it: on a logarithmic one, values of zero or below are missing.
    fn showable(&self, series: &Series) -> Series {
        let mut series = series.clone();
        match self.y_scale {
            YScale::Linear => {}
            YScale::Log => {
                for point in &mut series.points {
                    if point.1 <= 0.0 {
                        point.1 = f64::NAN;
                    }
                }
            }
        }
        series
    }

    fn plot(&self, series: &[Series]) -> Result<(Plot, Vec<Tick>), ReportError> {
        let points = || series.iter().flat_map(|s| s.points.iter()).filter(|(x, y)| x.is_finite() && y.is_finite());
        let (Some(x), Some(y)) = (Range::of(points().map(|p| p.0)), Range::of(points().map(|p| p.1))) else {
            let title = self.title.clone();
            let any = self.series.iter().any(|s| s.last().is_some());
            return Err(if any {
                ReportError::NothingAboveZero { title }
            } else {
                ReportError::NothingToDraw { title }
            });
        };
        // A run that starts at step 1 still starts at the left edge of a whole axis.
        let x = if x.low > 0.0 && x.low <= 0.34 * x.high { Range { low: 0.0, high: x.high } } else { x };
        let (y, foot) = y.for_y(self.y_scale);
        let top = if self.subtitle.is_empty() { 74.0 } else { 94.0 };
        let bottom = f64::from(self.size.height_px) - 44.0;
        let most = (((bottom - top) / 52.0) as usize).clamp(3, 8);
        let y_ticks = match self.y_scale {
            YScale::Linear => ticks::linear(y.low, y.high, most),
            YScale::Log => ticks::logarithmic(y.low, y.high, most),
        };
        let widest = y_ticks.iter().map(|tick| width(&tick.label, TICK_EM, Weight::Regular)).fold(0.0, f64::max);
        let left = (MARGIN + widest + 10.0).round();
        let right = f64::from(self.size.width_px) - MARGIN;
        Ok((Plot { left, right, top, bottom, x, y, foot, scale: self.y_scale }, y_ticks))
    }

    fn draw_titles<B: DrawingBackend>(
        &self,
        pen: &mut Pen<'_, B>,
        colours: &Colours,
        foot: Foot,
    ) -> Result<(), ReportError> {
        let most = f64::from(self.size.width_px) - 2.0 * MARGIN;
        let title = TextLook { em_px: 16.0, weight: Weight::SemiBold, colour: colours.text_1, align: Align::Left };
        pen.text(&fitted(&self.title, title.em_px, title.weight, most), (MARGIN, 35.0), title)?;
        let mut baseline = 35.0;
        if !self.subtitle.is_empty() {
            baseline += 20.0;
            let look =
                TextLook { em_px: LABEL_EM, weight: Weight::Regular, colour: colours.text_2, align: Align::Left };
            pen.text(&fitted(&self.subtitle, look.em_px, look.weight, most), (MARGIN, baseline), look)?;
        }
        let look = TextLook { em_px: TICK_EM, weight: Weight::Regular, colour: colours.text_3, align: Align::Left };
        let y_label = match foot {
            Foot::Zero => self.y_label.clone(),
            Foot::Cut => format!("{} · axis does not start at zero", self.y_label),
        };
        pen.text(&fitted(&y_label, look.em_px, look.weight, most), (MARGIN, baseline + 26.0), look)
    }

    fn draw_axes<B: DrawingBackend>(
        &self,
        pen: &mut Pen<'_, B>,
        colours: &Colours,
        plot: &Plot,
        y_ticks: &[Tick],
    ) -> Result<(), ReportError> {
        let look = TextLook { em_px: TICK_EM, weight: Weight::Regular, colour: colours.text_3, align: Align::Right };
        for tick in y_ticks {
            // Whole pixels keep hairlines sharp.
            let y = plot.height(tick.value).round();
            if y < plot.bottom - 1.0 {
                pen.fill((plot.left, y), (plot.right, y + 1.0), colours.grid)?;
            }
            pen.text(&tick.label, (plot.left - 10.0, y + 4.0), look)?;
        }
        pen.fill((plot.left, plot.bottom), (plot.right, plot.bottom + 1.0), colours.axis)?;
        if plot.foot == Foot::Cut {
            // The mark of an axis that does not start at zero.
            let cut = LineLook { width_px: 1.25, colour: colours.text_3, alpha: 1.0 };
            let (x, y) = (plot.left + 0.5, plot.bottom);
            pen.line(&[(x, y), (x, y - 6.0)], cut)?;
            pen.line(&[(x, y - 10.0), (x, y - 16.0)], cut)?;
            for y in [y - 6.0, y - 10.0] {
                pen.line(&[(x - 4.0, y + 1.5), (x + 4.0, y - 1.5)], cut)?;
            }
        }
        let most = (((plot.right - plot.left) / 90.0) as usize).clamp(3, 10);
        let name_left = plot.right - width(&self.x_label, TICK_EM, Weight::Regular);
        let baseline = plot.bottom + 20.0;
        for tick in ticks::whole(plot.x.low, plot.x.high, most) {
            let x = plot.at((tick.value, plot.y.high)).0.round();
            pen.fill((x, plot.bottom), (x + 1.0, plot.bottom + 5.0), colours.axis)?;
            let half = width(&tick.label, TICK_EM, Weight::Regular) / 2.0;
            let look = TextLook { align: Align::Centre, ..look };
            pen.text(&tick.label, (x.max(half), baseline), look)?;
        }
        // On a line of its own, so that it can never meet a tick.
        let look = TextLook { align: Align::Left, ..look };
        pen.text(&self.x_label, (name_left, baseline + 15.0), look)
    }

    fn draw_series<B: DrawingBackend>(
        &self,
        pen: &mut Pen<'_, B>,
        plot: &Plot,
        series: &Series,
    ) -> Result<(), ReportError> {
        let colour = self.theme.series(series.colour);
        let solid = LineLook { width_px: 1.5, colour, alpha: 1.0 };
        let count = series.points.len();
        for piece in series.pieces() {
            let points: Vec<(f64, f64)> = piece.into_iter().map(|point| plot.at(point)).collect();
            match series.stroke {
                Stroke::Solid => pen.line(&points, solid)?,
                Stroke::Dashed => pen.dashes(&points, (6.0, 4.5), solid)?,
                Stroke::Faint => pen.line(&points, LineLook { width_px: 1.0, alpha: self.faint(), ..solid })?,
            }
            let marked = match series.stroke {
                // Few measurements are shown one by one; a single point has no line at all.
                Stroke::Dashed => count <= 40 || points.len() == 1,
                Stroke::Solid => count <= 12 || points.len() == 1,
                Stroke::Faint => false,
            };
            if marked {
                for point in points {
                    pen.disc(point, 3.25, self.theme.colours().background)?;
                    pen.disc(point, 2.25, colour)?;
                }
            }
        }
        Ok(())
    }

    /// How much of a faint line shows: dark surroundings swallow more.
    fn faint(&self) -> f64 {
        match self.theme {
            Theme::Light => 0.3,
            Theme::Dark => 0.4,
        }
    }

    fn draw_labels<B: DrawingBackend>(
        &self,
        pen: &mut Pen<'_, B>,
        colours: &Colours,
        plot: &Plot,
        labels: &[EndLabel<'_>],
    ) -> Result<(), ReportError> {
        let wanted: Vec<(f64, f64)> =
            labels.iter().map(|label| (plot.height(label.end.1), label.height_px())).collect();
        let centres = spread(&wanted, plot.top - 12.0, plot.bottom + 12.0);
        let text_x = plot.right + 34.0;
        for (label, centre) in labels.iter().zip(centres) {
            let colour = self.theme.series(label.series.colour);
            let end = plot.at(label.end);
            let first = if label.remark.is_empty() { centre + 4.0 } else { centre - 3.0 };
            // The key repeats the line's dash, so that colour never stands alone; a hairline ties it to a near end.
            let key_y = first - 4.0;
            if plot.right - end.0 < 30.0 {
                let tie = LineLook { width_px: 0.75, colour, alpha: 0.6 };
                pen.line(&[(end.0 + 5.0, end.1), (plot.right + 10.0, key_y)], tie)?;
            }
            let key = LineLook { width_px: 1.5, colour, alpha: 1.0 };
            let points = [(plot.right + 10.0, key_y), (plot.right + 28.0, key_y)];
            match label.series.stroke {
                Stroke::Solid => pen.line(&points, key)?,
                Stroke::Dashed => pen.dashes(&points, (4.5, 3.0), key)?,
                Stroke::Faint => pen.line(&points, LineLook { width_px: 1.0, alpha: self.faint(), ..key })?,
            }
            pen.disc(end, 3.25, colours.background)?;
            pen.disc(end, 2.75, colour)?;
            let name =
                TextLook { em_px: LABEL_EM, weight: Weight::Regular, colour: colours.text_2, align: Align::Left };
            pen.text(&label.name, (text_x, first), name)?;
            let value_x = text_x + width(&label.name, LABEL_EM, Weight::Regular) + 6.0;
            let value = TextLook { weight: Weight::SemiBold, colour: colours.text_1, ..name };
            pen.text(&label.value, (value_x, first), value)?;
            let remark = TextLook { em_px: TICK_EM, colour: colours.text_3, ..name };
            pen.text(&label.remark, (text_x, first + 15.0), remark)?;
        }
        Ok(())
    }
}

/// Digits that tell a thousandth of the height apart, at least two.
pub(crate) fn value_decimals(range: &Range) -> usize {
    (3.0 - (range.high - range.low).log10().floor()).clamp(2.0, 6.0) as usize
}

fn escaped(text: &str) -> String {
    text.chars()
        .filter(|c| !c.is_control())
        .collect::<String>()
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests;
