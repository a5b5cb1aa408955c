//! Several sessions on one tree at once, each in a territory of its own that lies within the
//! leaves of the others, and one territory that all change.

use std::sync::{Arc, Barrier};
use std::thread;

use tagged_radix::{Pinned, RadixTree, Tag, TagFilter};

use crate::ops::{Bits, Item, Model, Op, Session, Territory, assert_matches};

type Tree = RadixTree<Arc<Item>>;

/// The territory that belongs to no session.
const SHARED: Territory = Territory::Part(3);

/// Runs the operations, dealt out in turn, on one tree.
pub(crate) fn run(ops: &[Op], threads: usize) {
    let tree = Tree::new();
    let start = Barrier::new(threads);
    let models: Vec<Model> = thread::scope(|scope| {
        let work = |thread: usize| {
            let (tree, start) = (&tree, &start);
            scope.spawn(move || {
                start.wait();
                work(tree, thread, ops.iter().copied().skip(thread).step_by(threads))
            })
        };
        let running: Vec<_> = (0..threads).map(work).collect();
        running.into_iter().map(|thread| thread.join().expect("a thread failed")).collect()
    });
    let mut all = Model::default();
    for (index, entry) in models.into_iter().flat_map(|model| model.entries) {
        assert!(all.entries.insert(index, entry).is_none(), "territories do not overlap");
    }
    clear_shared(&tree);
    assert_matches(&tree, &all);
}

fn work(tree: &Tree, thread: usize, ops: impl Iterator<Item = Op>) -> Model {
    let part = u8::try_from(thread).expect("few threads");
    let mut session = Session::new(tree, Territory::Part(part));
    for op in ops {
        session.step(op);
        change_shared(&session.pinned, op);
    }
    session.model
}

/// Does to the shared territory something like what `op` does to the session's own; no more can
/// be said of the result than that a value is at its index.
fn change_shared(p: &Pinned<'_, Arc<Item>>, op: Op) {
    let item = |index| Arc::new(Item { index, stamp: 0 });
    let (index, found) = match op {
        Op::Insert(key) | Op::TryInsert(key) | Op::Extend(key, _) => {
            let index = SHARED.place(key);
            (index, p.insert(index, item(index)))
        }
        Op::InsertTagged(key, tags) | Op::TryInsertTagged(key, tags) => {
            let index = SHARED.place(key);
            (index, p.insert_tagged(index, item(index), tags.set()))
        }
        Op::Remove(key) | Op::RemoveIf(key, _) => {
            let index = SHARED.place(key);
            (index, p.remove(index))
        }
        Op::SetTag(key, tag) | Op::ReplaceIf(key, tag) => {
            p.set_tag(SHARED.place(key), tag);
            return;
        }
        Op::ClearTag(key, tag) => {
            p.clear_tag(SHARED.place(key), tag);
            return;
        }
        Op::UpdateTags { key, set, clear } => {
            p.update_tags(SHARED.place(key), set.set(), clear.set());
            return;
        }
        Op::Update(key, edit) => {
            let index = SHARED.place(key);
            p.update(index, |slot| {
                assert_eq!(slot.value().index, index);
                slot.set(edit.set.set());
                slot.clear(edit.clear.set());
                if edit.remove {
                    slot.remove();
                }
            });
            return;
        }
        _ => return,
    };
    assert!(found.is_none_or(|old| old.index == index), "value of another index");
}

/// Looks at what is left in the shared territory, then empties it.
fn clear_shared(tree: &Tree) {
    tree.check().expect("a sound tree");
    let p = tree.pin();
    let mut flags = Bits(0);
    for (index, item, tags) in p.range_tagged(.., TagFilter::ANY) {
        assert_eq!(item.index, index, "value of another index");
        flags = flags.edited(tags.into(), Bits(0));
    }
    for tag in Tag::all() {
        assert!(tree.any_tagged(tag) || !flags.has(tag), "any_tagged({tag:?})");
        assert_eq!(p.count_tagged(.., tag) > 0, flags.has(tag), "count_tagged({tag:?})");
        assert_eq!(tree.any_tagged(tag), flags.has(tag), "any_tagged({tag:?}), after a walk");
    }
    assert_eq!(tree.stats().stale_summaries, 0, "walks have passed");
    p.retain(|index, _, _| !SHARED.owns(index));
}
