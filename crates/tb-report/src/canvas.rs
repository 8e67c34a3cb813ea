//! A plotters drawing backend that paints anti-aliased RGB pixels in memory and saves them as PNG.
//!
//! plotters' own bitmap backend draws thick lines with hard edges and loses the side bearings of glyphs; here lines
//! are covered by their distance and glyphs are placed on fractions of a pixel. Coordinates come in [`UNITS`] to the
//! CSS pixel, so that whole-number coordinates do not bend curves; the picture has [`DENSITY`] pixels per CSS pixel.

use std::convert::Infallible;
use std::path::Path;

use plotters::prelude::BitMapBackend;
use plotters_backend::text_anchor::HPos;
use plotters_backend::{
    BackendColor, BackendCoord, BackendStyle, BackendTextStyle, DrawingBackend, DrawingErrorKind, FontStyle,
};

use crate::error::ReportError;
use crate::pen::{PLOTTERS_EM, TOP_TO_BASELINE, UNITS};
use crate::typeface::{self, Weight};

/// Picture pixels per CSS pixel: crisp on today's screens.
pub(crate) const DENSITY: f64 = 2.0;

/// Picture pixels per drawing unit.
const SCALE: f64 = DENSITY / UNITS;

/// An RGB picture under the pen.
pub(crate) struct Canvas {
    units: (u32, u32),
    width: usize,
    height: usize,
    rgb: Vec<u8>,
    /// Coverage of the stroke being drawn, so that its pieces do not darken where they meet.
    mask: Vec<f32>,
}

type Drawn = Result<(), DrawingErrorKind<Infallible>>;

impl Canvas {
    /// A black picture for a chart of that many CSS pixels.
    pub(crate) fn new(width_px: u32, height_px: u32) -> Self {
        let (width, height) = ((f64::from(width_px) * DENSITY) as usize, (f64::from(height_px) * DENSITY) as usize);
        Self {
            units: (width_px * UNITS as u32, height_px * UNITS as u32),
            width,
            height,
            rgb: vec![0; width * height * 3],
            mask: vec![0.0; width * height],
        }
    }

    /// Writes the picture as PNG.
    pub(crate) fn save(&self, path: &Path) -> Result<(), ReportError> {
        let size = (self.width as u32, self.height as u32);
        let write = || -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
            let mut file = BitMapBackend::new(path, size);
            file.blit_bitmap((0, 0), size, &self.rgb).map_err(|e| e.to_string())?;
            file.present().map_err(|e| e.to_string())?;
            Ok(())
        };
        write().map_err(|e| ReportError::Write { path: path.to_owned(), source: std::io::Error::other(e) })
    }

    #[cfg(test)]
    pub(crate) fn pixel(&self, x: usize, y: usize) -> (u8, u8, u8) {
        let at = (y * self.width + x) * 3;
        (self.rgb[at], self.rgb[at + 1], self.rgb[at + 2])
    }

    fn blend(&mut self, x: i64, y: i64, color: BackendColor, coverage: f64) {
        if x < 0 || y < 0 || x >= self.width as i64 || y >= self.height as i64 {
            return;
        }
        let alpha = (color.alpha * coverage).clamp(0.0, 1.0);
        let at = (y as usize * self.width + x as usize) * 3;
        for (old, new) in self.rgb[at..at + 3].iter_mut().zip([color.rgb.0, color.rgb.1, color.rgb.2]) {
            *old = (f64::from(*old) * (1.0 - alpha) + f64::from(new) * alpha).round() as u8;
        }
    }

    /// Paints every pixel whose distance from the polyline is within half its width, with a soft edge of one pixel.
    fn stroke(&mut self, points: &[(f64, f64)], width: f64, color: BackendColor) {
        let reach = width / 2.0 + 0.5;
        let mut touched: Vec<usize> = Vec::new();
        for pair in points.windows(2) {
            let (from, to) = (pair[0], pair[1]);
            let (left, right) = (from.0.min(to.0) - reach, from.0.max(to.0) + reach);
            let (top, bottom) = (from.1.min(to.1) - reach, from.1.max(to.1) + reach);
            let columns = (left.floor().max(0.0) as usize)..(right.ceil().max(0.0) as usize).min(self.width);
            let rows = (top.floor().max(0.0) as usize)..(bottom.ceil().max(0.0) as usize).min(self.height);
            for y in rows {
                for x in columns.clone() {
                    let coverage = reach - distance((x as f64 + 0.5, y as f64 + 0.5), from, to);
                    let coverage = coverage.clamp(0.0, width.min(1.0)) as f32;
                    let cell = &mut self.mask[y * self.width + x];
                    if coverage > *cell {
                        if *cell == 0.0 {
                            touched.push(y * self.width + x);
                        }
                        *cell = coverage;
                    }
                }
            }
        }
        for at in touched {
            let coverage = f64::from(std::mem::take(&mut self.mask[at]));
            self.blend((at % self.width) as i64, (at / self.width) as i64, color, coverage);
        }
    }
}

/// The distance of a point from a segment.
fn distance(point: (f64, f64), from: (f64, f64), to: (f64, f64)) -> f64 {
    let (dx, dy) = (to.0 - from.0, to.1 - from.1);
    let (px, py) = (point.0 - from.0, point.1 - from.1);
    let length2 = dx * dx + dy * dy;
    let along = if length2 > 0.0 { ((px * dx + py * dy) / length2).clamp(0.0, 1.0) } else { 0.0 };
    (px - along * dx).hypot(py - along * dy)
}

/// How much of the pixel `[at, at + 1]` the span covers.
fn overlap(at: i64, low: f64, high: f64) -> f64 {
    (high.min(at as f64 + 1.0) - low.max(at as f64)).max(0.0)
}

fn scaled((x, y): BackendCoord) -> (f64, f64) {
    (f64::from(x) * SCALE, f64::from(y) * SCALE)
}

impl DrawingBackend for Canvas {
    type ErrorType = Infallible;

    fn get_size(&self) -> (u32, u32) {
        self.units
    }

    fn ensure_prepared(&mut self) -> Drawn {
        Ok(())
    }

    fn present(&mut self) -> Drawn {
        Ok(())
    }

    fn draw_pixel(&mut self, point: BackendCoord, color: BackendColor) -> Drawn {
        let (x, y) = scaled(point);
        self.blend(x.floor() as i64, y.floor() as i64, color, SCALE * SCALE);
        Ok(())
    }

    fn draw_line<S: BackendStyle>(&mut self, from: BackendCoord, to: BackendCoord, style: &S) -> Drawn {
        self.draw_path([from, to], style)
    }

    fn draw_path<S: BackendStyle, I: IntoIterator<Item = BackendCoord>>(&mut self, path: I, style: &S) -> Drawn {
        let points: Vec<(f64, f64)> = path.into_iter().map(scaled).collect();
        self.stroke(&points, f64::from(style.stroke_width()) * SCALE, style.color());
        Ok(())
    }

    fn draw_rect<S: BackendStyle>(&mut self, a: BackendCoord, b: BackendCoord, style: &S, fill: bool) -> Drawn {
        if !fill {
            return self.draw_path([a, (b.0, a.1), b, (a.0, b.1), a], style);
        }
        let ((left, top), (right, bottom)) = (scaled(a), scaled(b));
        for y in top.floor() as i64..bottom.ceil() as i64 {
            let tall = overlap(y, top, bottom);
            for x in left.floor() as i64..right.ceil() as i64 {
                self.blend(x, y, style.color(), tall * overlap(x, left, right));
            }
        }
        Ok(())
    }

    fn draw_circle<S: BackendStyle>(&mut self, center: BackendCoord, radius: u32, style: &S, fill: bool) -> Drawn {
        let (cx, cy) = scaled(center);
        let radius = f64::from(radius) * SCALE;
        let half = f64::from(style.stroke_width()) * SCALE / 2.0;
        let reach = radius + half + 1.0;
        for y in (cy - reach).floor() as i64..(cy + reach).ceil() as i64 {
            for x in (cx - reach).floor() as i64..(cx + reach).ceil() as i64 {
                let away = (x as f64 + 0.5 - cx).hypot(y as f64 + 0.5 - cy);
                let inside = if fill { radius - away } else { half - (away - radius).abs() };
                self.blend(x, y, style.color(), (inside + 0.5).clamp(0.0, 1.0));
            }
        }
        Ok(())
    }

    fn draw_text<S: BackendTextStyle>(&mut self, text: &str, style: &S, pos: BackendCoord) -> Drawn {
        let weight = match style.style() {
            FontStyle::Bold => Weight::SemiBold,
            FontStyle::Normal | FontStyle::Italic | FontStyle::Oblique => Weight::Regular,
        };
        let em_px = style.size() / PLOTTERS_EM * SCALE;
        let (x, top) = scaled(pos);
        let width = typeface::width(text, em_px, weight);
        let left = match style.anchor().h_pos {
            HPos::Left => x,
            HPos::Center => x - width / 2.0,
            HPos::Right => x - width,
        };
        // A baseline between two rows of pixels would blur every letter.
        let baseline = (top + TOP_TO_BASELINE * em_px).round();
        typeface::draw(text, (left, baseline), em_px, weight, |x, y, coverage| {
            self.blend(i64::from(x), i64::from(y), style.color(), f64::from(coverage));
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use plotters_backend::{BackendColor, BackendStyle, DrawingBackend};

    use super::Canvas;

    struct Line(u32);

    impl BackendStyle for Line {
        fn color(&self) -> BackendColor {
            BackendColor { alpha: 1.0, rgb: (255, 255, 255) }
        }

        fn stroke_width(&self) -> u32 {
            self.0
        }
    }

    #[test]
    fn a_line_of_one_css_pixel_fills_two_rows_and_meets_softly() {
        let mut canvas = Canvas::new(20, 10);
        // y = 5 CSS px is the border between rows 9 and 10 of the picture.
        canvas.draw_path([(32, 80), (160, 80), (288, 80)], &Line(16)).unwrap();
        assert_eq!(canvas.pixel(20, 9), (255, 255, 255));
        assert_eq!(canvas.pixel(20, 10), (255, 255, 255));
        assert_eq!(canvas.pixel(20, 8), (0, 0, 0));
        assert_eq!(canvas.pixel(20, 11), (0, 0, 0));
    }

    #[test]
    fn a_rectangle_covers_parts_of_pixels_and_nothing_leaves_the_picture() {
        let mut canvas = Canvas::new(4, 4);
        canvas.draw_rect((8, 8), (20, 24), &Line(1), true).unwrap();
        assert_eq!(canvas.pixel(1, 1), (255, 255, 255));
        assert_eq!(canvas.pixel(2, 1), (128, 128, 128));
        assert_eq!(canvas.pixel(3, 1), (0, 0, 0));
        canvas.draw_rect((-500, -500), (500, 500), &Line(1), true).unwrap();
        canvas.draw_path([(-900, -50), (900, 70)], &Line(16)).unwrap();
        canvas.draw_circle((0, 0), 90, &Line(4), false).unwrap();
        assert_eq!(canvas.pixel(7, 7), (255, 255, 255));
    }
}
