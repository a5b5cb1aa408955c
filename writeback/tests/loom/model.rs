//! Runs a race in every interleaving.

use std::cell::RefCell;
use std::panic;
use std::sync::Arc;
use std::sync::Once;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use loom::model::Builder;

/// Preemptions in one execution, unless `LOOM_MAX_PREEMPTIONS` says otherwise.
const PREEMPTIONS: usize = 2;
/// With `LOOM_QUICK` a model that has not ended after so many executions is left there, and played to its end with one preemption.
const QUICK: usize = 2_000;
/// So it is after so many with one: two or three models are longer.
const QUICK_WITH_ONE: usize = 8_000;
/// Steps of one execution. A model that needs more waits for something that does not come.
const BRANCHES: usize = 10_000;

thread_local! {
    /// What this thread plays, and in how many executions so far. All of a model's threads are this one.
    static PLAYING: RefCell<Option<(String, Arc<AtomicUsize>)>> = const { RefCell::new(None) };
}

/// Plays `race`, and says how many executions there were. A panic in one, or a deadlock, fails the test.
pub(crate) fn model(name: &str, race: impl Fn() + Send + Sync + 'static) {
    report_failures();
    let executions = Arc::new(AtomicUsize::new(0));
    PLAYING.set(Some((name.to_owned(), Arc::clone(&executions))));
    let race = Arc::new(race);
    let mut builder = Builder::new();
    builder.preemption_bound.get_or_insert(PREEMPTIONS);
    builder.max_branches = BRANCHES;
    let play = |builder: &Builder| {
        let (race, count) = (Arc::clone(&race), Arc::clone(&executions));
        builder.check(move || {
            count.fetch_add(1, Relaxed);
            race();
        });
    };
    let quick = std::env::var_os("LOOM_QUICK").is_some();
    if quick {
        (builder.checkpoint_interval, builder.max_permutations) = (QUICK, Some(QUICK));
    }
    play(&builder);
    if quick && executions.load(Relaxed) + 1 >= QUICK {
        (builder.max_permutations, builder.preemption_bound) = (Some(QUICK_WITH_ONE), Some(1));
        play(&builder);
    }
    PLAYING.set(None);
    let executions = executions.load(Relaxed);
    eprintln!("holds: {name} in {executions} executions");
    assert!(executions > 1, "{name}: one execution shows nothing");
}

/// Has the first panic of a model say which one it is. In the hook, because unwinding may not come far: what
/// the other threads of a model have on their stacks cannot be dropped without loom.
fn report_failures() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            let playing = PLAYING.try_with(|playing| playing.take()).ok().flatten();
            if let Some((name, executions)) = playing {
                before(panic);
                eprintln!("killed: {name} in execution {}", executions.load(Relaxed));
                if std::env::var_os("CHECKER_FAIL_FAST").is_some() {
                    std::process::exit(1);
                }
            }
        }));
    });
}
