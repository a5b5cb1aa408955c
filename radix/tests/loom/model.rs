//! Runs a race in every interleaving.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use loom::model::Builder;
use tagged_radix::{RadixTree, Tag};

use crate::call::{
    Call, Content, assert_exact_after_walks, contents, parse_calls, parse_entries, plant,
};
use crate::coherence::{Program, contradiction};
use crate::stamp::{Stamp, execution};
use crate::told::{Told, flags};

/// Preemptions in one execution, unless `LOOM_MAX_PREEMPTIONS` says otherwise.
const PREEMPTIONS: usize = 2;
/// With `LOOM_QUICK` a model that has not ended after so many executions is left there, and played to its end with one preemption.
const QUICK: usize = 2_000;
/// Steps of one execution. A model that needs more waits for something that does not come.
const BRANCHES: usize = 20_000;

/// Has each of `threads` make its calls on a tree with these entries. Panics if in some execution an outcome is impossible, the
/// tree is not sound at the end, or a node is used after it was freed, freed twice or never.
///
/// Three threads are preempted once at most: two that wait for a lock of the third can take turns for ever, each step a
/// preemption that loom does not count.
pub(crate) fn model(name: &str, entries: &'static str, threads: &'static [&'static str]) {
    model_of(name, entries, threads, 0);
}

/// The same with so many preemptions at least, for a race that needs them.
pub(crate) fn model_of(
    name: &str,
    entries: &'static str,
    threads: &'static [&'static str],
    least: usize,
) {
    let one = (threads.len() > 2).then_some(1);
    explore_with(name, one, least, move || execute(entries, threads));
}

/// Has `body` run with two threads in every interleaving.
#[cfg(not(radix_wide))]
pub(crate) fn explore(name: &str, body: impl Fn() + Sync + Send + 'static) {
    explore_with(name, None, 0, body);
}

/// The same with at most `most` preemptions, if that is given, or with `least` at least.
fn explore_with(
    name: &str,
    most: Option<usize>,
    least: usize,
    body: impl Fn() + Sync + Send + 'static,
) {
    let body = Arc::new(body);
    let executions = Arc::new(AtomicUsize::new(0));
    let mut builder = Builder::new();
    let preemptions = builder.preemption_bound.unwrap_or(PREEMPTIONS).max(least);
    builder.preemption_bound = Some(most.unwrap_or(preemptions));
    builder.max_branches = BRANCHES;
    let _report = Report(name.to_owned(), Arc::clone(&executions));
    let play = |builder: &Builder| {
        let (count, body) = (Arc::clone(&executions), Arc::clone(&body));
        builder.check(move || {
            count.fetch_add(1, Relaxed);
            execution(|| body());
        });
    };
    let quick = std::env::var_os("LOOM_QUICK").is_some() && builder.preemption_bound > Some(1);
    if quick {
        (builder.checkpoint_interval, builder.max_permutations) = (QUICK, Some(QUICK));
    }
    play(&builder);
    if quick && executions.load(Relaxed) + 1 >= QUICK {
        (builder.max_permutations, builder.preemption_bound) = (None, Some(1));
        play(&builder);
    }
    assert!(executions.load(Relaxed) > 1, "{name}: one execution shows nothing");
}

/// Says how many executions there were, when the model has ended or failed.
struct Report(String, Arc<AtomicUsize>);

impl Drop for Report {
    fn drop(&mut self) {
        let Report(name, executions) = self;
        let executions = executions.load(Relaxed);
        if !std::thread::panicking() {
            eprintln!("holds: {name} in {executions} executions");
            return;
        }
        eprintln!("killed: {name} in execution {executions}");
        if std::env::var_os("CHECKER_FAIL_FAST").is_some() {
            std::process::exit(1);
        }
    }
}

fn execute(entries: &str, threads: &[&str]) {
    let (entries, solid) = match entries.strip_suffix(" solid") {
        Some(entries) => (entries, true),
        None => (entries, false),
    };
    let (entries, stale) = match entries.strip_suffix(" stale") {
        Some(entries) => (entries, true),
        None => (entries, false),
    };
    let before = parse_entries(entries, |number| number);
    let tree = Arc::new(RadixTree::new());
    plant(&tree, &before);
    if solid {
        mark(&tree, &before);
    }
    if stale {
        leave_summaries(&tree, &before);
    }
    let flags_before = flags(&tree);
    let running: Vec<_> = threads
        .iter()
        .zip(1..)
        .map(|(text, n)| {
            let tree = Arc::clone(&tree);
            let guards: Vec<Vec<_>> = text
                .split('/')
                .zip(0..)
                .map(|(text, part)| {
                    let parse = |text| parse_calls(text, 100 * n + 10 * part, |number| number);
                    text.split('~').map(parse).collect()
                })
                .collect();
            loom::thread::spawn(move || {
                let mut told = Told::default();
                let program: Program =
                    guards.into_iter().flat_map(|calls| run(&tree, calls, &mut told)).collect();
                (program, told)
            })
        })
        .collect();
    let (mut programs, mut told) = (Vec::new(), Told::default());
    for thread in running {
        let (program, heard) = thread.join().expect("loom stops at the first panic");
        programs.push(program);
        told.add_all(&heard);
    }
    tree.check().unwrap_or_else(|violation| panic!("{violation}"));
    let flags_after = flags(&tree);
    let after = contents(&tree);
    if let Some(contradiction) = contradiction(&before, &programs, &after) {
        panic!("{contradiction}");
    }
    let calls: Vec<_> = programs.iter().flatten().map(|(call, _)| call).collect();
    told.assert_explains(flags_before, flags_after, &calls);
    assert_exact_after_walks(&tree, &after);
}

/// Has everything marked that is occupied throughout, from index 0 on: each search marks one level more.
fn mark(tree: &RadixTree<Arc<Stamp>>, content: &Content) {
    let last = (0..).take_while(|index| content.contains_key(index)).last().expect("index 0");
    for _ in 0..3 {
        let full = tree.pin().insert_at_absent(0..=last, Stamp::new(0));
        assert!(full.is_err(), "there is no room");
    }
}

/// Has the summaries of tag A stand over every leaf, where nobody has looked since.
fn leave_summaries(tree: &RadixTree<Arc<Stamp>>, content: &Content) {
    let pinned = tree.pin();
    for index in content.keys() {
        if pinned.set_tag(*index, Tag::T0) == Some(true) {
            pinned.clear_tag(*index, Tag::T0);
        }
    }
}

/// Makes calls under one guard, which is repinned between the parts.
fn run(tree: &RadixTree<Arc<Stamp>>, parts: Vec<Vec<Call>>, told: &mut Told) -> Program {
    let mut pinned = tree.pin();
    let mut program = Program::new();
    for (calls, part) in parts.into_iter().zip(0..) {
        if part > 0 {
            pinned.repin();
        }
        for call in calls {
            let outcome = call.make(&mut pinned);
            program.push((call, outcome));
        }
    }
    told.add(pinned.take_edges());
    program
}

/// A test for each race: its name, its claim as a comment, the tree, what each thread calls.
macro_rules! models {
    ($($(#[$claim:meta])* $name:ident: $entries:literal, $($calls:literal)|+;)*) => { $(
        $(#[$claim])*
        #[test]
        fn $name() {
            crate::model::model(stringify!($name), $entries, &[$($calls),+]);
        }
    )* };
}

pub(crate) use models;
