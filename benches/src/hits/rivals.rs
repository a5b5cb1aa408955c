//! Who is asked.

use std::hash::BuildHasher;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use foldhash::fast::FixedState;
use foyer_memory::{CacheBuilder, S3FifoConfig};
use writeback::store::{
    Completion, FlushCompletion, FlushKind, Limits, ReadRun, Store, WriteBatch,
};
use writeback::{CacheConfig, Config, Mapping, PageCache, StoreError};

use super::Cache;
use crate::contender::narrow;

/// A cache that is measured.
#[derive(Debug)]
pub struct Rival {
    /// As tables show it.
    pub name: &'static str,
    /// What it is, in a few words.
    pub what: &'static str,
    /// Opens one with room for so many pages.
    pub open: fn(u64) -> Box<dyn Cache>,
}

/// All who are measured: `writeback` first, in as many ways as [`OURS`](super::OURS) says.
pub const RIVALS: &[Rival] = &[
    Rival {
        name: "writeback",
        what: "`PageCache`, used by `Handle::read_at`",
        open: |capacity| Box::new(Pages::open(capacity, Way::Handle)),
    },
    Rival {
        name: "by page",
        what: "the same, used by `Mapping::page` and `PageRef::read_with`",
        open: |capacity| Box::new(Pages::open(capacity, Way::Page)),
    },
    Rival {
        name: "lru",
        what: "crate `lru`",
        open: |capacity| {
            let room = NonZeroUsize::new(narrow(capacity)).unwrap_or(NonZeroUsize::MIN);
            Box::new(Lru(lru::LruCache::new(room)))
        },
    },
    Rival {
        name: "S3-FIFO",
        what: "crate `foyer-memory`, one shard",
        open: |capacity| {
            let builder = CacheBuilder::new(narrow(capacity)).with_shards(1);
            Box::new(Foyer(builder.with_eviction_config(S3FifoConfig::default()).build()))
        },
    },
    Rival {
        name: "quick_cache",
        what: "crate `quick_cache`: Clock-PRO and S3-FIFO in one",
        open: |capacity| {
            let room = narrow(capacity);
            let cache = quick_cache::unsync::Cache::with(
                room,
                capacity,
                quick_cache::UnitWeighter,
                FixedState::default(),
                quick_cache::unsync::DefaultLifecycle::default(),
            );
            Box::new(Quick(cache))
        },
    },
    Rival {
        name: "moka",
        what: "crate `moka`: TinyLFU",
        open: |capacity| {
            let builder = moka::sync::Cache::builder().max_capacity(capacity);
            Box::new(Moka(builder.build_with_hasher(FixedState::default())))
        },
    },
];

/// How pages are used.
#[derive(Clone, Copy, Debug)]
enum Way {
    Handle,
    Page,
}

/// Bytes in a page. Nobody looks at them.
const PAGE: usize = 512;

struct Pages {
    zeros: Arc<Zeros>,
    mapping: Mapping,
    way: Way,
}

impl Pages {
    fn open(capacity: u64, way: Way) -> Self {
        let cache =
            PageCache::new(CacheConfig::bytes(capacity * PAGE as u64)).expect("there is room");
        let zeros = Arc::new(Zeros::default());
        let config = Config::new().page_size(PAGE).cache(&cache);
        let mapping = Mapping::with_config(zeros.clone(), config).expect("a store without errors");
        Self { zeros, mapping, way }
    }
}

impl Cache for Pages {
    fn hit(&mut self, page: u64) -> bool {
        let before = self.zeros.0.load(Ordering::Relaxed);
        match self.way {
            Way::Handle => {
                let (handle, mut bytes) = (self.mapping.handle(), [1; 8]);
                let read = handle.read_at(&mut bytes, page * PAGE as u64);
                assert_eq!((read.ok(), bytes), (Some(8), [0; 8]));
            }
            Way::Page => {
                let page = self.mapping.page(page).expect("a store without errors");
                page.read_with(|bytes| assert_eq!(bytes[0], 0));
            }
        }
        self.zeros.0.load(Ordering::Relaxed) == before
    }
}

/// Zeros without end, and how often they were read.
#[derive(Debug, Default)]
struct Zeros(AtomicU64);

impl Store for Zeros {
    fn limits(&self) -> Limits {
        Limits::default()
    }

    fn len(&self) -> Result<u64, StoreError> {
        Ok(1 << 40)
    }

    fn set_len(&self, _len: u64) -> Result<(), StoreError> {
        Ok(())
    }

    fn read(&self, run: ReadRun) {
        run.fill(|_offset, into| {
            self.0.fetch_add(1, Ordering::Relaxed);
            into.fill(0);
            Ok(into.len())
        });
    }

    fn write(&self, batch: WriteBatch, completion: Completion) {
        completion.complete(Ok(batch.len()));
    }

    fn flush(&self, _kind: FlushKind, completion: FlushCompletion) {
        completion.complete(Ok(()));
    }
}

struct Lru(lru::LruCache<u64, ()>);

impl Cache for Lru {
    fn hit(&mut self, page: u64) -> bool {
        let hit = self.0.get(&page).is_some();
        if !hit {
            self.0.put(page, ());
        }
        hit
    }
}

struct Foyer(foyer_memory::Cache<u64, ()>);

impl Cache for Foyer {
    fn hit(&mut self, page: u64) -> bool {
        let hit = self.0.get(&page).is_some();
        if !hit {
            self.0.insert(page, ());
        }
        hit
    }
}

struct Quick<H>(quick_cache::unsync::Cache<u64, (), quick_cache::UnitWeighter, H>);

impl<H: BuildHasher> Cache for Quick<H> {
    fn hit(&mut self, page: u64) -> bool {
        let hit = self.0.get(&page).is_some();
        if !hit {
            self.0.insert(page, ());
        }
        hit
    }
}

struct Moka<H>(moka::sync::Cache<u64, (), H>);

impl<H: BuildHasher + Clone + Send + Sync + 'static> Cache for Moka<H> {
    fn hit(&mut self, page: u64) -> bool {
        let hit = self.0.get(&page).is_some();
        if !hit {
            self.0.insert(page, ());
            // It puts off what it has to do, by the clock.
            self.0.run_pending_tasks();
        }
        hit
    }
}
