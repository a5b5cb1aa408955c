//! Reading what the kernel has in memory, and only that.

use std::fs::File;

use crate::errno::Errno;

use super::ReadRun;
#[cfg(target_os = "linux")]
use super::vectored::SLICES;
use crate::primitives::{HintBool, Ordering};

/// Whether a file's kernel and file system can say that a read would wait.
#[derive(Debug)]
pub(super) struct Ready(HintBool);

impl Ready {
    /// As far as is known. Not asked of direct I/O, where every read waits for the device.
    pub(super) fn new(is_direct: bool) -> Self {
        Self(HintBool::new(!is_direct))
    }

    /// Fills all of `run` and ends it, or gives it back.
    pub(super) fn read(&self, file: &File, run: ReadRun) -> Result<(), ReadRun> {
        self.read_by(run, |run| system::read(file, run))
    }

    fn read_by(
        &self,
        mut run: ReadRun,
        once: impl FnOnce(&mut ReadRun) -> Result<usize, Errno>,
    ) -> Result<(), ReadRun> {
        // There is nothing from there on, and the call takes the last offset of all for "wherever the file's position is".
        let is_offset = run.offset() <= i64::MAX.unsigned_abs();
        // Relaxed: who does not see it yet is refused too.
        if !is_offset || !self.0.load(Ordering::Relaxed) {
            return Err(run);
        }
        match once(&mut run) {
            // Where there are fewer, the kernel has no more, or the file: which of the two, a read that may wait finds out.
            Ok(count) if count as u64 == run.len() => {
                run.complete(Ok(count as u64));
                Ok(())
            }
            Err(Errno::OPNOTSUPP | Errno::INVAL | Errno::NOSYS | Errno::PERM) => {
                self.0.store(false, Ordering::Relaxed);
                Err(run)
            }
            Ok(_) | Err(_) => Err(run),
        }
    }
}

#[cfg(target_os = "linux")]
mod system {
    use std::io::IoSliceMut;

    use arrayvec::ArrayVec;

    use super::*;

    pub(super) fn read(file: &File, run: &mut ReadRun) -> Result<usize, Errno> {
        let offset = run.offset();
        let mut slices: ArrayVec<_, SLICES> =
            run.buffers().take(SLICES).map(IoSliceMut::new).collect();
        rustix::io::preadv2(file, &mut slices, offset, rustix::io::ReadWriteFlags::NOWAIT)
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use super::*;

    pub(super) fn read(_: &File, _: &mut ReadRun) -> Result<usize, Errno> {
        Err(Errno::OPNOTSUPP)
    }
}

#[cfg(all(test, not(any(writeback_loom, writeback_shuttle))))]
mod tests {
    use std::sync::mpsc::{Receiver, channel};

    use super::*;
    use crate::error::StoreError;

    type Ended = (Vec<u8>, Option<StoreError>);

    fn run() -> (ReadRun, Receiver<Ended>) {
        let (tell, told) = channel();
        let ended = move |bytes, error| drop(tell.send((bytes, error)));
        (ReadRun::new(512, 512, 2, ended), told)
    }

    /// Fills the buffers, and says that it was so.
    fn fills(run: &mut ReadRun, outcome: Result<usize, Errno>) -> Result<usize, Errno> {
        run.buffers().for_each(|buffer| buffer.fill(7));
        outcome
    }

    #[test]
    fn what_is_not_all_there_is_given_back_and_nobody_told() {
        for outcome in
            [Ok(0), Ok(512), Ok(1023), Err(Errno::AGAIN), Err(Errno::INTR), Err(Errno::IO)]
        {
            let (ready, (run, told)) = (Ready::new(false), run());
            let run = ready.read_by(run, |run| fills(run, outcome)).unwrap_err();
            assert!(told.try_recv().is_err(), "{outcome:?}");
            run.complete(Ok(1024));
            assert!(matches!(told.recv(), Ok((bytes, None)) if bytes.len() == 1024));
            let (run, told) = self::run();
            assert!(ready.read_by(run, |run| fills(run, Ok(1024))).is_ok(), "{outcome:?}");
            assert!(matches!(told.recv(), Ok((bytes, None)) if bytes == [7; 1024]));
        }
    }

    #[test]
    fn who_cannot_say_is_asked_once() {
        for errno in [Errno::OPNOTSUPP, Errno::INVAL, Errno::NOSYS, Errno::PERM] {
            let ready = Ready::new(false);
            let (run, _told) = self::run();
            let run = ready.read_by(run, |_| Err(errno)).unwrap_err();
            assert!(ready.read_by(run, |_| panic!("asked again")).is_err());
        }
        let (run, _told) = self::run();
        assert!(Ready::new(true).read_by(run, |_| panic!("asked for direct I/O")).is_err());
    }

    #[test]
    fn the_files_position_is_no_offset() {
        for offset in [u64::MAX, 1 << 63] {
            let run = ReadRun::new(offset, 512, 1, |_, _| ());
            let ready = Ready::new(false);
            assert!(ready.read_by(run, |_| panic!("asked for it")).is_err());
            let (run, _told) = self::run();
            assert!(ready.read_by(run, |_| Ok(1024)).is_ok(), "others are asked for");
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_run_of_more_buffers_than_a_call_takes_is_given_back() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(1 << 20).unwrap();
        let (tell, told) = channel();
        let ended = move |bytes: Vec<u8>, error| drop(tell.send((bytes.len(), error)));
        let buffers = SLICES + 1;
        let run = ReadRun::new(0, 512, buffers, ended);
        Ready::new(false).read(&file, run).unwrap_err().complete(Ok(0));
        assert!(matches!(told.recv(), Ok((0, None))));
    }
}
