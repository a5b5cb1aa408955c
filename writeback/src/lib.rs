//! A page cache with correct writeback: an `fdatasync` that never misses a dirty page.
//!
//! A [`Mapping`] keeps the pages of a [`Store`](store::Store) (a file, a device, a store of your own) in memory,
//! found by index in a [tagged radix tree](tagged_radix). Any number of threads read, write, truncate
//! and sync it through [`Handle`]s; a [`Flusher`] writes dirty pages in the background. Engines that
//! want more than bytes at offsets take single [pages](page). Large pages can be
//! divided into blocks ([`Config::block_size`]), each of which is dirty, held and written by itself. Mappings
//! that share a [`PageCache`] share its memory, and any other has 256 MiB of its own: what is not used makes room for what is, and writers are held
//! to what the stores can take.
//!
//! # Use it when, and when not
//!
//! When you need a cache in user space whose sync you can trust while many threads write. Not when the
//! kernel's page cache does: a plain `File` with `sync_data` is less to understand. Not when others
//! change the same file without an agreement: it is told of what they have changed ([`Mapping::invalidate`]), and does not notice by itself; and it has
//! no transactions.
//!
//! # Example
//!
//! ```
//! use writeback::{FileStore, Flusher, FlusherConfig, Mapping};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("pages");
//! let mapping = Mapping::open(FileStore::create(&path)?)?;
//! let flusher = Flusher::start([mapping.clone()], FlusherConfig::new())?;
//!
//! std::thread::scope(|scope| {
//!     for writer in 0..4_u8 {
//!         let handle = mapping.handle();
//!         scope.spawn(move || -> writeback::Result<()> {
//!             handle.write_at(&[writer; 8192], u64::from(writer) * 8192)?;
//!             handle.sync_data() // durable now, whoever's I/O did it
//!         });
//!     }
//! });
//!
//! flusher.stop();
//! mapping.close()?;
//! assert_eq!(std::fs::metadata(&path)?.len(), 4 * 8192);
//! # Ok(())
//! # }
//! ```
//!
//! # Which of these do I need
//!
//! | to | use |
//! |---|---|
//! | read and write bytes at offsets, and make them durable | [`Mapping::open`], [`Mapping::handle`], [`Handle`] |
//! | read and write as `std::io` does, from a position on | [`Handle::stream`] |
//! | bound memory and dirty pages, of all mappings together | [`PageCache`], [`Config::cache`] |
//! | have dirty pages written while nobody waits | [`Flusher`] |
//! | write pages back yourself, waiting for busy ones or not | [`Mapping::write_range`] and a [`SyncMode`] |
//! | read or change a page in place, several pages at a time | [`Mapping::page`], [`PageRef::read`](page::PageRef::read), [`PageRef::write`](page::PageRef::write): [guards](#while-a-guard-is-held) |
//! | add a page at the end, or find those that are cached or have a tag | [`Mapping::allocate`], [`Mapping::try_page`], [`Mapping::tagged`] |
//! | keep a page from being written for now, to log it or to write it yourself | [`Mapping::hold_page`], a [`Hold`](page::Hold) |
//! | decide when and how a page is written | [`PageRef::lock_state`](page::PageRef::lock_state), a [`LockedPage`](page::LockedPage), a [`Claim`](page::Claim), a [`Writeback`](page::Writeback) |
//! | log changes ahead of the pages that have them | [`hooks::Log`], [`PageRef::write_logged`](page::PageRef::write_logged), [`PageWriteGuard::log_at`](page::PageWriteGuard::log_at) |
//! | put a checksum on pages, or encrypt them | [`hooks::Seal`] |
//! | wait in a task of whatever runtime, and not in a thread | [`Mapping::async_handle`], [`AsyncHandle`] |
//! | see what happens | [`Mapping::stats`], [`hooks::Observer`] |
//! | have pages read before they are wanted, waiting for that or not | [`Handle::prefetch`], [`Handle::read_ahead`] |
//! | see what another process has changed in the store | [`Mapping::invalidate`], [`Mapping::refresh_len`] |
//! | give back room, take it ahead, look for holes | [`Handle::punch`], [`Handle::allocate`], [`Handle::next_data`] |
//! | keep pages somewhere else than in a file | [`store::Store`] |
//! | test what you build against failing devices and power cuts | `store::fault` (feature `fault`) |
//!
//! # Access rules
//!
//! 1. *To read* a page's bytes: its content latch, shared. Nothing else; a page that is locked, held
//!    or under writeback can be read.
//! 2. *To change* its bytes: the content latch, exclusively, and the page is marked dirty before the
//!    latch is released. No page lock; a write that is under way has an image of its own.
//! 3. *To mark it dirty*: one section of the index over the page's entry, in which the flag, the tag
//!    and the counter change as one, and the page is checked to be the entry's value. Who finds the
//!    flag set, and then the tag, may leave it at that, under the latch. If the page has blocks, the set
//!    of those that are dirty changes in the same section; who cannot say which have changed marks all.
//! 4. *To clean it*, that is to claim it for writing: the page lock. The flag is cleared, the set of dirty
//!    blocks is taken, and the tag stays; the claim ends in a start of writeback or in `redirty` before the
//!    page is unlocked, and either brings flag, set and tag together again. There is no third way out. What
//!    of a page is not written, because it is held or the write fails, is dirty again in the section that
//!    decides so; a page of which anything is held is dirty again even if nothing of it seems to be.
//! 5. *To take its image*: after it was claimed, under the latch, together with the length it is cut
//!    at. First clean, then copy, never the other way round.
//! 6. *To end a write*: no lock at all. The error is recorded first, then flag and tag change in one
//!    section, then whoever waits by ticket is let go. The write of a page in pieces ends with the last of
//!    them, in whatever order they end.
//! 7. *To look at it after locking it*: it may have left the mapping between look-up and lock, so this
//!    is checked, always.
//! 8. *To truncate it*, or to punch it: the page lock, no writeback, no hold, and the truncate lock exclusively. *To have it read again*: the
//!    same, and it is clean, which is seen in the section that takes it out.
//!    *To evict it*: no lock; nobody keeps, locks, holds, claims or writes it, it is clean, and all that is
//!    seen in the step that takes it out. *To use it after letting go of the index*: keep it, which fails
//!    if it is gone; a kept page is not evicted. Who stays in the index looks under the latch whether the
//!    page is still part of it, and changes its state in sections, which find out.
//! 9. *To wait* for a page lock, a writeback, a hold or the store: with no index guard, no latch (but see 14) and no
//!    page under writeback that has not been submitted. Several page locks: in ascending order.
//!    A task waits as a thread does, in the same queues (`wait`), but returns meanwhile. It then keeps at the most the claim of one page, for which it waits because another
//!    writer holds it; dropped, it lets go of that. Where its thread would have to sleep, as for a latch that somebody keeps, another thread waits. A waker is called with no lock that a poll waits for.
//! 10. *Orders of locks*: truncate lock, page lock, content latch, index; and below the latch, beside the
//!     index, a page's log positions and the book of all. The end of a write takes none of the first three.
//!     The length is raised under the latch. If the store has an [alignment](store::Limits::alignment), also under a lock
//!     between page lock and latch, shared, which a sync has exclusively while it cuts off what the last
//!     page was padded with: nobody waits for the store, a page lock or a truncate while holding it shared.
//!     The locks of a cache's accounts and of flushers come last: nothing of the above is taken under them.
//! 11. *To log a change*: its position is noted under the latch that the bytes are changed under, and taken
//!     with an image under the latch that the image is taken under. No image is submitted before the log is
//!     durable up to the newest position in it. Whoever writes waits for the log; a pass, with the page lock of the page that it is at, at the
//!     most: a log takes no lock of the mapping, and must not use it.
//! 12. *To wait for room*, for a page in memory or for a dirty one, comes before all locks and latches.
//!     Passes, claims that are given up, truncation, whoever has the page lock and threads with a guard do not wait for it. A thread that
//!     makes room writes pages of its own mapping only: another mapping's store might never let it go. The one lock that comes before
//!     is that of appends, which only those wait for that have nothing. The limits may change at any
//!     time, under the lock with which whoever waits for a dirty page decides to.
//! 13. *To have a page spared* by eviction: use it, whichever way. Reading, changing and asking for its bytes tells
//!     the clock, without a lock and before the latch; looking for it, locking it and writing it back does not. A use that is over before an
//!     eviction looks at the page, in the section that would remove it, is seen by it, if it counts: the turn of
//!     the clock in which a page comes in and the next are one burst with its coming in, and in each other turn
//!     one use counts.
//! 14. *To keep a page's latch* beyond a call: a guard, which its thread notes. A thread that has one may latch other pages, in an
//!     order that all threads of the engine keep to, and may have pages read in. It waits for nothing that may wait for the guard. Where
//!     room is missing, it goes over the limits. Where a cut is under way, it is told. A cut that has not begun it overtakes.
//!     It writes nothing back; it takes no page lock but that of a page without contents, of which
//!     nobody has a guard. In turn, a pass that finds a page latched submits first what it has begun, and leaves a page that is being
//!     changed for later if its mode is `Skip`. Observers hear of what such a thread has counted when it lets go of its
//!     last guard; those of another mapping than that guard's, with the next that they are told.
//! 15. *To read pages in*: the page lock of each, from before the store is asked until the bytes are in the page; and the truncate lock, shared, until the store has
//!     been asked. The first page may be waited for. Those that are read with it are new in the index, locked from the beginning, and have places that were free: nothing is
//!     waited for. The locks belong to the read, not to a thread: its end, by the [run](store::ReadRun), on any thread, puts the bytes into each page, under the latch
//!     of a page that has no contents, which nobody keeps, makes it valid in the same breath, and unlocks it. Whoever asked waits for the lock as others do, or has gone. A cut
//!     waits for the locks of the pages that it takes away, and of the one in which it ends; a punch, and a cut of sealed pages, before the store is asked. If the read failed, or was lost, the page stays empty, and whoever gets the lock next asks
//!     again; the one who asked is told, by a note written before the unlocking.
//!     A page of which a part is written and which is not cached is read by the writer itself, with both locks. Only there does a thread wait for a store's
//!     answer with locks in hand ([`store`](store#the-protocol)); whoever ends the read needs none of them.
//! 16. *To flush the store*: no lock. One flush is under way at a time; its end, on any thread, books what it covered or poisons the mapping, and lets the next begin. Who
//!     waits for one looks again then: it is covered, or begins the next, or waits for that.
//!
//! What may be stale, and why that is harmless: a *set* DIRTY tag over a clean page, which exists only
//! while a claim holds the page lock, costs a sync a wait and a look. The counters are exact, each by
//! itself. A [`Snapshot`](page::Snapshot) is out of date when you look at it; nothing here decides by one without a
//! lock.
//!
//! # What is true when `sync_data` returns
//!
//! `Ok`: every byte written before the call, through any handle, was accepted by the store, and a flush
//! of the store that began after that succeeded; or a concurrent truncate dropped the byte. No write
//! error is left that this handle was not told of. It does not matter who wrote the page: the sync,
//! the flusher, or another sync whose write was under way. Nor does it matter which process did: a process
//! that was killed may have left bytes in the store that no flush has covered, and a cut too. So the first
//! sync or [`close`](Mapping::close) of a mapping always flushes, even if the mapping has written nothing, and
//! whatever could be read through it before is durable as well.
//!
//! [`Handle::sync_all`] also makes the name of a file that was just created durable (see [`FileStore`]).
//!
//! `Err`: take none of the bytes written since the last `Ok` for durable. After a write error they are
//! still in memory, still dirty, and written again by the next sync or by the flusher, which backs off
//! from pages that fail. After a failed *flush* nothing can be promised any more: the mapping is
//! poisoned, because a device that failed to flush may have dropped what it held and report success
//! next time. Reads are still served: of pages in memory what was written last, of pages that were written and have been evicted what the
//! store returns, which may be older.
//!
//! # What a crash loses
//!
//! Everything written since the last sync that returned `Ok`, page by page in any combination: an
//! unsynced page may be in the store as it was, as it is, or as it was at any time between; and each of
//! these cut at the length of another moment since, because a cut acts at once on whatever the store
//! holds and a store may keep a write and lose the length that came with it. Images handed to the store
//! never change while it writes them, so pages are not torn by this crate; a device that tears writes at
//! sectors still does, of pages that were written since that sync and of no others. A store that is written
//! in multiples of an [alignment](store::Limits::alignment) may be longer than any of these lengths, by zeros up to the
//! next multiple.
//!
//! # Hooks
//!
//! *Write-ahead log* ([`Log`](hooks::Log), [`Config::log`]): an engine that logs its changes names each record's position
//! when it changes a page ([`PageRef::write_logged`](page::PageRef::write_logged), [`Handle::write_logged_at`]). Then no page reaches the
//! store before the log is durable up to its newest change, whoever writes it, and
//! [`Mapping::oldest_unwritten`] tells from where on the log is still needed: every change before is durable
//! in the store, not only written. Changes made without a position wait for nothing.
//!
//! *Seal* ([`Seal`](hooks::Seal), [`Config::seal`]): a checksum, or encryption, between memory and store. Images are sealed
//! after they have been taken, on a copy, and pages are opened before anybody sees them; what does not open
//! is [`Error::Corrupt`] and never becomes a page. With a seal lengths are whole pages, and the bytes that
//! it keeps for itself cannot be written ([`Mapping::payload`] are the others). `Crc32c`, behind the feature
//! of that name, keeps a checksum of page and index in four bytes of each page.
//!
//! *Observers* ([`Observer`](hooks::Observer), [`Config::observer`]): are told of pages dirtied, batches submitted and written,
//! flushes, syncs, errors, evictions and writers held up, with how long they took. [`Mapping::stats`] counts
//! without any. `Metrics` (feature `metrics`) is an observer that feeds the facade of that name; with the
//! feature `tracing` syncs, passes and flushes are spans, and errors are events.
//!
//! No hook is called under a latch, and none may call the cache. The log may be asked with the lock of a page that is about to be
//! written. A hook that fails or panics makes its page's write fail: the page stays dirty and the handles are told.
//!
//! # While a guard is held
//!
//! A [`PageReadGuard`](page::PageReadGuard) or [`PageWriteGuard`](page::PageWriteGuard) has the bytes of one page, for as long as it lives.
//! Meanwhile its thread may call these, of the same mapping; of other mappings everything, if all threads take mappings in one order:
//!
//! | call | under a guard |
//! |---|---|
//! | [`page`](Mapping::page), [`try_page`](Mapping::try_page), [`cached_page`](Mapping::cached_page), [`tagged`](Mapping::tagged), and [`read`](page::PageRef::read) of another page; [`read_at`](Handle::read_at), [`prefetch`](Handle::prefetch) and [`read_ahead`](Handle::read_ahead) of other pages | yes, cached or not. What is not cached comes in over the capacity rather than wait for room |
//! | [`write`](page::PageRef::write) of another page, [`write_with`](page::PageRef::write_with), [`write_logged`](page::PageRef::write_logged), [`mark_dirty`](page::PageRef::mark_dirty), [`allocate`](Mapping::allocate); [`write_at`](Handle::write_at) of other pages | yes, over the limit of dirty pages rather than wait for room: [`wait_for_room`](Mapping::wait_for_room) before the first guard |
//! | the same, of a page that is not cached or that lengthens the mapping, while [`set_len`](Handle::set_len), `punch`, `zero`, `invalidate`, `refresh_len` or [`close`](Mapping::close) is at work in it, or while a cut of its store has still to be made up for | [`Error::WouldBlock`], because the other may be waiting for the guard: let go of all guards and begin again; [`Error::Partial`] if a part was written before |
//! | reading a page again under a read guard of it | yes |
//! | a page again, if one of the two is for change | **no** |
//! | pages, locks or logs of the engine's that other threads keep while they wait for a guard | in an order that all threads keep to: parent before child, left before right |
//! | syncs, [`write_range`](Mapping::write_range), [`write_cyclic`](Mapping::write_cyclic), [`write_page`](Mapping::write_page), [`wait_range`](Mapping::wait_range), [`wait_writeback`](page::PageRef::wait_writeback) | **no** |
//! | `set_len`, [`punch`](Handle::punch), [`zero`](Handle::zero), [`append`](Handle::append), [`invalidate`](Mapping::invalidate), [`refresh_len`](Mapping::refresh_len), [`close`](Mapping::close), [`hold_page`](Mapping::hold_page), [`lock_state`](page::PageRef::lock_state), [`wait_for_room`](Mapping::wait_for_room) | **no** |
//! | [`try_read`](page::PageRef::try_read), [`try_write`](page::PageRef::try_write), [`try_write_at`](Handle::try_write_at), [`try_hold_page`](Mapping::try_hold_page), [`try_lock_state`](page::PageRef::try_lock_state) of another page; what looks or takes room only ([`Handle::allocate`], [`next_data`](Handle::next_data), [`stats`](Mapping::stats), [`len`](Mapping::len), [`snapshot`](page::Page::snapshot)) | yes |
//!
//! A guard that is never dropped (`mem::forget`) leaves its page latched, and its thread with a guard, for ever.
//!
//! What says **no** would wait for its own thread. Debug builds find that, and panic with the guards' names, whether or not it would
//! have come to it this time. A guard that is kept for long holds up readers and writers of its page, every sync, and a flusher that
//! comes to the page. While a handle waits for the page, no memory of the index is freed.
//!
//! # What blocks what
//!
//! | operation | waits for |
//! |---|---|
//! | `read_at`, `write_at`, page cached | the page's latch, for the time of a copy |
//! | `read_at`, `write_at`, otherwise | the page lock while another thread reads it in; the store; a truncate |
//! | `read`, `write` of a page in hand | who has a guard of the page that excludes this one |
//! | `write_at`, `PageRef::write`, `mark_dirty`, unless [unbounded](Config::unbounded) | at its mapping's limit of dirty pages, if this one is clean: the end of a write of this mapping; before, a pause if a flusher writes meanwhile |
//! | `write_range`, mode `Skip`; the flusher | the store's `write` to return |
//! | `write_range`, mode `Wait` | page locks, holds, writes of the pages it finds dirty; the log |
//! | the flusher, between passes | the log |
//! | `wait_range` | writes that had begun when it was called |
//! | `sync_data`, `sync_all`, `sync_range` | what `write_range` in mode `Wait` and `wait_range` wait for; the store's `flush`; other flushes |
//! | `set_len` | slow writes; page locks, reads, writes and holds of the pages it drops; a read of the page in which it ends |
//! | `punch`, `zero` | the same, of the pages in question |
//! | `invalidate`, `refresh_len` | page locks, reads and writes of the pages in question, or of those at the end; with a log, guards of them; slow writes; each other, `set_len`, `punch`, `zero` and `close`. It waits for no hold that is there when it begins. But one of these others may wait for a sync, and that for the hold. `refresh_len` also waits for appends |
//! | `hold_page`, `hold_blocks` | another hold, a write, or a waiting writeback of the page, or of these blocks |
//! | `close` | all of the above |
//! | [`Flusher::stop`] | writes that its threads are at, for a limited time |
//!
//! No wait is for something that may never come: a read, write or flush whose completion is dropped ends as lost,
//! a writeback that waits for a hold comes before the next hold, and a writer that waits for room writes
//! back itself if nobody else does, or gets [`Error::Stalled`] if nothing can be written. Only who has a
//! [`Claim`](page::Claim) or [`Writeback`](page::Writeback) open must not wait for room: it might be waiting for itself.
//!
//! A store that never answers does not keep these promises, and the threads that wait for it wait with it: those that
//! sync or close its mapping, read from it, or write more to it than its share of the dirty pages. Nobody else
//! does, in the same [`PageCache`] or elsewhere.
//!
//! # Features
//!
//! `fault`: adds the module `store::fault`, a store in memory that fails as it is told, forgets what was not
//! flushed, and makes clones of what a power cut at any moment would leave; for tests of what is built
//! on this crate as well as of this crate.
//!
//! `asymmetric`: lookups without a memory fence on Linux (see the README of `tagged-radix`): reads and updates of cached pages take up to a fifth less.
//!
//! `crc32c`: adds `Crc32c`, a seal that notices changed, torn and misplaced pages.
//!
//! `metrics`: adds `Metrics`, an observer for the facade of that name. `tracing`: spans and events.
#![forbid(unsafe_code)]

mod accounts;
mod buffer;
mod clock;
mod config;
mod counters;
mod durable;
mod entry;
mod errno;
mod error;
mod flusher;
mod handle;
mod held;
pub mod hooks;
mod index;
mod io;
mod mapping;
mod memory;
mod modes;
mod pages;
mod panics;
mod peers;
mod primitives;
mod rules;
mod space;
pub mod store;
mod wait;
#[cfg(test)]
#[path = "../tests/common/watchdog.rs"]
#[allow(dead_code, reason = "the tests here use a part of it")]
mod watchdog;

pub use clock::Clock;
pub use config::Config;
pub use error::{Error, Result, StoreError};
pub use flusher::{Flusher, FlusherConfig};
pub use handle::Handle;
pub use handle::stream::Stream;
pub use handle::tasks::AsyncHandle;
pub use mapping::{CloseError, WeakMapping};
pub use memory::{CacheConfig, PageCache};
pub use modes::{Advice, Budget, SyncMode};
pub use rules::core::Mapping;
pub use store::{DirectStore, FileStore, MemStore};

/// Single pages: in hand, locked, claimed, being written, held.
///
/// [`Mapping::page`] gives a [`PageRef`](page::PageRef); which of the others an engine needs is in the
/// [table](crate#which-of-these-do-i-need).
pub mod page {
    pub use crate::buffer::Image;
    pub use crate::entry::found::Tagged;
    pub use crate::entry::guards::{PageReadGuard, PageWriteGuard};
    pub use crate::pages::Page;
    pub use crate::pages::state::Snapshot;
    pub use crate::pages::tag::PageTag;
    pub use crate::rules::claim::Claim;
    pub use crate::rules::hold::Hold;
    pub use crate::rules::locked::LockedPage;
    pub use crate::rules::page_ref::PageRef;
    pub use crate::rules::writeback::Writeback;
}

/// What mappings, caches, flushers and passes count, and what a check finds.
pub mod stats {
    pub use crate::accounts::outcomes::ReclaimStats;
    pub use crate::counters::Stats;
    pub use crate::flusher::{FlusherStats, Stopped};
    pub use crate::memory::CacheStats;
    pub use crate::modes::Progress;
    pub use crate::rules::invariants::Violation;
}

/// The README's example, as a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
