//! Reads: where the bytes are, the way there, and read-ahead.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use slatedb::Db;
use slatedb::config::ScanOptions;
use writeback::StoreError;
use writeback::store::ReadRun;

use crate::error::{corrupt, store_error, timed_out};
use crate::keys::{Space, chunk_of};
use crate::layer::{From, Piece, find};
use crate::pages::{Inner, State};

/// How many places are read from at once for one read.
const AT_ONCE: usize = 16;
/// What a key and its entry take in the database, about.
const BESIDE: usize = 48;
const BLOCK: usize = 64 << 10;

pub(crate) fn read(inner: &Arc<Inner>, run: ReadRun) {
    let (count, chunks, pieces) = {
        let state = inner.state.lock();
        let count = state.len.saturating_sub(run.offset()).min(run.len());
        let end = run.offset().saturating_add(count).div_ceil(inner.chunk);
        let chunks = run.offset() / inner.chunk..end;
        match count {
            0 => (0, chunks, Vec::new()),
            _ => (count, chunks.clone(), locate(&state, chunks)),
        }
    };
    if count == 0 {
        return run.complete(Ok(0));
    }
    if let Some(chunks) = in_memory(&pieces) {
        return fill(inner, run, count, &chunks);
    }
    let inner = Arc::clone(inner);
    let handle = inner.handle.clone();
    let _reading = handle.spawn(async move {
        let patience = inner.options.patience;
        let reading = tokio::time::timeout(patience, gather(&inner, chunks));
        match reading.await.unwrap_or_else(|_| Err(timed_out(patience))) {
            Ok(chunks) => fill(&inner, run, count, &chunks),
            Err(error) => run.complete(Err(error)),
        }
    });
}

fn locate(state: &State, chunks: Range<u64>) -> Vec<Piece> {
    let mut layers = vec![&state.now];
    layers.extend(state.going.as_deref());
    find(&layers, &state.stored, state.record.end, chunks)
}

/// One value a chunk, if nothing has to be fetched.
fn in_memory(pieces: &[Piece]) -> Option<Vec<Bytes>> {
    let mut chunks = Vec::new();
    for piece in pieces {
        match &piece.from {
            From::Memory(bytes) => chunks.push(kept(bytes, piece.keep)),
            From::Zeros => chunks.extend(piece.chunks.clone().map(|_| Bytes::new())),
            From::Stored(_) => return None,
        }
    }
    Some(chunks)
}

fn kept(bytes: &Bytes, keep: usize) -> Bytes {
    bytes.slice(..keep.min(bytes.len()))
}

/// Ends `run` with `count` bytes of these chunks.
fn fill(inner: &Inner, mut run: ReadRun, count: u64, chunks: &[Bytes]) {
    let size = inner.chunk_len();
    let mut skip = usize::try_from(run.offset() % inner.chunk).expect("less than a chunk");
    let mut chunks = chunks.iter();
    let mut chunk = chunks.next();
    for mut buffer in run.buffers() {
        while !buffer.is_empty() {
            let part = buffer.len().min(size - skip);
            let (into, rest) = buffer.split_at_mut(part);
            let bytes = chunk.and_then(|chunk| chunk.get(skip..)).unwrap_or(&[]);
            let there = bytes.len().min(part);
            into[..there].copy_from_slice(&bytes[..there]);
            into[there..].fill(0);
            buffer = rest;
            skip += part;
            if skip == size {
                (skip, chunk) = (0, chunks.next());
            }
        }
    }
    run.complete(Ok(count));
}

/// The bytes of `chunks`, from what was fetched ahead where that is.
async fn gather(inner: &Arc<Inner>, chunks: Range<u64>) -> Result<Vec<Bytes>, StoreError> {
    if !inner.options.read_ahead {
        return fetch(inner, chunks).await;
    }
    look_ahead(inner, &chunks);
    let per_segment = inner.ahead.lock().per_segment;
    let mut gathered = Vec::new();
    let mut direct = chunks.start..chunks.start;
    let mut next = chunks.start;
    while next < chunks.end {
        let segment = next / per_segment;
        let part = next..chunks.end.min((segment + 1) * per_segment);
        next = part.end;
        let ahead = inner.ahead.lock().take(segment, &part);
        let fetched = match ahead {
            Some(fetch) => fetch.await,
            None => None,
        };
        match fetched {
            Some(values) => {
                gathered.extend(fetch(inner, direct).await?);
                let at = |chunk| usize::try_from(chunk - segment * per_segment).expect("small");
                // The store may have been shorter when the segment was begun; what has been added since is zeros, or the
                // segment would have been forgotten.
                let last = at(part.end).min(values.len());
                let there = at(part.start).min(last)..last;
                let missing = usize::try_from(part.end - part.start).expect("small") - there.len();
                gathered.extend_from_slice(&values[there]);
                gathered.extend((0..missing).map(|_| Bytes::new()));
                direct = next..next;
            }
            None => direct.end = next,
        }
    }
    gathered.extend(fetch(inner, direct).await?);
    Ok(gathered)
}

/// Begins to fetch what a reader in sequence will want next.
fn look_ahead(inner: &Arc<Inner>, chunks: &Range<u64>) {
    // Held until all is begun: a write in between would not forget what it does not find, and it may go beyond `end`.
    let state = inner.state.lock();
    let end = state.len.div_ceil(inner.chunk);
    let mut ahead = inner.ahead.lock();
    for segment in ahead.note(chunks, end) {
        if ahead.has(segment) {
            continue;
        }
        let wanted = segment * ahead.per_segment..((segment + 1) * ahead.per_segment).min(end);
        let own = Arc::clone(inner);
        let fetching = inner.handle.spawn(async move {
            let patience = own.options.patience;
            let fetched = tokio::time::timeout(patience, fetch(&own, wanted)).await.ok()?;
            Some(Arc::from(fetched.ok()?))
        });
        let fetch = async move { fetching.await.ok().flatten() }.boxed().shared();
        ahead.begin(segment, fetch);
    }
}

/// The bytes of `chunks`, as they are at some time during the call.
async fn fetch(inner: &Inner, chunks: Range<u64>) -> Result<Vec<Bytes>, StoreError> {
    if chunks.is_empty() {
        return Ok(Vec::new());
    }
    let (_places, pieces) = {
        let state = inner.state.lock();
        let places = Arc::clone(&state.places).try_read_owned();
        (places.expect("locked only when it is not this one any more"), locate(&state, chunks))
    };
    let loads = pieces.into_iter().map(|piece| load(inner, piece));
    let parts: Vec<_> = stream::iter(loads).buffered(AT_ONCE).try_collect().await?;
    Ok(parts.concat())
}

/// The bytes of one piece. Nobody may delete them meanwhile.
pub(crate) async fn load(inner: &Inner, piece: Piece) -> Result<Vec<Bytes>, StoreError> {
    let (db, size) = (&inner.db, inner.chunk_len());
    let len = usize::try_from(piece.chunks.end - piece.chunks.start).expect("fits a buffer");
    let mut values = vec![Bytes::new(); len];
    match piece.from {
        From::Zeros => {}
        From::Memory(bytes) => values[0] = bytes,
        From::Stored(space) if len == 1 => {
            let value = db.get(space.key(piece.chunks.start)).await.map_err(store_error)?;
            lacks_none(space, usize::from(value.is_some()), 1)?;
            values[0] = value.unwrap_or_default();
        }
        From::Stored(space) => scan(db, space, &piece.chunks, size, &mut values).await?,
    }
    values.iter_mut().for_each(|value| *value = kept(value, piece.keep));
    Ok(values)
}

async fn scan(
    db: &Db,
    space: Space,
    chunks: &Range<u64>,
    size: usize,
    values: &mut [Bytes],
) -> Result<(), StoreError> {
    // One request for all of them, with what stands beside each and the rest of a block, and not much more: what is fetched is
    // not cut off where the scan ends.
    let bytes = values.len() * (size + BESIDE) + BLOCK;
    let options = ScanOptions { read_ahead_bytes: bytes, ..ScanOptions::default() };
    let mut found =
        db.scan_with_options(space.keys(chunks), &options).await.map_err(store_error)?;
    let mut count = 0;
    while let Some(entry) = found.next().await.map_err(store_error)? {
        count += 1;
        let chunk = chunk_of(&entry.key).filter(|chunk| chunks.contains(chunk));
        let chunk = chunk.ok_or_else(|| corrupt("a key that no chunk has"))?;
        values[usize::try_from(chunk - chunks.start).expect("within the piece")] = entry.value;
    }
    lacks_none(space, count, values.len())
}

/// A chunk of pages that is not there is zeros. What a run names is there.
fn lacks_none(space: Space, count: usize, chunks: usize) -> Result<(), StoreError> {
    match space {
        Space::Spilled(_) if count < chunks => Err(corrupt("a chunk that a run names is missing")),
        _ => Ok(()),
    }
}
