//! What a [`FaultStore`] does when it is asked: the plan decides, the medium changes, the caller is told.

use super::log::{Event, Stage};
use super::plan::{Action, Fault, Operation};
use super::queue::{Pending, Work};
use super::{FaultStore, State};
use crate::clock::millis;
use crate::error::StoreError;
use crate::store::memory::is_aligned;
use crate::store::{Completion, FlushCompletion, FlushKind, Limits, ReadRun, Store, WriteBatch};

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
    std::io::Error::from(crate::errno::Errno::IO).into()
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

    fn is_queued(&self, action: Action) -> bool {
        self.queued[action as usize]
    }

    /// Fills the run's buffers with what is there, and tells how much that is.
    fn read(&mut self, run: &mut ReadRun, fault: Option<Fault>) -> u64 {
        let (mut at, mut count) = (run.offset(), 0);
        for buffer in run.buffers() {
            if matches!(fault, Some(Fault::Io | Fault::Lost)) {
                // Of no use, and not to be used.
                buffer.fill(0xee);
            } else {
                count += self.media.accepted().read(at, buffer) as u64;
            }
            at += buffer.len() as u64;
        }
        if fault == Some(Fault::BitRot) && count > 0 {
            let mut rotten = usize::try_from(self.random.u64(0..count)).expect("it is in memory");
            for buffer in run.buffers() {
                if let Some(byte) = buffer.get_mut(rotten) {
                    *byte ^= 1 << self.random.u8(0..8);
                    break;
                }
                rotten -= buffer.len();
            }
        }
        count
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

    /// For a change of the length: what goes wrong before anything is done.
    fn suffer(&self, begun: &Begun) {
        match begun.fault {
            Some(Fault::Stuck) => self.wait_released(),
            Some(Fault::Slow(by)) => self.advance(by),
            Some(Fault::Panic) => panic!("told to panic in {:?}", begun.operation),
            _ => {}
        }
    }

    /// Ends what has begun, or puts it off until it is delivered.
    fn end_or_queue(&self, begun: Begun, work: Work) {
        let Begun { operation, fault, now: began } = begun;
        let mut state = self.0.state.lock();
        let queued = state.is_queued(operation.action);
        let now_ms = self.0.clock.now_ms();
        let due_ms = match fault {
            Some(Fault::Stuck) => None,
            // Those that do not wait to be delivered take their time by moving the clock on.
            Some(Fault::Slow(by)) if !queued && operation.action != Action::Write => {
                drop(state);
                self.advance(by);
                return self.finish(Pending { operation, work, fault, began, due_ms: None });
            }
            Some(Fault::Slow(by)) => Some(now_ms.saturating_add(millis(by))),
            _ if queued => Some(now_ms),
            _ => {
                drop(state);
                return self.finish(Pending { operation, work, fault, began, due_ms: None });
            }
        };
        state.queue.push(Pending { operation, work, fault, began, due_ms });
        drop(state);
        self.0.changed.notify_all();
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

    /// Ends an operation: what it does is done, and whoever asked for it is told.
    pub(super) fn finish(&self, pending: Pending) {
        let Pending { operation, work, fault, began, .. } = pending;
        match work {
            Work::Read(run) => self.finish_read(operation, run, fault),
            Work::Write(batch, completion) => {
                let told = self.0.state.lock().land(&batch, fault);
                self.happened(operation, Stage::Ended, fault);
                drop(batch);
                told.to(completion);
            }
            Work::Flush(completion) => self.finish_flush(operation, completion, fault, began),
        }
    }

    fn finish_read(&self, operation: Operation, mut run: ReadRun, fault: Option<Fault>) {
        let count = self.0.state.lock().read(&mut run, fault);
        self.happened(operation, Stage::Ended, fault);
        match fault {
            Some(Fault::Io) => run.complete(Err(io_error())),
            Some(Fault::Lost) => drop(run),
            _ => run.complete(Ok(count)),
        }
    }

    fn finish_flush(
        &self,
        operation: Operation,
        completion: FlushCompletion,
        fault: Option<Fault>,
        began: u64,
    ) {
        match fault {
            Some(Fault::Lie) => {}
            Some(Fault::Io | Fault::Lost) => self.0.state.lock().media.fail_flush(began),
            _ => self.0.state.lock().media.flush(began),
        }
        self.happened(operation, Stage::Ended, fault);
        match fault {
            Some(Fault::Io) => completion.complete(Err(io_error())),
            Some(Fault::Lost) => drop(completion),
            _ => completion.complete(Ok(())),
        }
    }
}

impl Told {
    fn to(self, completion: Completion) {
        match self {
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

    fn read(&self, mut run: ReadRun) {
        let (offset, len) = (run.offset(), run.len());
        run.buffers().for_each(|buffer| self.assert_aligned(offset, buffer));
        let begun = self.begin(Action::Read, offset, len);
        if begun.fault == Some(Fault::Panic) {
            panic!("told to panic in {:?}", begun.operation);
        }
        let written = self.0.state.lock().queue.writes(offset, len);
        assert!(!written, "a read of bytes that are being written");
        self.end_or_queue(begun, Work::Read(run));
    }

    fn write(&self, batch: WriteBatch, completion: Completion) {
        let (offset, len) = (batch.offset(), batch.len());
        batch.images().iter().for_each(|image| self.assert_aligned(offset, image.as_ref()));
        let begun = self.begin(Action::Write, offset, len);
        {
            let mut state = self.0.state.lock();
            assert!(!state.queue.writes(offset, len), "two writes of the same bytes at once");
            assert!(!state.queue.reads(offset, len), "a write of bytes that are being read");
            if begun.fault == Some(Fault::Panic) {
                state.land(&batch, begun.fault);
                drop(state);
                panic!("told to panic in {:?}", begun.operation);
            }
        }
        self.end_or_queue(begun, Work::Write(batch, completion));
    }

    fn flush(&self, _kind: FlushKind, completion: FlushCompletion) {
        let begun = self.begin(Action::Flush, 0, 0);
        if begun.fault == Some(Fault::Panic) {
            self.0.state.lock().media.fail_flush(begun.now);
            panic!("told to panic in {:?}", begun.operation);
        }
        self.end_or_queue(begun, Work::Flush(completion));
    }
}
