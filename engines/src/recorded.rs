//! A file on which a power cut can be played after its process was killed.
//!
//! [`Recorded`] is a store in a file that keeps, in another file beside it, a record of what it does: each write with
//! its bytes, each change of the length, and when each of these and each flush began and ended. SIGKILL takes
//! neither file: the kernel keeps what it was given. So a process that is killed leaves the file as the next process finds
//! it, and the record as a power cut needs it: [`power_cut`] makes what the device may hold if the power goes
//! now. All that had ended when the last flush began that has ended is there; of everything since, each
//! sector is as it was at a moment of its own, and so is the length.
//!
//! Several processes may have worked on the file since that flush, one after the other. A process that
//! takes it over records what it finds first, because of what was under way when the one before was
//! killed only the file itself can tell how much was done.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use rand::Rng;
use rand::rngs::SmallRng;
use writeback::store::{
    Completion, FlushCompletion, FlushKind, Limits, ReadRun, Store, WriteBatch,
};
use writeback::{FileStore, StoreError};

use crate::failure::Failure;
use crate::files;

/// Bytes that a power cut does not tear.
const SECTOR: usize = 512;

/// What a flush takes at the least, so that many a process is killed after its writes and before its flush.
const FLUSH_TIME: Duration = Duration::from_millis(20);

/// What happened. On the record: a letter, three numbers, and of a write the bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Entry {
    /// A process has taken the file over.
    Opened,
    /// A change has begun.
    Begun { id: u64, change: Change },
    /// That change has ended.
    Ended { id: u64 },
    /// A flush has begun.
    Flushing { id: u64 },
    /// That flush has ended well.
    Flushed { id: u64 },
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Change {
    Write { offset: u64, bytes: Vec<u8> },
    SetLen(u64),
}

impl Change {
    fn apply(&self, to: &mut Vec<u8>) {
        let size = |bytes: u64| usize::try_from(bytes).expect("a file that fits into memory");
        match self {
            Change::Write { offset, bytes } => {
                let (start, end) = (size(*offset), size(*offset) + bytes.len());
                to.resize(to.len().max(end), 0);
                to[start..end].copy_from_slice(bytes);
            }
            Change::SetLen(len) => to.resize(size(*len), 0),
        }
    }
}

impl Entry {
    fn to_bytes(&self) -> Vec<u8> {
        let (letter, numbers, data): (u8, [u64; 3], &[u8]) = match self {
            Entry::Opened => (b'o', [0; 3], &[]),
            Entry::Begun { id, change: Change::Write { offset, bytes } } => {
                (b'w', [*id, *offset, bytes.len() as u64], bytes)
            }
            Entry::Begun { id, change: Change::SetLen(len) } => (b'l', [*id, *len, 0], &[]),
            Entry::Ended { id } => (b'e', [*id, 0, 0], &[]),
            Entry::Flushing { id } => (b'f', [*id, 0, 0], &[]),
            Entry::Flushed { id } => (b'd', [*id, 0, 0], &[]),
        };
        let numbers = numbers.iter().flat_map(|number| number.to_le_bytes());
        [letter].into_iter().chain(numbers).chain(data.iter().copied()).collect()
    }

    /// The first entry of `record`, and how long it is. `None`: it is not whole, as its process was killed.
    fn read(record: &[u8]) -> Option<(Self, usize)> {
        let (&letter, rest) = record.split_first()?;
        let number = |at: usize| Some(u64::from_le_bytes(*rest.get(at * 8..)?.first_chunk()?));
        let (id, second, third) = (number(0)?, number(1)?, number(2)?);
        let (mut len, data) = (25, &rest[24..]);
        let entry = match letter {
            b'o' => Entry::Opened,
            b'w' => {
                let bytes = data.get(..usize::try_from(third).ok()?)?.to_vec();
                len += bytes.len();
                Entry::Begun { id, change: Change::Write { offset: second, bytes } }
            }
            b'l' => Entry::Begun { id, change: Change::SetLen(second) },
            b'e' => Entry::Ended { id },
            b'f' => Entry::Flushing { id },
            b'd' => Entry::Flushed { id },
            _ => return None,
        };
        Some((entry, len))
    }
}

/// What a record comes to.
#[derive(Debug, Default)]
struct Known {
    /// What a power cut leaves for certain.
    stable: Vec<u8>,
    /// What came since, in order, and whether it has ended; whose, and what number it has.
    since: Vec<Since>,
    /// Of a flush under way: what it covers.
    flushing: BTreeMap<u64, BTreeSet<(u64, u64)>>,
    process: u64,
}

#[derive(Debug)]
struct Since {
    process: u64,
    id: u64,
    ended: bool,
    change: Change,
}

impl Known {
    /// Reads a record; also tells how much of it is whole.
    fn read(record: &[u8]) -> (Self, usize) {
        let (mut known, mut at) = (Self::default(), 0);
        while let Some((entry, len)) = Entry::read(&record[at..]) {
            known.note(entry);
            at += len;
        }
        (known, at)
    }

    fn note(&mut self, entry: Entry) {
        match entry {
            Entry::Opened => {
                self.process += 1;
                self.flushing.clear();
                // How much of it was done is recorded next, as it is found.
                self.since.retain(|one| one.ended);
            }
            Entry::Begun { id, change } => {
                self.since.push(Since { process: self.process, id, ended: false, change });
            }
            Entry::Ended { id } => {
                let ours = |one: &&mut Since| (one.process, one.id) == (self.process, id);
                self.since.iter_mut().filter(ours).for_each(|one| one.ended = true);
            }
            Entry::Flushing { id } => {
                let ended = self.since.iter().filter(|one| one.ended);
                self.flushing.insert(id, ended.map(|one| (one.process, one.id)).collect());
            }
            Entry::Flushed { id } => {
                let covered = self.flushing.remove(&id).unwrap_or_default();
                let is_covered = |one: &Since| covered.contains(&(one.process, one.id));
                for one in self.since.extract_if(.., |one| is_covered(one)) {
                    one.change.apply(&mut self.stable);
                }
            }
        }
    }

    /// What reads see, if all that has begun was done.
    fn accepted(&self) -> Vec<u8> {
        let mut bytes = self.stable.clone();
        self.since.iter().for_each(|one| one.change.apply(&mut bytes));
        bytes
    }

    /// What a power cut leaves.
    ///
    /// Of each sector that was written since, a moment is drawn, and it is as it was then; of the length
    /// another. A cut of the file that is there acts on all that was written before it.
    fn after_power_cut(&self, random: &mut SmallRng) -> Vec<u8> {
        let length_at = random.random_range(0..=self.since.len());
        let mut moments = BTreeMap::new();
        for one in &self.since {
            let Change::Write { offset, bytes } = &one.change else { continue };
            let first = offset / SECTOR as u64;
            let end = (offset + bytes.len() as u64).div_ceil(SECTOR as u64);
            for sector in first..end {
                moments.entry(sector).or_insert_with(|| random.random_range(0..=self.since.len()));
            }
        }
        let (mut now, mut left) = (self.stable.clone(), self.stable.clone());
        let mut sectors = BTreeMap::new();
        for moment in 0..=self.since.len() {
            for (&sector, _) in moments.iter().filter(|(_, drawn)| **drawn == moment) {
                sectors.insert(sector, now[range_of(sector, now.len())].to_vec());
            }
            let Some(one) = self.since.get(moment) else { break };
            one.change.apply(&mut now);
            if moment < length_at {
                left.resize(now.len(), 0);
                for (sector, bytes) in &mut sectors {
                    bytes.truncate(range_of(*sector, now.len()).len());
                }
            }
        }
        for (sector, bytes) in sectors {
            // It is shorter if the file ended there, or was cut there since; then zeros follow.
            let place = range_of(sector, left.len());
            let there = bytes.len().min(place.len());
            left[place.clone()][..there].copy_from_slice(&bytes[..there]);
            left[place][there..].fill(0);
        }
        left
    }
}

/// Where a sector lies in a file of so many bytes.
fn range_of(sector: u64, len: usize) -> Range<usize> {
    let start = usize::try_from(sector).expect("within memory") * SECTOR;
    start.min(len)..(start + SECTOR).min(len)
}

/// The record of the file at `path`.
fn record_of(path: &Path) -> PathBuf {
    path.with_added_extension("record")
}

/// Begins the record of the file at `path` anew: what is in it now, if there is one, is durable.
///
/// # Errors
/// If the file cannot be read, or its record not be written.
pub fn begin(path: &Path) -> io::Result<()> {
    let bytes = if path.exists() { fs::read(path)? } else { Vec::new() };
    let change = Change::Write { offset: 0, bytes };
    let entries = [
        Entry::Begun { id: 0, change },
        Entry::Ended { id: 0 },
        Entry::Flushing { id: 1 },
        Entry::Flushed { id: 1 },
    ];
    fs::write(record_of(path), entries.iter().flat_map(Entry::to_bytes).collect::<Vec<_>>())
}

/// Cuts the power of the file at `path`, which nobody has open: it becomes what the device may hold, and all
/// that it holds is durable. Returns that.
///
/// # Errors
/// If the file or its record cannot be read or written.
pub fn power_cut(path: &Path, random: &mut SmallRng) -> io::Result<Vec<u8>> {
    let (known, _) = Known::read(&fs::read(record_of(path))?);
    let left = known.after_power_cut(random);
    fs::write(path, &left)?;
    begin(path)?;
    Ok(left)
}

/// A file as a store, with a record of what it does.
#[derive(Debug)]
pub struct Recorded {
    store: FileStore,
    record: Mutex<File>,
    next: AtomicU64,
}

impl Recorded {
    /// Takes over the file at `path`, whose record has been [begun](begin).
    ///
    /// # Errors
    /// If it cannot be opened, or somebody else has it.
    pub fn open(path: &Path) -> Result<Self, Failure> {
        let store = FileStore::from_file(files::lock(path)?)?;
        let name = record_of(path);
        let (mut known, whole) = Known::read(&fs::read(&name)?);
        let record = OpenOptions::new().append(true).open(name)?;
        // What the process before was killed in the middle of noting it had not begun to do.
        record.set_len(whole as u64)?;
        let recorded = Self { store, record: Mutex::new(record), next: AtomicU64::new(0) };
        known.note(Entry::Opened);
        recorded.note(&Entry::Opened)?;
        recorded.note_found(&known.accepted(), &fs::read(path)?)?;
        Ok(recorded)
    }

    /// Records what the file holds where that is not what the record says.
    fn note_found(&self, said: &[u8], found: &[u8]) -> io::Result<()> {
        let change = |change| self.change(change).and_then(|id| self.note(&Entry::Ended { id }));
        if said.len() != found.len() {
            change(Change::SetLen(found.len() as u64))?;
        }
        for (at, bytes) in found.chunks(SECTOR).enumerate() {
            let offset = at * SECTOR;
            if said.get(offset..offset + bytes.len()) != Some(bytes) {
                change(Change::Write { offset: offset as u64, bytes: bytes.to_vec() })?;
            }
        }
        Ok(())
    }

    /// All of it in one write, so that a kill leaves a beginning of it at the most.
    fn note(&self, entry: &Entry) -> io::Result<()> {
        self.record.lock().write_all(&entry.to_bytes())
    }

    fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// Records that this begins, and returns its number.
    fn change(&self, change: Change) -> io::Result<u64> {
        let id = self.number();
        self.note(&Entry::Begun { id, change })?;
        Ok(id)
    }

    fn write(&self, batch: &WriteBatch) -> io::Result<()> {
        let bytes: Vec<u8> =
            batch.images().iter().flat_map(|image| image.as_ref()).copied().collect();
        let id = self.change(Change::Write { offset: batch.offset(), bytes: bytes.clone() })?;
        self.store.file().write_all_at(&bytes, batch.offset())?;
        self.note(&Entry::Ended { id })
    }
}

impl Store for Recorded {
    fn limits(&self) -> Limits {
        self.store.limits()
    }

    fn len(&self) -> Result<u64, StoreError> {
        self.store.len()
    }

    fn set_len(&self, len: u64) -> Result<(), StoreError> {
        let id = self.change(Change::SetLen(len))?;
        self.store.set_len(len)?;
        Ok(self.note(&Entry::Ended { id })?)
    }

    fn read(&self, run: ReadRun) {
        self.store.read(run);
    }

    fn write(&self, batch: WriteBatch, completion: Completion) {
        let written = self.write(&batch).map(|()| batch.len());
        drop(batch);
        completion.complete(written.map_err(StoreError::from));
    }

    fn flush(&self, kind: FlushKind, completion: FlushCompletion) {
        completion.complete_with(|| {
            let id = self.number();
            self.note(&Entry::Flushing { id })?;
            thread::sleep(FLUSH_TIME);
            self.store.sync(kind)?;
            Ok(self.note(&Entry::Flushed { id })?)
        });
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use writeback::{Budget, Mapping, SyncMode};

    use super::*;

    /// What many power cuts leave.
    fn left(known: &Known) -> BTreeSet<Vec<u8>> {
        (0..200).map(|seed| known.after_power_cut(&mut SmallRng::seed_from_u64(seed))).collect()
    }

    fn known(entries: &[Entry]) -> Known {
        let record: Vec<u8> = entries.iter().flat_map(Entry::to_bytes).collect();
        let (known, whole) = Known::read(&record);
        assert_eq!(whole, record.len());
        known
    }

    fn write(id: u64, bytes: &[u8]) -> Entry {
        Entry::Begun { id, change: Change::Write { offset: 0, bytes: bytes.to_vec() } }
    }

    #[test]
    fn a_flush_covers_what_had_ended_when_it_began_and_only_if_it_ended() {
        let mut entries = vec![write(0, b"a"), Entry::Ended { id: 0 }, Entry::Flushing { id: 1 }];
        let any =
            |bytes: &[&[u8]]| bytes.iter().map(|bytes| bytes.to_vec()).collect::<BTreeSet<_>>();
        assert_eq!(left(&known(&entries)), any(&[b"", b"\0", b"a"]));
        entries.push(Entry::Flushed { id: 1 });
        assert_eq!(left(&known(&entries)), any(&[b"a"]));
        // Begun before the flush, and ended after it had begun; and in another process.
        entries = vec![write(0, b"a"), Entry::Flushing { id: 1 }, Entry::Ended { id: 0 }];
        entries.extend([Entry::Flushed { id: 1 }, Entry::Opened, Entry::Flushing { id: 1 }]);
        assert!(left(&known(&entries)).contains(&b""[..]));
        entries.push(Entry::Flushed { id: 1 });
        assert_eq!(left(&known(&entries)), any(&[b"a"]));
    }

    #[test]
    fn a_cut_that_is_there_acts_on_what_was_written_before() {
        let cut = Entry::Begun { id: 2, change: Change::SetLen(1) };
        let longer = Entry::Begun { id: 3, change: Change::SetLen(3) };
        let known = known(&[write(0, b"abc"), cut, longer]);
        let seen = left(&known);
        assert!(
            seen.contains(&b"a"[..]) && seen.contains(&b"a\0\0"[..]) && seen.contains(&b"abc"[..])
        );
        assert!(!seen.contains(&b"ab"[..]) && !seen.contains(&b"ab\0"[..]));
        assert_eq!(known.accepted(), b"a\0\0");
    }

    #[test]
    fn what_is_not_whole_on_the_record_is_not_there() {
        let record =
            [write(0, b"a"), Entry::Ended { id: 0 }].map(|entry| entry.to_bytes()).concat();
        for len in 0..record.len() {
            let (known, whole) = Known::read(&record[..len]);
            assert_eq!(whole, if len < 26 { 0 } else { 26 });
            assert_eq!(known.since.iter().filter(|one| one.ended).count(), 0);
        }
    }

    #[test]
    fn a_file_is_what_its_record_says_and_the_next_process_notes_what_it_finds() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        begin(&path).unwrap();
        let mapping = Mapping::open(Recorded::open(&path).unwrap()).unwrap();
        mapping.handle().write_at(&[1; 10_000], 0).unwrap();
        mapping.handle().sync_data().unwrap();
        mapping.handle().write_at(&[2; 6000], 3000).unwrap();
        mapping.write_range(.., SyncMode::Wait, Budget::UNLIMITED).unwrap();
        mapping.handle().set_len(9000).unwrap();
        drop(mapping);
        let known = || Known::read(&fs::read(record_of(&path)).unwrap()).0;
        assert_eq!(known().accepted(), fs::read(&path).unwrap());
        assert_eq!(known().stable, [1; 10_000]);
        // What a process did that did not come to say so.
        File::options().write(true).open(&path).unwrap().write_all_at(&[3; 9500], 0).unwrap();
        drop(Recorded::open(&path).unwrap());
        assert_eq!(known().accepted(), [3; 9500]);
        let left = power_cut(&path, &mut SmallRng::seed_from_u64(1)).unwrap();
        assert!(left[..9000].iter().all(|byte| (1..=3).contains(byte)));
        assert_eq!((known().stable, fs::read(&path).unwrap()), (left.clone(), left));
    }
}
