//! A store in a file: positioned vectored writes, real `fdatasync`.

use std::fs::File;
use std::io;
use std::path::Path;

use super::copies::Copies;
use super::open::{FileOptions, Found};
use super::ready::Ready;
use super::space;
use super::vectored::{SLICES, read_all, write_all};
use super::{Completion, FlushCompletion, FlushKind, Limits, ReadRun, Store, WriteBatch, system};
use crate::errno::Errno;
use crate::error::StoreError;
use crate::primitives::Mutex;

/// Reads that end within a block, although the file has more, until that is an error.
const READS_MAX: u32 = 4;

/// A file as a store.
///
/// Reads and writes are done by the thread that asks for them, adjacent pages in one `preadv`, or in one `pwritev` for each 128 KiB: the kernel keeps what one call
/// writes in pieces as large, and a page that is written later takes it the longer, the larger they are. A short or
/// interrupted call is continued. `flush` is `fdatasync` or `fsync`. The device begins early with long
/// runs ([`begin_early`](Self::begin_early)), and the kernel can be made to keep no second copy of what was written ([`keep_copies`](Self::keep_copies)).
///
/// A file's name is kept by its folder, and no sync of a file makes it durable. A store made by
/// [`create`](Self::create) or [`open_or_create`](Self::open_or_create) therefore syncs the folder too, once,
/// with the first flush of kind [`FlushKind::All`]: after [`Handle::sync_all`](crate::Handle::sync_all) or
/// [`Mapping::close`](crate::Mapping::close) the file is found again after a power cut.
/// [`Handle::sync_data`](crate::Handle::sync_data) does not promise that, as `fdatasync` does not.
///
/// A block device can be a store, too; it has the size it has when it is opened, which cannot be set to another.
/// A file or device with direct I/O (`O_DIRECT`) is written in whole multiples of 4096 bytes, or of what the
/// device says (see [`Limits::alignment`]). Everything else that cannot work is refused when it is opened:
/// directories, pipes, sockets, character devices, files that are open for appending, or not for reading and
/// writing both. How long the file can become on its file system is found out then as well
/// ([`Limits::len_max`]), so that a write beyond that fails by itself and not a sync, for ever, later on.
///
/// # Windows
/// There is no direct I/O, no device and no hole: a write far behind the end fills what is between. One page is read or written a call, and
/// the system does one call of a file at a time, also a flush: a read waits for it. How long a file can become the write finds out that is too long.
/// A name is durable when its file system says so. What a flush tells of a write that had failed before it, in the system's own cache, Microsoft
/// does not say. Nobody is to go by the position of a file that a store has.
///
/// The cache assumes that nobody else changes the file while it is open, so the file is
/// [locked](FileOptions::lock) for as long.
///
/// # Concurrency
/// Any number of threads; among them there is no lock (but on Windows the system's). After a fork the child and its parent have the file, and its
/// lock, both: use it in one of them.
///
/// # Examples
/// ```
/// use writeback::{FileStore, Mapping};
///
/// let path = std::env::temp_dir().join(format!("writeback-doc-{}", std::process::id()));
/// let handle = Mapping::open(FileStore::create(&path)?)?.handle();
/// handle.write_at(b"hello", 0)?;
/// handle.sync_data()?;
/// assert_eq!(std::fs::read(&path)?, b"hello");
/// # std::fs::remove_file(&path)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct FileStore {
    file: File,
    found: Found,
    copies: Copies,
    ready: Ready,
    /// The folder that the file's name is in, until a sync of it has succeeded.
    unsynced_folder: Mutex<Option<File>>,
    /// Held while the file's position is elsewhere.
    position: Mutex<()>,
}

impl FileStore {
    /// Opens an existing file for reading and writing.
    ///
    /// # Errors
    /// As [`OpenOptions::open`](std::fs::OpenOptions::open), and as [`from_file`](Self::from_file).
    ///
    /// # Examples
    /// ```
    /// use writeback::FileStore;
    ///
    /// # let path = std::env::temp_dir().join(format!("writeback-doc-open-{}", std::process::id()));
    /// assert!(FileStore::open(&path).is_err(), "there is none");
    /// std::fs::write(&path, b"abc")?;
    /// assert_eq!(FileStore::open(&path)?.file().metadata()?.len(), 3);
    /// # std::fs::remove_file(&path)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        Self::options().open(path)
    }

    /// Creates a file, or empties the one that is there, unless somebody has it.
    ///
    /// # Errors
    /// As [`open`](Self::open); if it is a device; and if its folder cannot be opened, as it has to be to make the
    /// name durable.
    ///
    /// # Examples
    /// ```
    /// use writeback::FileStore;
    ///
    /// # let path = std::env::temp_dir().join(format!("writeback-doc-create-{}", std::process::id()));
    /// std::fs::write(&path, b"abc")?;
    /// assert_eq!(FileStore::create(&path)?.file().metadata()?.len(), 0);
    /// # std::fs::remove_file(&path)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn create(path: impl AsRef<Path>) -> io::Result<Self> {
        Self::options().create(path)
    }

    /// Opens a file, keeping its contents, or creates it.
    ///
    /// # Errors
    /// As [`open`](Self::open), and if its folder cannot be opened.
    ///
    /// # Examples
    /// ```
    /// use writeback::FileStore;
    ///
    /// # let path = std::env::temp_dir().join(format!("writeback-doc-oc-{}", std::process::id()));
    /// assert_eq!(FileStore::open_or_create(&path)?.file().metadata()?.len(), 0);
    /// std::fs::write(&path, b"abc")?;
    /// assert_eq!(FileStore::open_or_create(&path)?.file().metadata()?.len(), 3);
    /// # std::fs::remove_file(&path)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn open_or_create(path: impl AsRef<Path>) -> io::Result<Self> {
        Self::options().open_or_create(path)
    }

    /// Uses a file that is open for reading and writing, and not for appending. Its name is not made durable.
    ///
    /// # Errors
    /// If it cannot be a store: of kind [`IsADirectory`](io::ErrorKind::IsADirectory) for a directory,
    /// [`NotSeekable`](io::ErrorKind::NotSeekable) for whatever else is neither a file nor a block device,
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) if it is opened in another way,
    /// [`Unsupported`](io::ErrorKind::Unsupported) if it is open for direct I/O that it does not have, and
    /// [`ResourceBusy`](io::ErrorKind::ResourceBusy) if another store has it (see [`FileOptions::lock`]).
    ///
    /// # Examples
    /// ```
    /// use std::fs::OpenOptions;
    /// use writeback::FileStore;
    ///
    /// # let path = std::env::temp_dir().join(format!("writeback-doc-ff-{}", std::process::id()));
    /// let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path)?;
    /// let store = FileStore::from_file(file)?;
    /// # drop(store);
    /// # std::fs::remove_file(&path)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn from_file(file: File) -> io::Result<Self> {
        Self::options().from_file(file)
    }

    /// Opens it in another way than usual.
    pub fn options() -> FileOptions {
        FileOptions::new()
    }

    pub(super) fn new(file: File, found: Found) -> Self {
        let (unsynced_folder, position) = (Mutex::new(None), Mutex::new(()));
        let is_direct = found.alignment > 1;
        let (copies, ready) = (Copies::new(!is_direct), Ready::new(is_direct));
        Self { file, found, copies, ready, unsynced_folder, position }
    }

    /// The file's name is in `folder`, and not known to be durable.
    pub(super) fn in_folder(mut self, folder: Option<File>) -> Self {
        self.unsynced_folder = Mutex::new(folder);
        self
    }

    /// The device's size, if it is one.
    pub(super) fn fixed_len(&self) -> Option<u64> {
        self.found.fixed_len
    }

    #[cfg(all(test, target_os = "linux"))]
    pub(super) fn is_name_durable(&self) -> bool {
        self.unsynced_folder.lock().is_none()
    }

    fn flush_file(&self, kind: FlushKind) -> io::Result<()> {
        match kind {
            FlushKind::Data => self.file.sync_data(),
            FlushKind::All => {
                self.file.sync_all()?;
                self.sync_name()
            }
        }
    }

    /// Makes the file's name durable, unless it is known to be: what a flush of kind [`FlushKind::All`] does after `fsync`. For stores over this one that
    /// flush the file themselves.
    ///
    /// # Errors
    /// If the folder could not be synced.
    pub fn sync_name(&self) -> io::Result<()> {
        let mut unsynced = self.unsynced_folder.lock();
        if let Some(folder) = &*unsynced {
            folder.sync_all()?;
        }
        *unsynced = None;
        Ok(())
    }

    /// Sets whether the device begins with a long run (256 KiB and more) as soon as the kernel has it. On by default; on Linux only.
    ///
    /// The device then works while the next run is being gathered, and a flush has little left to wait for. The price: a long run that is written again and again without a
    /// flush between goes to the device each time, and not once in a while, as the kernel would have it.
    ///
    /// # Examples
    /// ```
    /// use writeback::FileStore;
    ///
    /// # let path = std::env::temp_dir().join(format!("writeback-doc-be-{}", std::process::id()));
    /// let store = FileStore::create(&path)?.begin_early(false);
    /// # drop(store);
    /// # std::fs::remove_file(&path)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn begin_early(mut self, yes: bool) -> Self {
        self.copies.begin_early(yes);
        self
    }

    /// Sets whether the kernel keeps its own copy of runs (16 KiB and more) that were written and are durable. On by default; it can be told on Linux only. The kernel keeps what
    /// was written in shorter pieces, and what was read.
    ///
    /// Long runs (256 KiB and more) are dropped as the device has them from Linux 6.16 on, where the file system knows `RWF_DONTCACHE`, unless
    /// [`begin_early`](Self::begin_early) is off. Elsewhere the copy is dropped after a flush, and no sooner.
    ///
    /// Without the copy memory is not used twice. Nor does the kernel keep pages in the pieces in which they were
    /// written, in which a later write of a single page takes it twice as long. So it is good for databases: a load, then syncs of
    /// few pages. The price: what is evicted from this cache is read from the device, and whoever writes the same long runs again and
    /// again has the kernel take new memory for each, which can be dear in a virtual machine.
    ///
    /// # Examples
    /// ```
    /// use writeback::FileStore;
    ///
    /// # let path = std::env::temp_dir().join(format!("writeback-doc-kc-{}", std::process::id()));
    /// let store = FileStore::create(&path)?.keep_copies(false);
    /// # drop(store);
    /// # std::fs::remove_file(&path)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn keep_copies(mut self, yes: bool) -> Self {
        self.copies.keep(yes);
        self
    }

    /// The file.
    ///
    /// # Examples
    /// ```
    /// use writeback::FileStore;
    ///
    /// # let path = std::env::temp_dir().join(format!("writeback-doc-file-{}", std::process::id()));
    /// assert_eq!(FileStore::create(&path)?.file().metadata()?.len(), 0);
    /// # std::fs::remove_file(&path)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Writes all of the batch. `Err`: how many bytes were accepted before the error.
    fn write_all(&self, batch: WriteBatch) -> Result<(), (u64, StoreError)> {
        let is_direct = self.found.alignment > 1;
        write_all(batch.images(), batch.offset(), |slices, at| {
            match self.copies.write(&self.file, slices, at) {
                // At a limit that lies within a block all is refused, also what comes before it.
                Err(Errno::INVAL) if is_direct && slices.len() > 1 => {
                    self.copies.write(&self.file, &slices[..1], at)
                }
                written => written,
            }
        })?;
        self.copies.note(&self.file, batch.offset(), batch.len());
        Ok(())
    }
}

/// Reads by `once`, which takes what ends within a block for the end of the file, and again if that has more: it may just have grown, and
/// some network file systems say no more before they fail.
fn to_the_end(
    offset: u64,
    alignment: usize,
    mut once: impl FnMut() -> Result<u64, (u64, StoreError)>,
    len: impl Fn() -> Result<u64, StoreError>,
) -> Result<u64, (u64, StoreError)> {
    for _ in 0..READS_MAX {
        let count = once()?;
        let ends_within = !count.is_multiple_of(alignment as u64);
        if !ends_within || len().map_err(|error| (0, error))? <= offset + count {
            return Ok(count);
        }
    }
    let text = "reads end within a block, before the end of the file";
    Err((0, io::Error::new(io::ErrorKind::UnexpectedEof, text).into()))
}

impl Store for FileStore {
    fn limits(&self) -> Limits {
        let Found { alignment, fixed_len, len_max } = self.found;
        Limits { batch_pages_max: SLICES, alignment, len_min: fixed_len.unwrap_or(0), len_max }
    }

    fn len(&self) -> Result<u64, StoreError> {
        match self.fixed_len() {
            Some(len) => Ok(len),
            None => Ok(self.file.metadata()?.len()),
        }
    }

    fn set_len(&self, len: u64) -> Result<(), StoreError> {
        match self.fixed_len() {
            Some(fixed) if fixed == len => Ok(()),
            Some(fixed) => {
                let text = format!("a device of {fixed} bytes cannot have {len}");
                Err(io::Error::new(io::ErrorKind::InvalidInput, text).into())
            }
            None => Ok(self.file.set_len(len)?),
        }
    }

    fn read(&self, mut run: ReadRun) {
        let (offset, alignment) = (run.offset(), self.found.alignment);
        let once = || {
            read_all(run.buffers(), offset, alignment, |slices, at| {
                system::preadv(&self.file, slices, at)
            })
        };
        let read = to_the_end(offset, alignment, once, || self.len());
        match read {
            Ok(count) => run.complete(Ok(count)),
            Err((count, error)) => run.fail_after(count, error),
        }
    }

    /// On Linux, where the file system can say that a read would wait: what is in the kernel's memory, and not direct I/O.
    fn try_read(&self, run: ReadRun) -> Result<(), ReadRun> {
        self.ready.read(&self.file, run)
    }

    fn write(&self, batch: WriteBatch, completion: Completion) {
        let (len, written) = (batch.len(), self.write_all(batch));
        match written {
            Ok(()) => completion.complete(Ok(len)),
            Err((accepted, error)) => completion.fail_after(accepted, error),
        }
    }

    fn flush(&self, kind: FlushKind, completion: FlushCompletion) {
        let written = self.copies.take();
        let outcome = self.flush_file(kind);
        let durable = outcome.is_ok();
        completion.complete(outcome.map_err(Into::into));
        // Nobody waits for that.
        if durable {
            written.drop_from(&self.file);
        }
    }

    fn allocate(&self, offset: u64, len: u64) -> Result<(), StoreError> {
        space::allocate(&self.file, offset, len)
    }

    fn punch(&self, offset: u64, len: u64) -> Result<(), StoreError> {
        space::punch(&self.file, offset, len)
    }

    fn zero(&self, offset: u64, len: u64) -> Result<(), StoreError> {
        space::zero(&self.file, offset, len)
    }

    fn next_data(&self, offset: u64) -> Result<Option<u64>, StoreError> {
        let _position = self.position.lock();
        space::next_data(&self.file, offset)
    }

    fn next_hole(&self, offset: u64) -> Result<Option<u64>, StoreError> {
        let _position = self.position.lock();
        space::next_hole(&self.file, offset)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Seek;

    use super::*;

    fn create() -> (tempfile::TempDir, FileStore) {
        let folder = tempfile::tempdir().unwrap();
        let store = FileStore::create(folder.path().join("file")).unwrap();
        (folder, store)
    }

    #[test]
    #[cfg(unix)]
    fn the_folder_is_synced_with_the_first_flush_of_all_and_once() {
        let (_folder, store) = create();
        store.sync(FlushKind::Data).unwrap();
        assert!(store.unsynced_folder.lock().is_some());
        store.sync(FlushKind::All).unwrap();
        assert!(store.unsynced_folder.lock().is_none());
        store.sync(FlushKind::All).unwrap();
    }

    #[test]
    #[cfg(unix)]
    fn a_folder_that_cannot_be_synced_is_a_flush_that_failed() {
        use crate::{Error, Mapping};

        let (_folder, store) = create();
        let unsyncable = std::os::fd::OwnedFd::from(io::pipe().unwrap().0);
        *store.unsynced_folder.lock() = Some(unsyncable.into());
        store.sync(FlushKind::Data).unwrap();
        store.sync(FlushKind::All).unwrap_err();
        store.sync(FlushKind::All).unwrap_err();
        let mapping = Mapping::open(store).unwrap();
        mapping.handle().sync_data().unwrap();
        let told = mapping.handle().sync_all().unwrap_err();
        assert!(matches!(told, Error::Flush { .. }), "{told}");
        assert!(mapping.is_poisoned());
    }

    #[test]
    fn a_read_that_ends_within_a_block_is_the_last_one_only_at_the_end() {
        let read = |counts: &[u64], alignment, len| {
            let mut counts = counts.iter().copied();
            let once = || counts.next().ok_or((7, StoreError::NoSpace));
            let read = to_the_end(4096, alignment, once, || Ok(len));
            read.map_err(|(count, error)| (count, error.is_no_space()))
        };
        assert_eq!(read(&[904], 4096, 5000), Ok(904));
        assert_eq!(read(&[904], 4096, 4800), Ok(904));
        // It has grown meanwhile.
        assert_eq!(read(&[904, 4096], 4096, 9000), Ok(4096));
        // A file that has no blocks ends where a read does.
        assert_eq!(read(&[904], 1, 9000), Ok(904));
        assert_eq!(read(&[904; 9], 4096, 9000), Err((0, false)));
        assert_eq!(read(&[904], 4096, 9000), Err((7, true)));
    }

    #[test]
    fn a_file_that_is_given_is_found_where_its_position_was() {
        let (_folder, store) = create();
        let mut file = store.file().try_clone().unwrap();
        file.seek(io::SeekFrom::Start(123)).unwrap();
        let options = FileStore::options().lock(cfg!(unix));
        let again = options.from_file(file.try_clone().unwrap()).unwrap();
        assert_eq!((file.stream_position().unwrap(), again.len().unwrap()), (123, 0));
    }

    #[test]
    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn a_file_that_is_searched_is_found_where_its_position_was() {
        let (_folder, store) = create();
        store.write_at(0, b"abc").unwrap();
        let mut file = store.file().try_clone().unwrap();
        file.seek(io::SeekFrom::Start(123)).unwrap();
        assert_eq!((store.next_data(1).unwrap(), store.next_data(3).unwrap()), (Some(1), None));
        let hole = [0, 3, 4].map(|offset| store.next_hole(offset).unwrap());
        assert_eq!(hole, [Some(3), Some(3), None]);
        assert_eq!(file.stream_position().unwrap(), 123);
    }

    #[test]
    #[cfg(unix)]
    fn the_folder_is_that_of_the_file_and_not_of_a_link_to_it() {
        use std::os::unix::fs::MetadataExt;

        let (folder, links) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let link = links.path().join("link");
        std::os::unix::fs::symlink(folder.path().join("file"), &link).unwrap();
        let opens: [fn(&Path) -> io::Result<FileStore>; 2] =
            [|path| FileStore::open_or_create(path), |path| FileStore::create(path)];
        for open in opens {
            let store = open(&link).unwrap();
            let unsynced = store.unsynced_folder.lock();
            let found = unsynced.as_ref().unwrap().metadata().unwrap().ino();
            assert_eq!(found, folder.path().metadata().unwrap().ino());
        }
        assert!(FileStore::open(&link).unwrap().unsynced_folder.lock().is_none());
    }
}
