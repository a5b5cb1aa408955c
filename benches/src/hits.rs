//! Hit ratios: which pages a cache keeps, `writeback` beside other policies, on the same traces.

mod rivals;
mod traces;

pub use rivals::{RIVALS, Rival};
pub use traces::{TRACES, Trace, Visit};

/// How much to measure.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Pages that each rival has room for.
    pub capacity: u64,
    /// Visits of pages in a trace, about.
    pub visits: usize,
}

/// A cache that is asked for pages, one after the other.
pub trait Cache {
    /// Uses a page once; tells whether it was there. If not, it is now.
    fn hit(&mut self, page: u64) -> bool;
}

/// What came of a trace.
#[derive(Debug)]
pub struct Outcome {
    /// The trace.
    pub trace: &'static Trace,
    /// For each of [`RIVALS`] how many in a hundred of the visits that are counted found their page.
    pub percent: Vec<f64>,
}

impl Outcome {
    /// By how many points the first rival is behind the best of the others.
    pub fn behind(&self) -> f64 {
        let others = self.percent[OURS..].iter().copied().fold(0.0, f64::max);
        others - self.percent[0]
    }
}

/// So many of the first rivals are `writeback`.
pub const OURS: usize = 2;

/// Plays every trace to every rival; `progress` is called before each trace.
pub fn measure(effort: Effort, mut progress: impl FnMut(&Trace)) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    for trace in TRACES {
        progress(trace);
        let visits = (trace.visits)(effort);
        let percent = RIVALS.iter().map(|rival| {
            let mut cache = (rival.open)(effort.capacity);
            percent(&mut *cache, &visits)
        });
        outcomes.push(Outcome { trace, percent: percent.collect() });
    }
    outcomes
}

fn percent(cache: &mut dyn Cache, visits: &[Visit]) -> f64 {
    let (mut hits, mut counted) = (0_u64, 0_u64);
    for visit in visits {
        let hit = cache.hit(visit.page);
        (1..visit.uses).for_each(|_| _ = cache.hit(visit.page));
        if visit.counts {
            counted += 1;
            hits += u64::from(hit);
        }
    }
    100.0 * hits as f64 / counted.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rival_finds_what_fits_and_holds_no_more_than_it_may() {
        for rival in RIVALS {
            let mut cache = (rival.open)(1000);
            (0..100).for_each(|page| assert!(!cache.hit(page), "{}: {page} is new", rival.name));
            (0..100).for_each(|page| assert!(cache.hit(page), "{}: {page} fits", rival.name));
            let again = |cache: &mut dyn Cache| (0..20_000).filter(|page| cache.hit(*page)).count();
            again(&mut *cache);
            let found = again(&mut *cache);
            assert!(found <= 1000, "{} found {found}", rival.name);
        }
    }

    #[test]
    fn a_trace_is_the_same_each_time_and_of_the_length_asked_for() {
        let effort = Effort { capacity: 64, visits: 3000 };
        for trace in TRACES {
            let visits = (trace.visits)(effort);
            assert!((2000..4000).contains(&visits.len()), "{}: {}", trace.name, visits.len());
            assert_eq!(visits, (trace.visits)(effort), "{}", trace.name);
        }
    }

    #[test]
    fn by_handle_and_by_page_are_the_same() {
        for outcome in measure(Effort { capacity: 128, visits: 10_000 }, |_| ()) {
            let (by_handle, by_page) = (outcome.percent[0], outcome.percent[1]);
            let name = outcome.trace.name;
            assert!((by_handle - by_page).abs() < 0.01, "{name}: {by_handle} and {by_page}");
        }
    }
}
