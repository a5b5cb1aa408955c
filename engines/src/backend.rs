//! redb's storage, cached by a mapping: all that an engine needs to know of the cache.
//!
//! redb asks for exact reads, for zeros where the storage grows, for errors that are never
//! swallowed, and for one thing that is hard: when `sync_data` returns `Ok`, everything written
//! before is durable. A [`Handle`] promises each of these, so every method is one call.

use std::io;

use redb::StorageBackend;
use writeback::{Handle, Mapping};

/// A redb database in the file, or the store, below a [`Mapping`].
///
/// A [`Flusher`](writeback::Flusher) may write in the background; commits then find less to write, and in a
/// [`PageCache`](writeback::PageCache), which is bounded, writers rarely wait. Neither needs one.
///
/// The device's errors come out of the commit whose sync is told of them, with their own number and kind
/// (`StorageFull`, if there is no space); redb then asks to be opened again. Other processes are kept off
/// by the lock of a [`FileStore`](writeback::FileStore).
///
/// # Examples
/// ```
/// use engines::Cached;
/// use redb::{Database, ReadableDatabase, TableDefinition};
/// use writeback::{Mapping, MemStore};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// const NAMES: TableDefinition<u64, &str> = TableDefinition::new("names");
///
/// let store = MemStore::new(); // or a FileStore
/// let mapping = Mapping::open(store.clone())?;
/// let database = Database::builder().create_with_backend(Cached::new(&mapping))?;
/// let change = database.begin_write()?;
/// change.open_table(NAMES)?.insert(7, "seven")?;
/// change.commit()?; // durable, or an error
///
/// let recovered = Mapping::open(store.after_crash())?;
/// let database = Database::builder().create_with_backend(Cached::new(&recovered))?;
/// let names = database.begin_read()?.open_table(NAMES)?;
/// assert_eq!(names.get_owned(7)?.expect("it was committed").value(), "seven");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Cached {
    /// Its own, so that each error of a write in the background fails a commit of this database.
    handle: Handle,
}

impl Cached {
    /// The storage below `mapping`. It should be the only one.
    pub fn new(mapping: &Mapping) -> Self {
        Self { handle: mapping.handle() }
    }
}

impl StorageBackend for Cached {
    fn len(&self) -> io::Result<u64> {
        Ok(self.handle.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        // A handle stops at the end; redb wants all of it or an error.
        match self.handle.read_at(out, offset)? {
            count if count == out.len() => Ok(()),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        Ok(self.handle.set_len(len)?)
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(self.handle.sync_data()?)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        Ok(self.handle.write_at(data, offset)?)
    }

    /// Saves what is left and takes no more changes. What could not be saved stays in the mapping,
    /// for as long as somebody else has a clone of it.
    fn close(&self) -> io::Result<()> {
        Ok(self.handle.mapping().clone().close().map_err(|failed| failed.error)?)
    }
}
