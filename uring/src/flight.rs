//! What is under way: what it owns, and the places of those that the kernel has.

use std::io;

use libc::iovec;
use writeback::StoreError;
use writeback::store::{Completion, FlushCompletion, FlushKind, ReadRun, WriteBatch};

use crate::ring::{Act, Call};
use crate::span::{Next, Span, Why};

/// Reads that end within a block, although the file has more, until that is an error.
const READS_MAX: u32 = 4;

/// What the store was asked for, from the call until its end.
#[derive(Debug)]
pub(crate) struct Flight {
    span: Span,
    /// What the bytes belong to that the span tells of, and who is told of the end.
    cargo: Cargo,
}

#[derive(Debug)]
enum Cargo {
    Read { run: ReadRun, reads: u32 },
    Write { batch: WriteBatch, completion: Completion },
    Flush { kind: FlushKind, completion: FlushCompletion },
}

/// What lies below a ring, as far as calls of the ring cannot do it.
pub(crate) trait Below: Send + Sync {
    fn len(&self) -> Result<u64, StoreError>;
    /// Makes the name durable.
    fn sync_name(&self) -> io::Result<()>;
}

/// How a flight has ended: how many bytes came, and then which error.
#[derive(Debug, Default)]
pub(crate) struct End {
    count: u64,
    error: Option<StoreError>,
}

impl End {
    /// With nothing done.
    pub(crate) fn failed(error: StoreError) -> Self {
        Self { count: 0, error: Some(error) }
    }
}

impl From<Why> for StoreError {
    fn from(why: Why) -> Self {
        match why {
            Why::Errno(errno) => io::Error::from_raw_os_error(errno).into(),
            Why::WriteZero => io::Error::from(io::ErrorKind::WriteZero).into(),
        }
    }
}

impl Flight {
    pub(crate) fn read(mut run: ReadRun, alignment: usize) -> Self {
        let offset = run.offset();
        // The buffers are the run's alone, and nobody looks at them before its end (I-PINNED).
        let slices = run
            .buffers()
            .map(|buffer| iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() });
        let span = Span::new(Act::Read, offset, alignment, slices);
        Self { span, cargo: Cargo::Read { run, reads: 1 } }
    }

    pub(crate) fn write(batch: WriteBatch, completion: Completion, alignment: usize) -> Self {
        // An image does not change while somebody has it; the kernel reads it only.
        let slices = batch.images().iter().map(|image| {
            let bytes = image.as_ref();
            iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() }
        });
        let span = Span::new(Act::Write, batch.offset(), alignment, slices);
        Self { span, cargo: Cargo::Write { batch, completion } }
    }

    pub(crate) fn flush(kind: FlushKind, completion: FlushCompletion) -> Self {
        let span = Span::new(Act::Write, 0, 1, std::iter::empty());
        Self { span, cargo: Cargo::Flush { kind, completion } }
    }

    /// Whether it is about bytes where no file reaches.
    pub(crate) fn is_out_of_reach(&self) -> bool {
        self.span.is_out_of_reach()
    }

    /// What the kernel is to be asked for next; `None`: nothing, it has ended.
    pub(crate) fn call(&self) -> Option<Call<'_>> {
        match self.cargo {
            Cargo::Flush { kind, .. } => Some(Call::Sync { all: kind == FlushKind::All }),
            _ if self.span.is_empty() => None,
            _ => {
                let (offset, bytes) = self.span.call();
                Some(Call::Move(self.span.act(), offset, bytes))
            }
        }
    }

    /// Takes what a call ended with. `None`: it goes on.
    pub(crate) fn advance(&mut self, result: i32, below: &dyn Below) -> Option<End> {
        if let Cargo::Flush { kind, .. } = self.cargo {
            return flushed(result, kind, below);
        }
        let Next::Ended(count, why) = self.span.advance(result) else { return None };
        match &mut self.cargo {
            Cargo::Read { run, reads } if why.is_none() && self.span.is_within_a_block() => {
                let behind = run.offset() + count;
                match below.len() {
                    Ok(len) if len <= behind => Some(End { count, error: None }),
                    Err(error) => Some(End::failed(error)),
                    // It may just have grown.
                    Ok(_) if *reads < READS_MAX => {
                        *reads += 1;
                        self.span.rewind();
                        None
                    }
                    Ok(_) => {
                        let text = "reads end within a block, before the end of the file";
                        let error = io::Error::new(io::ErrorKind::UnexpectedEof, text);
                        Some(End::failed(error.into()))
                    }
                }
            }
            _ => Some(End { count, error: why.map(StoreError::from) }),
        }
    }

    /// Gives back what it has, and tells how it went.
    pub(crate) fn end(self, End { count, error }: End) {
        match (self.cargo, error) {
            (Cargo::Read { run, .. }, None) => run.complete(Ok(count)),
            (Cargo::Read { run, .. }, Some(error)) => run.fail_after(count, error),
            (Cargo::Write { batch, completion }, error) => {
                // Before its pages are clean.
                drop(batch);
                match error {
                    None => completion.complete(Ok(count)),
                    Some(error) => completion.fail_after(count, error),
                }
            }
            (Cargo::Flush { completion, .. }, error) => {
                completion.complete(error.map_or(Ok(()), Err));
            }
        }
    }
}

/// Any other error than an interruption is final: the kernel tells of a write that was lost once, and says "fine" when it is asked again.
fn flushed(result: i32, kind: FlushKind, below: &dyn Below) -> Option<End> {
    let error = match -result {
        libc::EINTR => return None,
        errno @ 1.. => Some(io::Error::from_raw_os_error(errno)),
        _ if kind == FlushKind::All => below.sync_name().err(),
        _ => None,
    };
    Some(End { count: 0, error: error.map(StoreError::from) })
}

/// The flights that the kernel has, each in a place of its own.
#[derive(Debug)]
pub(crate) struct Flights {
    places: Box<[Place]>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Place {
    /// How many flights it has had: an end that comes twice finds another number.
    generation: u32,
    flight: Option<Flight>,
}

impl Flights {
    pub(crate) fn new(places: u32) -> Self {
        let place = |_| Place { generation: 0, flight: None };
        Self { places: (0..places).map(place).collect(), free: (0..places).rev().collect() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.free.len() == self.places.len()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.free.is_empty()
    }

    /// Takes a flight in and returns its key. Not if it is full.
    pub(crate) fn insert(&mut self, flight: Flight) -> u64 {
        let number = self.free.pop().expect("there is a place");
        let place = &mut self.places[number as usize];
        place.flight = Some(flight);
        u64::from(place.generation) << 32 | u64::from(number)
    }

    pub(crate) fn get_mut(&mut self, key: u64) -> Option<&mut Flight> {
        let place = self.places.get_mut(number(key))?;
        if u64::from(place.generation) == key >> 32 { place.flight.as_mut() } else { None }
    }

    pub(crate) fn remove(&mut self, key: u64) -> Option<Flight> {
        self.get_mut(key)?;
        let place = &mut self.places[number(key)];
        place.generation = place.generation.wrapping_add(1);
        self.free.push(u32::try_from(number(key)).expect("a place's number"));
        place.flight.take()
    }
}

fn number(key: u64) -> usize {
    usize::try_from(key & u64::from(u32::MAX)).expect("32 bits")
}

#[cfg(all(test, not(uring_loom)))]
mod tests {
    use std::sync::mpsc::{Receiver, channel};

    use super::*;

    struct File(u64, bool);

    impl Below for File {
        fn len(&self) -> Result<u64, StoreError> {
            Ok(self.0)
        }

        fn sync_name(&self) -> io::Result<()> {
            if self.1 { Ok(()) } else { Err(io::Error::from_raw_os_error(libc::EIO)) }
        }
    }

    fn flush(kind: FlushKind) -> (Flight, Receiver<Result<(), StoreError>>) {
        let (tell, told) = channel();
        (Flight::flush(kind, FlushCompletion::new(move |ended| drop(tell.send(ended)))), told)
    }

    #[test]
    fn a_key_is_of_one_flight() {
        let mut flights = Flights::new(2);
        let keys: Vec<_> = (0..2).map(|_| flights.insert(flush(FlushKind::Data).0)).collect();
        assert!(flights.is_full());
        assert!(flights.remove(keys[0]).is_some() && flights.remove(keys[0]).is_none());
        let again = flights.insert(flush(FlushKind::Data).0);
        assert!(again != keys[0] && flights.get_mut(keys[0]).is_none());
        assert!(flights.get_mut(again).is_some() && flights.get_mut(77).is_none());
        assert!(flights.remove(again).is_some() && flights.remove(keys[1]).is_some());
        assert!(flights.is_empty());
    }

    #[test]
    fn a_flush_of_all_is_one_of_the_name_too() {
        for (kind, named, fine) in [
            (FlushKind::Data, false, true),
            (FlushKind::All, true, true),
            (FlushKind::All, false, false),
        ] {
            let (mut flight, told) = flush(kind);
            assert!(
                matches!(flight.call(), Some(Call::Sync { all }) if all == (kind == FlushKind::All))
            );
            assert!(flight.advance(-libc::EINTR, &File(0, named)).is_none());
            let end = flight.advance(0, &File(0, named)).unwrap();
            flight.end(end);
            assert_eq!(told.recv().unwrap().is_ok(), fine);
        }
        // Whatever the file system says, it says it once.
        for errno in [libc::EIO, libc::EAGAIN, libc::ECANCELED] {
            let (mut flight, told) = flush(FlushKind::All);
            let end = flight.advance(-errno, &File(0, true)).expect("it is not asked again");
            flight.end(end);
            assert_eq!(told.recv().unwrap().unwrap_err().raw_os_error(), Some(errno));
        }
    }

    #[test]
    fn a_read_that_ends_within_a_block_is_the_last_one_only_at_the_end() {
        let read = |len: u64, results: &[i32]| {
            let (tell, told) = channel();
            let run = ReadRun::new(4096, 4096, 2, move |bytes, error: Option<StoreError>| {
                let _ = tell.send((bytes.len(), error.map(|error| error.to_string())));
            });
            let mut flight = Flight::read(run, 4096);
            for result in results {
                if let Some(end) = flight.advance(*result, &File(len, true)) {
                    flight.end(end);
                    return told.recv().ok();
                }
            }
            None
        };
        assert_eq!(read(5000, &[904]), Some((904, None)));
        assert_eq!(read(9096, &[4096, 904]), Some((5000, None)));
        // It has grown meanwhile.
        assert_eq!(read(20_000, &[904, 8192]), Some((8192, None)));
        let told = read(20_000, &[904, 904, 904, 904]).unwrap();
        assert!(told.0 == 0 && told.1.unwrap().contains("before the end"));
    }
}
