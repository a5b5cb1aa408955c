//! Opening: is there anything, is it ours, and what did a crash leave behind.

use std::collections::VecDeque;
use std::sync::Arc;

use futures::StreamExt;
use parking_lot::Mutex;
use slatedb::db_cache::SplitCache;
use slatedb::db_cache::moka::{MokaCache, MokaCacheOptions};
use slatedb::object_store::ObjectStore;
use slatedb::object_store::path::Path;
use slatedb::{Db, SstBlockSize, WriteBatch};
use tokio::runtime::Handle;

use crate::ahead::Ahead;
use crate::error::OpenError;
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
        places: tokio::sync::RwLock::new(()),
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

async fn load(db: &Db, options: &ObjectOptions) -> Result<State, OpenError> {
    let record = match db.get(keys::RECORD).await? {
        Some(bytes) => {
            Record::decode(&bytes).ok_or(OpenError::Foreign("its record cannot be read"))?
        }
        None => {
            nothing_else(db).await?;
            Record { chunk: options.chunk, len: 0, generation: 0, end: 0 }
        }
    };
    if record.chunk != options.chunk {
        return Err(OpenError::Chunk { stored: record.chunk, asked: options.chunk });
    }
    remove_orphans(db, record.generation + 1).await?;
    Ok(State {
        len: record.len,
        now: Layer::default(),
        going: None,
        stored: load_runs(db).await?,
        record,
        generation: record.generation + 1,
        failed: None,
        spilling: false,
        waiting: VecDeque::new(),
    })
}

/// Where nothing was flushed yet there may be what was spilled.
async fn nothing_else(db: &Db) -> Result<(), OpenError> {
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

/// What was spilled for a flush that never came. The generation is used again, so none of it may be left.
async fn remove_orphans(db: &Db, generation: u64) -> Result<(), OpenError> {
    let mut found = db.scan(keys::spilled_since(generation)).await?;
    let mut more = true;
    while more {
        let mut batch = WriteBatch::new();
        for _ in 0..1024 {
            match found.next().await? {
                Some(entry) => batch.delete(entry.key),
                None => more = false,
            }
        }
        if !batch.is_empty() {
            db.write(batch).await?;
        }
    }
    Ok(())
}

async fn load_runs(db: &Db) -> Result<Runs, OpenError> {
    let mut runs = Runs::default();
    let mut found = db.scan(keys::runs()).await?;
    while let Some(entry) = found.next().await? {
        let (range, generation) = keys::run_of(&entry.key, &entry.value)
            .filter(|(range, _)| !range.is_empty())
            .ok_or(OpenError::Foreign("a run cannot be read"))?;
        runs.insert(range, generation);
    }
    runs.take_changes();
    Ok(runs)
}
