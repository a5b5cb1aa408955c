//! Races of guards, which are kept over calls: a page split in two under latches, and a miss while the mapping is cut.

use shuttle::thread;
use writeback::{Error, Result};

use crate::ledger::PAGE;
use crate::play::play;
use crate::world::World;

#[path = "../../examples/btree/tree.rs"]
mod tree;

/// A miss under a guard waits for no cut that waits for the guard.
#[test]
fn miss_under_guard_vs_cut() {
    play("miss_under_guard_vs_cut", || {
        let world = World::dirty(1, 0);
        world.mapping.handle().set_len(3 * PAGE as u64).unwrap();
        let tail = world.page(0);
        let cutter = world.spawn(|world| world.cut(&world.mapping.handle(), PAGE as u64 / 2));
        let guard = tail.read();
        for index in 1..3 {
            match world.mapping.page(index) {
                Ok(_) | Err(Error::WouldBlock | Error::OutOfRange { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
        drop(guard);
        drop(tail);
        cutter.join().unwrap();
        world.finish();
    });
}

/// Descents by latch coupling beside inserts that split what they go through, and a thread that evicts.
#[test]
fn descents_vs_splits() {
    // What was inserted before a look-up is found by it, and the tree is whole.
    play("descents_vs_splits", || {
        let (world, cache) = World::in_cache(0, 0, 2, 2);
        let tree = tree::Tree::create(world.mapping.clone(), 3).unwrap();
        let insert = |keys: &'static [u64]| {
            let tree = tree.clone();
            thread::spawn(move || -> Result<()> {
                for key in keys {
                    tree.insert(*key, key * 10)?;
                    assert_eq!(tree.get(*key)?, Some(key * 10));
                }
                Ok(())
            })
        };
        let threads = [insert(&[1, 4, 6]), insert(&[2, 3, 5])];
        cache.evict(8);
        tree.get(1).unwrap();
        for thread in threads {
            thread.join().unwrap().unwrap();
        }
        assert_eq!(tree.check().unwrap(), 6);
        assert!((1..7).all(|key| tree.get(key).unwrap() == Some(key * 10)));
        drop(tree);
        world.mapping.handle().sync_data().unwrap();
        // The tree's pages are not the ledger's.
        world.abandon();
        cache.check().unwrap();
    });
}
