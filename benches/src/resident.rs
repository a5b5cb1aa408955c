//! What the process takes for a page cache while it is used: resident memory over time, beside the bytes that are cached.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use plotters::prelude::*;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use writeback::{CacheConfig, Config, Handle, Mapping, PageCache};

use crate::memory::resident;
use crate::pages::{PAGE, Sink};

/// Time between two samples.
const EVERY: Duration = Duration::from_millis(20);

/// How much is cached, and how long pages come and go.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Bytes that the cache has room for.
    pub capacity: u64,
    /// How long pages come and go.
    pub churn: Duration,
}

/// One look at the process.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// When, since the beginning.
    pub at: Duration,
    /// Bytes that the process has more than before there was a cache.
    pub taken: u64,
    /// Bytes that are cached.
    pub cached: u64,
    /// Bytes that the cache has room for.
    pub capacity: u64,
}

/// Something that is done with the cache.
#[derive(Debug)]
pub struct Phase {
    /// What is done.
    pub name: &'static str,
    /// The samples meanwhile; the last is of the end.
    pub samples: Vec<Sample>,
}

/// The cache, and what has been seen of it.
struct Course {
    cache: PageCache,
    handle: Handle,
    pages: u64,
    begun: Instant,
    before: u64,
    phases: Vec<Phase>,
}

impl Course {
    fn begin(effort: Effort) -> Result<Self, Box<dyn Error>> {
        let before = resident()?;
        let cache = PageCache::new(CacheConfig::bytes(effort.capacity))?;
        let pages = 4 * effort.capacity / PAGE as u64;
        let config = Config::new().cache(&cache);
        let handle = Mapping::with_config(Arc::new(Sink { pages }), config)?.handle();
        Ok(Self { cache, handle, pages, begun: Instant::now(), before, phases: Vec::new() })
    }

    fn look(&mut self) -> Result<(), Box<dyn Error>> {
        let stats = self.cache.stats();
        let sample = Sample {
            at: self.begun.elapsed(),
            taken: resident()?.saturating_sub(self.before),
            cached: stats.cached_bytes,
            capacity: stats.capacity_bytes,
        };
        self.phases.last_mut().ok_or("a phase")?.samples.push(sample);
        Ok(())
    }

    /// Does `step`, until it says that there is no more, and looks now and then.
    fn phase(
        &mut self,
        name: &'static str,
        mut step: impl FnMut(&Self) -> writeback::Result<bool>,
    ) -> Result<(), Box<dyn Error>> {
        self.phases.push(Phase { name, samples: Vec::new() });
        let mut last = Instant::now();
        self.look()?;
        while step(self)? {
            if last.elapsed() >= EVERY {
                self.look()?;
                last = Instant::now();
            }
        }
        self.look()
    }

    /// Does `act` to so many pages, from the first on.
    fn each(
        &mut self,
        name: &'static str,
        pages: u64,
        act: impl Fn(&Handle, u64) -> writeback::Result<()>,
    ) -> Result<(), Box<dyn Error>> {
        let mut left = (0..pages).map(|page| page * PAGE as u64);
        self.phase(name, |course| match left.next() {
            Some(offset) => act(&course.handle, offset).map(|()| true),
            None => Ok(false),
        })
    }
}

fn read(handle: &Handle, offset: u64) -> writeback::Result<()> {
    handle.read_exact_at(&mut [0; PAGE], offset)
}

/// Reads and changes, at random, of four times what there is room for; a sync now and then.
fn churn(course: &mut Course, length: Duration) -> Result<(), Box<dyn Error>> {
    let mut random = SmallRng::seed_from_u64(1);
    let (start, mut turn) = (Instant::now(), 0_u32);
    course.phase("pages come and go", |course| {
        let offset = random.random_range(0..course.pages) * PAGE as u64;
        match turn % 10 {
            0 => course.handle.write_at(&[2; PAGE], offset)?,
            1 | 2 => course.handle.write_at(&[3; 64], offset)?,
            _ => read(&course.handle, offset)?,
        }
        turn = turn.wrapping_add(1);
        if turn.is_multiple_of(4096) {
            course.handle.sync_data()?;
        }
        Ok(start.elapsed() < length)
    })
}

/// Puts a cache through all that it is used for; returns what was seen.
///
/// # Errors
/// If the cache has one, or the system does not tell how much memory the process has.
pub fn measure(effort: Effort) -> Result<Vec<Phase>, Box<dyn Error>> {
    let mut course = Course::begin(effort)?;
    let fit = effort.capacity / PAGE as u64;
    course.each("read", fit, read)?;
    course.each("overwritten", fit, |handle, offset| handle.write_at(&[1; PAGE], offset))?;
    course.phase("synced", |course| course.handle.sync_data().map(|()| false))?;
    churn(&mut course, effort.churn)?;
    course.phase("resized to a quarter", |course| {
        course.cache.resize(effort.capacity / 4)?;
        course.handle.sync_data().map(|()| false)
    })?;
    course.each("used in a quarter", fit, read)?;
    course.cache.resize(effort.capacity)?;
    course.each("resized back and read", fit, read)?;
    Ok(course.phases)
}

/// Draws what was seen into an SVG.
///
/// # Errors
/// If it cannot be written.
pub fn draw(phases: &[Phase], path: &Path) -> Result<(), Box<dyn Error>> {
    let samples: Vec<&Sample> = phases.iter().flat_map(|phase| &phase.samples).collect();
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let end = samples.last().map_or(1.0, |sample| sample.at.as_secs_f64());
    let most =
        samples.iter().map(|sample| mib(sample.taken.max(sample.capacity))).fold(1.0, f64::max);
    let area = SVGBackend::new(path, (900, 460)).into_drawing_area();
    area.fill(&WHITE)?;
    let mut context = ChartBuilder::on(&area)
        .caption("memory of a page cache over time", ("sans-serif", 20))
        .margin(12)
        .x_label_area_size(44)
        .y_label_area_size(64)
        .build_cartesian_2d(0.0..end, 0.0..most * 1.25)?;
    let mesh = &mut context.configure_mesh();
    mesh.disable_x_mesh().light_line_style(TRANSPARENT).label_style(("sans-serif", 15));
    mesh.x_desc("seconds").y_desc("MiB").draw()?;
    type Line = (&'static str, fn(&Sample) -> u64, ShapeStyle);
    let lines: [Line; 3] = [
        ("the cache's capacity", |sample| sample.capacity, RGBColor(160, 160, 160).stroke_width(2)),
        ("bytes cached", |sample| sample.cached, BLUE.stroke_width(2)),
        ("resident memory", |sample| sample.taken, BLACK.stroke_width(2)),
    ];
    for (name, of, style) in lines {
        let points = samples.iter().map(|sample| (sample.at.as_secs_f64(), mib(of(sample))));
        context
            .draw_series(LineSeries::new(points, style))?
            .label(name)
            .legend(move |(x, y)| PathElement::new(vec![(x, y), (x + 22, y)], style));
    }
    context
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .label_font(("sans-serif", 14))
        .draw()?;
    area.present()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_phase_is_seen_from_its_beginning_to_its_end() {
        let effort = Effort { capacity: 4 << 20, churn: Duration::from_millis(100) };
        let phases = measure(effort).expect("Linux tells");
        assert_eq!(phases.len(), 7);
        assert!(phases.iter().all(|phase| phase.samples.len() >= 2));
        let last = |name: &str| {
            let phase = phases.iter().find(|phase| phase.name == name).expect("there is one");
            *phase.samples.last().expect("two at least")
        };
        assert!(last("read").cached > 3 << 20 && last("resized to a quarter").cached <= 1 << 20);
        let file = std::env::temp_dir().join(format!("resident-{}.svg", std::process::id()));
        draw(&phases, &file).expect("a folder for temporary files");
        assert!(std::fs::read_to_string(&file).expect("drawn").contains("resident memory"));
        std::fs::remove_file(&file).expect("ours");
    }
}
