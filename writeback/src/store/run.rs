//! What a store is handed to read into: the buffers of pages that lie side by side, and the duty to say how it went.

use std::fmt;
use std::sync::Arc;

use page_frames::Frame;

use super::Ends;
use super::kept::Kept;
use super::wait::{Answer, Filled};
use crate::buffer::unowned;
use crate::error::StoreError;

/// Bytes to be read, side by side, into one buffer or several, and the duty to say how that ended. Dropping it says
/// [`StoreError::Lost`].
///
/// The buffers are those of pages, each as long as a page, and belong to the run until it is ended: nobody else sees
/// them before, and no store can touch them afterwards. Nor can it end one read with the bytes of another.
///
/// # Examples
/// A store that keeps what it is asked for:
/// ```
/// use std::sync::Arc;
/// use parking_lot::Mutex;
/// use writeback::{Mapping, StoreError};
/// use writeback::store::{Completion, FlushCompletion, FlushKind, Limits, ReadRun, Store, WriteBatch};
///
/// #[derive(Debug, Clone, Default)]
/// struct Lazy(Arc<Mutex<Vec<ReadRun>>>);
///
/// impl Store for Lazy {
///     fn limits(&self) -> Limits { Limits::default() }
///     fn len(&self) -> Result<u64, StoreError> { Ok(4096) }
///     fn set_len(&self, _: u64) -> Result<(), StoreError> { Ok(()) }
///     fn read(&self, run: ReadRun) { self.0.lock().push(run) }
///     fn write(&self, batch: WriteBatch, completion: Completion) { completion.complete(Ok(batch.len())) }
///     fn flush(&self, _: FlushKind, completion: FlushCompletion) { completion.complete(Ok(())) }
/// }
///
/// let store = Lazy::default();
/// let handle = Mapping::open(store.clone())?.handle();
/// let mut bytes = [0; 4];
/// std::thread::scope(|scope| {
///     let reader = scope.spawn(|| handle.read_at(&mut bytes, 0));
///     let mut run = loop {
///         if let Some(run) = store.0.lock().pop() { break run }
///         std::thread::yield_now();
///     };
///     assert_eq!((run.offset(), run.len()), (0, 4096));
///     run.buffers().for_each(|buffer| buffer.fill(7));
///     run.complete(Ok(4096));
///     reader.join().expect("no panic")
/// })?;
/// assert_eq!(bytes, [7; 4]);
/// # Ok::<(), writeback::Error>(())
/// ```
#[must_use = "a read must be ended; dropping it reports it as lost"]
pub struct ReadRun {
    offset: u64,
    len: u64,
    buffers: Vec<Frame>,
    /// `None` once it has been told.
    ending: Option<Ending>,
    /// Those of the mapping, if it is told.
    ends: Option<Arc<Ends>>,
}

/// Who is told how a run has ended, and gets its buffers.
enum Ending {
    Waiting(Arc<Answer<Filled>>),
    Calling(Call<Filled>),
}

type Call<T> = Box<dyn FnOnce(T) + Send + Sync>;

impl ReadRun {
    /// A read, of `len` bytes at the most, that somebody waits for.
    pub(super) fn answering(
        offset: u64,
        len: u64,
        buffers: Vec<Frame>,
        answer: Arc<Answer<Filled>>,
    ) -> Self {
        Self::ending(offset, len, buffers, Ending::Waiting(answer))
    }

    /// A read whose end calls `ended`, also if the read is lost.
    pub(crate) fn calling(offset: u64, buffers: Vec<Frame>, ended: Call<Filled>) -> Self {
        Self::ending(offset, u64::MAX, buffers, Ending::Calling(ended))
    }

    /// The same, as one of these ends.
    pub(crate) fn among(mut self, ends: &Arc<Ends>) -> Self {
        self.ends = Some(Arc::clone(ends));
        self
    }

    fn ending(offset: u64, len: u64, buffers: Vec<Frame>, ending: Ending) -> Self {
        let room: u64 = buffers.iter().map(|buffer| buffer.len() as u64).sum();
        Self { offset, len: len.min(room), buffers, ending: Some(ending), ends: None }
    }

    /// A read of so many buffers of `buffer_len` bytes each, for tests of stores and for stores over stores. When it has
    /// ended, `ended` is called with the bytes that are there, and with the error that came after them, if one did.
    ///
    /// # Panics
    /// If `buffer_len` is not a power of two from 512 to 16 Mi.
    ///
    /// # Examples
    /// ```
    /// use std::sync::mpsc::channel;
    /// use writeback::MemStore;
    /// use writeback::store::{ReadRun, Store};
    ///
    /// let (tell, told) = channel();
    /// let run = ReadRun::new(512, 512, 2, move |bytes, error| {
    ///     let _ = tell.send((bytes, error.is_none()));
    /// });
    /// MemStore::with_contents([7; 1300]).read(run);
    /// assert_eq!(told.recv(), Ok((vec![7; 788], true))); // the store ends there
    /// ```
    pub fn new(
        offset: u64,
        buffer_len: usize,
        buffers: usize,
        ended: impl FnOnce(Vec<u8>, Option<StoreError>) + Send + Sync + 'static,
    ) -> Self {
        let is_page = buffer_len.is_power_of_two()
            && (page_frames::FRAME_LEN_MIN..=page_frames::FRAME_LEN_MAX).contains(&buffer_len);
        assert!(is_page, "a buffer of {buffer_len} bytes is no page's");
        let buffers = (0..buffers).map(|_| unowned(buffer_len)).collect();
        let ended = move |filled: Filled| {
            let mut bytes = Vec::new();
            filled.buffers.iter().for_each(|buffer| bytes.extend_from_slice(buffer));
            bytes.truncate(usize::try_from(filled.count).expect("at most what there is"));
            ended(bytes, filled.error);
        };
        Self::calling(offset, buffers, Box::new(ended))
    }

    /// A run of the same buffers, whose end is kept until it may be passed on to this one.
    pub(super) fn keep_end(mut self) -> (Self, Kept<Filled>) {
        let (offset, len, buffers) = (self.offset, self.len, std::mem::take(&mut self.buffers));
        let (end, kept) = Kept::new(move |filled: Filled| {
            self.buffers = filled.buffers;
            self.tell(filled.count, filled.error);
        });
        (Self { offset, len, buffers, ending: Some(Ending::Calling(end)), ends: None }, kept)
    }

    /// Where the first byte comes from.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// How many bytes all buffers have together.
    #[expect(clippy::len_without_is_empty, reason = "a run has at least one byte")]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// The buffers, each to be filled with what follows the one before. Aligned as [images](crate::page::Image) are; what is
    /// in them is not defined, and may be bytes of other pages, also of other mappings.
    pub fn buffers(&mut self) -> impl ExactSizeIterator<Item = &mut [u8]> {
        let mut left = self.len;
        self.buffers.iter_mut().map(move |buffer| next_part(buffer, &mut left))
    }

    /// Ends it by calls of `read`, one for each buffer: the adaptor for a store that blocks.
    ///
    /// Each call is told where the bytes begin and tells how many it has read, which is fewer than there is room for only where the
    /// store ends. The first that is short, or fails, is the last.
    ///
    /// # Examples
    /// ```
    /// # use writeback::store::ReadRun;
    /// let run = ReadRun::new(4096, 512, 2, |bytes, error| {
    ///     assert!(error.is_none());
    ///     assert_eq!(bytes, [[1; 512], [2; 512]].concat());
    /// });
    /// let mut byte = 0;
    /// run.fill(|offset, into| {
    ///     byte += 1;
    ///     assert_eq!(offset, 4096 + 512 * (u64::from(byte) - 1));
    ///     into.fill(byte);
    ///     Ok(into.len())
    /// });
    /// ```
    pub fn fill(mut self, mut read: impl FnMut(u64, &mut [u8]) -> Result<usize, StoreError>) {
        let (offset, mut done) = (self.offset, 0);
        let mut failed = None;
        for buffer in self.buffers() {
            match read(offset + done, buffer) {
                Ok(count) => {
                    done += count.min(buffer.len()) as u64;
                    if count < buffer.len() {
                        break;
                    }
                }
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
        }
        self.tell(done, failed);
    }

    /// Ends it: so many bytes from the front are in the buffers, and if there are fewer than asked for, the store
    /// ends there. With an error there are none.
    ///
    /// # Concurrency
    /// From any thread; takes no lock that a thread of the cache has while it waits.
    pub fn complete(mut self, count: Result<u64, StoreError>) {
        match count {
            Ok(count) => self.tell(count, None),
            Err(error) => self.tell(0, Some(error)),
        }
    }

    /// Ends it: so many bytes from the front are in the buffers, then `error` came. Pages that are wholly within
    /// them are good.
    ///
    /// # Concurrency
    /// As [`complete`](Self::complete).
    pub fn fail_after(mut self, count: u64, error: StoreError) {
        let error = (count < self.len).then_some(error);
        self.tell(count, error);
    }

    fn tell(&mut self, count: u64, error: Option<StoreError>) {
        let Some(ending) = self.ending.take() else { return };
        let _told = self.ends.take().map(Ends::enter);
        let count = count.min(self.len);
        let filled = Filled { buffers: std::mem::take(&mut self.buffers), count, error };
        match ending {
            Ending::Waiting(answer) => answer.give(filled),
            Ending::Calling(ended) => ended(filled),
        }
    }
}

/// Of a buffer, what is to be read into it of the `left` bytes.
fn next_part<'b>(buffer: &'b mut Frame, left: &mut u64) -> &'b mut [u8] {
    let len = usize::try_from(*left).map_or(buffer.len(), |left| left.min(buffer.len()));
    *left -= len as u64;
    &mut buffer[..len]
}

impl Drop for ReadRun {
    fn drop(&mut self) {
        self.tell(0, Some(StoreError::Lost));
    }
}

impl fmt::Debug for ReadRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { offset, len, .. } = self;
        write!(f, "ReadRun({len} bytes from {offset})")
    }
}

/// The duty to say how a flush ended. Dropping it says [`StoreError::Lost`], which is a flush that failed.
#[must_use = "a flush must be ended; dropping its completion reports it as lost"]
pub struct FlushCompletion {
    /// `None` once it has been told.
    ended: Option<Call<Result<(), StoreError>>>,
    /// Those of the mapping, if it is told.
    ends: Option<Arc<Ends>>,
}

impl FlushCompletion {
    /// The duty to tell `ended`, for tests of stores and for stores over stores.
    ///
    /// # Examples
    /// ```
    /// use std::sync::mpsc::channel;
    /// use writeback::MemStore;
    /// use writeback::store::{FlushCompletion, FlushKind, Store};
    ///
    /// let (tell, told) = channel();
    /// let completion = FlushCompletion::new(move |outcome| drop(tell.send(outcome.is_ok())));
    /// MemStore::new().flush(FlushKind::Data, completion);
    /// assert_eq!(told.recv(), Ok(true));
    /// ```
    pub fn new(ended: impl FnOnce(Result<(), StoreError>) + Send + Sync + 'static) -> Self {
        Self { ended: Some(Box::new(ended)), ends: None }
    }

    /// The same, as one of these ends.
    pub(crate) fn among(mut self, ends: &Arc<Ends>) -> Self {
        self.ends = Some(Arc::clone(ends));
        self
    }

    /// Ends the flush. `Ok` only if everything is durable that it was to cover, for certain.
    ///
    /// # Concurrency
    /// From any thread; takes no lock that a thread of the cache has while it waits.
    pub fn complete(mut self, outcome: Result<(), StoreError>) {
        self.tell(outcome);
    }

    /// Ends the flush as `flush` does, which is called now: the adaptor for a store that blocks.
    pub fn complete_with(self, flush: impl FnOnce() -> Result<(), StoreError>) {
        let outcome = flush();
        self.complete(outcome);
    }

    fn tell(&mut self, outcome: Result<(), StoreError>) {
        if let Some(ended) = self.ended.take() {
            let _told = self.ends.take().map(Ends::enter);
            ended(outcome);
        }
    }
}

impl Drop for FlushCompletion {
    fn drop(&mut self) {
        self.tell(Err(StoreError::Lost));
    }
}

impl fmt::Debug for FlushCompletion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FlushCompletion").finish_non_exhaustive()
    }
}

#[cfg(all(test, not(any(writeback_loom, writeback_shuttle))))]
mod tests {
    use std::sync::mpsc::{Receiver, channel};

    use super::*;

    type Ended = (Vec<u8>, Option<StoreError>);

    fn run(buffers: usize) -> (ReadRun, Receiver<Ended>) {
        let (tell, told) = channel();
        let ended = move |bytes, error| drop(tell.send((bytes, error)));
        (ReadRun::new(1024, 512, buffers, ended), told)
    }

    #[test]
    fn what_is_dropped_is_lost_and_told_once() {
        let (run, told) = run(1);
        drop(run);
        assert!(matches!(told.recv(), Ok((_, Some(StoreError::Lost)))));
        assert!(told.recv().is_err(), "nothing more comes");
        let (tell, told) = channel();
        drop(FlushCompletion::new(move |outcome| drop(tell.send(outcome))));
        assert!(matches!(told.recv(), Ok(Err(StoreError::Lost))));
        assert!(told.recv().is_err());
    }

    #[test]
    fn a_run_is_filled_buffer_by_buffer_until_one_is_short_or_fails() {
        for (counts, expected) in [([512, 512, 512], 1536), ([512, 7, 512], 519), ([0, 0, 0], 0)] {
            let (run, told) = run(3);
            let mut calls = counts.iter();
            run.fill(|offset, into| {
                into.fill(u8::try_from(offset / 512).unwrap());
                Ok(*calls.next().unwrap())
            });
            let (bytes, error) = told.recv().unwrap();
            assert!(error.is_none() && bytes.len() == expected);
            let right = |(at, byte): (usize, &u8)| usize::from(*byte) == 2 + at / 512;
            assert!(bytes.iter().enumerate().all(right));
        }
        let (run, told) = run(3);
        run.fill(|offset, into| match offset {
            1024 => Ok(into.len()),
            _ => Err(StoreError::NoSpace),
        });
        let (bytes, error) = told.recv().unwrap();
        assert!(bytes.len() == 512 && matches!(error, Some(StoreError::NoSpace)));
    }

    #[test]
    fn a_store_that_tells_of_more_than_it_was_asked_for_is_not_believed() {
        let answer = Answer::new();
        let run = ReadRun::answering(0, u64::MAX, vec![unowned(512)], Arc::clone(&answer));
        run.complete(Ok(u64::MAX));
        assert_eq!(answer.wait().count, 512);
        // All are there: what came after them is nobody's business.
        let (run, told) = self::run(2);
        run.fail_after(1024, StoreError::NoSpace);
        assert!(matches!(told.recv(), Ok((bytes, None)) if bytes.len() == 1024));
    }

    #[test]
    fn the_last_buffer_ends_where_the_run_does() {
        let answer = Answer::new();
        let buffers = vec![unowned(512), unowned(512)];
        let mut run = ReadRun::answering(0, 700, buffers, answer);
        let lens: Vec<_> = run.buffers().map(|buffer| buffer.len()).collect();
        assert_eq!((run.len(), lens), (700, vec![512, 188]));
        run.complete(Ok(0));
    }
}
