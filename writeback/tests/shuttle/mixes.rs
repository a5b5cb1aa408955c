//! Mixes of the whole interface: random programs of three or four threads, another one in each schedule.

use std::time::Duration;

use shuttle::thread;
use writeback::{Budget, Flusher, FlusherConfig, Handle, StoreError, SyncMode};

use crate::ledger::{PLACE, Place};
use crate::play::{play, schedule};
use crate::program::{Kind, Op, Outcome, Program};
use crate::world::World;

/// How many schedules in a row play the same program.
const SCHEDULES_A_PROGRAM: u64 = 4;

fn seed() -> u64 {
    let given = std::env::var("WRITEBACK_SEED").ok();
    let given = given.map(|text| text.parse().expect("WRITEBACK_SEED is a number"));
    given.unwrap_or(schedule() / SCHEDULES_A_PROGRAM)
}

/// Nothing fails and nothing is cut: every sync returns Ok, and is held to it.
#[test]
fn mix() {
    // What was written before a sync is durable after it, whatever else is going on.
    play("mix", || execute(Kind { failures: false, cuts: false }));
}

/// As above, with writes that fail.
#[test]
fn mix_with_failures() {
    // A sync that returns Ok is right, whatever has failed; and in the end everything is saved.
    play("mix_with_failures", || execute(Kind { failures: true, cuts: false }));
}

/// As above, with truncations.
#[test]
fn mix_with_cuts() {
    // What was cut is gone and does not come back; what was not is held to the same.
    play("mix_with_cuts", || execute(Kind { failures: false, cuts: true }));
}

/// All together.
#[test]
fn mix_with_failures_and_cuts() {
    // Nothing of the above depends on the other not happening.
    play("mix_with_failures_and_cuts", || execute(Kind { failures: true, cuts: true }));
}

fn execute(kind: Kind) {
    let seed = seed();
    let program = Program::new(seed, kind);
    let told = TellProgram { seed, program: &program };
    let world = World::new(program.pages, program.late);
    let threads: Vec<_> = program
        .threads
        .iter()
        .zip(0..)
        .map(|(ops, number)| {
            let ops = ops.clone();
            world.spawn(move |world| {
                let player = Player { world, handle: world.mapping.handle(), number, kind };
                ops.into_iter().for_each(|op| player.play(op));
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    world.finish();
    drop(told);
}

/// Prints the program if its execution fails.
struct TellProgram<'p> {
    seed: u64,
    program: &'p Program,
}

impl Drop for TellProgram<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("WRITEBACK_SEED={} is {:?}", self.seed, self.program);
        }
    }
}

/// One thread of a program.
struct Player<'w> {
    world: &'w World,
    handle: Handle,
    number: u64,
    kind: Kind,
}

impl Player<'_> {
    fn play(&self, op: Op) {
        let (world, handle) = (self.world, &self.handle);
        let unlimited = Budget::UNLIMITED;
        match op {
            Op::Write(page) => world.write(handle, Place::of(page, self.number)),
            Op::WriteThroughPage(page) => self.write_through_page(page),
            Op::MarkDirty(page) => drop(world.mapping.page(page).map(|page| page.mark_dirty())),
            Op::MarkDirtyLocked(page) => self.mark_dirty_locked(page),
            Op::Read(page) => world.read(handle, page),
            Op::Sync => self.allow_failure(world.sync(handle)),
            Op::SyncPages(first, last) => {
                self.allow_failure(world.sync_pages(handle, first..last + 1))
            }
            Op::Background => {
                let _ = world.mapping.write_range(.., SyncMode::Skip, unlimited).unwrap();
            }
            Op::Cyclic(pages) => {
                let _ = world.mapping.write_cyclic(Budget::pages(pages)).unwrap();
            }
            Op::WritePage(page, true) if !self.kind.failures => world.write_page_and_look(page),
            Op::WritePage(page, wait) => {
                self.allow_failure(world.mapping.write_page(page, mode(wait)))
            }
            Op::Flusher => self.step_flusher(),
            Op::Claim(page, outcome) => self.claim(page, outcome),
            Op::Hold(page) => self.hold(page),
            Op::Wait => world.mapping.wait_range(..),
            Op::CheckError => self.allow_failure(handle.check_error()),
            Op::FailWrite => world.device.fail_writes(1),
            Op::SetLen(places) => world.cut(handle, places * PLACE as u64),
        }
    }

    fn allow_failure<T>(&self, result: writeback::Result<T>) {
        if let Err(error) = result {
            assert!(self.kind.failures, "{error}");
        }
    }

    /// `Err` here and below: it was cut away.
    fn write_through_page(&self, index: u64) {
        let Ok(page) = self.world.mapping.page(index) else { return };
        let written = self.world.write_page(&page, self.number);
        assert!(self.kind.cuts || written.is_ok(), "{written:?}");
    }

    fn mark_dirty_locked(&self, index: u64) {
        let Ok(page) = self.world.mapping.page(index) else { return };
        if let Some(locked) = page.lock_state() {
            let _ = locked.mark_dirty();
        }
    }

    fn step_flusher(&self) {
        let config = FlusherConfig::new().background_pages(1).dirty_expire(Duration::ZERO);
        let flusher = Flusher::manual([self.world.mapping.clone()], config);
        assert_eq!(flusher.step().panics, 0);
    }

    fn claim(&self, index: u64, outcome: Outcome) {
        let Some(page) = self.world.mapping.cached_page(index) else { return };
        let Some(locked) = page.lock_state() else { return };
        let Ok(claim) = locked.clear_dirty_for_io() else { return };
        let outcome = if claim.is_held() { Outcome::Redirty } else { outcome };
        match outcome {
            Outcome::Redirty => return claim.redirty(),
            Outcome::Drop => return drop(claim),
            Outcome::Write | Outcome::Lose | Outcome::Fail => {}
        }
        let writeback = match claim.start_writeback() {
            Ok(writeback) => writeback,
            Err(held) => return held.redirty(),
        };
        match outcome {
            Outcome::Lose => drop(writeback),
            Outcome::Fail => writeback.end(Err(StoreError::NoSpace)),
            _ => self.world.write_out(writeback),
        }
    }

    fn hold(&self, index: u64) {
        let Ok(hold) = self.world.mapping.hold_page(index) else { return };
        thread::yield_now();
        let image = hold.image();
        thread::yield_now();
        let state = hold.page().snapshot();
        assert!(state.is_held() && state.is_mapped() && !state.is_under_writeback(), "{state:?}");
        drop(image);
    }
}

fn mode(waits: bool) -> SyncMode {
    if waits { SyncMode::Wait } else { SyncMode::Skip }
}
