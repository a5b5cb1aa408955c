//! Races of those who wait: for the page lock, for a write to end, for a hold to go. A wake-up that is
//! lost is a deadlock here, which shuttle reports.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use shuttle::thread;
use writeback::page::Page;
use writeback::{Budget, Flusher, FlusherConfig, SyncMode};

use crate::ledger::Place;
use crate::play::play;
use crate::world::World;

/// Somebody has announced that it sleeps until the page changes.
fn has_sleeper(page: &Page) -> bool {
    format!("{:?}", page.snapshot()).contains("WAITERS")
}

/// Three of them, so that one may come while another is being woken.
#[test]
fn lockers_of_one_page() {
    // Whoever waits for the page lock gets it, and has it alone.
    play("lockers_of_one_page", || {
        let world = World::new(1, 0);
        let free = Arc::new(AtomicBool::new(true));
        let lock = |_| {
            let (page, free) = (world.page(0), Arc::clone(&free));
            thread::spawn(move || {
                let _locked = page.lock_state().expect("not cut");
                assert!(free.swap(false, SeqCst), "two have the lock");
                thread::yield_now();
                free.store(true, SeqCst);
            })
        };
        let lockers: Vec<_> = (0..3).map(lock).collect();
        lockers.into_iter().for_each(|locker| locker.join().unwrap());
        world.finish();
    });
}

/// R-LOST-WAKEUP: by ticket, not by flag. The second write ends only when the waiter is back.
fn waiter_vs_next_writeback(name: &'static str, wait: fn(&World)) {
    play(name, move || {
        let world = World::dirty(1, 0);
        let first = world.claim(0).expect("dirty").start_writeback().expect("not held");
        let waiter = world.spawn(wait);
        // It has its ticket once it sleeps.
        while !has_sleeper(&world.page(0)) {
            thread::yield_now();
        }
        world.write(&world.mapping.handle(), Place::of(0, 1));
        world.write_out(first);
        let second = world.claim(0).expect("dirty").start_writeback().expect("not held");
        waiter.join().unwrap();
        world.write_out(second);
        world.finish();
    });
}

/// R-LOST-WAKEUP.
#[test]
fn page_waiter_vs_next_writeback() {
    // Who waits for a write of a page is let go by its end, though the next write has begun.
    let wait = |world: &World| world.page(0).wait_writeback();
    waiter_vs_next_writeback("page_waiter_vs_next_writeback", wait);
}

/// R-LOST-WAKEUP.
#[test]
fn range_waiter_vs_next_writeback() {
    // Who waits for the writes of a range is let go by their ends, though the next write has begun.
    let wait = |world: &World| world.mapping.wait_range(..);
    waiter_vs_next_writeback("range_waiter_vs_next_writeback", wait);
}

/// The first write's end is held up between its section and its ticket; the second, by somebody who goes
/// by the flag alone, begins and ends in between.
#[test]
fn late_end_vs_next_writeback() {
    // A write that ends late does not take back that a later one has ended.
    play("late_end_vs_next_writeback", || {
        let world = World::dirty(1, 0);
        let first = world.claim(0).expect("dirty").start_writeback().expect("not held");
        let ender = thread::spawn(move || first.end(Ok(())));
        world.write(&world.mapping.handle(), Place::of(0, 1));
        let locked = world.page(0).lock_state().expect("not cut");
        if let Ok(claim) = locked.clear_dirty_for_io() {
            world.write_out(claim.start_writeback().expect("not held"));
        }
        ender.join().unwrap();
        world.page(0).wait_writeback();
        // The first write's end was a lie: its bytes are only in memory.
        world.write(&world.mapping.handle(), Place::of(0, 0));
        world.finish();
    });
}

/// R-LOST-WAKEUP: several wait for one end.
#[test]
fn waiters_vs_end() {
    // Everybody who waits for a write is woken by its end.
    play("waiters_vs_end", || {
        let world = World::dirty(1, 0);
        let writeback = world.claim(0).expect("dirty").start_writeback().expect("not held");
        let waiters = [
            world.spawn(|world| world.page(0).wait_writeback()),
            world.spawn(|world| world.mapping.wait_range(..)),
            world.spawn(|world| drop(world.claim(0))),
        ];
        world.write_out(writeback);
        waiters.into_iter().for_each(|waiter| waiter.join().unwrap());
        world.finish();
    });
}

/// Two journals and a sync that needs the page; it comes before the journal that waits.
#[test]
fn holds_vs_sync() {
    // A hold and a write of a page exclude each other, and whoever waits for either gets its turn.
    play("holds_vs_sync", || {
        let world = World::dirty(1, 0);
        let hold = |_| {
            world.spawn(|world| {
                let hold = world.mapping.hold_page(0).unwrap();
                thread::yield_now();
                let state = hold.page().snapshot();
                assert!(state.is_held() && !state.is_under_writeback(), "{state:?}");
            })
        };
        let journals: Vec<_> = (0..2).map(hold).collect();
        world.sync(&world.mapping.handle()).unwrap();
        journals.into_iter().for_each(|journal| journal.join().unwrap());
        world.finish();
    });
}

/// The claim waits with the page lock in hand; a journal that comes late must not come first.
#[test]
fn hold_vs_waiting_claim() {
    // A writeback that waits for a hold comes before the next hold.
    play("hold_vs_waiting_claim", || {
        let world = World::dirty(1, 0);
        let hold = world.mapping.hold_page(0).unwrap();
        let claim = world.claim(0).expect("dirty");
        let writer = thread::spawn(move || {
            claim.wait_released();
            claim.start_writeback().expect("nobody came between").end(Ok(()));
        });
        let journal = world.spawn(|world| drop(world.mapping.hold_page(0).unwrap()));
        drop(hold);
        writer.join().unwrap();
        journal.join().unwrap();
        world.write(&world.mapping.handle(), Place::of(0, 0));
        world.finish();
    });
}

/// R-CROSSED-PASSES: the pass has the first page under writeback when it meets the second one locked, by somebody
/// who waits for the first.
#[test]
fn pass_vs_lock_holder() {
    // Nobody waits for a lock with a page under writeback in hand that was not submitted.
    play("pass_vs_lock_holder", || {
        let world = World::dirty(2, 0);
        let holder = world.spawn(|world| {
            let _locked = world.page(1).lock_state().expect("not cut");
            world.page(0).wait_writeback();
        });
        world.sync(&world.mapping.handle()).unwrap();
        holder.join().unwrap();
        world.finish();
    });
}

/// As above, with the second page held, by a journal that waits for the first.
#[test]
fn pass_vs_journal() {
    // Nobody waits for a hold with a page under writeback in hand that was not submitted.
    play("pass_vs_journal", || {
        let world = World::dirty(2, 0);
        let hold = world.mapping.hold_page(1).unwrap();
        let journal = world.spawn(move |world| {
            world.page(0).wait_writeback();
            drop(hold);
        });
        world.sync(&world.mapping.handle()).unwrap();
        journal.join().unwrap();
        world.finish();
    });
}

/// As above, with the second page under writeback, by somebody who waits for the first.
#[test]
fn pass_vs_write_under_way() {
    // Nobody waits for a write with a page under writeback in hand that was not submitted.
    play("pass_vs_write_under_way", || {
        let world = World::dirty(2, 0);
        let writeback = world.claim(1).expect("dirty").start_writeback().expect("not held");
        world.write(&world.mapping.handle(), Place::of(1, 1));
        let engine = world.spawn(move |world| {
            world.page(0).wait_writeback();
            world.write_out(writeback);
        });
        world.sync(&world.mapping.handle()).unwrap();
        engine.join().unwrap();
        world.finish();
    });
}

/// Two passes of both kinds, on pages that both want, and a device that ends writes in any order.
#[test]
fn cyclic_pass_vs_sync() {
    // Passes that meet do not wait for each other, and a sync makes durable what they write for it.
    play("cyclic_pass_vs_sync", || {
        let world = World::dirty(3, 2);
        let flusher = world.spawn(|world| {
            for _ in 0..2 {
                world.mapping.write_cyclic(Budget::pages(2)).unwrap();
            }
        });
        let expired = world.spawn(|world| {
            world.mapping.write_range(1.., SyncMode::Skip, Budget::UNLIMITED).unwrap();
        });
        world.sync(&world.mapping.handle()).unwrap();
        flusher.join().unwrap();
        expired.join().unwrap();
        world.finish();
    });
}

/// The flusher's own thread. Time stands still, so only a kick makes it write.
#[test]
fn flusher_kick_vs_stop() {
    // A flusher that is kicked writes, and one that is stopped ends, in whatever order.
    play("flusher_kick_vs_stop", || {
        let world = World::new(1, 0);
        // Cached: else the flusher may come when its creator still has the page lock, and there is no
        // later for it to try again.
        world.read(&world.mapping.handle(), 0);
        let config = FlusherConfig::new().background_pages(0).dirty_expire(Duration::ZERO);
        let flusher = Flusher::start([world.mapping.clone()], config).unwrap();
        world.write(&world.mapping.handle(), Place::of(0, 0));
        while world.page(0).snapshot().is_dirty() {
            thread::yield_now();
        }
        assert_eq!(flusher.stop().stats.panics, 0);
        world.finish();
    });
}
