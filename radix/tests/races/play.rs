//! Plays a race many times and checks each history.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use rand::Rng;
use tagged_radix::{RadixTree, Tag};

use crate::call::{
    Call, Content, How, Outcome, assert_exact_after_walks, contents, parse_calls, parse_entries,
    plant,
};
use crate::common::{Clock, Race as Threads, StartLine, assert_at_rest, rng, stress_time};
use crate::monitor::{Event, calls, follow, indices};
use crate::stamp::Stamp;
use crate::table::{Race, spread};
use crate::told::{Flags, Told, flags};

/// Levels at which the digits of an index stand: next to each other, far apart, at the top.
const LEVELS: [[u32; 3]; 3] = [[0, 1, 2], [0, 4, 7], [0, 2, 10]];
/// Trees that are played on in a row by the same threads.
const BATCH: usize = 16;

/// One tree of a batch and what happened on it.
struct Round {
    tree: RadixTree<Arc<Stamp>>,
    start: StartLine,
    now: AtomicU64,
    told: Mutex<Told>,
    before: Flags,
    history: Mutex<Vec<(u64, usize, Event)>>,
}

impl Round {
    fn new(content: &Content) -> Round {
        let tree = RadixTree::new();
        plant(&tree, content);
        Round {
            before: flags(&tree),
            tree,
            start: StartLine::default(),
            now: AtomicU64::new(0),
            told: Mutex::default(),
            history: Mutex::default(),
        }
    }

    /// Makes the calls of one thread, each at once or after a short while.
    fn run(
        &self,
        thread: usize,
        calls: &[Call],
        threads: usize,
        clock: &Clock,
        random: &mut impl Rng,
    ) {
        let mut events = Vec::with_capacity(2 * calls.len());
        let mut told = Told::default();
        let mut p = self.tree.pin();
        self.start.wait(threads, clock);
        for call in calls {
            for _ in 0..random.random_range(0..3) * random.random_range(0..40) {
                std::hint::spin_loop();
            }
            events.push((self.now.fetch_add(1, SeqCst), thread, Event::Begin(call.clone())));
            let outcome = call.make(&mut p);
            events.push((self.now.fetch_add(1, SeqCst), thread, Event::End(outcome)));
            told.add(p.take_edges());
        }
        self.history.lock().unwrap().extend(events);
        self.told.lock().unwrap().add_all(&told);
    }

    /// Checks what happened on the tree and what is left of it.
    fn check(&self, race: &Race, content: &Content, indices: &BTreeSet<u64>) {
        let mut history = std::mem::take(&mut *self.history.lock().unwrap());
        history.sort_by_key(|event| event.0);
        let history: Vec<_> =
            history.into_iter().map(|(_, thread, event)| (thread, event)).collect();
        let possible = follow(content, &history, race.threads.len(), indices);
        assert!(!possible.is_empty(), "{}: no order of effects explains {history:#?}", race.name);
        let left = contents(&self.tree);
        assert!(
            possible.contains(&left),
            "{}: {left:?} does not follow from {history:#?}",
            race.name
        );
        let (after, calls) = (flags(&self.tree), calls(&history));
        self.told.lock().unwrap().assert_explains(self.before, after, &calls);
        assert_exact_after_walks(&self.tree, &left);
        assert_at_rest(&self.tree);
    }
}

/// Plays the race until its share of the time is over.
pub(crate) fn play(race: &Race) {
    let share = stress_time() / 12;
    let start = Instant::now();
    for turn in 0_u64.. {
        let levels = LEVELS[usize::try_from(turn).unwrap() % LEVELS.len()];
        let index = |number| spread(number, race.fan, levels);
        let content = parse_entries(race.entries, index);
        let programs: Vec<_> = race
            .threads
            .iter()
            .zip(1..)
            .map(|(text, n)| parse_calls(text, 100 * n, index))
            .collect();
        let indices = indices(&content, &programs);
        let rounds: Vec<_> = (0..BATCH).map(|_| Round::new(&content)).collect();
        let mut threads = Threads::new(share);
        for (thread, calls) in programs.iter().enumerate() {
            let rounds = &rounds;
            threads = threads.thread(move |clock| {
                let mut random = rng(turn * 8 + thread as u64);
                for round in rounds {
                    round.run(thread, calls, race.threads.len(), clock, &mut random);
                }
            });
        }
        threads.run();
        rounds.iter().for_each(|round| round.check(race, &content, &indices));
        if turn >= 2 && start.elapsed() >= share {
            break;
        }
    }
}

#[test]
fn the_monitor_rejects_wrong_histories() {
    let content = Content::from([(0, (1000, 1)), (1, (1001, 0))]);
    let indices = BTreeSet::from([0, 1]);
    let possible = |history: &[(usize, Event)]| !follow(&content, history, 2, &indices).is_empty();
    let alone =
        |call: Call, outcome| possible(&[(0, Event::Begin(call)), (0, Event::End(outcome))]);
    let scan = Call::Scan { tag: Some(Tag::T0), how: How::Iterate };
    let item = (0, (1000, 1));
    assert!(alone(Call::Get(0), Outcome::Stamp(Some(1000))));
    assert!(!alone(Call::Get(0), Outcome::Stamp(None)));
    assert!(!alone(Call::Any(Tag::T0), Outcome::Flag(false)));
    assert!(alone(scan.clone(), Outcome::Items(vec![item])));
    assert!(!alone(scan.clone(), Outcome::Items(vec![])), "missed");
    assert!(!alone(scan.clone(), Outcome::Items(vec![item, item])), "twice");
    assert!(!alone(scan.clone(), Outcome::Items(vec![item, (1, (1001, 0))])), "never true");

    // A scan may miss an entry whose tag is cleared meanwhile, not one that is cleared later.
    let clear =
        [(1, Event::Begin(Call::Clear(0, Tag::T0))), (1, Event::End(Outcome::Changed(Some(true))))];
    let around = |first: &[(usize, Event)], last: &[(usize, Event)]| {
        let ended = [(0, Event::End(Outcome::Items(vec![])))];
        possible(&[&[(0, Event::Begin(scan.clone()))], first, &ended, last].concat())
    };
    assert!(around(&clear, &[]));
    assert!(!around(&[], &clear));

    // Two removals cannot both get the value.
    let both = |second| {
        let got = |stamp| Event::End(Outcome::Stamp(stamp));
        let begin = || Event::Begin(Call::Remove(0));
        possible(&[(0, begin()), (1, begin()), (0, got(Some(1000))), (1, got(second))])
    };
    assert!(both(None));
    assert!(!both(Some(1000)));

    // After a copy of tags has returned, what was tagged throughout has the other tag.
    let copy = [
        (0, Event::Begin(Call::Copy { from: Tag::T0, to: Tag::T1 })),
        (0, Event::End(Outcome::Done)),
    ];
    let then = |entry| {
        let look =
            [(1, Event::Begin(Call::Entry(0))), (1, Event::End(Outcome::Entry(Some(entry))))];
        possible(&[&copy[..], &look].concat())
    };
    assert!(then((1000, 3)));
    assert!(!then((1000, 1)));
}
