use super::{LineChart, Size, YScale};
use crate::error::ReportError;
use crate::palette::Theme;
use crate::series::{Series, Stroke};

fn line(label: &str, points: Vec<(f64, f64)>) -> Series {
    Series { label: label.into(), remark: String::new(), points, stroke: Stroke::Solid, colour: 0, gap_x: None }
}

fn chart(series: Vec<Series>) -> LineChart {
    LineChart {
        title: "Title <&>".into(),
        subtitle: "subtitle".into(),
        x_label: "step".into(),
        y_label: "loss".into(),
        series,
        y_scale: YScale::Linear,
        theme: Theme::Light,
        size: Size { width_px: 640, height_px: 320 },
    }
}

/// The `points` of every line in an SVG, in CSS pixels.
fn polylines(svg: &str) -> Vec<Vec<(f64, f64)>> {
    svg.split("points=\"")
        .skip(1)
        .map(|rest| {
            let points = rest.split('"').next().unwrap().split_whitespace();
            points
                .map(|point| {
                    let (x, y) = point.split_once(',').unwrap();
                    (x.parse::<f64>().unwrap() / 16.0, y.parse::<f64>().unwrap() / 16.0)
                })
                .collect()
        })
        .collect()
}

#[test]
fn a_line_goes_where_its_values_say() {
    let svg = chart(vec![line("", vec![(0.0, 0.0), (50.0, 1.0), (100.0, 2.0)])]).svg().unwrap();
    let lines = polylines(&svg);
    let [a, b, c] = lines[0][..] else { panic!("{lines:?}") };
    assert!((b.0 - (a.0 + c.0) / 2.0).abs() < 0.1 && (b.1 - (a.1 + c.1) / 2.0).abs() < 0.1);
    assert!(a.1 > c.1 && a.0 < c.0);
    assert_eq!(a.1, 320.0 - 44.0);
}

#[test]
fn the_svg_is_sized_in_css_pixels_and_escapes_its_texts() {
    let svg = chart(vec![line("a <b>", vec![(0.0, 1.0), (5.0, 2.0)])]).svg().unwrap();
    assert!(svg.starts_with(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"640\" height=\"320\" viewBox=\"0 0 10240 5120\""
    ));
    assert!(svg.contains("<title>Title &lt;&amp;&gt;</title>"));
    assert!(svg.contains("a &lt;b&gt;") && !svg.contains("<b>"));
    assert_eq!(svg.matches("<svg").count(), 1);
    assert!(svg.contains("font-weight=\"600\"") && !svg.contains("bold"));
}

#[test]
fn a_gap_leaves_the_line_open() {
    let points = vec![(0.0, 0.0), (1.0, 1.0), (2.0, f64::NAN), (3.0, 1.0), (4.0, 1.0)];
    assert_eq!(polylines(&chart(vec![line("", points)]).svg().unwrap()).len(), 2);
}

#[test]
fn a_logarithmic_axis_leaves_out_zero_and_places_factors_evenly() {
    let mut chart = chart(vec![line("", vec![(0.0, 0.0), (1.0, 1.0), (2.0, 10.0), (3.0, 100.0)])]);
    chart.y_scale = YScale::Log;
    let line = polylines(&chart.svg().unwrap()).remove(0);
    assert_eq!(line.len(), 3);
    assert!(((line[0].1 - line[1].1) - (line[1].1 - line[2].1)).abs() < 0.2);
    chart.series[0].points = vec![(0.0, 0.0), (1.0, -2.0)];
    assert!(matches!(chart.svg(), Err(ReportError::NothingAboveZero { .. })));
}

#[test]
fn odd_input_is_drawn_or_refused_but_never_panics() {
    for points in [
        vec![(0.0, 0.0)],
        vec![(7.0, 3.0)],
        vec![(0.0, 1.0), (1.0, 1.0)],
        vec![(0.0, -5.0), (1.0, -1.0)],
        vec![(0.0, 1e-300), (1.0, 1e300)],
        vec![(0.0, 1e12), (1e12, 1e12 + 1.0)],
        vec![(5.0, 1.0), (1.0, 2.0)],
        vec![(f64::INFINITY, 1.0), (1.0, 2.0)],
    ] {
        for y_scale in [YScale::Linear, YScale::Log] {
            for theme in [Theme::Light, Theme::Dark] {
                let mut chart = chart(vec![line("一二三 train", points.clone())]);
                chart.y_scale = y_scale;
                chart.theme = theme;
                match chart.svg() {
                    Ok(svg) => assert!(!svg.contains("NaN") && chart.paint().is_ok(), "{points:?}"),
                    Err(error) => assert!(matches!(error, ReportError::NothingAboveZero { .. }), "{error} {points:?}"),
                }
            }
        }
    }
    let mut tiny = chart(vec![line("a", vec![(0.0, 1.0), (1.0, 2.0)])]);
    tiny.size = Size { width_px: 10, height_px: 10 };
    assert!(matches!(tiny.svg(), Err(ReportError::Size { .. })));
    assert!(matches!(chart(Vec::new()).svg(), Err(ReportError::NothingToDraw { .. })));
}

#[test]
fn the_picture_has_the_background_of_its_theme_and_the_colour_of_its_line() {
    for theme in [Theme::Light, Theme::Dark] {
        let mut chart = chart(vec![line("a", (0..100).map(|i| (f64::from(i), 5.0)).collect())]);
        chart.theme = theme;
        let canvas = chart.paint().unwrap();
        let background = theme.colours().background;
        assert_eq!(canvas.pixel(2, 2), (background.0, background.1, background.2));
        let colour = theme.series(0);
        let column: Vec<_> = (0..640).map(|y| canvas.pixel(400, y)).collect();
        assert!(column.contains(&(colour.0, colour.1, colour.2)), "{theme:?}");
    }
}
