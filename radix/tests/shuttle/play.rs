//! Plays a race under shuttle's schedulers and checks each history.

use std::collections::{BTreeSet, HashSet};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use shuttle::scheduler::{PctScheduler, RandomScheduler, ReplayScheduler, Scheduler};
use shuttle::{Config, FailurePersistence, Runner, thread};
use tagged_radix::RadixTree;

use crate::call::{
    Call, Content, assert_exact_after_walks, contents, parse_calls, parse_entries, plant,
};
use crate::monitor::{Event, calls, follow, indices};
use crate::stamp::{Stamp, execution};
use crate::table::{Race, spread};
use crate::told::{Flags, Told, flags};

/// Levels at which the digits of an index stand.
const LEVELS: [u32; 3] = [0, 1, 2];
/// How many changes of priority a PCT schedule has: the depth of the bugs it looks for.
const DEPTHS: [usize; 2] = [2, 4];

/// Histories of a race that were found right, each with what it left: most schedules lead to one of a few, and to follow all
/// orders of its effects takes longer than to play it.
type Right = Mutex<HashSet<(Vec<(usize, Event)>, Content)>>;

/// A tree and what happened on it. The clock and the history are ordinary memory: shuttle does not see them, so they add
/// no schedules and no order among the calls.
struct Round {
    tree: RadixTree<Arc<Stamp>>,
    now: AtomicU64,
    history: Mutex<Vec<(u64, usize, Event)>>,
    told: Mutex<Told>,
    before: Flags,
}

impl Round {
    fn new(content: &Content) -> Round {
        let tree = RadixTree::new();
        plant(&tree, content);
        let before = flags(&tree);
        let (history, told) = (Mutex::default(), Mutex::default());
        Round { tree, now: AtomicU64::new(0), history, told, before }
    }

    fn note(&self, thread: usize, event: Event) {
        self.history.lock().unwrap().push((self.now.fetch_add(1, SeqCst), thread, event));
    }

    /// Makes the calls of one thread, each under a guard of its own.
    fn run(&self, thread: usize, calls: &[Call]) {
        for call in calls {
            self.note(thread, Event::Begin(call.clone()));
            let mut pinned = self.tree.pin();
            let outcome = call.make(&mut pinned);
            self.note(thread, Event::End(outcome));
            self.told.lock().unwrap().add(pinned.take_edges());
        }
    }

    /// Checks what happened on the tree and what is left of it.
    fn check(&self, race: &Race, content: &Content, indices: &BTreeSet<u64>, right: &Right) {
        let history: Vec<_> = self
            .history
            .lock()
            .unwrap()
            .drain(..)
            .map(|(_, thread, event)| (thread, event))
            .collect();
        let left = contents(&self.tree);
        self.tree.check().unwrap_or_else(|violation| panic!("{}: {violation}", race.name));
        let (after, calls) = (flags(&self.tree), calls(&history));
        self.told.lock().unwrap().assert_explains(self.before, after, &calls);
        assert_exact_after_walks(&self.tree, &left);
        let ended = (history, left);
        if right.lock().unwrap().contains(&ended) {
            return;
        }
        let (history, left) = &ended;
        let possible = follow(content, history, race.threads.len(), indices);
        assert!(!possible.is_empty(), "{}: no order of effects explains {history:#?}", race.name);
        assert!(
            possible.contains(left),
            "{}: {left:?} does not follow from {history:#?}",
            race.name
        );
        right.lock().unwrap().insert(ended);
    }
}

/// Says in which schedule a race failed, if one did.
struct Report {
    race: &'static str,
    schedules: Arc<AtomicU64>,
}

impl Drop for Report {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("killed: {:?} in schedule {}", self.race, self.schedules.load(SeqCst));
            if std::env::var_os("CHECKER_FAIL_FAST").is_some() {
                std::process::exit(1);
            }
        }
    }
}

/// One execution.
fn execute(race: &'static Race, right: &Right) {
    execution(|| {
        let index = |number| spread(number, race.fan, LEVELS);
        let content = parse_entries(race.entries, index);
        let programs: Vec<_> = race
            .threads
            .iter()
            .zip(1..)
            .map(|(text, n)| parse_calls(text, 100 * n, index))
            .collect();
        let indices = indices(&content, &programs);
        let round = Arc::new(Round::new(&content));
        let threads: Vec<_> = programs
            .into_iter()
            .enumerate()
            .map(|(thread, calls)| {
                let round = Arc::clone(&round);
                thread::spawn(move || round.run(thread, &calls))
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        round.check(race, &content, &indices, right);
    });
}

/// Schedules for one race.
pub(crate) fn schedules() -> usize {
    let given = std::env::var("TAGGED_RADIX_SCHEDULES").ok();
    given.map_or(1000, |text| text.parse().expect("TAGGED_RADIX_SCHEDULES is a number"))
}

/// Plays the race: half of the schedules random, half by PCT. A schedule that fails is kept in a file.
pub(crate) fn play(race: &'static Race) {
    play_for(race, schedules());
}

/// As [`play`], with so many schedules. `SHUTTLE_RACE` picks the races whose names contain it; `SHUTTLE_SCHEDULE` is a file in
/// which a failure left its schedule, to be replayed.
pub(crate) fn play_for(race: &'static Race, schedules: usize) {
    if std::env::var("SHUTTLE_RACE").is_ok_and(|wanted| !race.name.contains(&wanted)) {
        return;
    }
    let half = schedules.div_ceil(2);
    let right = Arc::new(Right::default());
    let report = Report { race: race.name, schedules: Arc::default() };
    let run = |scheduler: Box<dyn Scheduler + Send>| {
        let (schedules, right) = (Arc::clone(&report.schedules), Arc::clone(&right));
        let mut config = Config::default();
        config.failure_persistence =
            FailurePersistence::File(Some(env!("CARGO_TARGET_TMPDIR").into()));
        Runner::new(scheduler, config).run(move || {
            schedules.fetch_add(1, SeqCst);
            execute(race, &right);
        });
    };
    if let Ok(file) = std::env::var("SHUTTLE_SCHEDULE") {
        let replay = ReplayScheduler::new_from_file(file).expect("a file that a failure left");
        return run(Box::new(replay));
    }
    run(Box::new(RandomScheduler::new(half)));
    for depth in DEPTHS {
        run(Box::new(PctScheduler::new(depth, half.div_ceil(DEPTHS.len()))));
    }
}
