//! What mappings and caches count: places for pages, dirty pages and who waits for fewer, turns, who left.
//!
//! Numbers, and the queues of those who wait for them. Nothing here knows what a page is, or a mapping: a cache
//! keeps its mappings as whatever `M` is, and asks nothing of them. Who gives a page up, who writes and who waits
//! is decided in [`memory`](crate::memory).
//!
//! A *place* is the right to have one page more in memory. It weighs as many bytes as the page has, and so does the
//! page's debt: mappings with pages of different sizes share one capacity. It is taken before the page enters an index,
//! with no lock held, and given back when the page leaves. So there are never more bytes of pages than of places; and
//! there are more of these than the capacity only where nothing can be given up, because correctness must not
//! depend on room: a page that is needed is always admitted, over capacity if need be. Nobody waits for a place.
//!
//! Beside the pages there are *images*: a page that is changed while it is written goes on with a copy, and the image that
//! is being written has the old bytes until the write ends. Such images count, too, as the pool of the frames tells their number. A copy is
//! made under a latch, where nothing can be evicted, so it is made beyond the capacity if need be, and the next thread that comes
//! to dirty a page makes up for it.

pub(crate) mod debt;
pub(crate) mod ghosts;
pub(crate) mod givers;
pub(crate) mod kick;
pub(crate) mod membership;
pub(crate) mod outcomes;
pub(crate) mod pace;
pub(crate) mod queue;
pub(crate) mod seats;
pub(crate) mod share;
pub(crate) mod turns;
pub(crate) mod usage;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use self::debt::{Account, Throttle};
use self::ghosts::Ghosts;
use self::givers::{Givers, Listed, Newcomers};
use self::kick::Flushers;
use self::outcomes::Outcomes;
use self::queue::Entering;
use self::seats::Seats;
use self::share::Shares;
use self::turns::Turns;
use crate::buffer::Frames;
use crate::counters::Counter;
use crate::error::Result;
use crate::primitives::{CounterU64, HintBool, HintU64, Mutex, Ordering};

/// The page that configurations count in, and that small parts of a capacity are rounded to.
pub(crate) const USUAL_PAGE: u64 = 4096;

/// A part of a capacity: a multiple of the usual page, unless it is less than one.
pub(crate) fn whole_pages(bytes: u64) -> u64 {
    if bytes < USUAL_PAGE { bytes } else { bytes - bytes % USUAL_PAGE }
}

/// What a cache may take, in bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) capacity: u64,
    pub(crate) background: u64,
    pub(crate) max: u64,
    pub(crate) pause_max: Duration,
    pub(crate) stall_max: Duration,
}

impl Limits {
    fn shares(&self) -> Shares {
        let Self { background, max, capacity, .. } = *self;
        Shares { background, max, capacity }
    }
}

/// The accounts of a cache, whose mappings are `M`.
pub(crate) struct Accounts<M> {
    /// Where the bytes of all its pages lie.
    pub(crate) frames: Frames,
    /// It was made for one mapping, which shares it with no other.
    pub(crate) of_one: bool,
    /// Bytes of the places taken.
    places: CounterU64,
    pub(crate) overcommitted: Counter,
    pub(crate) outcomes: Outcomes,
    pub(crate) throttle: Throttle,
    pub(crate) turns: Turns,
    pub(crate) ghosts: Ghosts,
    /// Bytes of the smallest page of any mapping that has been here; the greatest number if none has.
    page_min: HintU64,
    members: Mutex<Members<M>>,
    /// One thread moves the hands at a time.
    pub(crate) hands: Mutex<Givers>,
    newcomers: Newcomers,
    /// How much there was beyond the capacity, with images, when nothing could be evicted for them; zero: it could.
    pub(crate) images_in_vain: HintU64,
    /// How much there was beyond the capacity when who does not wait found nothing to evict, at least one; zero: there was, or a read has ended since.
    pub(crate) room_in_vain: HintU64,
    /// So many times need nobody look for pages to evict, because somebody had all that were found.
    pub(crate) kept_in_vain: HintU64,
    /// Those that write mappings of this cache.
    pub(crate) flushers: Flushers,
}

/// The mappings of a cache, by number.
struct Members<M> {
    by_number: HashMap<u64, Weak<M>>,
    next: u64,
}

/// What a mapping has of its own in a cache.
pub(crate) struct Member<M> {
    pub(crate) cache: Arc<Accounts<M>>,
    /// Tells it from the others.
    pub(crate) number: u64,
    /// What it owes.
    pub(crate) account: Arc<Account>,
    /// Its tasks that wait to dirty a page. They are given what became of a call of a thread; `None`: it panicked.
    pub(crate) seats: Arc<Seats<Option<Result<Entering<M>>>>>,
    listed: Listed,
    /// Where its evicting hand stands: the next page that is looked at.
    pub(crate) hand: HintU64,
    /// What that has evicted since it was at the beginning.
    pub(crate) yielded: HintU64,
    /// Whether that was nothing, the last time round.
    pub(crate) in_vain: HintBool,
    /// Where the hand stands that takes chances away.
    pub(crate) other_hand: HintU64,
    /// How many pages are to lose their chances.
    pub(crate) missing: HintU64,
}

impl<M> Accounts<M> {
    pub(crate) fn new(limits: &Limits, of_one: bool) -> Self {
        Self {
            frames: Frames::with_capacity(limits.capacity),
            of_one,
            throttle: Throttle::new(limits),
            turns: Turns::new(limits.capacity),
            ghosts: Ghosts::new(limits.capacity / USUAL_PAGE),
            page_min: HintU64::new(u64::MAX),
            places: CounterU64::new(0),
            overcommitted: Counter::default(),
            outcomes: Outcomes::default(),
            members: Mutex::new(Members { by_number: HashMap::new(), next: 0 }),
            hands: Mutex::new(Givers::default()),
            newcomers: Newcomers::default(),
            images_in_vain: HintU64::new(0),
            room_in_vain: HintU64::new(0),
            kept_in_vain: HintU64::new(0),
            flushers: Flushers::default(),
        }
    }

    /// Bytes of pages that there is room for.
    #[inline]
    pub(crate) fn capacity(&self) -> u64 {
        self.throttle.capacity()
    }

    /// Sets new limits. What is beyond them has still to be evicted, and what lay under it to be [given back](Self::fit).
    pub(crate) fn resize(&self, limits: &Limits) {
        self.throttle.resize(limits);
        // There may be something to evict that there was no need for.
        self.images_in_vain.store(0, Ordering::Relaxed);
        self.room_in_vain.store(0, Ordering::Relaxed);
        self.kept_in_vain.store(0, Ordering::Relaxed);
    }

    /// Fits to the capacity what depends on it: memory that is not in use and is beyond it goes back to the system.
    pub(crate) fn fit(&self) {
        loop {
            let capacity = self.capacity();
            self.turns.resize(capacity);
            self.ghosts.resize(capacity / self.page());
            self.frames.set_capacity(capacity);
            // Another thread may have set another, and come too early to the end of this.
            if self.capacity() == capacity {
                return;
            }
        }
    }

    /// Bytes of a page, the smallest there is.
    pub(crate) fn page(&self) -> u64 {
        let bytes = self.page_min.load(Ordering::Relaxed);
        if bytes < u64::MAX { bytes } else { USUAL_PAGE }
    }

    /// A mapping with pages of so many bytes is about to come in: as many as there is room for are remembered when they have left.
    fn expects_pages_of(&self, bytes: u64) {
        if bytes < self.page_min.fetch_min(bytes, Ordering::Relaxed) {
            self.ghosts.resize(self.capacity() / bytes);
        }
    }

    /// How much there is beyond the capacity.
    pub(crate) fn beyond(&self) -> u64 {
        self.held().saturating_sub(self.capacity())
    }

    /// Bytes of the places taken.
    pub(crate) fn places(&self) -> u64 {
        self.places.load(Ordering::Relaxed)
    }

    /// Bytes of the places taken, and of images that are beside them.
    pub(crate) fn held(&self) -> u64 {
        self.places() + self.frames.image_bytes()
    }

    /// There are images, and with them more than the capacity.
    #[inline]
    pub(crate) fn has_images_beyond(&self) -> bool {
        let images = self.frames.image_bytes();
        images > 0 && self.places() + images > self.capacity()
    }

    /// Takes a place of that weight if there is room.
    pub(crate) fn take_place(&self, weight: u64) -> bool {
        let room = self.capacity().saturating_sub(self.frames.image_bytes());
        // Relaxed, here and below: the number is all there is to know.
        let free = |taken: u64| (taken + weight <= room).then_some(taken + weight);
        self.places.fetch_update(Ordering::Relaxed, Ordering::Relaxed, free).is_ok()
    }

    /// Takes a place, whether there is room or not.
    pub(crate) fn take_place_anyway(&self, weight: u64) {
        self.places.fetch_add(weight, Ordering::Relaxed);
        self.overcommitted.add(1);
    }

    /// Gives back places of that weight together.
    pub(crate) fn give_back(&self, weight: u64) {
        let before = self.places.fetch_sub(weight, Ordering::Relaxed);
        debug_assert!(before >= weight, "I-COUNT: more places given back than taken");
    }

    /// All mappings that are still in use.
    pub(crate) fn members(&self) -> Vec<Arc<M>> {
        // Collected under the lock and dropped outside it: the last clone of a mapping takes it.
        self.members.lock().by_number.values().filter_map(Weak::upgrade).collect()
    }

    fn member(&self, number: u64) -> Option<Arc<M>> {
        self.members.lock().by_number.get(&number)?.upgrade()
    }

    /// Takes the next mapping that has pages, and what has been asked of it. It comes again only when it is
    /// [put back](Member::put_back).
    pub(crate) fn next_giver(&self, givers: &mut Givers) -> Option<(u64, Arc<M>)> {
        loop {
            let (given, number) = givers.pop(&self.newcomers)?;
            if let Some(mapping) = self.member(number) {
                return Some((given, mapping));
            }
        }
    }

    /// Wakes the flushers if there is too much debt.
    pub(crate) fn kick_flushers(&self) {
        if self.throttle.wants_kick() {
            self.flushers.wake();
        }
    }
}

impl<M> Member<M> {
    /// Of a mapping whose pages have `weight` bytes each.
    pub(crate) fn new(cache: Arc<Accounts<M>>, weight: u64) -> Self {
        cache.expects_pages_of(weight);
        let mut members = cache.members.lock();
        let number = members.next;
        members.next += 1;
        drop(members);
        Self {
            cache,
            number,
            account: Arc::new(Account::new(weight)),
            seats: Arc::default(),
            listed: Listed::default(),
            hand: HintU64::new(0),
            yielded: HintU64::new(0),
            in_vain: HintBool::new(false),
            other_hand: HintU64::new(u64::MAX),
            missing: HintU64::new(0),
        }
    }

    /// The mapping is a member from now on.
    pub(crate) fn register(&self, mapping: &Arc<M>) {
        self.cache.throttle.joined();
        self.cache.members.lock().by_number.insert(self.number, Arc::downgrade(mapping));
    }

    /// The mapping is no member any more; its pages and its debt leave the cache with it.
    pub(crate) fn leave(&self, cached: u64, dirty: u64) {
        let mut members = self.cache.members.lock();
        members.by_number.remove(&self.number);
        let alive = &members.by_number;
        self.cache.newcomers.forget(alive.len(), |number| alive.contains_key(&number));
        drop(members);
        self.cache.give_back(cached * self.account.weight);
        // Nothing is under way: whoever writes has a reference to the mapping.
        self.cache.throttle.left(&self.account, dirty);
    }

    /// What the mapping is; `None` if its last user has let go of it.
    pub(crate) fn upgrade(&self) -> Option<Arc<M>> {
        self.cache.member(self.number)
    }

    /// The mapping has got a page, and had none before.
    pub(crate) fn got_first_page(&self) {
        self.cache.newcomers.enlist(self.number, &self.listed);
    }

    /// How many pages the mapping owes.
    pub(crate) fn debt_pages(&self) -> u64 {
        self.account.debt() / self.account.weight
    }

    /// The mapping comes again, unless it has no page left.
    pub(crate) fn put_back(&self, givers: &mut Givers, given: u64, cached: &Counter) {
        let newcomers = &self.cache.newcomers;
        if cached.get() > 0 || !newcomers.strike(&self.listed, || cached.get() > 0) {
            givers.push(given, self.number);
        }
    }
}

impl<M> fmt::Debug for Accounts<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Accounts").field("places", &self.places()).finish_non_exhaustive()
    }
}

/// A place for one page, taken before any lock is. Without use it is given back.
#[derive(Debug)]
#[must_use = "it is a place for a page"]
pub(crate) struct Room<'c, M>(Option<(&'c Accounts<M>, u64)>);

impl<'c, M> Room<'c, M> {
    /// Of a mapping that is in no cache.
    pub(crate) const UNLIMITED: Self = Room(None);

    /// The place was just taken, and has that weight.
    pub(crate) fn taken(cache: &'c Accounts<M>, weight: u64) -> Self {
        Self(Some((cache, weight)))
    }

    /// The page is in the index, and gives its place back when it leaves.
    pub(crate) fn take(&mut self) {
        self.0 = None;
    }
}

impl<M> Drop for Room<'_, M> {
    fn drop(&mut self) {
        if let Some((cache, weight)) = self.0 {
            cache.give_back(weight);
        }
    }
}
