//! The results as pictures: SVG, drawn without fonts or libraries of the system.

use std::error::Error;
use std::path::{Path, PathBuf};

use plotters::prelude::*;

use crate::contender::{CANDIDATES, Hold};
use crate::harness::Outcome;
use crate::keys::{DataSet, size};
use crate::stats::Spread;
use crate::workload::Op;

/// A picture: costs against something.
struct Chart {
    file: &'static str,
    title: &'static str,
    across: Across,
    chosen: fn(&Outcome) -> bool,
}

/// What costs are drawn against.
#[derive(Clone, Copy)]
enum Across {
    Entries,
    Threads,
    Tagged,
}

fn dense(row: &Outcome) -> bool {
    matches!(row.set, DataSet::Dense(_))
}

fn each(row: &Outcome, op: Op) -> bool {
    row.op == op && row.hold == Hold::Each && dense(row)
}

fn million(row: &Outcome) -> bool {
    row.set.entries() == 1 << 20
}

const CHARTS: &[Chart] = &[
    Chart {
        file: "lookup-by-size",
        title: "random lookup, a guard each, one thread",
        across: Across::Entries,
        chosen: |row| each(row, Op::Lookup) && row.threads == 1,
    },
    Chart {
        file: "lookup-one-guard-by-size",
        title: "random lookup, one guard, one thread",
        across: Across::Entries,
        chosen: |row| {
            row.op == Op::Lookup && row.hold == Hold::Chunk && dense(row) && row.threads == 1
        },
    },
    Chart {
        file: "insert-by-size",
        title: "insert in random order, one thread",
        across: Across::Entries,
        chosen: |row| each(row, Op::Insert) && row.threads == 1,
    },
    Chart {
        file: "pair-by-size",
        title: "tag set + clear, 1 % tagged, one thread",
        across: Across::Entries,
        chosen: |row| each(row, Op::Pair) && row.threads == 1 && row.tagged_ppm == 10_000,
    },
    Chart {
        file: "walk-by-size",
        title: "tagged walk, batches of 256, 1 % tagged",
        across: Across::Entries,
        chosen: |row| each(row, Op::Walk256) && row.tagged_ppm == 10_000,
    },
    Chart {
        file: "lookup-by-threads",
        title: "random lookup, a guard each, 1M entries",
        across: Across::Threads,
        chosen: |row| each(row, Op::Lookup) && million(row),
    },
    Chart {
        file: "insert-by-threads",
        title: "insert in random order, 1M entries",
        across: Across::Threads,
        chosen: |row| each(row, Op::Insert) && million(row),
    },
    Chart {
        file: "pair-by-threads",
        title: "tag set + clear, 1M entries, 1 % tagged",
        across: Across::Threads,
        chosen: |row| each(row, Op::Pair) && million(row) && row.tagged_ppm == 10_000,
    },
    Chart {
        file: "walk-by-density",
        title: "tagged walk, batches of 256, 1M entries",
        across: Across::Tagged,
        chosen: |row| each(row, Op::Walk256) && million(row),
    },
];

impl Across {
    /// Where a row is drawn: logarithms, so that equal factors are equal steps.
    fn of(self, row: &Outcome) -> f64 {
        match self {
            Across::Entries => (row.set.entries() as f64).log2(),
            Across::Threads => (row.threads as f64).log2(),
            Across::Tagged => (f64::from(row.tagged_ppm) / 10_000.0).log10(),
        }
    }

    const fn label(self) -> &'static str {
        match self {
            Across::Entries => "entries",
            Across::Threads => "threads",
            Across::Tagged => "% of entries tagged",
        }
    }

    fn tick(self, at: f64) -> String {
        match self {
            // Far from the limits of either type.
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
            Across::Entries => size(at.exp2().round() as u64),
            Across::Threads => at.exp2().round().to_string(),
            Across::Tagged => ((10_f64.powf(at) * 100.0).round() / 100.0).to_string(),
        }
    }
}

/// A contender's name and its points.
type Series = (usize, Vec<(f64, f64)>);

/// Draws what `outcomes` have figures for into `folder`; returns the files.
///
/// # Errors
/// If a file cannot be written.
pub fn draw(outcomes: &[Outcome], folder: &Path) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let mut files = Vec::new();
    for chart in CHARTS {
        let mut rows: Vec<&Outcome> = outcomes.iter().filter(|row| (chart.chosen)(row)).collect();
        rows.sort_by(|one, other| chart.across.of(one).total_cmp(&chart.across.of(other)));
        let series: Vec<Series> = (0..CANDIDATES.len())
            .map(|position| (position, points(chart, &rows, position)))
            .collect();
        let series: Vec<Series> = series.into_iter().filter(|series| series.1.len() > 1).collect();
        if !series.is_empty() {
            let path = folder.join(format!("{}.svg", chart.file));
            draw_chart(chart, &rows, &series, &path)?;
            files.push(path);
        }
    }
    Ok(files)
}

fn points(chart: &Chart, rows: &[&Outcome], position: usize) -> Vec<(f64, f64)> {
    let point =
        |row: &&Outcome| Some((chart.across.of(row), Spread::of(&row.samples[position])?.median));
    rows.iter().filter_map(point).collect()
}

fn draw_chart(
    chart: &Chart,
    rows: &[&Outcome],
    series: &[Series],
    path: &Path,
) -> Result<(), Box<dyn Error>> {
    let (low, high) = bounds(series.iter().flat_map(|series| series.1.iter().map(|point| point.1)));
    let (left, right) =
        bounds(series.iter().flat_map(|series| series.1.iter().map(|point| point.0)));
    let area = SVGBackend::new(path, (900, 560)).into_drawing_area();
    area.fill(&WHITE)?;
    let mut builder = ChartBuilder::on(&area);
    builder
        .caption(chart.title, ("sans-serif", 20))
        .margin(12)
        .x_label_area_size(44)
        .y_label_area_size(64);
    // Room for the legend on the right.
    builder.margin_right(190);
    let vertical = (low / 1.3..high * 1.3).log_scale();
    let mut context = builder.build_cartesian_2d(left..right, vertical)?;
    let unit = rows.first().map_or("", |row| row.op.unit());
    context
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .label_style(("sans-serif", 15))
        .x_labels(steps(left, right))
        .x_desc(chart.across.label())
        .y_desc(unit)
        .x_label_formatter(&|at| chart.across.tick(*at))
        .y_label_formatter(&|at| crate::table::figure(*at))
        .draw()?;
    for (nth, (position, points)) in series.iter().enumerate() {
        let style = style(*position, nth);
        context.draw_series(LineSeries::new(points.iter().copied(), style))?;
        context.draw_series(points.iter().map(|&point| Circle::new(point, 3, style.filled())))?;
    }
    legend(&area, series)?;
    area.present()?;
    Ok(())
}

/// How many labels an axis gets: one for each whole step, but not too many.
fn steps(left: f64, right: f64) -> usize {
    (1..=8).take_while(|&step| f64::from(step) < right - left + 0.5).count().max(1) + 1
}

/// The names, each in its colour, from top to bottom.
fn legend(
    area: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>,
    series: &[Series],
) -> Result<(), Box<dyn Error>> {
    for (nth, (line, (position, _))) in (0..).zip(series).enumerate() {
        let at = (720, 50 + line * 22);
        let style = style(*position, nth);
        area.draw(&PathElement::new(vec![(at.0, at.1), (at.0 + 22, at.1)], style))?;
        let name = CANDIDATES[*position].name;
        area.draw(&Text::new(name, (at.0 + 28, at.1 - 7), ("sans-serif", 14)))?;
    }
    Ok(())
}

/// The first contender is black and thick, the others have colours, the strongest first.
fn style(position: usize, nth: usize) -> ShapeStyle {
    if position == 0 { BLACK.stroke_width(3) } else { Palette99::pick(nth).stroke_width(1) }
}

fn bounds(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values.fold((f64::MAX, f64::MIN), |(low, high), value| (low.min(value), high.max(value)))
}
