//! What is always true of a page between two transitions; one function for each invariant.
//!
//! Test builds check them at the end of every section in [`transition`](crate::rules::changes), where
//! flags and tags can be compared without a race. [`Mapping::check`](crate::Mapping::check)
//! checks them for every page.
//!
//! | name | sentence |
//! |---|---|
//! | I-DIRTY-TAG | DIRTY flag => DIRTY tag |
//! | I-CLAIM-LOCKED | DIRTY tag without the flag => the page is locked (a claim is being decided) |
//! | I-WRITEBACK-TAG | WRITEBACK flag <=> WRITEBACK tag |
//! | I-TOWRITE | TOWRITE tag => DIRTY tag, and without the DIRTY flag the page is locked |
//! | I-STORED | not locked, not under writeback, not dirty => accepted by the store, or an error is recorded (only a test that knows the store can check it) |
//! | I-ONE-WRITE | two writebacks of one page never overlap |
//! | I-UPTODATE | DIRTY => UPTODATE |
//! | I-MAPPED | in the index <=> MAPPED, at its own index |
//! | I-ONE-CLAIM | at most one claim a page, resolved exactly once (the types see to it) |
//! | I-COUNT | the counters are the numbers of flags set; never below zero |
//! | I-LOG-FIRST | an image is submitted when the log is durable up to its newest position (only a test that knows the store can check it); a page with a log position that is in no image is dirty, locked, or a write of it failed just now, and the bound for truncation is not above it |
//! | I-ERROR-FIRST | an error is recorded before anybody can see that the write is over (only a test can check it) |
//! | I-BLOCK-DIRTY | a block is dirty => DIRTY flag |
//! | I-BLOCK-HELD | a block is held <=> HELD flag; what holds have taken is held |
//! | I-BLOCK-WRITTEN | a block is being written => WRITEBACK flag, and it is not held |
//!
//! The last three are of pages of several blocks.

use tagged_radix::TagSet;

use crate::pages::Page;
use crate::pages::blocks::Blocks;
use crate::pages::state::Snapshot;
use crate::pages::tag::PageTag;

/// An invariant that does not hold: a bug in this crate, or below it.
///
/// # Examples
/// ```
/// use writeback::{Mapping, MemStore};
///
/// let mapping = Mapping::open(MemStore::new())?;
/// assert!(mapping.check().is_ok());
/// # Ok::<(), writeback::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{invariant} is broken: {detail}")]
pub struct Violation {
    /// The invariant's name, as in the table of this crate's `invariants` file, or `tree`.
    pub invariant: &'static str,
    /// What was seen.
    pub detail: String,
}

/// One page's flags and tags, read in one section.
pub(crate) struct Seen<'a> {
    pub(crate) page: &'a Page,
    pub(crate) key: u64,
    pub(crate) state: Snapshot,
    pub(crate) tags: TagSet,
}

impl Seen<'_> {
    fn has(&self, tag: PageTag) -> bool {
        self.tags.contains(tag.tag())
    }

    fn dirty_flag_has_its_tag(&self) -> bool {
        !self.state.is_dirty() || self.has(PageTag::Dirty)
    }

    fn stale_dirty_tag_is_locked(&self) -> bool {
        !self.has(PageTag::Dirty) || self.state.is_dirty() || self.state.is_locked()
    }

    fn writeback_flag_and_tag_agree(&self) -> bool {
        self.state.is_under_writeback() == self.has(PageTag::Writeback)
    }

    fn to_write_goes_with_dirty(&self) -> bool {
        !self.has(PageTag::ToWrite)
            || (self.has(PageTag::Dirty) && (self.state.is_dirty() || self.state.is_locked()))
    }

    fn dirty_is_uptodate(&self) -> bool {
        !self.state.is_dirty() || self.state.is_uptodate()
    }

    fn indexed_is_mapped(&self) -> bool {
        self.state.is_mapped() && self.page.index() == self.key
    }

    fn dirty_blocks_make_dirty(&self) -> bool {
        let dirty = |blocks: &Blocks| !blocks.dirty.get().is_empty();
        self.state.is_dirty() || !self.page.blocks.as_deref().is_some_and(dirty)
    }

    fn held_blocks_and_flag_agree(&self) -> bool {
        let agree = |blocks: &Blocks| {
            let held = blocks.held.get();
            held.is_empty() != self.state.is_held() && held.contains(blocks.taken.get())
        };
        self.page.blocks.as_deref().is_none_or(agree)
    }

    fn blocks_are_written_or_held(&self) -> bool {
        let exclude = |blocks: &Blocks| {
            let (writing, held) = (blocks.writing.get(), blocks.held.get());
            !writing.meets(held) && (writing.is_empty() || self.state.is_under_writeback())
        };
        self.page.blocks.as_deref().is_none_or(exclude)
    }

    /// Checks all that can be seen of one page.
    pub(crate) fn check(&self) -> Result<(), Violation> {
        let all = [
            ("I-DIRTY-TAG", self.dirty_flag_has_its_tag()),
            ("I-CLAIM-LOCKED", self.stale_dirty_tag_is_locked()),
            ("I-WRITEBACK-TAG", self.writeback_flag_and_tag_agree()),
            ("I-TOWRITE", self.to_write_goes_with_dirty()),
            ("I-UPTODATE", self.dirty_is_uptodate()),
            ("I-MAPPED", self.indexed_is_mapped()),
            ("I-BLOCK-DIRTY", self.dirty_blocks_make_dirty()),
            ("I-BLOCK-HELD", self.held_blocks_and_flag_agree()),
            ("I-BLOCK-WRITTEN", self.blocks_are_written_or_held()),
        ];
        match all.iter().find(|(_, holds)| !holds) {
            None => Ok(()),
            Some((invariant, _)) => Err(Violation {
                invariant,
                detail: format!("{:?} with tags {:?} at {}", self.page, self.tags, self.key),
            }),
        }
    }

    /// I-LOG-FIRST. `bound`: where the log is still needed.
    pub(crate) fn check_log(&self, bound: impl FnOnce() -> Option<u64>) -> Result<(), Violation> {
        // Locked until the bound is known, which it moves with.
        let positions = self.page.positions.lock();
        let Some(oldest) = positions.oldest() else { return Ok(()) };
        let busy = self.state.is_dirty() || self.state.is_locked();
        let bounded = bound().is_some_and(|bound| bound <= oldest);
        if bounded && (busy || self.state.is_under_writeback()) {
            return Ok(());
        }
        let detail = format!("{:?} with log position {oldest}", self.page);
        Err(Violation { invariant: "I-LOG-FIRST", detail })
    }

    /// Checks that no claim is left unresolved (I-CLAIM-LOCKED, I-ONE-CLAIM), before the page is unlocked.
    #[cfg(debug_assertions)]
    pub(crate) fn check_before_unlock(&self) -> Result<(), Violation> {
        let resolved = self.state.is_dirty() || !self.has(PageTag::Dirty);
        if resolved {
            return self.check();
        }
        let detail = format!("{:?} is unlocked with an unresolved claim", self.page);
        Err(Violation { invariant: "I-CLAIM-LOCKED", detail })
    }
}

/// I-COUNT, at rest: the counters against the flags counted.
pub(crate) fn check_count(name: &str, counter: u64, counted: u64) -> Result<(), Violation> {
    if counter == counted {
        return Ok(());
    }
    Err(Violation {
        invariant: "I-COUNT",
        detail: format!("{name} is {counter}, but {counted} are"),
    })
}
