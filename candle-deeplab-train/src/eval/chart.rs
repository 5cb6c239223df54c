//! Charts of an evaluation, as SVG.

use candle_deeplab::metrics::Confusion;
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::report::{BandScores, Report};
use crate::error::{Error, Result};

/// From here on, cells are too small for numbers.
const MOST_NUMBERS: usize = 40;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// The confusion matrix as a picture: a row for each class of the ground truth, whose cells say which share of its pixels
/// was predicted as which class, in percent.
///
/// # Errors
/// [`Error::Chart`] where the picture cannot be drawn.
pub fn confusion_svg(confusion: &Confusion, names: &[String]) -> Result<String> {
    let classes = confusion.classes();
    let name = |class: usize| names.get(class).map_or_else(|| class.to_string(), |name| shortened(name));
    let (cell, letters) = if classes <= MOST_NUMBERS { (36, 13.0) } else { (12, 10.0) };
    let longest = (0..classes).map(|class| name(class).chars().count()).max().unwrap_or(0);
    // Letters of a sans serif are about 0.6 as wide as high.
    let margin = (0.62 * letters * longest as f64) as i32 + 16;
    let (title, side) = (64, cell * classes as i32);
    let (width, height) = (margin + 24 + side + 24, title + margin + side + 24);
    let (left, top) = (margin + 24, title + margin);
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (width.max(420) as u32, height as u32)).into_drawing_area();
        area.fill(&WHITE).map_err(Error::chart)?;
        let text = |area: &Area, text: &str, size: f64, at: (i32, i32), color: RGBColor, anchor: (HPos, VPos)| {
            let style = ("sans-serif", size).into_font().color(&color).pos(Pos::new(anchor.0, anchor.1));
            area.draw(&Text::new(text.to_owned(), at, style)).map_err(Error::chart)
        };
        text(&area, "Confusion matrix", 18.0, (16, 14), BLACK, (HPos::Left, VPos::Top))?;
        let said = "rows: ground truth; columns: predicted; % of the row's pixels";
        text(&area, said, 12.0, (16, 38), GREY, (HPos::Left, VPos::Top))?;
        for class in 0..classes {
            let middle = class as i32 * cell + cell / 2;
            text(&area, &name(class), letters, (left - 6, top + middle), BLACK, (HPos::Right, VPos::Center))?;
            // Turned to the left, so that it is read from below.
            let style = ("sans-serif", letters).into_font().transform(FontTransform::Rotate270);
            let style = style.color(&BLACK).pos(Pos::new(HPos::Left, VPos::Center));
            area.draw(&Text::new(name(class), (left + middle, top - 6), style)).map_err(Error::chart)?;
            let row: u64 = (0..classes).map(|prediction| confusion.count(class, prediction)).sum();
            for prediction in 0..classes {
                let count = confusion.count(class, prediction);
                let share = if row > 0 { count as f64 / row as f64 } else { 0.0 };
                let corner = (left + prediction as i32 * cell, top + class as i32 * cell);
                let color = shade(share, class == prediction);
                let opposite = (corner.0 + cell - 1, corner.1 + cell - 1);
                area.draw(&Rectangle::new([corner, opposite], color.filled())).map_err(Error::chart)?;
                if classes <= MOST_NUMBERS && count > 0 {
                    let ink = if share > 0.55 { WHITE } else { BLACK };
                    let at = (corner.0 + cell / 2, corner.1 + cell / 2);
                    text(&area, &percent(share), 11.0, at, ink, (HPos::Center, VPos::Center))?;
                }
            }
        }
        area.present().map_err(Error::chart)?;
    }
    Ok(svg)
}

/// mIoU and pixel accuracy against the width of the band along borders (as in figure 5 of Chen et al. 2018).
///
/// # Errors
/// [`Error::Chart`] where the picture cannot be drawn.
pub fn trimap_svg(report: &Report) -> Result<String> {
    let points = |score: fn(&BandScores) -> Option<f64>| {
        let point = move |band: &BandScores| Some((f64::from(band.width), 100.0 * score(band)?));
        report.trimap.iter().filter_map(point).collect::<Vec<_>>()
    };
    let (ious, accuracies) = (points(|band| band.miou), points(|band| band.pixel_accuracy));
    let widest = report.trimap.last().map_or(1.0, |band| f64::from(band.width));
    let scores = || ious.iter().chain(&accuracies).map(|(_, score)| *score);
    // Whole tens around the curves.
    let least = (scores().fold(100.0, f64::min) / 10.0).floor() * 10.0;
    let most = (scores().fold(0.0, f64::max) / 10.0).ceil() * 10.0;
    let range = least..most.max(least + 10.0);
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (720, 440)).into_drawing_area();
        area.fill(&WHITE).map_err(Error::chart)?;
        let mut chart = ChartBuilder::on(&area)
            .caption("Scores near borders", ("sans-serif", 18))
            .margin(16)
            .x_label_area_size(44)
            .y_label_area_size(52)
            .build_cartesian_2d(0.0..widest * 1.03, range)
            .map_err(Error::chart)?;
        chart
            .configure_mesh()
            .x_desc("width of the band on each side of a border, pixels")
            .y_desc("%")
            .label_style(("sans-serif", 13))
            .max_light_lines(1)
            .bold_line_style(RGBColor(228, 231, 235))
            .x_label_formatter(&|width| format!("{width:.0}"))
            .y_label_formatter(&|score| format!("{score:.0}"))
            .draw()
            .map_err(Error::chart)?;
        for (name, curve, color) in [("mIoU", ious, BLUE_INK), ("pixel accuracy", accuracies, ORANGE_INK)] {
            chart.draw_series(LineSeries::new(curve.iter().copied(), color.stroke_width(2))).map_err(Error::chart)?;
            chart.draw_series(curve.iter().map(|at| Circle::new(*at, 3, color.filled()))).map_err(Error::chart)?;
            // The name stands above the curve's end, so that no legend hides a part of it.
            let style = ("sans-serif", 14).into_font().color(&color).pos(Pos::new(HPos::Right, VPos::Bottom));
            let named = |at: &(f64, f64)| EmptyElement::at(*at) + Text::new(name, (4, -8), style.clone());
            chart.draw_series(curve.last().map(named)).map_err(Error::chart)?;
        }
        area.present().map_err(Error::chart)?;
    }
    Ok(svg)
}

const GREY: RGBColor = RGBColor(106, 112, 122);
const BLUE_INK: RGBColor = RGBColor(31, 90, 166);
const ORANGE_INK: RGBColor = RGBColor(201, 94, 18);

/// White to blue on the diagonal, to red beside it. Small shares are visible.
fn shade(share: f64, right: bool) -> RGBColor {
    let full = if right { BLUE_INK } else { RGBColor(190, 40, 30) };
    let part = share.sqrt();
    let mix = |full: u8, empty: u8| (f64::from(empty) + part * (f64::from(full) - f64::from(empty))).round() as u8;
    RGBColor(mix(full.0, 247), mix(full.1, 247), mix(full.2, 247))
}

/// Two digits where there is room for them.
fn percent(share: f64) -> String {
    match 100.0 * share {
        percent if percent >= 9.95 => format!("{percent:.0}"),
        percent if percent >= 0.05 => format!("{percent:.1}"),
        _ => "<.1".into(),
    }
}

/// Names of ADE20K are lists of synonyms.
fn shortened(name: &str) -> String {
    const MOST: usize = 28;
    match name.chars().count() > MOST {
        true => name.chars().take(MOST - 1).chain(['…']).collect(),
        false => name.to_owned(),
    }
}
