//! A mapping whose store is another mapping, as a loop device on a file: allowed, if the two are in caches of their own.

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use writeback::store::{
    Completion, FlushCompletion, FlushKind, Limits, ReadRun, Store, WriteBatch,
};
use writeback::{
    CacheConfig, Config, Error, Flusher, FlusherConfig, Handle, Mapping, MemStore, PageCache,
    StoreError,
};

use crate::within;

const PAGE: u64 = 4096;

#[derive(Debug)]
struct Over(Handle);

fn told(error: Error) -> StoreError {
    io::Error::from(error).into()
}

impl Store for Over {
    fn limits(&self) -> Limits {
        Limits::default()
    }

    fn len(&self) -> Result<u64, StoreError> {
        Ok(self.0.len())
    }

    fn set_len(&self, len: u64) -> Result<(), StoreError> {
        self.0.set_len(len).map_err(told)
    }

    fn read(&self, run: ReadRun) {
        run.fill(|offset, into| self.0.read_at(into, offset).map_err(told));
    }

    fn write(&self, batch: WriteBatch, completion: Completion) {
        let mut at = batch.offset();
        let written = batch.images().iter().try_for_each(|image| {
            let written = self.0.write_at(image.as_ref(), at);
            at += image.len() as u64;
            written
        });
        completion.complete(written.map(|()| batch.len()).map_err(told));
    }

    fn flush(&self, _: FlushKind, completion: FlushCompletion) {
        completion.complete_with(|| self.0.sync_data().map_err(told));
    }
}

#[test]
fn a_mapping_over_another_in_a_cache_of_its_own() {
    within(|| {
        let config = || {
            let limits = CacheConfig::new(64).pause_max(Duration::from_millis(1));
            Config::new().cache(&PageCache::new(limits).unwrap())
        };
        let store = MemStore::new();
        let lower = Mapping::with_config(Arc::new(store.clone()), config()).unwrap();
        let upper = Mapping::with_config(Arc::new(Over(lower.handle())), config()).unwrap();
        let often = FlusherConfig::new().interval(Duration::from_millis(5));
        let flusher = Flusher::start([upper.clone(), lower.clone()], often).unwrap();
        thread::scope(|scope| {
            for thread in 0..3_u8 {
                let handle = upper.handle();
                scope.spawn(move || {
                    for page in 0..100 {
                        let offset = (page * 3 + u64::from(thread)) * PAGE;
                        handle.write_at(&[thread + 1; 4096], offset).unwrap();
                    }
                    handle.sync_data().unwrap();
                });
            }
        });
        flusher.stop();
        let durable = store.durable();
        assert_eq!(durable.len(), 300 * 4096);
        let whole =
            |(at, page): (usize, &[u8])| page.iter().all(|byte| usize::from(*byte) == at % 3 + 1);
        assert!(durable.chunks(4096).enumerate().all(whole));
    });
}
