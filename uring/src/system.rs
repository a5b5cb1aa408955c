//! The kernel's ring. All that it is told by addresses is told here.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use io_uring::types::{Fd, Fixed, FsyncFlags};
use io_uring::{IoUring, Probe, cqueue, opcode, squeue};
use libc::iovec;
use page_frames::Region;
use parking_lot::Mutex;
use rustix::event::{EventfdFlags, eventfd};
use writeback::PageCache;

use crate::memory::{Memory, PIECES};
use crate::queue::Wake;
use crate::refused::Refused;
use crate::ring::{Act, Bytes, Call, Registered, Ring};

/// The key of what wakes the thread. No flight has it: there are not so many places.
const WAKE: u64 = u64::MAX;
const ENTER_GETEVENTS: u32 = 1;

/// A ring, and what wakes the thread that waits in it.
pub(crate) struct System {
    ring: IoUring,
    /// The keys of the entries that the kernel has not taken as far as is known, and of some that it has, in order.
    noted: VecDeque<u64>,
    /// Dropped after the ring (I-REGISTERED).
    memory: Memory,
    file: RawFd,
    is_file_registered: bool,
    /// Whether the kernel takes several slices of registered memory at once.
    takes_pieces: bool,
    event: Arc<OwnedFd>,
    registered: Arc<Mutex<Registered>>,
    /// What the kernel said when it was to watch for wakes.
    broken: Option<i32>,
}

struct Waker(Arc<OwnedFd>);

impl Wake for Waker {
    fn wake(&self) {
        // It fails only if the counter is full, and then has woken.
        let _ = rustix::io::write(&self.0, &1_u64.to_ne_bytes());
    }
}

/// Tries whether there can be a ring.
pub(crate) fn probe() -> Result<(), Refused> {
    ring(2).map(drop)
}

/// A ring with so many entries, and whether it takes several slices of registered memory at once.
fn ring(entries: u32) -> Result<(IoUring, bool), Refused> {
    let mut builder = IoUring::builder();
    builder.dontfork().setup_cqsize((2 * entries).max(8));
    let plain = builder.clone();
    // One thread has it; ends are brought when it asks for them, and not by an interruption.
    builder.setup_submit_all().setup_single_issuer().setup_defer_taskrun();
    let ring = match builder.build(entries) {
        // They came with Linux 6.1.
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => plain.build(entries),
        built => built,
    };
    let ring = ring.map_err(|error| Refused::of_setup(&error))?;
    let params = ring.params();
    if !params.is_feature_nodrop() || !params.is_feature_resource_tagging() {
        return Err(Refused::Old("features of 5.13"));
    }
    let mut probe = Probe::new();
    ring.submitter().register_probe(&mut probe).map_err(|error| Refused::of(&error))?;
    let needed = [
        (opcode::Read::CODE, "read"),
        (opcode::Write::CODE, "write"),
        (opcode::Readv::CODE, "readv"),
        (opcode::Writev::CODE, "writev"),
        (opcode::ReadFixed::CODE, "read_fixed"),
        (opcode::WriteFixed::CODE, "write_fixed"),
        (opcode::Fsync::CODE, "fsync"),
        (opcode::PollAdd::CODE, "poll"),
    ];
    for (code, name) in needed {
        if !probe.is_supported(code) {
            return Err(Refused::Old(name));
        }
    }
    let takes_pieces = probe.is_supported(opcode::ReadvFixed::CODE)
        && probe.is_supported(opcode::WritevFixed::CODE);
    Ok((ring, takes_pieces))
}

/// An entry for the file: by its number in the ring, or by its descriptor.
macro_rules! on_file {
    ($system:ident, $file:ident => $entry:expr) => {
        if $system.is_file_registered {
            let $file = Fixed(0);
            $entry
        } else {
            let $file = Fd($system.file);
            $entry
        }
    };
}

impl System {
    /// Made on the thread that will have it (I-ALONE). Memory that the kernel does not want to register stays as it is.
    pub(crate) fn new(
        entries: u32,
        memory: Option<PageCache>,
        registered: Arc<Mutex<Registered>>,
    ) -> io::Result<(Self, Box<dyn Wake>)> {
        let (ring, takes_pieces) = ring(entries)?;
        let event = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let mut system = Self {
            ring,
            noted: VecDeque::new(),
            memory: Memory::default(),
            file: -1,
            is_file_registered: false,
            takes_pieces,
            event: Arc::clone(&event),
            registered,
            broken: None,
        };
        system.watch_anew();
        if let Some(cache) = memory {
            match system.ring.submitter().register_buffers_sparse(PIECES) {
                Ok(()) => {
                    system.memory = Memory::of(cache);
                    system.grow();
                }
                Err(error) => system.refused(error),
            }
        }
        Ok((system, Box::new(Waker(event))))
    }

    /// All calls are of this file from now on. Whoever calls keeps it open until the ring is dropped.
    pub(crate) fn set_file(&mut self, file: &impl AsFd) {
        self.file = file.as_fd().as_raw_fd();
        match self.ring.submitter().register_files(&[self.file]) {
            Ok(()) => self.is_file_registered = true,
            Err(error) => self.refused(error),
        }
        self.registered.lock().file = self.is_file_registered;
    }

    fn refused(&self, error: io::Error) {
        self.registered.lock().refused.get_or_insert(error.into());
    }

    /// # Safety
    /// I-PINNED, of what the entry points to.
    unsafe fn push_entry(&mut self, entry: squeue::Entry, key: u64) -> bool {
        self.noted.reserve(1);
        // SAFETY: I-PINNED, which the caller promises; and this thread has the ring (I-ALONE).
        let pushed = unsafe { self.ring.submission().push(&entry.user_data(key)) };
        if pushed.is_ok() {
            self.noted.push_back(key);
        }
        pushed.is_ok()
    }

    /// Forgets the keys of what the kernel has taken.
    fn trim(&mut self) {
        let left = self.ring.submission().len();
        self.noted.drain(..self.noted.len().saturating_sub(left));
    }

    fn watch_anew(&mut self) {
        // If there is no room there is after an entering.
        let is_watched = self.watch() || self.enter(false).is_ok() && self.watch();
        if !is_watched {
            self.broken.get_or_insert(libc::EBUSY);
        }
    }

    /// Has wakes end something with the key [`WAKE`], each of them. `false`: there is no room before the next entering.
    fn watch(&mut self) -> bool {
        let event = Fd(self.event.as_raw_fd());
        let events = u32::from(libc::POLLIN.cast_unsigned());
        // SAFETY: it points to nothing; the event is open as long as the ring is.
        unsafe { self.push_entry(opcode::PollAdd::new(event, events).multi(true).build(), WAKE) }
    }

    fn grow(&mut self) {
        let submitter = self.ring.submitter();
        let grown = self.memory.grow(|index, Region { start, len }| {
            let piece = iovec { iov_base: start.cast_mut().cast(), iov_len: len };
            // SAFETY: I-REGISTERED.
            let done =
                unsafe { submitter.register_buffers_update(u32::from(index), &[piece], None) };
            done.map(drop)
        });
        let mut registered = self.registered.lock();
        registered.memory_bytes = self.memory.bytes();
        drop(registered);
        if let Err(error) = grown {
            self.refused(error);
        }
    }

    /// The piece of registered memory that the bytes are in, if it can be told to the kernel.
    fn piece_of(&mut self, bytes: &Bytes<'_>) -> Option<u16> {
        if matches!(bytes, Bytes::Many(_)) && !self.takes_pieces {
            return None;
        }
        let piece = self.memory.piece_of(bytes);
        if piece.is_none() && self.memory.missed() {
            self.grow();
            return self.memory.piece_of(bytes);
        }
        piece
    }

    fn entry(&mut self, call: Call<'_>) -> squeue::Entry {
        let (act, offset, bytes) = match call {
            Call::Sync { all } => {
                let flags = if all { FsyncFlags::empty() } else { FsyncFlags::DATASYNC };
                return on_file!(self, file => opcode::Fsync::new(file).flags(flags).build());
            }
            Call::Move(act, offset, bytes) => (act, offset, bytes),
        };
        let piece = self.piece_of(&bytes);
        match bytes {
            Bytes::One(slice) => {
                let at = slice.iov_base.cast::<u8>();
                // A call that is longer than the kernel's longest is one that ends short.
                let len = u32::try_from(slice.iov_len).unwrap_or(1 << 30);
                match (act, piece) {
                    (Act::Read, Some(piece)) => on_file!(self, file =>
                        opcode::ReadFixed::new(file, at, len, piece).offset(offset).build()),
                    (Act::Read, None) => on_file!(self, file =>
                        opcode::Read::new(file, at, len).offset(offset).build()),
                    (Act::Write, Some(piece)) => on_file!(self, file =>
                        opcode::WriteFixed::new(file, at, len, piece).offset(offset).build()),
                    (Act::Write, None) => on_file!(self, file =>
                        opcode::Write::new(file, at, len).offset(offset).build()),
                }
            }
            Bytes::Many(slices) => {
                let first = slices.as_ptr();
                let count = u32::try_from(slices.len()).expect("as many as a call takes");
                match (act, piece) {
                    (Act::Read, Some(piece)) => on_file!(self, file =>
                        opcode::ReadvFixed::new(file, first, count, piece).offset(offset).build()),
                    (Act::Read, None) => on_file!(self, file =>
                        opcode::Readv::new(file, first, count).offset(offset).build()),
                    (Act::Write, Some(piece)) => on_file!(self, file =>
                        opcode::WritevFixed::new(file, first, count, piece).offset(offset).build()),
                    (Act::Write, None) => on_file!(self, file =>
                        opcode::Writev::new(file, first, count).offset(offset).build()),
                }
            }
        }
    }
}

impl Drop for System {
    /// The kernel ends a ring some time after it was closed: until then the file would stay open, and its lock taken, and the memory pinned.
    fn drop(&mut self) {
        let submitter = self.ring.submitter();
        if self.is_file_registered {
            let _ = submitter.unregister_files();
        }
        if self.memory.bytes() > 0 {
            let _ = submitter.unregister_buffers();
        }
    }
}

impl Ring for System {
    unsafe fn push(&mut self, key: u64, call: Call<'_>) -> bool {
        let entry = self.entry(call);
        // SAFETY: I-PINNED, which the caller promises.
        unsafe { self.push_entry(entry, key) }
    }

    fn enter(&mut self, wait: bool) -> io::Result<()> {
        if let Some(errno) = self.broken {
            return Err(io::Error::from_raw_os_error(errno));
        }
        let entered = if wait {
            self.ring.submit_and_wait(1)
        } else {
            let noted = u32::try_from(self.ring.submission().len()).expect("as many as entries");
            let submitter = self.ring.submitter();
            // SAFETY: it has no argument; the entries are those that were pushed, under I-PINNED.
            unsafe { submitter.enter::<libc::sigset_t>(noted, 0, ENTER_GETEVENTS, None) }
        };
        self.trim();
        match entered {
            Ok(_) => Ok(()),
            Err(error) => match error.raw_os_error() {
                Some(libc::EINTR) => Ok(()),
                // No memory for an entry at this moment; or ends have to be taken out first, which the caller does.
                Some(libc::EAGAIN | libc::EBUSY) => {
                    thread::sleep(Duration::from_millis(1));
                    Ok(())
                }
                _ => Err(error),
            },
        }
    }

    fn reap(&mut self, ends: &mut Vec<(u64, i32)>) {
        let mut is_watched = true;
        for end in self.ring.completion() {
            if end.user_data() != WAKE {
                ends.push((end.user_data(), end.result()));
                continue;
            }
            is_watched &= cqueue::more(end.flags());
            if end.result() < 0 {
                self.broken = Some(-end.result());
            }
        }
        if !is_watched {
            let mut count = [0; 8];
            // So that those which were seen do not end it at once.
            let _ = rustix::io::read(&*self.event, &mut count);
            self.watch_anew();
        }
    }

    fn take_back(&mut self, keys: &mut Vec<u64>) {
        // Whatever is asked of it: it is not entered any more.
        self.broken.get_or_insert(libc::EBADF);
        self.trim();
        keys.extend(self.noted.drain(..).filter(|key| *key != WAKE));
    }
}

#[cfg(all(test, not(uring_loom)))]
mod tests {
    use super::*;

    /// A ring of one entry, which is taken by the first.
    #[test]
    fn wakes_are_watched_for_again_though_there_is_no_room_at_first() {
        if probe().is_err() {
            return;
        }
        let (mut system, waker) = System::new(1, None, Arc::default()).unwrap();
        assert!(!system.watch());
        system.watch_anew();
        assert_eq!(system.broken, None);
        // And it still sleeps until it is woken.
        waker.wake();
        system.enter(true).unwrap();
        let mut ends = Vec::new();
        system.reap(&mut ends);
        assert!(ends.is_empty() && system.broken.is_none());
    }

    #[test]
    fn what_a_ring_has_not_handed_over_is_taken_back_in_order() {
        if probe().is_err() {
            return;
        }
        let (mut system, _waker) = System::new(8, None, Arc::default()).unwrap();
        let file = std::fs::File::open("/dev/null").unwrap();
        system.set_file(&file);
        let sync = Call::Sync { all: false };
        // SAFETY: it points to nothing (I-PINNED).
        assert!(unsafe { system.push(1, sync) });
        system.enter(false).unwrap();
        for key in [2, 3] {
            // SAFETY: as above.
            assert!(unsafe { system.push(key, sync) });
        }
        let mut keys = Vec::new();
        system.take_back(&mut keys);
        assert_eq!(keys, [2, 3]);
        assert!(system.enter(false).is_err(), "it would hand them over");
    }
}
