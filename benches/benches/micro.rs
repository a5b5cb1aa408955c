//! The single-threaded workloads on every contender, under criterion: for looking at one contender over time.

use std::cell::OnceCell;
use std::hint::black_box;

use benches::contender::{CANDIDATES, Contender};
use benches::workload::{Plan, WORKLOADS, insert_order};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

fn micro(criterion: &mut Criterion) {
    let single = WORKLOADS.iter().filter(|workload| workload.threads == 1);
    for workload in single {
        let mut group = criterion.benchmark_group(workload.title());
        group.throughput(Throughput::Elements(workload.operations_per_chunk()));
        for candidate in CANDIDATES {
            // Built when first asked for: a run with a filter builds only what it needs.
            let built: OnceCell<(Plan, Box<dyn Contender>)> = OnceCell::new();
            group.bench_function(candidate.name, |bencher| {
                let (plan, contender) = built.get_or_init(|| {
                    let contender = (candidate.build)(&insert_order(workload.entries));
                    let plan = workload.plan();
                    contender.tag_all(&plan.tagged, true);
                    (plan, contender)
                });
                let mut chunk = 0;
                bencher.iter(|| {
                    chunk += 1;
                    black_box(plan.run_chunk(&**contender, chunk))
                });
            });
        }
        group.finish();
    }
}

criterion_group!(benches, micro);
criterion_main!(benches);
