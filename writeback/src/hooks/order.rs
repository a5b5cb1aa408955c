//! The order of log and pages: how far the log must be durable before an image may be submitted, and
//! how far it may be truncated.
//!
//! Each page knows the positions of its changes ([`Positions`], behind a small lock of its own): the
//! *oldest* of those that are not in an image yet, and the *newest* of all. Both are noted, and taken
//! for an image, under the content latch that the bytes are changed and the image is taken under:
//! an image and its positions are of one instant. The newest is never forgotten, because the bytes of
//! a change stay in the page whatever becomes of its write.
//!
//! The oldest positions of all pages together are in one [`Book`], so that the bound for truncation is
//! exact at every instant and costs nothing to ask for. A position goes through it like this, and leaves
//! it for the next place within one section of its lock:
//!
//! ```text
//!            note                  ended(Ok)           a flush begins          it succeeds
//!  (change) ------> unwritten ------------------> ended -------------> flushing ----------> durable
//!                    ^     | ended(Err): back to the page, or removed by a truncate
//!                    +-----+
//! ```
//!
//! `unwritten` has one entry for every page with a change that is in no image, one for every image that
//! is being written, and one for every [hold](crate::hooks::LogHold). Of `ended` and `flushing` only the
//! lowest position is kept: a flush covers all or nothing. This layer does not know what a page is.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use super::{Log, contain};
use crate::counters::Counter;
use crate::pages::positions::Positions;
use crate::primitives::Mutex;

/// The log of a mapping and what is known of it.
#[derive(Debug)]
pub(crate) struct Order {
    log: Arc<dyn Log>,
    book: Mutex<Book>,
    /// How often the log was waited for.
    pub(crate) ensured: Counter,
}

/// Every position that the bound for truncation must not pass.
#[derive(Debug)]
struct Book {
    /// A multiset.
    unwritten: BTreeMap<u64, u64>,
    /// The lowest of the written changes that no flush has begun for; `u64::MAX`: there are none.
    ended: u64,
    /// The lowest of those that the flush under way covers, or that one covered which failed.
    flushing: u64,
}

impl Book {
    fn add(&mut self, position: u64) {
        *self.unwritten.entry(position).or_insert(0) += 1;
    }

    fn remove(&mut self, position: u64) {
        if let Some(count) = self.unwritten.get_mut(&position) {
            *count -= 1;
            if *count == 0 {
                self.unwritten.remove(&position);
            }
        } else {
            debug_assert!(false, "I-LOG-FIRST: position {position} is not in the book");
        }
    }
}

impl Order {
    pub(crate) fn new(log: Arc<dyn Log>) -> Self {
        let book = Book { unwritten: BTreeMap::new(), ended: u64::MAX, flushing: u64::MAX };
        Self { log, book: Mutex::new(book), ensured: Counter::default() }
    }

    /// How far the log is durable. A log that cannot say is not.
    pub(crate) fn durable(&self) -> u64 {
        contain(|| Ok(self.log.durable())).unwrap_or(0)
    }

    /// Whether an image with a change at `upto` may be submitted now.
    pub(crate) fn is_durable(&self, upto: u64) -> bool {
        upto == 0 || self.durable() >= upto
    }

    /// Waits until the log is durable up to `upto`. Called under no latch, perhaps with the lock of a page
    /// that is about to be written.
    pub(crate) fn ensure(&self, upto: u64) -> io::Result<()> {
        if self.is_durable(upto) {
            return Ok(());
        }
        self.ensured.add(1);
        contain(|| self.log.ensure(upto))
    }

    /// Asks the log to become durable up to `upto`, and does not wait.
    pub(crate) fn request(&self, upto: u64) {
        // A hint: whoever needs the log waits for it, and is told then.
        let _ = contain(|| {
            self.log.request(upto);
            Ok(())
        });
    }

    /// Keeps the bound at `position` or below until it is [released](Self::release).
    pub(crate) fn hold(&self, position: u64) {
        self.book.lock().add(position);
    }

    pub(crate) fn release(&self, position: u64) {
        self.book.lock().remove(position);
    }

    /// A change of the page has this position. The caller has the content latch, exclusively.
    pub(crate) fn note(&self, page: &Mutex<Positions>, position: u64) {
        let mut page = page.lock();
        if position < page.oldest {
            let mut book = self.book.lock();
            book.add(position);
            if let Some(oldest) = page.oldest() {
                book.remove(oldest);
            }
            page.oldest = position;
        }
        page.newest = page.newest.max(position);
    }

    /// The positions of the image that is being taken. From now on the page has no change that is in no
    /// image. The caller has the content latch, exclusively.
    #[expect(clippy::unused_self, reason = "without a log no page has positions")]
    pub(crate) fn take(&self, page: &Mutex<Positions>) -> Positions {
        let mut page = page.lock();
        let taken = *page;
        page.oldest = u64::MAX;
        taken
    }

    /// The write of an image with these positions has succeeded; `generation` tells the flushes of it,
    /// in the same section: a flush that counts it among its own finds its position.
    pub(crate) fn written(&self, image: Positions, generation: impl FnOnce()) {
        let mut book = self.book.lock();
        generation();
        if let Some(oldest) = image.oldest() {
            book.remove(oldest);
            book.ended = book.ended.min(oldest);
        }
    }

    /// The write of an image with these positions has failed: its changes are the page's again. Takes no
    /// latch, as the end of a write must not.
    pub(crate) fn failed(&self, page: &Mutex<Positions>, image: Positions) {
        let Some(oldest) = image.oldest() else { return };
        let mut page = page.lock();
        let superfluous = page.oldest.max(oldest);
        page.oldest = page.oldest.min(oldest);
        if superfluous < u64::MAX {
            self.release(superfluous);
        }
    }

    /// The image with these positions was not needed: its page lies beyond the end.
    pub(crate) fn dropped(&self, image: Positions) {
        if let Some(oldest) = image.oldest() {
            self.release(oldest);
        }
    }

    /// A change of the page is about to be logged, at a position beyond `floor`: holds the bound there, unless
    /// the page itself does, and returns whether it did. The caller has the content latch, exclusively, so
    /// that the page goes on doing so.
    pub(crate) fn reserve(&self, page: &Mutex<Positions>, floor: u64) -> bool {
        let reserves = page.lock().oldest().is_none();
        if reserves {
            self.hold(floor);
        }
        reserves
    }

    /// The changes of the page that are in no image are given up: it is cut away, or said to be clean.
    /// The caller has the content latch, exclusively.
    pub(crate) fn forget(&self, page: &Mutex<Positions>) {
        let mut page = page.lock();
        if let Some(oldest) = page.oldest() {
            self.release(oldest);
        }
        page.oldest = u64::MAX;
    }

    /// A flush is about to begin: it covers all writes that have ended.
    pub(crate) fn flush_begins(&self) {
        let mut book = self.book.lock();
        book.flushing = book.flushing.min(book.ended);
        book.ended = u64::MAX;
    }

    /// The flush has succeeded.
    pub(crate) fn flush_succeeded(&self) {
        self.book.lock().flushing = u64::MAX;
    }

    /// The lowest position whose change may be in memory only, or in the store and not durable.
    pub(crate) fn oldest(&self) -> Option<u64> {
        let book = self.book.lock();
        let unwritten = book.unwritten.keys().next().copied().unwrap_or(u64::MAX);
        let oldest = unwritten.min(book.ended).min(book.flushing);
        (oldest < u64::MAX).then_some(oldest)
    }
}
