//! The bundled chart font (a cut of Inter, OFL): widths and glyph pictures. Its figures all have one width.

use std::sync::OnceLock;

use ab_glyph::{Font, FontRef, ScaleFont, point};

/// The two weights of the charts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weight {
    Regular,
    SemiBold,
}

/// What an SVG names as its font: ours when installed, else the reader's own.
pub(crate) const CSS_FAMILY: &str = "Inter, system-ui, sans-serif";

fn font(weight: Weight) -> &'static FontRef<'static> {
    static REGULAR: OnceLock<FontRef<'static>> = OnceLock::new();
    static SEMI_BOLD: OnceLock<FontRef<'static>> = OnceLock::new();
    let (cell, bytes): (_, &'static [u8]) = match weight {
        Weight::Regular => (&REGULAR, include_bytes!("../fonts/Inter-Regular-chart.ttf")),
        Weight::SemiBold => (&SEMI_BOLD, include_bytes!("../fonts/Inter-SemiBold-chart.ttf")),
    };
    cell.get_or_init(|| FontRef::try_from_slice(bytes).expect("the bundled font is whole: a test reads it"))
}

/// The text with each run of characters that the font lacks (Japanese, emoji) as one ellipsis.
fn drawable(text: &str, font: &FontRef<'_>) -> String {
    let mut result = String::with_capacity(text.len());
    let mut in_run = false;
    for c in text.chars().filter(|c| !c.is_control()) {
        let known = font.glyph_id(c).0 != 0;
        if known {
            result.push(c);
        } else if !in_run {
            result.push('…');
        }
        in_run = !known;
    }
    result
}

/// Font height that ab_glyph wants for an em of `em_px`.
fn scale(font: &FontRef<'_>, em_px: f64) -> f32 {
    em_px as f32 * font.height_unscaled() / font.units_per_em().unwrap_or(font.height_unscaled())
}

/// The width of a text, in the unit of `em_px`.
pub(crate) fn width(text: &str, em_px: f64, weight: Weight) -> f64 {
    let font = font(weight);
    let scaled = font.as_scaled(scale(font, em_px));
    drawable(text, font).chars().map(|c| f64::from(scaled.h_advance(scaled.glyph_id(c)))).sum()
}

/// The text cut to fit `most_px`, with an ellipsis where something is missing.
pub(crate) fn fitted(text: &str, em_px: f64, weight: Weight, most_px: f64) -> String {
    if width(text, em_px, weight) <= most_px {
        return text.to_owned();
    }
    let mut chars: Vec<char> = text.chars().collect();
    while chars.pop().is_some() {
        let cut: String = chars.iter().collect::<String>().trim_end().to_owned() + "…";
        if width(&cut, em_px, weight) <= most_px {
            return cut;
        }
    }
    String::new()
}

/// Calls `pixel(x, y, coverage)` for every pixel of a text whose first glyph starts at `x` on `baseline`.
pub(crate) fn draw(
    text: &str,
    (x, baseline): (f64, f64),
    em_px: f64,
    weight: Weight,
    mut pixel: impl FnMut(i32, i32, f32),
) {
    let font = font(weight);
    let scaled = font.as_scaled(scale(font, em_px));
    let mut pen = x as f32;
    for c in drawable(text, font).chars() {
        let mut glyph = scaled.scaled_glyph(c);
        glyph.position = point(pen, baseline as f32);
        pen += scaled.h_advance(glyph.id);
        if let Some(outline) = scaled.outline_glyph(glyph) {
            let corner = outline.px_bounds().min;
            outline.draw(|dx, dy, coverage| {
                pixel(corner.x as i32 + dx as i32, corner.y as i32 + dy as i32, coverage.min(1.0));
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Weight, draw, fitted, width};

    #[test]
    fn figures_have_one_width() {
        for weight in [Weight::Regular, Weight::SemiBold] {
            let widths: Vec<f64> = "0123456789".chars().map(|c| width(&c.to_string(), 12.0, weight)).collect();
            assert!(widths.iter().all(|w| (w - widths[0]).abs() < 1e-6) && widths[0] > 5.0, "{widths:?}");
        }
    }

    #[test]
    fn unknown_scripts_become_one_ellipsis() {
        assert_eq!(width("損失", 12.0, Weight::Regular), width("…", 12.0, Weight::Regular));
        assert_eq!(width("a損失b", 12.0, Weight::Regular), width("a…b", 12.0, Weight::Regular));
        assert_eq!(width("\u{7}\n", 12.0, Weight::Regular), 0.0);
    }

    #[test]
    fn long_texts_are_cut() {
        let cut = fitted("a very long title that cannot fit", 12.0, Weight::Regular, 80.0);
        assert!(cut.ends_with('…') && width(&cut, 12.0, Weight::Regular) <= 80.0);
        assert_eq!(fitted("ok", 12.0, Weight::Regular, 80.0), "ok");
        assert_eq!(fitted("ok", 12.0, Weight::Regular, 1.0), "");
    }

    #[test]
    fn glyphs_stand_on_the_baseline() {
        let (mut ink, mut lowest) = (0.0, i32::MIN);
        draw("H", (10.0, 40.0), 24.0, Weight::Regular, |_, y, coverage| {
            ink += coverage;
            lowest = lowest.max(if coverage > 0.5 { y } else { i32::MIN });
        });
        assert!(ink > 50.0);
        assert_eq!(lowest, 39);
    }
}
