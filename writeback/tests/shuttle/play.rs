//! Plays a race under several schedulers, and says which one failed.

use std::cell::Cell;
use std::io::Write;
use std::panic;
use std::sync::Once;

use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::{Config, MaxSteps, Runner};
use tagged_radix::checker;

use crate::stall::StallScheduler;

/// How many changes of priority a PCT schedule has: the depth of the bugs it looks for.
const DEPTHS: [usize; 2] = [2, 4];
/// How many threads a schedule stalls.
const STALLS: [usize; 2] = [1, 2];
/// Many times what a race needs: who takes as many steps does not end.
const STEPS_MAX: usize = 200_000;

thread_local! {
    /// The race that this thread plays, and the number of its schedule. Shuttle's tasks all run on the
    /// thread that plays them.
    static PLAYING: Cell<Option<(&'static str, u64)>> = const { Cell::new(None) };
}

/// The number of the schedule being played, from 1.
pub(crate) fn schedule() -> u64 {
    PLAYING.get().map_or(0, |(_, number)| number)
}

/// Plays `race`: a quarter of the schedules random, a quarter by PCT, a half with stalled threads. Each is
/// one execution of a small tree, whose nodes must all be freed at its end.
pub(crate) fn play(name: &'static str, race: impl Fn() + Send + Sync + Copy + 'static) {
    report_failures();
    let part = schedules().div_ceil(8);
    PLAYING.set(Some((name, 0)));
    run(RandomScheduler::new(2 * part), race);
    for depth in DEPTHS {
        run(PctScheduler::new(depth, part), race);
    }
    for stalls in STALLS {
        run(StallScheduler::new(stalls, 2 * part), race);
    }
    PLAYING.set(None);
}

fn run(scheduler: impl Scheduler + 'static, race: impl Fn() + Send + Sync + Copy + 'static) {
    let mut config = Config::new();
    config.max_steps = MaxSteps::FailAfter(STEPS_MAX);
    config.stack_size = 1 << 17;
    config.silence_warnings = true;
    Runner::new(scheduler, config).run(move || {
        PLAYING.set(PLAYING.get().map(|(name, number)| (name, number + 1)));
        checker::execution(race);
    });
}

fn schedules() -> usize {
    let given = std::env::var("WRITEBACK_SCHEDULES").ok();
    given.map_or(1000, |text| text.parse().expect("WRITEBACK_SCHEDULES is a number"))
}

/// Has the first panic of a race print a line that names it, past the test harness's capture.
fn report_failures() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            if let Some((name, number)) = PLAYING.take() {
                let _ = writeln!(std::io::stderr(), "killed: {name} in schedule {number}");
                if std::env::var("CHECKER_FAIL_FAST").is_ok_and(|value| value == "1") {
                    std::process::exit(1);
                }
            }
            before(panic);
        }));
    });
}
