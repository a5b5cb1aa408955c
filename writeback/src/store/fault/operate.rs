//! What a [`FaultStore`] does when it is asked: the plan decides, the medium changes, the caller is told.

use super::log::{Event, Stage};
use super::plan::{Action, Fault, Operation};
use super::queue::Pending;
use super::{FaultStore, State};
use crate::clock::millis;
use crate::error::StoreError;
use crate::store::memory::is_aligned;
use crate::store::{Completion, FlushKind, Limits, Store, WriteBatch};

/// An operation that has begun.
struct Begun {
    operation: Operation,
    fault: Option<Fault>,
    /// The medium's time when it began.
    now: u64,
}

/// What the cache is told of a write.
enum Told {
    Accepted(u64),
    Failed(u64, StoreError),
    Nothing,
}

fn io_error() -> StoreError {
    std::io::Error::from(rustix::io::Errno::IO).into()
}

impl State {
    fn decide(&mut self, action: Action, offset: u64, len: u64) -> Begun {
        let count = &mut self.counts[action as usize];
        *count += 1;
        let operation = Operation { action, number: *count, offset, len };
        let fault = self.plan.decide(&operation, &mut self.random);
        Begun { operation, fault, now: self.media.now() }
    }

    /// How far a write comes that ends within its bytes, at the end of a sector.
    fn sector_end(&mut self, offset: u64, len: u64) -> u64 {
        let end = offset + self.random.u64(0..len);
        (end - end % self.media.sector() as u64).saturating_sub(offset)
    }

    /// Does to the medium what comes of a write.
    fn land(&mut self, batch: &WriteBatch, fault: Option<Fault>) -> Told {
        let (offset, images, len) = (batch.offset(), batch.images(), batch.len());
        match fault {
            Some(Fault::Io) => {
                self.media.write(offset, images, 0, true);
                Told::Failed(0, io_error())
            }
            Some(Fault::NoSpace) => Told::Failed(0, StoreError::NoSpace),
            Some(Fault::Short { accepted }) => {
                let accepted =
                    accepted.unwrap_or_else(|| self.sector_end(offset, len)).min(len - 1);
                self.media.write(offset, images, accepted, false);
                Told::Accepted(accepted)
            }
            Some(Fault::Lost | Fault::Panic) => {
                self.media.write(offset, images, 0, true);
                Told::Nothing
            }
            _ => {
                let capacity = self.capacity.unwrap_or(u64::MAX);
                let room = self.media.room(offset, len, capacity);
                self.media.write(offset, images, room, false);
                if room < len {
                    return Told::Failed(room, StoreError::NoSpace);
                }
                Told::Accepted(len)
            }
        }
    }
}

impl FaultStore {
    fn begin(&self, action: Action, offset: u64, len: u64) -> Begun {
        let begun = self.0.state.lock().decide(action, offset, len);
        self.happened(begun.operation, Stage::Begun, begun.fault);
        begun
    }

    fn happened(&self, operation: Operation, stage: Stage, fault: Option<Fault>) {
        let event = Event { operation, stage, fault };
        let hook = {
            let mut state = self.0.state.lock();
            if let Some(log) = &mut state.log {
                log.push(event);
            }
            state.hook.clone()
        };
        if let Some(hook) = hook {
            hook(self, &event);
        }
    }

    /// For all but writes: what goes wrong before anything is done.
    fn suffer(&self, begun: &Begun) {
        match begun.fault {
            Some(Fault::Stuck) => self.wait_released(),
            Some(Fault::Slow(by)) => self.advance(by),
            Some(Fault::Panic) => panic!("told to panic in {:?}", begun.operation),
            _ => {}
        }
    }

    fn assert_aligned(&self, offset: u64, bytes: &[u8]) {
        let aligned = is_aligned(self.0.alignment, offset, bytes);
        assert!(aligned, "{} bytes at {offset} are not aligned", bytes.len());
    }

    fn wait_released(&self) {
        let mut state = self.0.state.lock();
        let before = state.releases;
        state.stuck_calls += 1;
        while state.releases == before {
            self.0.changed.wait(&mut state);
        }
        state.stuck_calls -= 1;
    }

    /// Ends a write.
    pub(super) fn finish(&self, write: Pending) {
        let Pending { operation, batch, completion, fault, .. } = write;
        let told = self.0.state.lock().land(&batch, fault);
        self.happened(operation, Stage::Ended, fault);
        match told {
            Told::Accepted(bytes) => completion.complete(Ok(bytes)),
            Told::Failed(0, error) => completion.complete(Err(error)),
            Told::Failed(accepted, error) => completion.fail_after(accepted, error),
            Told::Nothing => drop(completion),
        }
    }
}

impl Store for FaultStore {
    fn limits(&self) -> Limits {
        let (batch_pages_max, alignment) = (self.0.batch_pages_max, self.0.alignment);
        Limits { batch_pages_max, alignment, ..Limits::default() }
    }

    fn len(&self) -> Result<u64, StoreError> {
        Ok(self.0.state.lock().media.accepted().len())
    }

    fn set_len(&self, len: u64) -> Result<(), StoreError> {
        let begun = self.begin(Action::SetLen, 0, len);
        if begun.fault == Some(Fault::Panic) {
            self.0.state.lock().media.set_len(len, false);
        }
        self.suffer(&begun);
        let result = match begun.fault {
            Some(Fault::Io) => Err(io_error()),
            Some(Fault::NoSpace) => Err(StoreError::NoSpace),
            _ => Ok(()),
        };
        let undone = matches!(result, Err(StoreError::NoSpace));
        if !undone {
            self.0.state.lock().media.set_len(len, result.is_ok());
        }
        self.happened(begun.operation, Stage::Ended, begun.fault);
        result
    }

    fn read(&self, offset: u64, into: &mut [u8]) -> Result<usize, StoreError> {
        self.assert_aligned(offset, into);
        let len = into.len() as u64;
        let begun = self.begin(Action::Read, offset, len);
        self.suffer(&begun);
        let result = {
            let mut state = self.0.state.lock();
            assert!(!state.queue.touches(offset, len), "a read of bytes that are being written");
            match begun.fault {
                Some(Fault::Io) => {
                    // Of no use, and not to be used.
                    into.fill(0xee);
                    Err(io_error())
                }
                _ => Ok(state.media.accepted().read(offset, into)),
            }
            .inspect(|count| {
                if begun.fault == Some(Fault::BitRot) && *count > 0 {
                    into[state.random.usize(0..*count)] ^= 1 << state.random.u8(0..8);
                }
            })
        };
        self.happened(begun.operation, Stage::Ended, begun.fault);
        result
    }

    fn submit(&self, batch: WriteBatch, completion: Completion) {
        let (offset, len) = (batch.offset(), batch.len());
        batch.images().iter().for_each(|image| self.assert_aligned(offset, image.as_ref()));
        let Begun { operation, fault, .. } = self.begin(Action::Write, offset, len);
        let mut state = self.0.state.lock();
        assert!(!state.queue.touches(offset, len), "two writes of the same bytes at once");
        if fault == Some(Fault::Panic) {
            state.land(&batch, fault);
            drop(state);
            panic!("told to panic in {operation:?}");
        }
        let now_ms = self.0.clock.now_ms();
        let (late, due_ms) = match fault {
            Some(Fault::Stuck) => (true, None),
            Some(Fault::Slow(by)) => (true, Some(now_ms.saturating_add(millis(by)))),
            _ => (state.queued, Some(now_ms)),
        };
        let write = Pending { operation, batch, completion, fault, due_ms };
        if late {
            state.queue.push(write);
            drop(state);
            self.0.changed.notify_all();
        } else {
            drop(state);
            self.finish(write);
        }
    }

    fn flush(&self, _kind: FlushKind) -> Result<(), StoreError> {
        let begun = self.begin(Action::Flush, 0, 0);
        let fail = || self.0.state.lock().media.fail_flush(begun.now);
        if begun.fault == Some(Fault::Panic) {
            fail();
        }
        self.suffer(&begun);
        let result = match begun.fault {
            Some(Fault::Lie) => Ok(()),
            Some(Fault::Io) => {
                fail();
                Err(io_error())
            }
            _ => {
                self.0.state.lock().media.flush(begun.now);
                Ok(())
            }
        };
        self.happened(begun.operation, Stage::Ended, begun.fault);
        result
    }
}
