//! What user code may do from inside an operation, and iterators that stay exhausted.

use std::ptr::NonNull;

use tagged_radix::{ArrayVec, CloneValue, Inline, RadixTree, Tag, Value};

thread_local! {
    static TREE: RadixTree<Nosy> = const { RadixTree::new() };
}

/// A value whose clone changes the tree it is in.
#[derive(Clone, Copy, Debug)]
struct Nosy(Inline);

// SAFETY: as `Inline`, to which everything is passed on.
unsafe impl Value for Nosy {
    type Ref<'g> = Inline;

    fn into_word(self) -> NonNull<()> {
        self.0.into_word()
    }

    unsafe fn from_word(word: NonNull<()>) -> Nosy {
        // SAFETY: passed on.
        Nosy(unsafe { Inline::from_word(word) })
    }

    unsafe fn as_ref<'g>(word: NonNull<()>) -> Self::Ref<'g> {
        // SAFETY: passed on.
        unsafe { Inline::as_ref(word) }
    }

    fn ref_word(reference: Inline) -> NonNull<()> {
        Inline::ref_word(reference)
    }
}

impl CloneValue for Nosy {
    fn clone_value(reference: Inline) -> Nosy {
        TREE.with(|tree| {
            let pinned = tree.pin();
            if pinned.set_tag(1, Tag::T3) == Some(false) {
                pinned.clear_tag(1, Tag::T3);
            }
        });
        Nosy(reference)
    }
}

#[test]
fn a_clone_may_change_the_leaf_that_it_is_made_from() {
    crate::common::watch();
    // The owned gang lookup runs no user code under a leaf's lock, though each clone spoils what it has read.
    TREE.with(|tree| {
        let pinned = tree.pin();
        for index in 0..8 {
            let value = Nosy(Inline::new(index).unwrap());
            pinned.insert_tagged(index, value, Tag::T0.into());
        }
        let mut batch = ArrayVec::<(u64, Nosy), 8>::new();
        tree.gang_lookup_tagged_owned(0, Tag::T0, &mut batch);
        assert!(
            batch.iter().map(|(index, value)| (*index, value.0.get())).eq((0..8).map(|i| (i, i)))
        );
    });
}

#[test]
fn an_exhausted_scan_stays_exhausted_at_both_ends() {
    crate::common::watch();
    let tree: RadixTree<Inline> = (5..7).filter_map(|i| Some((i, Inline::new(i)?))).collect();
    let pinned = tree.pin();
    pinned.tag_range(.., Tag::T0, tagged_radix::TagSet::EMPTY);
    let mut scan = pinned.range_tagged(.., Tag::T0);
    assert_eq!(scan.next_back().map(|(index, ..)| index), Some(6));
    pinned.tag_range(.., tagged_radix::TagSet::EMPTY, Tag::T0);
    assert!(scan.next().is_none());
    pinned.set_tag(5, Tag::T0);
    assert!(scan.next_back().is_none() && scan.next().is_none());
}
