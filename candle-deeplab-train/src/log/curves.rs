//! The curves of runs as a picture: loss, learning rate and mIoU over the steps.

use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use serde_json::{Map, Value};

use super::jsonl::{self, STEP};
use crate::error::{Error, Result};

/// The keys of a log's lines that are drawn, beside [`STEP`].
pub const LOSS: &str = "loss";
/// See [`LOSS`].
pub const RATE: &str = "rate";
/// See [`LOSS`].
pub const MIOU: &str = "miou";

/// What is drawn of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// Its name in the legend.
    pub name: String,
    /// The loss of each step.
    pub loss: Vec<(f64, f64)>,
    /// The learning rate of each step.
    pub rate: Vec<(f64, f64)>,
    /// The mIoU of each validation, from 0 to 1.
    pub miou: Vec<(f64, f64)>,
}

impl Run {
    /// Reads a run's log.
    ///
    /// # Errors
    /// As [`jsonl::read`]; [`Error::Data`] where it has nothing to draw.
    pub fn read(name: impl Into<String>, log: impl AsRef<Path>) -> Result<Self> {
        let run = Self::of(name, &jsonl::read(&log)?);
        if run.loss.is_empty() && run.miou.is_empty() {
            return Err(Error::data(log, format!("has no `{LOSS}` and no `{MIOU}` to draw")));
        }
        Ok(run)
    }

    /// Takes what is drawn from the lines of a log.
    pub fn of(name: impl Into<String>, lines: &[Map<String, Value>]) -> Self {
        let points = |key: &str| {
            let point = |line: &Map<String, Value>| Some((line.get(STEP)?.as_f64()?, line.get(key)?.as_f64()?));
            lines.iter().filter_map(point).collect()
        };
        Self { name: name.into(), loss: points(LOSS), rate: points(RATE), miou: points(MIOU) }
    }
}

/// The width of the picture in pixels, and the height of each of its parts.
const SIZE: (u32, u32) = (860, 270);
/// The height of a line of the legend.
const LEGEND_LINE: u32 = 32;
/// The width of the legend's stroke, with the room behind it.
const STROKE: i32 = 30;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Draws the curves of runs as SVG, one picture above the other. What no run has is left out.
///
/// The loss of single steps is drawn thin, and its moving average over a fiftieth of the run strong. The picture has no
/// background, and colours that can be read on white and on black.
///
/// # Errors
/// [`Error::Chart`] where there is nothing to draw, or the picture cannot be drawn.
pub fn svg(runs: &[Run]) -> Result<String> {
    let panel = |title, points: fn(&Run) -> &Curve, kind| {
        runs.iter().any(|run| !points(run).is_empty()).then_some(Panel { title, points, kind })
    };
    let parts = [
        panel("loss", |run| &run.loss, Kind::Noisy),
        panel("learning rate", |run| &run.rate, Kind::Plain),
        panel("mIoU of the validation, %", |run| &run.miou, Kind::Share),
    ];
    if parts.iter().all(Option::is_none) {
        return Err(Error::Chart { reason: "the logs hold no step and no validation".to_owned() });
    }
    let mut svg = String::new();
    draw(&mut svg, runs, &parts).map_err(Error::chart)?;
    Ok(svg)
}

/// Draws the legend and the parts that some run has.
fn draw(svg: &mut String, runs: &[Run], parts: &[Option<Panel>]) -> Drawn<()> {
    let count = parts.iter().flatten().count();
    let lines = places(runs).last().map_or(0, |&(_, y)| y as u32) + LEGEND_LINE;
    let area = SVGBackend::with_string(svg, (SIZE.0, lines + SIZE.1 * count as u32)).into_drawing_area();
    let (top, rest) = area.split_vertically(lines);
    legend(&top, runs)?;
    let areas = rest.split_evenly((count, 1));
    parts.iter().flatten().zip(&areas).try_for_each(|(part, area)| panel(area, runs, part))?;
    area.present()?;
    Ok(())
}

/// One of the pictures.
struct Panel {
    title: &'static str,
    points: fn(&Run) -> &Curve,
    kind: Kind,
}

/// What is drawn how.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Single values vary so much that their average has to be seen. The axis begins at 0.
    Noisy,
    /// The axis begins at 0.
    Plain,
    /// A few shares, in percent.
    Share,
}

/// Points from left to right.
type Curve = Vec<(f64, f64)>;

type Drawn<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn panel(area: &Area, runs: &[Run], panel: &Panel) -> Drawn<()> {
    let scale = if panel.kind == Kind::Share { 100.0 } else { 1.0 };
    let finite = |run: &Run| -> Curve {
        let points = (panel.points)(run).iter().map(|&(step, value)| (step, value * scale));
        points.filter(|(_, value)| value.is_finite()).collect()
    };
    // Thin and strong.
    let curves: Vec<(Curve, Curve)> = runs
        .iter()
        .map(|run| {
            let points = finite(run);
            if panel.kind == Kind::Noisy {
                (thinned(&points), averaged(&thinned(&points)))
            } else {
                (Curve::new(), thinned(&points))
            }
        })
        .collect();
    let last = curves.iter().flat_map(|(_, strong)| strong).fold(1.0, |most: f64, &(step, _)| most.max(step));
    // A few losses that stand out may leave the picture.
    let (mut least, mut most) = curves
        .iter()
        .flat_map(|(_, strong)| strong)
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(least, most), &(_, value)| (least.min(value), most.max(value)));
    if panel.kind != Kind::Share {
        least = least.min(0.0);
    }
    let room = ((most - least) * 0.06).max(most.abs() * 1e-3).max(1e-12);
    least = if least >= 0.0 && least < room { 0.0 } else { least - room };
    most += room;
    let mut chart = ChartBuilder::on(area)
        .caption(panel.title, ("sans-serif", 15).into_font().color(&INK))
        .margin_left(8)
        .margin_top(8)
        .margin_right(24)
        .x_label_area_size(40)
        .y_label_area_size(64)
        .build_cartesian_2d(0.0..last, least..most)?;
    chart
        .configure_mesh()
        .axis_style(INK.mix(0.6))
        .bold_line_style(INK.mix(0.25))
        .light_line_style(TRANSPARENT)
        .label_style(("sans-serif", 12).into_font().color(&INK))
        .x_desc("step")
        .axis_desc_style(("sans-serif", 12).into_font().color(&INK))
        .x_labels(9)
        .y_labels(6)
        .x_label_formatter(&|step| whole(*step))
        .y_label_formatter(&|value| number(*value))
        .draw()?;
    for (i, (thin, strong)) in curves.into_iter().enumerate() {
        let color = color(i);
        let inside = thin.into_iter().map(|(step, value)| (step, value.clamp(least, most)));
        chart.draw_series(LineSeries::new(inside, color.mix(0.3).stroke_width(1)))?;
        if panel.kind == Kind::Share {
            chart.draw_series(strong.iter().map(|&at| Circle::new(at, 3, color.filled())))?;
        }
        chart.draw_series(LineSeries::new(strong, color.stroke_width(2)))?;
    }
    Ok(())
}

/// The names, each behind a stroke of its colour.
fn legend(area: &Area, runs: &[Run]) -> Drawn<()> {
    for (i, (run, (x, y))) in runs.iter().zip(places(runs)).enumerate() {
        let y = y + LEGEND_LINE as i32 / 2;
        area.draw(&PathElement::new([(x, y), (x + 22, y)], color(i).stroke_width(3)))?;
        let style = ("sans-serif", 14).into_font().color(&INK).pos(Pos::new(HPos::Left, VPos::Center));
        area.draw(&Text::new(run.name.clone(), (x + STROKE, y), style))?;
    }
    Ok(())
}

/// Where the names stand: as many in a line as fit.
fn places(runs: &[Run]) -> Vec<(i32, i32)> {
    const LEFT: i32 = 24;
    /// Letters of a sans serif of size 14 are about 8 wide.
    const LETTER: i32 = 8;
    let (mut x, mut y) = (LEFT, 0);
    let place = |run: &Run| {
        let letters = i32::try_from(run.name.chars().count()).unwrap_or(i32::MAX);
        let width = letters.saturating_mul(LETTER).saturating_add(STROKE + 24);
        if x > LEFT && width > SIZE.0 as i32 - x {
            (x, y) = (LEFT, y + LEGEND_LINE as i32);
        }
        let at = (x, y);
        x = x.saturating_add(width);
        at
    };
    runs.iter().map(place).collect()
}

/// Text and axes: as far from white as from black.
const INK: RGBColor = RGBColor(125, 131, 140);

/// The colour of a run: those of Okabe and Ito 2008 that can be seen on white and on black, which colour-blind people can
/// tell apart, too.
fn color(i: usize) -> RGBColor {
    const COLORS: [RGBColor; 6] = [
        RGBColor(0, 130, 200),
        RGBColor(213, 94, 0),
        RGBColor(0, 158, 115),
        RGBColor(204, 121, 167),
        RGBColor(200, 140, 0),
        RGBColor(86, 180, 233),
    ];
    COLORS[i % COLORS.len()]
}

/// The mean of each point and its neighbours, which together are about a fiftieth of all points.
fn averaged(points: &[(f64, f64)]) -> Curve {
    let reach = points.len() / 100;
    let mean = |(i, &(step, _)): (usize, &(f64, f64))| {
        let near = &points[i.saturating_sub(reach)..points.len().min(i + reach + 1)];
        (step, near.iter().map(|(_, value)| value / near.len() as f64).sum())
    };
    points.iter().enumerate().map(mean).collect()
}

/// At most as many points as the picture has columns, each the mean of its neighbours.
fn thinned(points: &[(f64, f64)]) -> Curve {
    let bucket = points.len().div_ceil(SIZE.0 as usize).max(1);
    let mean = |points: &[(f64, f64)]| {
        let (steps, values) = points.iter().fold((0.0, 0.0), |(x, y), point| (x + point.0, y + point.1));
        (steps / points.len() as f64, values / points.len() as f64)
    };
    let mut thinned: Vec<(f64, f64)> = points.chunks(bucket).map(mean).collect();
    // The end is what people look for.
    if bucket > 1 {
        thinned.extend(points.last());
    }
    thinned
}

/// A step, with thin spaces between thousands.
fn whole(step: f64) -> String {
    let digits = format!("{step:.0}");
    let gap = |(i, digit): (usize, char)| {
        let gap = i > 0 && (digits.len() - i).is_multiple_of(3);
        gap.then_some('\u{2009}').into_iter().chain([digit])
    };
    digits.chars().enumerate().flat_map(gap).collect()
}

/// A number in as few digits as tell it from its neighbours.
fn number(value: f64) -> String {
    if value.abs() < 1e-12 {
        return "0".to_owned();
    }
    // Ticks are sums, which do not end where they should.
    let rounded: f64 = format!("{value:.6e}").parse().unwrap_or(value);
    if rounded.abs() < 1e-3 { format!("{rounded:e}") } else { rounded.to_string() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn lines(seed: f64, steps: usize) -> Vec<Map<String, Value>> {
        let line = |step: usize| {
            let share = step as f64 / steps as f64;
            let noise = (step as f64 * seed).sin() * (step as f64 * 1.7 + seed).cos();
            let train = json!({
                "step": step, "loss": 0.3 + 2.0 * (-6.0 * share).exp() + 0.3 * noise, "rate": 0.007 * (1.0 - share).powf(0.9)
            });
            let validation = step.is_multiple_of(steps / 8);
            let validation = validation.then(|| json!({"step": step, "miou": 0.62 * (1.0 - (-4.0 * share).exp())}));
            [Some(train), validation].into_iter().flatten()
        };
        let object = |value: Value| value.as_object().unwrap().clone();
        (1..=steps).flat_map(line).map(object).collect()
    }

    #[test]
    fn curves_have_names_axes_and_what_the_logs_hold() {
        let runs = [Run::of("from the bundled model", &lines(3.0, 4_000)), Run::of("a & b", &lines(5.0, 2_000))];
        assert_eq!((runs[0].loss.len(), runs[0].miou.len()), (4_000, 8));
        let picture = svg(&runs).unwrap();
        for text in ["from the bundled model", "a &amp; b", "learning rate", "loss", "mIoU"] {
            assert!(picture.contains(text), "{text}");
        }
        assert!(picture.len() < 200_000, "{}", picture.len());
        let short = Run::of("one", &lines(1.0, 8)[..1]);
        assert!(!svg(&[short]).unwrap().contains("mIoU"));
    }

    #[test]
    fn names_that_do_not_fit_go_to_the_next_line() {
        let run = |len| Run::of("x".repeat(len), &[]);
        let runs = [10, 60, 40, 2, 1000, 1].map(run);
        assert_eq!(places(&runs), [(24, 0), (158, 0), (24, 32), (398, 32), (24, 64), (24, 96)]);
    }

    #[test]
    fn nothing_to_draw_is_an_error() {
        assert!(matches!(svg(&[]), Err(Error::Chart { .. })));
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log.jsonl");
        std::fs::write(&path, "{\"step\":1}\n").unwrap();
        assert!(matches!(Run::read("x", &path), Err(Error::Data { .. })));
    }

    #[test]
    fn a_loss_that_is_huge_or_constant_is_drawn() {
        for values in [vec![1e300, 1.0, -1e300], vec![2.0; 5], vec![0.0]] {
            let points: Vec<_> = values.into_iter().enumerate().map(|(step, loss)| (step as f64, loss)).collect();
            let run = Run { name: "x".to_owned(), loss: points, rate: vec![], miou: vec![] };
            assert!(svg(&[run]).unwrap().contains("</svg>"));
        }
    }

    #[test]
    fn averages_and_numbers() {
        let constant: Vec<_> = (0..1000).map(|step| (f64::from(step), 3.0)).collect();
        assert!(averaged(&constant).iter().all(|&(_, value)| (value - 3.0).abs() < 1e-9));
        let thin = thinned(&constant);
        assert!(thin.len() <= SIZE.0 as usize + 1);
        assert_eq!(thin.last(), Some(&(999.0, 3.0)));
        assert_eq!([whole(1_234_567.0), whole(123.0)], ["1\u{2009}234\u{2009}567", "123"]);
        assert_eq!([0.30000000000000004, 0.0, 7e-4, 62.0].map(number), ["0.3", "0", "7e-4", "62"]);
    }
}
