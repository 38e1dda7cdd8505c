//! Lines on logarithmic scales.

use std::error::Error;
use std::path::Path;

use chat_benches::{Figures, Growth};
use plotters::prelude::*;

const SIZE: (u32, u32) = (860, 480);
const COLOURS: [RGBColor; 10] = [
    RGBColor(31, 119, 180),
    RGBColor(214, 39, 40),
    RGBColor(44, 160, 44),
    RGBColor(148, 103, 189),
    RGBColor(255, 127, 14),
    RGBColor(23, 190, 207),
    RGBColor(140, 86, 75),
    RGBColor(227, 119, 194),
    RGBColor(127, 127, 127),
    RGBColor(188, 189, 34),
];

/// Draws what the processors of both sides spend on one operation against what there is.
pub(crate) fn draw(path: &Path, axis: &str, curves: &[&Growth]) -> Result<(), Box<dyn Error>> {
    let root = SVGBackend::new(path, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let points = || curves.iter().flat_map(|curve| &curve.points);
    let sizes = points().map(|point| point.0 as f64);
    let spent = points().map(|point| Growth::processor(&point.2));
    let (left, right) = ends(sizes);
    let (low, high) = ends(spent);
    let (plot, legend) = root.split_horizontally(SIZE.0 - 260);
    let mut chart = ChartBuilder::on(&plot)
        .margin(10)
        .x_label_area_size(40)
        .y_label_area_size(60)
        .build_cartesian_2d((left..right).log_scale(), (low / 1.5..high * 1.5).log_scale())?;
    chart
        .configure_mesh()
        .x_desc(axis)
        .y_desc("processor, both sides, µs")
        .x_label_formatter(&|size| short(*size))
        .y_label_formatter(&|micros| short(*micros))
        .light_line_style(WHITE)
        .draw()?;
    for (curve, colour) in curves.iter().zip(COLOURS.iter().cycle()) {
        let line = curve
            .points
            .iter()
            .map(|(size, _, figures): &(usize, usize, Figures)| (*size as f64, Growth::processor(figures)));
        chart.draw_series(LineSeries::new(line, colour.stroke_width(2)).point_size(3))?;
    }
    // Beside the plot: lines that are flat lie on each other.
    for (nth, (curve, colour)) in curves.iter().zip(COLOURS.iter().cycle()).enumerate() {
        let y = 24 + 22 * i32::try_from(nth)?;
        legend.draw(&PathElement::new(vec![(4, y + 6), (22, y + 6)], colour.stroke_width(3)))?;
        legend.draw(&Text::new(curve.name.clone(), (28, y), ("sans-serif", 13).into_font()))?;
    }
    root.present()?;
    Ok(())
}

fn ends(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values.fold((f64::INFINITY, 0.0), |(low, high), value| (low.min(value.max(0.01)), high.max(value)))
}

fn short(value: f64) -> String {
    if value >= 1_000.0 {
        let digits = format!("{value:.0}");
        let groups: Vec<_> = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
        groups.join(" ")
    } else if value >= 1.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.1}")
    }
}
