//! Opening: is there anything, is it ours, and what did a crash leave behind.

use std::collections::VecDeque;
use std::sync::Arc;

use futures::StreamExt;
use parking_lot::Mutex;
use slatedb::admin::Admin;
use slatedb::config::DbReaderOptions;
use slatedb::db_cache::SplitCache;
use slatedb::db_cache::moka::{MokaCache, MokaCacheOptions};
use slatedb::object_store::ObjectStore;
use slatedb::object_store::path::Path;
use slatedb::{Db, DbReadOps, DbReader, DbReaderMode, SstBlockSize};
use tokio::runtime::Handle;

use crate::ahead::Ahead;
use crate::error::OpenError;
use crate::garbage::{Heap, Part};
use crate::keys::{self, Record};
use crate::layer::Layer;
use crate::options::ObjectOptions;
use crate::pages::{Inner, State};
use crate::runs::Runs;

pub(crate) async fn open(
    handle: Handle,
    path: Path,
    objects: Arc<dyn ObjectStore>,
    options: ObjectOptions,
) -> Result<Inner, OpenError> {
    // Asked here, because the database asks again and again, whatever the answer.
    if let Some(Err(error)) = objects.list(Some(&path)).next().await {
        return Err((&error).into());
    }
    look_first(&path, &objects, &options).await?;
    let db = build_again(&path, &objects, &options).await?;
    let state = match load(&db, &options).await {
        Ok(state) => state,
        Err(error) => {
            let _ = db.close().await;
            return Err(error);
        }
    };
    let chunk = u64::from(options.chunk);
    let epoch = db.manifest().writer_epoch();
    Ok(Inner {
        db,
        handle,
        objects,
        path,
        chunk,
        options,
        epoch,
        state: Mutex::new(state),
        turn: tokio::sync::Mutex::new(()),
        ahead: Mutex::new(Ahead::new(chunk)),
        spilled: 0.into(),
    })
}

/// Of two that make a database at the same time one is told that its first object exists: then it is there to be opened.
async fn build_again(
    path: &Path,
    objects: &Arc<dyn ObjectStore>,
    options: &ObjectOptions,
) -> Result<Db, OpenError> {
    const TIMES: u32 = 8;
    for _ in 1..TIMES {
        match build(path, objects, options).await {
            Err(OpenError::Store(error))
                if error.to_string().contains("version already exists") => {}
            outcome => return outcome,
        }
    }
    build(path, objects, options).await
}

async fn build(
    path: &Path,
    objects: &Arc<dyn ObjectStore>,
    options: &ObjectOptions,
) -> Result<Db, OpenError> {
    let mut settings = options.settings.clone();
    settings.wal_enabled = options.wal;
    let mut builder = Db::builder(path.clone(), Arc::clone(objects))
        .with_settings(settings)
        // Chunks lie side by side, and a request costs more than bytes do.
        .with_sst_block_size(SstBlockSize::Block64Kib);
    builder = match options.cache_bytes / 2 {
        0 => builder.with_db_cache_disabled(),
        half => {
            let moka = || {
                MokaCache::new_with_opts(MokaCacheOptions {
                    max_capacity: half,
                    ..MokaCacheOptions::default()
                })
            };
            let cache = SplitCache::new()
                .with_block_cache(Some(Arc::new(moka())))
                .with_meta_cache(Some(Arc::new(moka())));
            builder.with_db_cache(Arc::new(cache.build()), 0)
        }
    };
    if let Some(epoch) = options.expected_epoch {
        builder = builder.with_expected_epoch(epoch);
    }
    Ok(builder.build().await?)
}

/// Refuses what [`load`] would refuse, before anybody is shut out for it: only reads.
async fn look_first(
    path: &Path,
    objects: &Arc<dyn ObjectStore>,
    options: &ObjectOptions,
) -> Result<(), OpenError> {
    let admin = Admin::builder(path.clone(), Arc::clone(objects)).build();
    if !admin.read_manifest(None).await?.is_some_and(|manifest| manifest.initialized()) {
        return Ok(());
    }
    // What tables say is enough, if they say anything: the chunk size never changes. Else the whole log is read.
    for skip_wal_replay in [true, false] {
        let settings = DbReaderOptions {
            skip_wal_replay,
            object_store_max_retries: options.settings.object_store_max_retries,
            ..DbReaderOptions::default()
        };
        let reader = DbReader::builder(path.clone(), Arc::clone(objects))
            .with_reader_mode(DbReaderMode::FollowLatest)
            .with_options(settings)
            .with_db_cache_disabled();
        let reader = reader.build().await?;
        let seen = look(&reader, options, skip_wal_replay).await;
        let _ = reader.close().await;
        if seen? {
            break;
        }
    }
    Ok(())
}

/// Tells whether there is something, and it is all right.
async fn look(
    reader: &DbReader,
    options: &ObjectOptions,
    only_tables: bool,
) -> Result<bool, OpenError> {
    match reader.get(keys::RECORD).await? {
        Some(bytes) => check(&bytes, options).map(|_| true),
        None if only_tables => Ok(false),
        None => nothing_else(reader).await.map(|()| true),
    }
}

fn check(bytes: &[u8], options: &ObjectOptions) -> Result<Record, OpenError> {
    let record = Record::decode(bytes).ok_or(OpenError::Foreign("its record cannot be read"))?;
    match record.chunk == options.chunk {
        true => Ok(record),
        false => Err(OpenError::Chunk { stored: record.chunk, asked: options.chunk }),
    }
}

async fn load(db: &Db, options: &ObjectOptions) -> Result<State, OpenError> {
    let record = match db.get(keys::RECORD).await? {
        Some(bytes) => check(&bytes, options)?,
        None => {
            nothing_else(db).await?;
            Record { chunk: options.chunk, len: 0, generation: 0, end: 0 }
        }
    };
    // No opening had this epoch before, also not one of the store that this is a clone of: so no generation is used again,
    // and what was spilled for a flush that never came can stay until it is swept up.
    let first = (db.manifest().writer_epoch() << 32).max(record.generation + 2);
    let orphans = vec![Part::Generations(record.generation + 1..first)];
    let orphans = Arc::new(Heap::new(first - 1, orphans));
    let mut heaps = load_heaps(db).await?;
    heaps.retain(|heap| heap.number != orphans.number);
    heaps.push_back(Arc::clone(&orphans));
    Ok(State {
        len: record.len,
        now: Layer::default(),
        going: None,
        stored: load_runs(db).await?,
        record,
        generation: first,
        failed: None,
        spilling: false,
        waiting: VecDeque::new(),
        places: Arc::default(),
        heaps,
        sweeping: false,
        unrecorded: Some(orphans),
        first,
    })
}

async fn load_heaps(db: &Db) -> Result<VecDeque<Arc<Heap>>, OpenError> {
    let mut heaps = VecDeque::new();
    let mut found = db.scan_with_options(keys::heaps(), &keys::long_scan()).await?;
    while let Some(entry) = found.next().await? {
        let number = keys::chunk_of(&entry.key);
        let heap = number.and_then(|number| Heap::decode(number, &entry.value));
        heaps.push_back(Arc::new(heap.ok_or(OpenError::Foreign("garbage cannot be read"))?));
    }
    Ok(heaps)
}

/// Where nothing was flushed yet there may be what was spilled.
async fn nothing_else(db: &(impl DbReadOps + Sync)) -> Result<(), OpenError> {
    let spilled = keys::spilled_since(0);
    for range in
        [bytes::Bytes::new()..spilled.start, spilled.end..bytes::Bytes::from_static(&[0xff; 17])]
    {
        if db.scan(range).await?.next().await?.is_some() {
            return Err(OpenError::Foreign("it has keys, but no record"));
        }
    }
    Ok(())
}

async fn load_runs(db: &Db) -> Result<Runs, OpenError> {
    let mut runs = Runs::default();
    let mut found = db.scan_with_options(keys::runs(), &keys::long_scan()).await?;
    while let Some(entry) = found.next().await? {
        let (range, generation) = keys::run_of(&entry.key, &entry.value)
            .filter(|(range, _)| !range.is_empty())
            .ok_or(OpenError::Foreign("a run cannot be read"))?;
        runs.insert(range, generation);
    }
    runs.keep();
    Ok(runs)
}
