//! A scheduler for bugs that need one thread to be held up at one place for a long time: between a flag
//! and its tag, between the end of a write and its wake-up.
//!
//! A random schedule switches too often for that, and PCT spends its few changes of priority on the
//! longest execution it has ever seen. This one lets threads run on, picks its moments from the last
//! execution's length, and stalls whoever runs then until nobody else can go on.

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use shuttle::scheduler::{RandomScheduler, Schedule, Scheduler, Task, TaskId};

/// So many times in a row a thread asks to be passed over, because it spins, before it gets its way.
const YIELDS_MAX: u32 = 20;
/// So many steps others may take while one is stalled.
const STALL_MAX: usize = 5_000;

/// Stalls so many threads in each execution.
#[derive(Debug)]
pub(crate) struct StallScheduler {
    stalls: usize,
    /// Counts executions, and has the numbers that the execution itself asks for.
    executions: RandomScheduler,
    random: SmallRng,
    /// Steps of this execution, and of the one before, at which there was a choice.
    steps: usize,
    length: usize,
    moments: Vec<usize>,
    stalled: Vec<TaskId>,
    stalled_at: usize,
    yields: u32,
    /// One in how many steps switches threads for no reason; 0: none.
    switches: u32,
}

impl StallScheduler {
    pub(crate) fn new(stalls: usize, iterations: usize) -> Self {
        Self {
            stalls,
            executions: RandomScheduler::new(iterations),
            random: SmallRng::from_os_rng(),
            steps: 0,
            length: 100,
            moments: Vec::new(),
            stalled: Vec::new(),
            stalled_at: 0,
            yields: 0,
            switches: 0,
        }
    }

    fn release(&mut self) {
        self.stalled.clear();
        self.yields = 0;
    }

    /// Stalls the current thread, or lets the stalled ones go, if it is time for that.
    fn update(&mut self, current: Option<TaskId>, is_yielding: bool) {
        self.steps += 1;
        self.yields = if is_yielding { self.yields + 1 } else { 0 };
        if self.moments.contains(&self.steps) {
            self.stalled.extend(current);
            self.stalled_at = self.steps;
        }
        if self.yields > YIELDS_MAX || self.steps > self.stalled_at + STALL_MAX {
            self.release();
        }
    }
}

impl Scheduler for StallScheduler {
    fn new_execution(&mut self) -> Option<Schedule> {
        if self.steps > 0 {
            self.length = self.steps;
        }
        self.steps = 0;
        self.stalled_at = 0;
        self.release();
        let (length, random) = (self.length, &mut self.random);
        self.moments = (0..self.stalls).map(|_| random.random_range(1..=length)).collect();
        self.switches = if random.random() { 0 } else { 10 };
        self.executions.new_execution()
    }

    fn next_task(
        &mut self,
        runnable: &[&Task],
        current: Option<TaskId>,
        is_yielding: bool,
    ) -> Option<TaskId> {
        if let [only] = runnable {
            return Some(only.id());
        }
        self.update(current, is_yielding);
        let free = |stalled: &[TaskId]| -> Vec<TaskId> {
            runnable.iter().map(|task| task.id()).filter(|id| !stalled.contains(id)).collect()
        };
        let mut tasks = free(&self.stalled);
        if tasks.is_empty() {
            self.release();
            tasks = free(&[]);
        }
        let switch = self.switches > 0 && self.random.random_ratio(1, self.switches);
        let running = current.filter(|id| tasks.contains(id));
        match running {
            Some(id) if !is_yielding && !switch => return Some(id),
            Some(id) if tasks.len() > 1 => tasks.retain(|other| *other != id),
            _ => {}
        }
        Some(tasks[self.random.random_range(0..tasks.len())])
    }

    fn next_u64(&mut self) -> u64 {
        self.executions.next_u64()
    }
}
