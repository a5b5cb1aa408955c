//! The page lock and the hold as locks: one at a time, and each sees what the one before it did.

use std::sync::Arc;

use writeback::{Budget, SyncMode};

use crate::model::model;
use crate::world::{Guarded, World};

/// Of two who lock a page one waits for the other, and sees what it did.
#[test]
fn lock_vs_lock() {
    model("lock_vs_lock", || {
        let (world, guarded) = (World::dirty(1), Guarded::new());
        let other = world.spawn({
            let guarded = Arc::clone(&guarded);
            move |world| {
                let _locked = world.page(0).lock_state().expect("nobody truncates");
                guarded.increment();
            }
        });
        {
            let _locked = world.page(0).lock_state().expect("nobody truncates");
            guarded.increment();
        }
        other.join().unwrap();
        assert_eq!(guarded.get(), 2);
        world.settle();
    });
}

/// Who finds a lock free sees what was done under it.
#[test]
fn lock_vs_try_lock() {
    model("lock_vs_try_lock", || {
        let (world, guarded) = (World::dirty(1), Guarded::new());
        let page = world.page(0);
        let other = world.spawn({
            let guarded = Arc::clone(&guarded);
            move |_| {
                if let Some(_locked) = page.try_lock_state() {
                    guarded.increment();
                    return 1;
                }
                0
            }
        });
        {
            let _locked = world.page(0).lock_state().expect("nobody truncates");
            guarded.increment();
        }
        let count = 1 + other.join().unwrap();
        assert_eq!(guarded.get(), count);
        world.settle();
    });
}

/// Of two who hold a page one waits for the other, and sees what it did.
#[test]
fn hold_vs_hold() {
    model("hold_vs_hold", || {
        let (world, guarded) = (World::dirty(1), Guarded::new());
        let other = world.spawn({
            let guarded = Arc::clone(&guarded);
            move |world| {
                let _hold = world.mapping.hold_page(0).unwrap();
                guarded.increment();
            }
        });
        {
            let _hold = world.mapping.hold_page(0).unwrap();
            guarded.increment();
        }
        other.join().unwrap();
        assert_eq!(guarded.get(), 2);
        world.settle();
    });
}

/// No write of a page begins while it is held, and one that begins afterwards sees what the holder did.
#[test]
fn hold_vs_start_writeback() {
    model("hold_vs_start_writeback", || {
        let (world, guarded) = (World::dirty(1), Guarded::new());
        let holder = world.spawn({
            let guarded = Arc::clone(&guarded);
            move |world| {
                let hold = world.mapping.hold_page(0).unwrap();
                assert!(!hold.page().snapshot().is_under_writeback());
                guarded.increment();
            }
        });
        let claim = world.claim(0).expect("dirty");
        match claim.start_writeback() {
            Ok(writeback) => {
                assert!(!writeback.page().snapshot().is_held());
                guarded.increment();
                world.write_out(writeback);
            }
            Err(held) => {
                held.wait_released();
                guarded.increment();
                held.redirty();
            }
        }
        holder.join().unwrap();
        assert_eq!(guarded.get(), 2);
        world.settle();
    });
}

/// A background pass goes by a page that is held; it waits for nobody, and leaves it dirty.
#[test]
fn hold_vs_pass() {
    model("hold_vs_pass", || {
        let world = World::dirty(1);
        let holder = world.spawn(|world| drop(world.mapping.hold_page(0).unwrap()));
        let pass = world.mapping.write_range(.., SyncMode::Skip, Budget::UNLIMITED).unwrap();
        assert_eq!(pass.submitted + pass.declined + pass.skipped, 1);
        assert_eq!(world.mapping.stats().dirty, 1 - pass.submitted);
        holder.join().unwrap();
        world.settle();
    });
}
