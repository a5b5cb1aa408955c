//! Operations on bytes and on the length.

use writeback::{Error, Result};

use super::data::{Mark, Op, PAGE, Spot};
use super::history::PAGES_MAX;
use super::model::Model;
use super::session::Session;
use super::store::Event;

impl Session {
    /// False if `op` does not read, write or cut.
    pub(super) fn access(&mut self, op: Op) -> bool {
        match op {
            Op::Write { at, len } => self.write(at.offset(), len),
            Op::WriteInPage { at, len } => self.write_in_page(at, len),
            Op::WriteFarOut => self.write_far_out(),
            Op::Read { at, len } => self.read(at.offset(), len),
            Op::MarkDirty { page, how } => self.mark(u64::from(page) % PAGES_MAX, how),
            Op::SetLen(spot) => self.set_len(spot.offset()),
            _ => return false,
        }
        true
    }

    fn write(&mut self, offset: u64, len: u16) {
        let data = self.new_bytes(len);
        let result = self.handles[0].write_at(&data, offset);
        let events = self.absorb();
        let done = match &result {
            Ok(()) => data.len(),
            Err(error) => {
                let (told, cause) = match error {
                    Error::Partial { written, source } => (*written, &**source),
                    error => (0, error),
                };
                self.check_refused(cause, &events);
                let done = self.written_before(offset, data.len() as u64, cause);
                assert_eq!(told, done as u64, "told of a write that failed in part: {error}");
                done
            }
        };
        assert!(result.is_err() || !self.model.poisoned, "poisoned, and takes a write");
        self.model.write(offset, &data[..done]);
    }

    /// How much of a write was done before it was refused: the pages before the one that could not be read, or that the
    /// store could not be made ready for.
    fn written_before(&self, offset: u64, len: u64, error: &Error) -> usize {
        let refused = match error {
            Error::Read { index, .. } => *index * PAGE as u64,
            Error::Length { .. } => {
                let ends_inside = |page: &u64| self.end_of(*page, offset + len) <= self.model.len();
                let first = Model::touched(offset, len).find(|page| !ends_inside(page));
                first.expect("it was to be lengthened") * PAGE as u64
            }
            _ => offset,
        };
        usize::try_from(refused.saturating_sub(offset)).expect("small")
    }

    fn end_of(&self, page: u64, end: u64) -> u64 {
        end.min((page + 1) * PAGE as u64)
    }

    fn write_in_page(&mut self, at: Spot, len: u16) {
        let data = self.new_bytes(len);
        let page = match self.mapping.page(at.page()) {
            Ok(page) => page,
            Err(error) => return self.check_no_page(at.page(), &error),
        };
        self.absorb();
        let bytes = at.within()..at.within() + data.len();
        let inside = bytes.end <= PAGE;
        let result = page.write_with(bytes, |bytes| bytes.copy_from_slice(&data));
        let events = self.absorb();
        match result {
            Ok(()) => {
                assert!(inside && !self.model.poisoned);
                self.model.mark_dirty(at.page());
                self.model.write(at.offset(), &data);
            }
            Err(Error::OutOfRange { .. }) => assert!(!inside, "refused within the page"),
            Err(error) => self.check_refused(&error, &events),
        }
    }

    /// A page could not be had: it lies beyond the end, or could not be read.
    pub(super) fn check_no_page(&mut self, page: u64, error: &Error) {
        let events = self.absorb();
        match error {
            Error::OutOfRange { .. } => assert!(page * PAGE as u64 >= self.model.len()),
            error => self.check_refused(error, &events),
        }
    }

    fn write_far_out(&mut self) {
        for offset in [u64::MAX, u64::MAX - 3, i64::MAX.unsigned_abs() - 3] {
            let result = self.handles[0].write_at(&[1; 5], offset);
            assert!(matches!(result, Err(Error::OutOfRange { .. })), "{result:?}");
        }
    }

    fn read(&mut self, offset: u64, len: u16) {
        let mut found = vec![0x5a; usize::from(len % 1600)];
        match self.handles[1].read_at(&mut found, offset) {
            Ok(count) => {
                let from = usize::try_from(offset).expect("small").min(self.model.bytes.len());
                let expected = &self.model.bytes[from..];
                let expected = &expected[..expected.len().min(found.len())];
                assert!(found[..count] == *expected, "{count} bytes at {offset}");
            }
            Err(error) => {
                let events = self.absorb();
                self.check_refused(&error, &events);
            }
        }
    }

    fn mark(&mut self, at: u64, how: Mark) {
        let page = match self.mapping.page(at) {
            Ok(page) => page,
            Err(error) => return self.check_no_page(at, &error),
        };
        let marked = match how {
            Mark::Page => page.mark_dirty(),
            Mark::Locked => match page.try_lock_state() {
                Some(locked) => locked.mark_dirty(),
                None => {
                    return assert!(self.model.claimed.contains(&at), "page {at} is locked");
                }
            },
        };
        match marked {
            Ok(was_clean) => {
                assert!(!self.model.poisoned, "poisoned, and takes a change");
                assert_eq!(was_clean, self.model.mark_dirty(at));
            }
            Err(error) => self.check_refused(&error, &[]),
        }
    }

    fn set_len(&mut self, len: u64) {
        self.drop_hands();
        let before = self.model.len();
        let pages = len / PAGE as u64..=u64::MAX;
        let (result, events) = self.waiting(&pages, |session| session.handles[0].set_len(len));
        if self.model.poisoned {
            assert!(result.is_err_and(|error| error.is_poisoned()), "poisoned, and takes a cut");
            return;
        }
        let well = set_len_went_well(&events, &result);
        if len < before {
            self.model.cut(len);
            self.model.store_is_longer = !well;
        } else if well {
            self.model.lengthen(len);
        }
    }
}

fn set_len_went_well(events: &[Event], result: &Result<()>) -> bool {
    let refused = events.iter().any(Event::is_refusal);
    let expected = if refused { "Err(Length" } else { "Ok(())" };
    assert!(format!("{result:?}").starts_with(expected), "{result:?}");
    !refused
}
