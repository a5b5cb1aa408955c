//! Sleeping and being woken. A wake-up that is lost leaves a thread waiting for ever, which loom calls a deadlock.

use writeback::{Flusher, FlusherConfig};

use crate::model::model;
use crate::world::World;

/// Who waits for a write is woken by its end, and then finds the page clean and its bytes accepted.
#[test]
fn wait_writeback_vs_end() {
    model("wait_writeback_vs_end", || {
        let world = World::dirty(1);
        let writeback = world.start(0);
        let waiter = world.spawn(|world| {
            let page = world.page(0);
            page.wait_writeback();
            assert!(!page.snapshot().is_under_writeback() && !page.snapshot().is_dirty());
            assert_eq!(world.disk.accepted(0), 1);
        });
        world.write_out(writeback);
        waiter.join().unwrap();
        world.settle();
    });
}

/// Who sees a page under writeback and waits for that finds it accepted.
#[test]
#[ignore = "does not hold: the flag can be seen before the ticket"]
fn wait_writeback_vs_start() {
    model("wait_writeback_vs_start", || {
        let world = World::dirty(1);
        let page = world.page(0);
        let flusher = world.spawn(|world| {
            let writeback = world.start(0);
            world.write_out(writeback);
        });
        if page.snapshot().is_under_writeback() {
            page.wait_writeback();
            assert_eq!(world.disk.accepted(0), 1);
        }
        flusher.join().unwrap();
        world.settle();
    });
}

/// Also if two wait.
#[test]
fn two_waiters_vs_end() {
    model("two_waiters_vs_end", || {
        let world = World::dirty(1);
        let writeback = world.start(0);
        let wait = |world: &World| world.page(0).wait_writeback();
        let waiters = [world.spawn(wait), world.spawn(wait)];
        world.write_out(writeback);
        waiters.into_iter().for_each(|waiter| waiter.join().unwrap());
        world.settle();
    });
}

/// Who waits for a write is not held up by the next one of the page.
#[test]
fn wait_writeback_vs_next_writeback() {
    model("wait_writeback_vs_next_writeback", || {
        let world = World::dirty(1);
        let first = world.start(0);
        let page = world.page(0);
        let waiter = world.spawn(move |_| page.wait_writeback());
        world.write(0, 2);
        // It sleeps, or is about to, and its ticket is the first one's. Otherwise it may come too late for that.
        let sleeps = format!("{:?}", world.page(0).snapshot()).contains("WAITERS");
        world.write_out(first);
        if sleeps {
            let second = world.start(0);
            waiter.join().unwrap();
            world.write_out(second);
        } else {
            waiter.join().unwrap();
        }
        world.settle();
    });
}

/// Who waits for a range waits for the writes in it, begun before.
#[test]
fn wait_range_vs_end() {
    model("wait_range_vs_end", || {
        let world = World::dirty(1);
        let writeback = world.start(0);
        let waiter = world.spawn(|world| {
            world.mapping.wait_range(..);
            assert_eq!(world.disk.accepted(0), 1);
        });
        world.write_out(writeback);
        waiter.join().unwrap();
        world.settle();
    });
}

/// Who waits for a write that fails finds its error when the wait is over.
#[test]
fn wait_writeback_vs_failed_end() {
    model("wait_writeback_vs_failed_end", || {
        let world = World::dirty(1);
        let handle = world.mapping.handle();
        let writeback = world.start(0);
        world.disk.fail_writes(1);
        let waiter = world.spawn(move |world| {
            world.page(0).wait_writeback();
            handle.check_error().unwrap_err();
        });
        world.write_out(writeback);
        waiter.join().unwrap();
        world.settle();
    });
}

/// A sync that waits for a hold comes next, and is woken by its end.
#[test]
fn sync_vs_hold() {
    model("sync_vs_hold", || {
        let world = World::dirty(1);
        let hold = world.mapping.hold_page(0).unwrap();
        let syncer = world.spawn(|world| world.sync(0, 1));
        drop(hold);
        drop(world.mapping.hold_page(0).unwrap());
        syncer.join().unwrap();
        world.settle();
    });
}

/// A hold waits for a write, and is woken by its end.
#[test]
fn hold_vs_end_writeback() {
    model("hold_vs_end_writeback", || {
        let world = World::dirty(1);
        let writeback = world.start(0);
        let holder = world.spawn(|world| {
            let hold = world.mapping.hold_page(0).unwrap();
            assert!(!hold.page().snapshot().is_under_writeback());
            assert_eq!(world.disk.accepted(0), 1);
        });
        world.write_out(writeback);
        holder.join().unwrap();
        world.settle();
    });
}

/// A lock is passed on when it is released, by who waits for the page's write, too.
#[test]
fn locked_wait_vs_end_vs_lock() {
    model("locked_wait_vs_end_vs_lock", || {
        let world = World::dirty(1);
        let writeback = world.start(0);
        let wait_locked = |world: &World| {
            let locked = world.page(0).lock_state().expect("nobody truncates");
            locked.wait_writeback();
            assert!(!locked.page().snapshot().is_under_writeback());
        };
        let others = [world.spawn(wait_locked), world.spawn(wait_locked)];
        world.write_out(writeback);
        others.into_iter().for_each(|other| other.join().unwrap());
        world.settle();
    });
}

/// Who dirties a page beyond the background limit wakes the flusher, which writes it; and the flusher can be stopped.
#[test]
fn write_vs_flusher() {
    model("write_vs_flusher", || {
        let world = World::dirty(1);
        world.settle();
        world.disk.tell_of_writes();
        let config = FlusherConfig::new().background_pages(0);
        let flusher = Flusher::start([world.mapping.clone()], config).unwrap();
        world.write(0, 2);
        world.disk.wait_accepted(0, 2);
        flusher.stop();
        world.settle();
    });
}
