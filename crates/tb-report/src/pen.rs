//! The strokes of a chart in CSS pixels, over any plotters backend: the same calls make the PNG and the SVG.

use plotters_backend::text_anchor::{HPos, Pos, VPos};
use plotters_backend::{
    BackendColor, BackendCoord, BackendStyle, BackendTextStyle, DrawingBackend, DrawingErrorKind, FontFamily, FontStyle,
};

use crate::error::ReportError;
use crate::palette::Rgb;
use crate::typeface::{CSS_FAMILY, Weight};

/// Drawing units per CSS pixel: plotters' coordinates are whole numbers, a sixteenth of a pixel is fine enough.
pub(crate) const UNITS: f64 = 16.0;

/// plotters calls this many ems the size of a font.
pub(crate) const PLOTTERS_EM: f64 = 1.24;

/// plotters' SVG puts the baseline this many ems under the top anchor.
pub(crate) const TOP_TO_BASELINE: f64 = 0.76;

/// Which point of a text its x names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    Centre,
    Right,
}

/// The look of a text.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TextLook {
    pub em_px: f64,
    pub weight: Weight,
    pub colour: Rgb,
    pub align: Align,
}

/// The look of a line.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LineLook {
    pub width_px: f64,
    pub colour: Rgb,
    pub alpha: f64,
}

/// A pen over a plotters backend.
pub(crate) struct Pen<'a, B: DrawingBackend>(pub &'a mut B);

fn units(px: f64) -> i32 {
    (px * UNITS).round() as i32
}

fn at((x, y): (f64, f64)) -> BackendCoord {
    (units(x), units(y))
}

fn colour(rgb: Rgb, alpha: f64) -> BackendColor {
    BackendColor { alpha, rgb: (rgb.0, rgb.1, rgb.2) }
}

fn failed<E: std::error::Error + Send + Sync>(error: DrawingErrorKind<E>) -> ReportError {
    ReportError::Draw { reason: error.to_string() }
}

impl BackendStyle for LineLook {
    fn color(&self) -> BackendColor {
        colour(self.colour, self.alpha)
    }

    fn stroke_width(&self) -> u32 {
        (self.width_px * UNITS).round() as u32
    }
}

/// Never thrown: the pen measures texts itself.
#[derive(Debug, thiserror::Error)]
#[error("the pen draws texts through its backend only")]
pub(crate) struct NoPixels;

impl BackendTextStyle for TextLook {
    type FontError = NoPixels;

    fn color(&self) -> BackendColor {
        colour(self.colour, 1.0)
    }

    fn size(&self) -> f64 {
        self.em_px * UNITS * PLOTTERS_EM
    }

    fn style(&self) -> FontStyle {
        match self.weight {
            Weight::Regular => FontStyle::Normal,
            Weight::SemiBold => FontStyle::Bold,
        }
    }

    fn anchor(&self) -> Pos {
        let h_pos = match self.align {
            Align::Left => HPos::Left,
            Align::Centre => HPos::Center,
            Align::Right => HPos::Right,
        };
        Pos::new(h_pos, VPos::Top)
    }

    fn family(&self) -> FontFamily<'_> {
        FontFamily::Name(CSS_FAMILY)
    }

    fn layout_box(&self, _: &str) -> Result<(BackendCoord, BackendCoord), NoPixels> {
        Err(NoPixels)
    }

    fn draw<E, F: FnMut(i32, i32, BackendColor) -> Result<(), E>>(
        &self,
        _: &str,
        _: BackendCoord,
        _: F,
    ) -> Result<Result<(), E>, NoPixels> {
        Err(NoPixels)
    }
}

impl<B: DrawingBackend> Pen<'_, B> {
    /// A filled rectangle between two corners.
    pub(crate) fn fill(&mut self, from: (f64, f64), to: (f64, f64), rgb: Rgb) -> Result<(), ReportError> {
        self.0.draw_rect(at(from), at(to), &colour(rgb, 1.0), true).map_err(failed)
    }

    /// A line through points.
    pub(crate) fn line(&mut self, points: &[(f64, f64)], look: LineLook) -> Result<(), ReportError> {
        self.0.draw_path(points.iter().copied().map(at), &look).map_err(failed)
    }

    /// A line through points in dashes of `dash_px` with gaps of `gap_px`, measured along the line.
    pub(crate) fn dashes(
        &mut self,
        points: &[(f64, f64)],
        (dash_px, gap_px): (f64, f64),
        look: LineLook,
    ) -> Result<(), ReportError> {
        for dash in dashes(points, dash_px, gap_px) {
            self.line(&dash, look)?;
        }
        Ok(())
    }

    /// A filled disc.
    pub(crate) fn disc(&mut self, centre: (f64, f64), radius_px: f64, rgb: Rgb) -> Result<(), ReportError> {
        self.0.draw_circle(at(centre), units(radius_px) as u32, &colour(rgb, 1.0), true).map_err(failed)
    }

    /// A text whose baseline and aligned edge meet at `(x, baseline)`.
    pub(crate) fn text(&mut self, text: &str, (x, baseline): (f64, f64), look: TextLook) -> Result<(), ReportError> {
        let top = baseline - TOP_TO_BASELINE * look.em_px;
        self.0.draw_text(text, &look, at((x, top))).map_err(failed)
    }
}

/// Cuts a polyline into dashes.
fn dashes(points: &[(f64, f64)], dash_px: f64, gap_px: f64) -> Vec<Vec<(f64, f64)>> {
    let mut result = Vec::new();
    let Some(&first) = points.first() else { return result };
    let mut dash = vec![first];
    let mut left = dash_px;
    let mut drawing = true;
    for pair in points.windows(2) {
        let (mut from, to) = (pair[0], pair[1]);
        let mut length = (to.0 - from.0).hypot(to.1 - from.1);
        while length > left {
            let share = left / length;
            from = (from.0 + (to.0 - from.0) * share, from.1 + (to.1 - from.1) * share);
            length -= left;
            if drawing {
                dash.push(from);
                result.push(std::mem::take(&mut dash));
            } else {
                dash = vec![from];
            }
            drawing = !drawing;
            left = if drawing { dash_px } else { gap_px };
        }
        left -= length;
        if drawing {
            dash.push(to);
        }
    }
    if drawing && dash.len() > 1 {
        result.push(dash);
    }
    result
}

#[cfg(test)]
mod tests {
    use super::dashes;

    #[test]
    fn dashes_are_measured_along_the_line_and_turn_corners() {
        let got = dashes(&[(0.0, 0.0), (8.0, 0.0), (8.0, 8.0)], 6.0, 4.0);
        let want = [vec![(0.0, 0.0), (6.0, 0.0)], vec![(8.0, 2.0), (8.0, 8.0)]];
        assert_eq!(got, want);
        let corner = dashes(&[(0.0, 0.0), (4.0, 0.0), (4.0, 9.0)], 6.0, 4.0);
        assert_eq!(corner[0], [(0.0, 0.0), (4.0, 0.0), (4.0, 2.0)]);
        assert!(dashes(&[], 6.0, 4.0).is_empty());
        assert!(dashes(&[(1.0, 1.0)], 6.0, 4.0).is_empty());
    }
}
