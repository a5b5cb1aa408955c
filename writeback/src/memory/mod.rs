//! A page cache: memory that mappings share, and its accounts.
//!
//! It knows how many pages its mappings have and how many they may have; who gives pages up, and in which
//! order, is in [`reclaim`](crate::memory::reclaim). It keeps no list of pages: what is searched for is found in the
//! mappings' indexes, by tags.
//!
//! A *place* is the right to have one page more in memory. It is taken before the page enters an index,
//! with no lock held, and given back when the page leaves. So there are never more pages than places; and
//! there are more places than the capacity only where nothing can be given up, because correctness must not
//! depend on room: a page that is needed is had.

mod hand;
pub(crate) mod reclaim;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Weak};

use crate::accounts::ghosts::Ghosts;
use crate::accounts::givers::{Givers, Listed, Newcomers};
use crate::config::CacheConfig;
use crate::error::Result;
use crate::flusher::FlusherRef;
use crate::mapping::Mapping;
use crate::memory::reclaim::{Outcomes, ReclaimStats};
use crate::page::usage::Turns;
use crate::primitives::{CounterU64, HintBool, HintU64, Mutex, Ordering};
use crate::rules::core::Shared;
use crate::rules::invariants::{Violation, check_count};
use crate::stats::{Counter, Counters};
use crate::throttle::{Account, Throttle};

/// Memory for pages, shared by any number of mappings.
///
/// Mappings are opened in it by [`Config::cache`](crate::Config::cache); a mapping without one keeps all
/// its pages. Cheap to clone; all clones are the same cache. It lives as long as a clone or a mapping does.
///
/// # Concurrency
/// Where a page is to come in and there is no room, the thread that needs it evicts some that nobody has
/// used lately, by whatever way ([`Handle`](crate::Handle), [`Mapping::page`], [`PageRef`](crate::PageRef)). What
/// is read once, in however small pieces, costs what is used again and again no place. Only clean pages are evicted, and none that is locked, held, under writeback or in somebody's
/// hands ([`PageRef`](crate::PageRef)). Should there be no other, the cache grows beyond its capacity, and
/// shrinks again when it can ([`CacheStats::overcommitted`]).
///
/// How many pages may be dirty is limited too ([`CacheConfig::dirty_pages_max`]), and shared among the mappings: one
/// whose store is slow, failing or stuck uses up its own share, and its writers alone wait, or are told.
///
/// A mapping that its user lets go of while a thread evicts pages of it is dropped by that thread, and its store with it.
///
/// # With a flusher and without
/// A cache needs no [`Flusher`](crate::Flusher). Without one, pages are written by syncs, by a writer that finds its mapping at
/// its limit, and by a thread that needs memory and finds no clean page. With one they are written earlier and
/// by other threads: then writers rarely wait, and pages do not stay dirty for long.
///
/// # Complexity
/// Mappings without cached pages cost evictions nothing, and those without dirty pages cost writers and flushers
/// nothing.
///
/// # Examples
/// ```
/// use std::sync::Arc;
/// use writeback::{CacheConfig, Config, Mapping, MemStore, PageCache};
///
/// let cache = PageCache::new(CacheConfig::new(16))?;
/// let store = Arc::new(MemStore::with_contents(vec![7; 100 * 4096]));
/// let mapping = Mapping::with_config(store, Config::new().cache(&cache))?;
/// let mut all = vec![0; 100 * 4096];
/// mapping.handle().read_at(&mut all, 0)?;
/// assert_eq!(all, [7; 100 * 4096]);
/// assert!(cache.stats().cached <= 16);
/// # Ok::<(), writeback::Error>(())
/// ```
#[derive(Clone)]
pub struct PageCache {
    pub(crate) inner: Arc<Inner>,
}

/// What a [`PageCache`] holds and has done.
///
/// # Examples
/// ```
/// use writeback::{CacheConfig, PageCache};
///
/// let stats = PageCache::new(CacheConfig::new(1000))?.stats();
/// assert_eq!((stats.capacity, stats.cached, stats.reclaim.evicted), (1000, 0, 0));
/// # Ok::<(), writeback::Error>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CacheStats {
    /// How many pages there is room for.
    pub capacity: u64,
    /// Pages in memory, and places taken for pages that are about to be.
    pub cached: u64,
    /// Mappings.
    pub mappings: u64,
    /// Dirty pages of all of them.
    pub dirty: u64,
    /// Pages under writeback.
    pub writeback: u64,
    /// Pages dirty, claimed or under writeback, as the limits count them.
    pub debt: u64,
    /// Pages written successfully.
    pub written: u64,
    /// What became of the pages that were looked at for want of room.
    pub reclaim: ReclaimStats,
    /// Pages that came in beyond the capacity, because none could be evicted.
    pub overcommitted: u64,
    /// How often a writer paused, because the limit of dirty pages was near.
    pub paused: u64,
    /// Writers that wait now, because the limit is reached.
    pub stalled_now: u64,
    /// How often a writer began to wait.
    pub stalled: u64,
}

pub(crate) struct Inner {
    pub(crate) config: CacheConfig,
    /// Places taken.
    places: CounterU64,
    pub(crate) overcommitted: Counter,
    pub(crate) outcomes: Outcomes,
    pub(crate) throttle: Throttle,
    pub(crate) turns: Turns,
    pub(crate) ghosts: Ghosts,
    members: Mutex<Members>,
    /// One thread moves the hands at a time.
    pub(crate) hands: Mutex<Givers>,
    newcomers: Newcomers,
    /// Those that write mappings of this cache.
    flushers: Mutex<Vec<FlusherRef>>,
}

/// The mappings of a cache, by number.
#[derive(Default)]
struct Members {
    by_number: HashMap<u64, Weak<Shared>>,
    next: u64,
}

/// What a mapping has of its own in a cache.
pub(crate) struct Member {
    pub(crate) cache: Arc<Inner>,
    /// Tells it from the others.
    pub(crate) number: u64,
    /// What it owes.
    pub(crate) account: Arc<Account>,
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

impl Member {
    fn new(cache: Arc<Inner>) -> Self {
        let mut members = cache.members.lock();
        let number = members.next;
        members.next += 1;
        drop(members);
        Self {
            cache,
            number,
            account: Arc::default(),
            listed: Listed::default(),
            hand: HintU64::new(0),
            yielded: HintU64::new(0),
            in_vain: HintBool::new(false),
            other_hand: HintU64::new(u64::MAX),
            missing: HintU64::new(0),
        }
    }

    /// The mapping; `None` if its last user has let go of it.
    pub(crate) fn mapping(&self) -> Option<Mapping> {
        self.cache.member(self.number)
    }

    /// The mapping has got a page, and had none before.
    pub(crate) fn got_first_page(&self) {
        self.cache.newcomers.enlist(self.number, &self.listed);
    }
}

impl PageCache {
    /// An empty cache.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) for an unusable configuration.
    ///
    /// # Examples
    /// ```
    /// use writeback::{CacheConfig, PageCache};
    ///
    /// assert!(PageCache::new(CacheConfig::new(0)).is_err());
    /// assert!(PageCache::new(CacheConfig::new(10_000)).is_ok());
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn new(config: CacheConfig) -> Result<Self> {
        config.check()?;
        let inner = Inner {
            throttle: Throttle::new(&config),
            turns: Turns::new(config.capacity_pages),
            ghosts: Ghosts::new(config.capacity_pages),
            config,
            places: CounterU64::new(0),
            overcommitted: Counter::default(),
            outcomes: Outcomes::default(),
            members: Mutex::new(Members::default()),
            hands: Mutex::new(Givers::default()),
            newcomers: Newcomers::default(),
            flushers: Mutex::new(Vec::new()),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// What it holds and has done. Each number is exact; all together are not one instant.
    ///
    /// # Complexity
    /// O(n) in the mappings.
    ///
    /// # Examples
    /// ```
    /// use writeback::{CacheConfig, Config, Mapping, MemStore, PageCache};
    /// use std::sync::Arc;
    ///
    /// let cache = PageCache::new(CacheConfig::new(100))?;
    /// let config = Config::new().cache(&cache);
    /// let one = Mapping::with_config(Arc::new(MemStore::new()), config.clone())?;
    /// let other = Mapping::with_config(Arc::new(MemStore::new()), config)?;
    /// one.handle().write_at(&[1; 8192], 0)?;
    /// other.handle().write_at(&[1; 4096], 0)?;
    /// let stats = cache.stats();
    /// assert_eq!((stats.mappings, stats.cached, stats.dirty), (2, 3, 3));
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn stats(&self) -> CacheStats {
        let inner = &*self.inner;
        let (stalled_now, stalled) = inner.throttle.stalled();
        let mut stats = CacheStats {
            capacity: inner.config.capacity_pages,
            cached: inner.places(),
            reclaim: inner.outcomes.stats(),
            overcommitted: inner.overcommitted.get(),
            debt: inner.throttle.debt(),
            written: inner.throttle.written(),
            paused: inner.throttle.paused(),
            stalled_now,
            stalled,
            ..CacheStats::default()
        };
        for mapping in inner.members() {
            stats.mappings += 1;
            stats.dirty += mapping.dirty();
            stats.writeback += mapping.shared.counters.writeback.get();
        }
        stats
    }

    /// Evicts up to `pages` pages now, all that can be if there are fewer; returns how many. They are
    /// chosen as for want of room: what is used again and again goes last.
    ///
    /// # Examples
    /// ```
    /// use writeback::{CacheConfig, Config, Mapping, MemStore, PageCache};
    /// use std::sync::Arc;
    ///
    /// let cache = PageCache::new(CacheConfig::new(100))?;
    /// let mapping = Mapping::with_config(Arc::new(MemStore::new()), Config::new().cache(&cache))?;
    /// mapping.handle().write_at(&[1; 8192], 0)?;
    /// assert_eq!(cache.evict(10), 0, "both are dirty");
    /// mapping.handle().sync_data()?;
    /// assert_eq!(cache.evict(10), 2);
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn evict(&self, pages: u64) -> u64 {
        self.inner.evict(pages)
    }

    /// Checks its accounts against those of its mappings, while nothing changes.
    ///
    /// # Errors
    /// The first number that is wrong.
    ///
    /// # Examples
    /// ```
    /// use writeback::{CacheConfig, PageCache};
    ///
    /// PageCache::new(CacheConfig::new(100))?.check().expect("it is empty");
    /// # Ok::<(), writeback::Error>(())
    /// ```
    pub fn check(&self) -> Result<(), Violation> {
        let members = self.inner.members();
        let sum = |count: fn(&Counters) -> &Counter| {
            members.iter().map(|mapping| count(&mapping.shared.counters).get()).sum::<u64>()
        };
        check_count("places", self.inner.places(), sum(|counters| &counters.cached))?;
        let unwritten = sum(|counters| &counters.dirty) + sum(|counters| &counters.writeback);
        check_count("debt", self.inner.throttle.debt(), unwritten)
    }
}

impl fmt::Debug for PageCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PageCache").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

impl Inner {
    /// Places taken.
    pub(crate) fn places(&self) -> u64 {
        self.places.load(Ordering::Relaxed)
    }

    /// Takes a place if there is one.
    pub(crate) fn take_place(&self) -> bool {
        // Relaxed, here and below: the number is all there is to know.
        let free = |taken: u64| (taken < self.config.capacity_pages).then_some(taken + 1);
        self.places.fetch_update(Ordering::Relaxed, Ordering::Relaxed, free).is_ok()
    }

    /// Takes a place, whether there is one or not.
    pub(crate) fn take_place_anyway(&self) {
        self.places.fetch_add(1, Ordering::Relaxed);
        self.overcommitted.add(1);
    }

    pub(crate) fn give_back(&self, places: u64) {
        let before = self.places.fetch_sub(places, Ordering::Relaxed);
        debug_assert!(before >= places, "I10: more places given back than taken");
    }

    /// All mappings that are still in use.
    fn members(&self) -> Vec<Mapping> {
        let members = self.members.lock();
        let mappings = members.by_number.values().filter_map(Weak::upgrade);
        // Collected under the lock and dropped outside it: the last clone of a mapping takes it.
        mappings.map(|shared| Mapping { shared }).collect()
    }

    fn member(&self, number: u64) -> Option<Mapping> {
        let member = self.members.lock().by_number.get(&number)?.upgrade();
        Some(Mapping { shared: member? })
    }

    /// Takes the next mapping that has pages, and what has been asked of it. It comes again only when it is
    /// [put back](Self::put_back).
    pub(crate) fn next_giver(&self, givers: &mut Givers) -> Option<(u64, Mapping)> {
        loop {
            let (given, number) = givers.pop(&self.newcomers)?;
            if let Some(mapping) = self.member(number) {
                return Some((given, mapping));
            }
        }
    }

    /// The mapping comes again, unless it has no page left.
    pub(crate) fn put_back(&self, givers: &mut Givers, given: u64, mapping: &Mapping) {
        let Some(member) = &mapping.shared.member else { return };
        let cached = &mapping.shared.counters.cached;
        if cached.get() > 0 || !self.newcomers.strike(&member.listed, || cached.get() > 0) {
            givers.push(given, member.number);
        }
    }

    /// The mapping is a member from now on.
    pub(crate) fn register(&self, shared: &Arc<Shared>) {
        let Some(member) = &shared.member else { return };
        self.throttle.joined();
        self.members.lock().by_number.insert(member.number, Arc::downgrade(shared));
    }

    /// The flusher is woken from now on when there is too much debt.
    pub(crate) fn add_flusher(&self, flusher: FlusherRef) {
        self.flushers.lock().push(flusher);
    }

    pub(crate) fn remove_flusher(&self, flusher: &FlusherRef) {
        self.flushers.lock().retain(|other| !other.is(flusher));
    }

    #[cold]
    pub(crate) fn wake_flushers(&self) {
        // Cloned: waking takes a flusher's lock, and its end takes this one.
        let flushers = self.flushers.lock().clone();
        flushers.iter().for_each(FlusherRef::kick);
    }
}

impl Mapping {
    /// Pages whose DIRTY flag is set.
    pub(crate) fn dirty(&self) -> u64 {
        self.shared.counters.dirty.get()
    }
}

/// A place for one page, taken before any lock is. Without use it is given back.
#[derive(Debug)]
#[must_use = "it is a place for a page"]
pub(crate) struct Room<'c>(Option<&'c Inner>);

impl Room<'_> {
    /// The page is in the index, and gives its place back when it leaves.
    pub(crate) fn take(&mut self) {
        self.0 = None;
    }
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        if let Some(cache) = self.0 {
            cache.give_back(1);
        }
    }
}

impl Shared {
    /// Takes a place for a page, if this mapping is in a cache. The caller has no lock and no latch.
    pub(crate) fn make_room(&self) -> Room<'_> {
        let Some(member) = &self.member else { return Room(None) };
        let cache = &*member.cache;
        if !cache.take_place() {
            cache.make_room(member);
        }
        Room(Some(cache))
    }

    /// What it has in its cache, if it is in one.
    pub(crate) fn join(cache: &PageCache) -> Member {
        Member::new(Arc::clone(&cache.inner))
    }
}

impl Drop for Shared {
    /// What it still has leaves the cache.
    fn drop(&mut self) {
        let Some(member) = &self.member else { return };
        let mut members = member.cache.members.lock();
        members.by_number.remove(&member.number);
        let alive = &members.by_number;
        member.cache.newcomers.forget(alive.len(), |number| alive.contains_key(&number));
        drop(members);
        member.cache.give_back(self.counters.cached.get());
        // Nothing is under way: whoever writes has a reference to the mapping.
        member.cache.throttle.left(&member.account, self.counters.dirty.get());
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner").field("places", &self.places()).finish_non_exhaustive()
    }
}
