//! Charts as SVG, to stand in a page of [`crate::html`]. Their text has the colour of the page, light or dark.

use onsale_domain::plan::words;
use plotters::prelude::{
    ChartBuilder, Color, IntoDrawingArea, LineSeries, PathElement, RGBColor, SVGBackend, SeriesLabelPosition,
};

use crate::html::escape;

/// A line of a chart.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// What it shows.
    pub name: String,
    /// Its points, by growing x.
    pub points: Vec<(f64, f64)>,
}

/// A chart.
#[derive(Debug, Clone, PartialEq)]
pub struct Chart {
    /// Its title.
    pub title: String,
    /// What x is, with its unit.
    pub x: String,
    /// What y is, with its unit.
    pub y: String,
    /// Its lines.
    pub series: Vec<Series>,
}

/// Width and height in pixels.
const SIZE: (u32, u32) = (900, 380);
/// Colours that read on light and on dark.
const COLOURS: [RGBColor; 7] = [
    RGBColor(47, 126, 196),
    RGBColor(214, 90, 40),
    RGBColor(44, 150, 90),
    RGBColor(150, 100, 210),
    RGBColor(190, 140, 20),
    RGBColor(200, 80, 130),
    RGBColor(128, 128, 128),
];
/// Drawn as black, shown in the colour of the page's text.
const TEXT: &str = "\"#000000\"";

impl Chart {
    /// The chart as an SVG element. A chart that cannot be drawn is a paragraph that says so.
    pub fn svg(&self) -> String {
        let mut text = String::new();
        match self.draw(&mut text) {
            Ok(()) => {
                let label = format!("<svg role=\"img\" aria-label=\"{}\" ", escape(&self.title));
                text.replacen("<svg ", &label, 1).replace(TEXT, "\"currentColor\"")
            }
            Err(error) => format!("<p>{} cannot be drawn: {}</p>", escape(&self.title), escape(&error.to_string())),
        }
    }

    /// From where to where the points reach. What is no number is left out.
    fn reach(&self) -> ((f64, f64), f64) {
        let points = self.series.iter().flat_map(finite);
        let start = (f64::INFINITY, f64::NEG_INFINITY, 0.0_f64);
        let (low, high, top) = points.fold(start, |(low, high, top), (x, y)| (x.min(low), x.max(high), y.max(top)));
        let across = if low < high {
            (low, high)
        } else if low.is_finite() {
            (low, low + 1.0)
        } else {
            (0.0, 1.0)
        };
        (across, if top > 0.0 { top * 1.05 } else { 1.0 })
    }

    fn draw(&self, text: &mut String) -> Result<(), Box<dyn std::error::Error>> {
        let ((from, to), top) = self.reach();
        let root = SVGBackend::with_string(text, SIZE).into_drawing_area();
        let mut chart = ChartBuilder::on(&root)
            .caption(&self.title, ("sans-serif", 20))
            .margin(12)
            .x_label_area_size(44)
            .y_label_area_size(84)
            .build_cartesian_2d(from..to, 0.0..top)?;
        chart
            .configure_mesh()
            .x_desc(self.x.as_str())
            .y_desc(self.y.as_str())
            .max_light_lines(1)
            .label_style(("sans-serif", 14))
            .x_label_formatter(&|x: &f64| number(*x))
            .y_label_formatter(&|y: &f64| number(*y))
            .draw()?;
        for (series, colour) in self.series.iter().zip(COLOURS.into_iter().cycle()) {
            chart
                .draw_series(LineSeries::new(finite(series), colour.stroke_width(2)))?
                .label(series.name.as_str())
                .legend(move |(x, y)| PathElement::new(vec![(x, y), (x + 20, y)], colour.stroke_width(3)));
        }
        if self.series.len() > 1 {
            chart
                .configure_series_labels()
                .position(SeriesLabelPosition::UpperRight)
                .label_font(("sans-serif", 14))
                .draw()?;
        }
        root.present()?;
        Ok(())
    }
}

fn finite(series: &Series) -> impl Iterator<Item = (f64, f64)> + '_ {
    series.points.iter().copied().filter(|(x, y)| x.is_finite() && y.is_finite())
}

/// A number at an axis.
fn number(value: f64) -> String {
    if value.abs() < 10.0 && value.fract().abs() > 1e-9 { format!("{value:.2}") } else { words::count(value) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chart_has_its_lines_and_words_and_no_colour_of_its_own_for_text() {
        let series =
            |name: &str| Series { name: name.to_owned(), points: vec![(0.0, 1.0), (1.0, 5_000.0), (2.0, f64::NAN)] };
        let (title, x, y) = ("Fans & \"seats\"".to_owned(), "minutes".to_owned(), "fans".to_owned());
        let svg = Chart { title, x, y, series: vec![series("waiting"), series("active")] }.svg();
        assert!(svg.starts_with("<svg role=\"img\" aria-label=\"Fans &amp; &quot;seats&quot;\""), "{svg}");
        for word in ["waiting", "active", "minutes", "5,000", "currentColor", "</svg>"] {
            assert!(svg.contains(word), "{word} is not in {svg}");
        }
        assert!(!svg.contains("#000000") && !svg.contains("NaN"), "{svg}");
    }

    #[test]
    fn a_chart_of_nothing_is_still_one() {
        let empty = |series| Chart { title: String::new(), x: String::new(), y: String::new(), series };
        let point = Series { name: "one".to_owned(), points: vec![(3.0, 0.0)] };
        assert!(empty(vec![]).svg().contains("</svg>") && empty(vec![point]).svg().contains("</svg>"));
    }
}
