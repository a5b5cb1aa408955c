//! The single-threaded workloads on every contender, under criterion: for looking at one contender over time.

use std::cell::RefCell;
use std::hint::black_box;

use benches::contender::{CANDIDATES, Contender, Hold, Task};
use benches::keys::shuffled;
use benches::workload::{Course, Plan, Row, WORKLOADS};
use criterion::{Criterion, criterion_group, criterion_main};

/// Keys an iteration is about.
const CHUNK: usize = 4096;
/// The largest set.
const ENTRIES_MAX: u64 = 1 << 20;
/// The largest set where everything runs once to see that it works, as under `cargo test --benches`.
const ENTRIES_TESTED: u64 = 1 << 12;

fn build(build: fn(u32) -> Box<dyn Contender>, plan: &Plan) -> Box<dyn Contender> {
    let contender = build(plan.row.set.key_bits());
    contender.run(Task::Insert(&shuffled(plan.row.set.keys(), 2), Hold::Chunk));
    contender.run(Task::Tag(&plan.tagged, true));
    contender
}

fn group(criterion: &mut Criterion, row: Row) {
    // Drawn and built when first asked for: a run with a filter makes only what it needs.
    let plan = RefCell::new(None);
    let operation = row.workload.steps[0];
    let mut group = criterion.benchmark_group(row.title());
    for candidate in CANDIDATES {
        if !candidate.takes_part(operation.ability(), row.set) {
            continue;
        }
        let built = RefCell::new(None);
        group.bench_function(candidate.name, |bencher| {
            let mut plan = plan.borrow_mut();
            let plan = &*plan.get_or_insert_with(|| row.plan(&row.set.keys()));
            let mut built = built.borrow_mut();
            let contender = &*built.get_or_insert_with(|| build(candidate.build, plan));
            let mut chunks = plan.keys[0].chunks(CHUNK).cycle();
            bencher
                .iter(|| black_box(contender.run(plan.task(0, chunks.next().unwrap_or_default()))));
        });
    }
    group.finish();
}

fn micro(criterion: &mut Criterion) {
    let repeated = WORKLOADS.iter().filter(|workload| workload.course == Course::Repeat);
    // Cargo says "--bench" when it is to measure, and only then.
    let tested = std::env::args().all(|argument| argument != "--bench");
    let entries_max = if tested { ENTRIES_TESTED } else { ENTRIES_MAX };
    for row in repeated.flat_map(|workload| workload.rows(entries_max)) {
        if row.threads == 1 {
            group(criterion, row);
        }
    }
}

criterion_group!(benches, micro);
criterion_main!(benches);
