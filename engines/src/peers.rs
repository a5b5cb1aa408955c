//! What other processes change in a database that is open here, and what they get to see of it.
//!
//! # How redb shares a file
//! In its modes `SingleWriter` and `MultiWriter` several processes have the database open while one of them changes it. They agree by
//! locks on ranges of bytes (`docs/design.md` of redb, "Multi-process concurrency"):
//!
//! * *The writer's byte*, 2^62, exclusively: whoever has it is the writer. Nobody else changes anything: no page, not the length, not the header. A single
//!   writer has it from the opening on; one of several for each write transaction, for the opening and for the closing.
//! * *The header's bytes*, 0 to 319: shared by whoever reads the header, exclusively by the writer while it writes it. A commit writes the header three
//!   times, and each is expected to be in the file when the lock is gone: with the new transaction beside the old; with the new one in front and a mark that it is
//!   not durable, so that others keep to the old one; without the mark. All pages of the transaction have been made durable before the second.
//! * *A transaction's byte*, shared, for as long as it is read. It is locked while the header's bytes are, from which its number comes, and no page that can
//!   be reached from the transaction is changed before it is unlocked.
//!
//! A page that was read is taken to be right until a header with another transaction was read; then redb reads everything anew. In its mode `ExclusiveWriter` nobody else has the
//! database open while it is changed: the locks are on everything, and are taken once, when it is opened.
//!
//! # What a cache adds to that
//! redb expects of a file that a write can be read by others when it has returned, and that a read finds what others have written. So:
//!
//! 1. *Before an exclusive lock is released*, whatever has been changed here is written to the store, all pages and the length ([`hand_over`](Peers::hand_over)). Not
//!    flushed: redb syncs what has to be durable before others see it. If it cannot be written, the lock stays: redb takes it for locked then, fails whatever
//!    comes, and closes the database when it is dropped, which tries once more. Until then whoever wants the lock waits, readers too, if it is the header's. Nothing that is dirty is ever
//!    left when another may write. If a write has failed and could be made up for, redb is told, and fails in the same way, but others have the lock.
//! 2. *After the writer's byte or the header's bytes were locked*, before redb reads anything, whatever is cached is taken out and the length is asked
//!    for anew ([`take_over`](Peers::take_over)), unless the header tells that nobody has committed since the last time. The length is looked at each time, but not
//!    while the writer is here: then it is this process that changes it, maybe at this moment.
//! 3. *The writer looks as well*, and so do its other threads. It has taken note of each header that it has written ([`hand_over`](Peers::hand_over)) and finds no other, so it keeps
//!    what it has cached. Should somebody have changed the header without the writer's byte, it reads anew, too, and is refused the lock if it has changes that are not written.
//! 4. *After any other range below the writer's byte was locked*, of everything most of all, all is taken out, without a look at the header.
//!
//! How is it known that nobody has changed anything? By the header's 320 bytes, which are read from the store, past the cache, and compared with those of the last
//! time. Every commit puts its number there, and numbers grow. What does not show are pages that no transaction leads to: of a transaction that was aborted, or whose process
//! was killed. Nobody reads these before they are written, whole, by a later one, which shows. A number is given twice only if its first commit came to nothing; then the header
//! has the checksum of all that it leads to, so that with the same bytes the same pages are meant. redb itself relies on no less.
//!
//! So who takes a lock while nobody commits keeps the cache, and reads 320 bytes of the store; who follows another process that commits once a second reads each page that it wants again
//! once a second. A commit is up to three changes of the header, to those who lock it in the middle.
//!
//! Pages of this cache may be larger than redb's, and some are read ahead: they may have, beside what was asked for, what the writer is at. It is taken out with
//! the rest before redb asks for it: redb asks for a page that was changed only after it has seen the header with its transaction.
//!
//! The generation of all this is in the range that every process locks which shares the file. It is checked: of another generation nothing is known, so its byte is
//! [unsupported](BackendError::Unsupported) and the database cannot be opened.

use std::io;

use parking_lot::Mutex;
use redb::BackendError;
use writeback::page::PageTag;
use writeback::{Budget, Handle, Mapping, SyncMode};

use crate::locks::{Kind, Range, WRITER, told};

/// The bytes of the header.
const HEADER: Range = (0, HEADER_LEN as u64 - 1);
const HEADER_LEN: usize = 320;
const THE_WRITER: Range = (WRITER, WRITER);
/// One of them is locked by whoever shares the file, and tells how: the first is what is described above.
const GENERATIONS: Range = (WRITER + 5, WRITER + 68);

/// How often all is written before others are kept off: once, once more if that has failed, and then nothing may be left.
const TRIES: u32 = 3;

/// What one backend knows of the others.
#[derive(Debug, Default)]
pub(crate) struct Peers(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    /// The header with which all that is cached goes. `None`: of what is cached nothing is known.
    header: Option<Vec<u8>>,
    /// Whether the writer is here: since it has taken over, and until it has handed over.
    is_writer: bool,
}

impl Peers {
    /// Has `mapping` show what others have changed, now that `range` was locked.
    ///
    /// # Errors
    /// If the store fails, or pages are dirty or held: somebody uses the mapping beside the database.
    pub(crate) fn take_over(&self, handle: &Handle, range: Range, kind: Kind) -> io::Result<()> {
        if range.0 > WRITER {
            return Ok(());
        }
        let mapping = handle.mapping();
        // Threads that begin to read wait here for one that takes over.
        let mut known = self.0.lock();
        if !shows_changes(range) {
            known.header = None;
            return renew(mapping);
        }
        let header = header_of(mapping)?;
        if known.header.as_ref() != Some(&header) || !shows(handle, &header)? {
            known.header = None;
            renew(mapping)?;
            known.header = Some(header);
        } else if !known.is_writer {
            take_length(mapping)?;
        }
        known.is_writer |= range == THE_WRITER && kind == Kind::Exclusive;
        Ok(())
    }

    /// Has the store show what was changed here, before `range`, which was locked exclusively, is unlocked. Returns what has failed in between and was made up for:
    /// redb is to be told, and nobody need be kept off.
    ///
    /// # Errors
    /// If not all of it could be written.
    pub(crate) fn hand_over(&self, handle: &Handle, range: Range) -> io::Result<Option<io::Error>> {
        let mapping = handle.mapping();
        let mut failed = None;
        for _ in 0..TRIES {
            let written = mapping.write_range(.., SyncMode::Wait, Budget::UNLIMITED);
            mapping.wait_range(..);
            let is_left = |tag| mapping.tagged(.., tag).next().is_some();
            let is_left = is_left(PageTag::Dirty) || is_left(PageTag::Writeback);
            // In this order: what was in neither look has failed in between.
            match written.map(drop).and_then(|()| handle.check_error()) {
                Ok(()) if !is_left => {
                    // Makes up for a change of the length that has failed. Later it would cut off what others have appended.
                    mapping.refresh_len()?;
                    if shows_changes(range) {
                        let header = header_of(mapping)?;
                        let mut known = self.0.lock();
                        known.header = Some(header);
                        known.is_writer &= range != THE_WRITER;
                    }
                    return Ok(failed);
                }
                Ok(()) => {}
                Err(error) => failed = failed.or(Some(error.into())),
            }
            // Also what backs off from a failure.
            if is_left && let Err(error) = handle.sync_data() {
                failed = failed.or(Some(error.into()));
            }
        }
        Err(failed.unwrap_or_else(|| io::Error::other("pages stay dirty")))
    }

    /// Forgets all: nothing is locked any more.
    pub(crate) fn forget(&self) {
        *self.0.lock() = Known::default();
    }
}

/// Tells whether, after this range was locked, the header tells if anything was changed.
fn shows_changes(range: Range) -> bool {
    range == HEADER || range == THE_WRITER
}

/// # Errors
/// If others that lock this range share the file in a way that is not known here.
pub(crate) fn check_generation(range: Range) -> Result<(), BackendError> {
    let is_generation = range.0 == range.1 && (GENERATIONS.0..=GENERATIONS.1).contains(&range.0);
    if is_generation && range.0 != GENERATIONS.0 {
        return Err(BackendError::Unsupported);
    }
    Ok(())
}

/// Takes all out of the cache, so that it is read again, and takes over the store's length.
///
/// # Errors
/// If the store fails, or pages are dirty or held.
pub(crate) fn renew(mapping: &Mapping) -> io::Result<()> {
    if mapping.invalidate(..)? > 0 {
        return Err(io::Error::other(STAYS));
    }
    take_length(mapping)
}

const STAYS: &str = "pages are dirty or held in the mapping, which does not show what others have changed in its store: \
                     sync or drop it";

/// Has `mapping` take over the store's length.
///
/// # Errors
/// As [`renew`].
fn take_length(mapping: &Mapping) -> io::Result<()> {
    // While it is looked at, the writer may change it once more.
    let mut last = None;
    loop {
        let before = mapping.len();
        let stored = mapping.store().len().map_err(told)?;
        // Of a mapping that is closed it can still be read.
        if stored == before {
            return Ok(());
        }
        let len = mapping.refresh_len()?;
        if len == stored {
            return Ok(());
        }
        if len == before && mapping.invalidate(stored.min(before)..)? > 0 {
            return Err(io::Error::other(STAYS));
        }
        // With seals a mapping has whole pages, whatever the store has.
        let seen = (before, stored, len);
        if last.replace(seen) == Some(seen) {
            return Ok(());
        }
    }
}

/// Tells whether `header` is also what redb would read. It need not be, although it is that of the last time: its page may have been read in between, for something else that is there,
/// while the header was another.
fn shows(handle: &Handle, header: &[u8]) -> io::Result<bool> {
    let mut bytes = vec![0; header.len()];
    Ok(handle.read_at(&mut bytes, 0)? == bytes.len() && bytes == header)
}

/// The header as it is in the store, or as much as there is of it.
fn header_of(mapping: &Mapping) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; HEADER_LEN];
    let count = mapping.store().read_at(0, &mut bytes).map_err(told)?;
    bytes.truncate(count);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::ops::Bound;
    use std::sync::Arc;
    use std::thread;

    use redb::StorageBackend;
    use redb::backends::FileBackend;
    use writeback::store::fault::FaultStore;
    use writeback::store::{
        Completion, FlushCompletion, FlushKind, Limits, ReadRun, Store, WriteBatch,
    };
    use writeback::{Config, StoreError};

    use super::*;
    use crate::Cached;
    use crate::locks::{Bounds, Locks};

    // As redb has them.
    const THE_WRITER: Bounds = (Bound::Included(WRITER), Bound::Included(WRITER));
    const HEADER: Bounds = (Bound::Included(0), Bound::Excluded(HEADER_LEN as u64));

    /// Over `store`, with the locks of `file`, which has nothing else.
    fn over(store: impl Store, config: Config, file: &tempfile::NamedTempFile) -> Cached {
        over_shared(Arc::new(store), config, file)
    }

    fn over_shared(
        store: Arc<dyn Store>,
        config: Config,
        file: &tempfile::NamedTempFile,
    ) -> Cached {
        let mapping = Mapping::with_config(store, config).unwrap();
        let backend = FileBackend::new(file.reopen().unwrap()).unwrap();
        Cached::with_locks(&mapping, Locks::new(mapping.store(), Some(backend)))
    }

    /// The writer changes the length without the lock of the header, which others have when they look at it.
    #[test]
    fn a_length_that_changes_while_it_is_looked_at_is_followed() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let store = FaultStore::new(1);
        let cached = over(store.clone(), Config::new(), &file);
        let (writer, header) = (THE_WRITER, HEADER);
        let look = || {
            cached.lock_shared_range(header.0, header.1).unwrap();
            cached.unlock_range(header.0, header.1).unwrap();
        };
        // As in the middle of a cut, of which the mapping knows already.
        store.set_len(20_000).unwrap();
        cached.lock_range(writer.0, writer.1).unwrap();
        cached.write(19_999, &[1]).unwrap();
        store.set_len(30_000).unwrap();
        look();
        store.set_len(20_000).unwrap();
        cached.unlock_range(writer.0, writer.1).unwrap();

        let lengths = (0..2000).flat_map(|number| [20_000, 10_000, 30_000 + number]);
        let changes_here = || {
            for len in lengths.clone() {
                cached.lock_range(writer.0, writer.1).unwrap();
                for len in [len / 2, len] {
                    cached.set_len(len).unwrap();
                    cached.write(len - 1, &[1]).unwrap();
                }
                cached.unlock_range(writer.0, writer.1).unwrap();
            }
        };
        let changes_elsewhere = || lengths.clone().for_each(|len| store.set_len(len).unwrap());
        for changes in [&changes_here as &(dyn Fn() + Sync), &changes_elsewhere] {
            thread::scope(|scope| {
                let changes = scope.spawn(changes);
                while !changes.is_finished() {
                    look();
                }
            });
            look();
            assert_eq!((cached.len().unwrap(), store.len().unwrap()), (31_999, 31_999));
        }
    }

    /// Whoever asks for its length finds it changed, as long as there is a next one.
    #[derive(Debug)]
    struct Moves {
        inner: FaultStore,
        next: Mutex<Vec<u64>>,
    }

    impl Store for Moves {
        fn limits(&self) -> Limits {
            self.inner.limits()
        }

        fn len(&self) -> Result<u64, StoreError> {
            if let Some(len) = self.next.lock().pop() {
                self.inner.set_len(len)?;
            }
            self.inner.len()
        }

        fn set_len(&self, len: u64) -> Result<(), StoreError> {
            self.inner.set_len(len)
        }

        fn read(&self, run: ReadRun) {
            self.inner.read(run);
        }

        fn write(&self, batch: WriteBatch, completion: Completion) {
            self.inner.write(batch, completion);
        }

        fn flush(&self, kind: FlushKind, completion: FlushCompletion) {
            self.inner.flush(kind, completion);
        }
    }

    #[test]
    fn a_length_that_moves_while_it_is_looked_at_is_looked_at_again() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let inner = FaultStore::new(1);
        inner.set_len(20_000).unwrap();
        let store = Arc::new(Moves { inner: inner.clone(), next: Mutex::default() });
        let cached = over_shared(store.clone(), Config::new(), &file);
        let header = HEADER;
        for lengths in [vec![], vec![10_000, 40_000, 30_000], vec![20_000, 30_000, 25_000, 9000]] {
            *store.next.lock() = lengths;
            cached.lock_shared_range(header.0, header.1).unwrap();
            assert_eq!(cached.len().unwrap(), inner.len().unwrap());
            cached.unlock_range(header.0, header.1).unwrap();
        }
    }

    /// Of pages that stay the length stays.
    #[test]
    fn a_length_that_cannot_be_followed_is_told() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let store = FaultStore::new(1);
        store.write_at(0, &[1; 10_000]).unwrap();
        let cached = over(store.clone(), Config::new(), &file);
        let header = HEADER;
        let look = || cached.lock_shared_range(header.0, header.1);
        look().unwrap();
        cached.unlock_range(header.0, header.1).unwrap();
        for somebody_has_it in [true, false] {
            let held = somebody_has_it.then(|| cached.mapping().hold_page(2).unwrap());
            store.set_len(5000).unwrap();
            let told = look().map_err(|error| error.to_string());
            assert_eq!(told.is_err(), somebody_has_it, "{told:?}");
            drop(held);
        }
        assert_eq!(cached.len().unwrap(), 5000);
    }

    /// With seals, a mapping is as long as whole pages, and a file may be what it likes.
    #[test]
    fn a_length_that_is_rounded_is_followed() {
        #[derive(Debug)]
        struct Nothing;

        impl writeback::hooks::Seal for Nothing {
            fn seal(&self, _index: u64, _bytes: &mut [u8]) -> io::Result<()> {
                Ok(())
            }

            fn open(&self, _index: u64, _bytes: &mut [u8]) -> io::Result<()> {
                Ok(())
            }
        }

        let file = tempfile::NamedTempFile::new().unwrap();
        let store = FaultStore::new(1);
        store.write_at(0, &[1; 5000]).unwrap();
        let config = Config::new().seal(Arc::new(Nothing));
        let cached = over(store.clone(), config, &file);
        assert!(cached.try_lock_range(Bound::Unbounded, Bound::Unbounded).unwrap());
        assert_eq!((cached.len().unwrap(), store.len().unwrap()), (8192, 5000));
    }
}
