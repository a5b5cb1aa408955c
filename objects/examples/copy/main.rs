//! Copies a file to an object store and back, and tells what that costs; or compares it with plain puts and gets of the same bytes.
//!
//! ```text
//! cargo run --release --example s3_server -- --root DIR --port 9000
//! cargo run --release --example copy -- --url http://127.0.0.1:9000 in disk.img
//! cargo run --release --example copy -- --url http://127.0.0.1:9000 out copy.img
//! cargo run --release --example copy -- --url http://127.0.0.1:9000 compare --mib 256 --rounds 3
//! ```
//!
//! Dollars are those of S3's standard class: 0.005 for 1,000 puts and lists, 0.0004 for 1,000 gets; bytes between machines of one region cost nothing.

use std::error::Error;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::{Parser, Subcommand};
use futures::{StreamExt, TryStreamExt, stream};
use writeback::{CacheConfig, Config, Flusher, FlusherConfig, Handle, Mapping, PageCache};
use writeback_objects::ObjectPages;
use writeback_objects::object_store::aws::AmazonS3Builder;
use writeback_objects::object_store::{ObjectStore, ObjectStoreExt};

mod counting;

use counting::{Counting, Counts};

const MIB: usize = 1 << 20;
/// Of plain objects, and how many at once.
const OBJECT: usize = 8 * MIB;
const AT_ONCE: usize = 8;
/// Of the page cache.
const MEMORY: u64 = 64 << 20;
/// How many threads read, each its own part.
const READERS: u64 = 4;

type Result<T, E = Box<dyn Error + Send + Sync>> = std::result::Result<T, E>;

#[derive(Parser)]
struct Options {
    #[arg(long, default_value = "http://127.0.0.1:9000")]
    url: String,
    #[arg(long, default_value = "disks")]
    bucket: String,
    /// Of the store in the bucket.
    #[arg(long, default_value = "copy")]
    path: String,
    /// Bytes of a key and of a page.
    #[arg(long, default_value_t = 4096)]
    chunk: u32,
    /// Without the log: each byte is sent once less.
    #[arg(long)]
    no_wal: bool,
    /// Size of a table of the database, if it is to be another than the store's own choice.
    #[arg(long)]
    table_mib: Option<usize>,
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// A file into the store.
    In { file: PathBuf },
    /// The store into a file.
    Out { file: PathBuf },
    /// Random bytes both ways, and plain objects both ways, in turn.
    Compare {
        #[arg(long, default_value_t = 256)]
        mib: usize,
        #[arg(long, default_value_t = 3)]
        rounds: usize,
    },
}

impl Options {
    /// With the keys of `s3_server`, unless the environment has others.
    fn bucket(&self) -> Result<Arc<Counting>> {
        let client = AmazonS3Builder::from_env()
            .with_endpoint(&self.url)
            .with_allow_http(true)
            .with_bucket_name(&self.bucket);
        let client = match std::env::var_os("AWS_ACCESS_KEY_ID") {
            Some(_) => client,
            None => client.with_access_key_id("test").with_secret_access_key("testtest"),
        };
        Ok(Arc::new(Counting::new(client.build()?)))
    }

    fn open(&self, path: &str, bucket: &Arc<Counting>) -> Result<(ObjectPages, Mapping)> {
        let mut store = ObjectPages::options()
            .chunk(self.chunk)
            .wal(!self.no_wal)
            .patience(Duration::from_secs(600));
        if let Some(mib) = self.table_mib {
            store = store.settings(|settings| settings.l0_sst_size_bytes = mib * MIB);
        }
        let store = store.open(path, Arc::clone(bucket) as Arc<dyn ObjectStore>)?;
        let page = usize::try_from(self.chunk)?;
        let cache = PageCache::new(CacheConfig::new(MEMORY / u64::from(self.chunk)))?;
        let config = Config::new().page_size(page).cache(&cache);
        Ok((store.clone(), Mapping::with_config(Arc::new(store), config)?))
    }
}

/// What a copy took.
struct Cost {
    seconds: f64,
    counts: Counts,
}

impl Cost {
    fn tell(&self, what: &str, bytes: u64) {
        let Counts { put, get, other, up, down } = self.counts;
        let dollars = (put + other) as f64 * 0.005 / 1000.0 + get as f64 * 0.0004 / 1000.0;
        println!(
            "{what:<14} {:>7.2} s {:>8.1} MiB/s  {put:>5} put {get:>6} get {other:>5} list and delete  {:>7.1} MiB up {:>7.1} down  ${dollars:.5}",
            self.seconds,
            bytes as f64 / MIB as f64 / self.seconds,
            up as f64 / MIB as f64,
            down as f64 / MIB as f64,
        );
    }
}

fn measured<T>(bucket: &Counting, work: impl FnOnce() -> Result<T>) -> Result<(T, Cost)> {
    let (before, start) = (bucket.counts(), Instant::now());
    let done = work()?;
    let seconds = start.elapsed().as_secs_f64();
    Ok((done, Cost { seconds, counts: bucket.counts() - before }))
}

/// Until all of it is durable.
fn copy_in(mapping: &Mapping, len: u64, read: impl Fn(u64, &mut [u8]) -> Result<()>) -> Result<()> {
    let flusher = Flusher::start([mapping.clone()], FlusherConfig::new())?;
    let handle = mapping.handle();
    let mut buffer = vec![0; MIB];
    for offset in (0..len).step_by(MIB) {
        let part = &mut buffer[..usize::try_from((len - offset).min(MIB as u64))?];
        read(offset, part)?;
        handle.write_at(part, offset)?;
    }
    handle.set_len(len)?;
    handle.sync_data()?;
    flusher.stop();
    Ok(())
}

fn copy_out(handle: &Handle, write: impl Fn(u64, &[u8]) -> Result<()> + Sync) -> Result<()> {
    let (len, write) = (handle.len(), &write);
    let part = len.div_ceil(READERS).next_multiple_of(MIB as u64);
    thread::scope(|scope| {
        let read = |start: u64| -> Result<()> {
            let mut buffer = vec![0; MIB];
            for offset in (start..(start + part).min(len)).step_by(MIB) {
                let count = handle.read_at(&mut buffer, offset)?;
                write(offset, &buffer[..count])?;
            }
            Ok(())
        };
        let readers: Vec<_> =
            (0..READERS).map(|reader| scope.spawn(move || read(reader * part))).collect();
        readers.into_iter().try_for_each(|reader| reader.join().expect("no reader panics"))
    })
}

fn main() -> Result<()> {
    let options = Options::parse();
    let bucket = options.bucket()?;
    match &options.what {
        What::In { file } => {
            let file = File::open(file)?;
            let len = file.metadata()?.len();
            let (store, mapping) = options.open(&options.path, &bucket)?;
            let read = |offset, part: &mut [u8]| Ok(file.read_exact_at(part, offset)?);
            let ((), cost) = measured(&bucket, || copy_in(&mapping, len, read))?;
            cost.tell("in", len);
            let ((), cost) = measured(&bucket, || Ok(store.close()?))?;
            cost.tell("close", len);
        }
        What::Out { file } => {
            let file = File::create(file)?;
            let ((_, mapping), cost) = measured(&bucket, || options.open(&options.path, &bucket))?;
            cost.tell("open", 0);
            let handle = mapping.handle();
            file.set_len(handle.len())?;
            let write = |offset, part: &[u8]| Ok(file.write_all_at(part, offset)?);
            let ((), cost) = measured(&bucket, || copy_out(&handle, write))?;
            cost.tell("out", handle.len());
            file.sync_all()?;
        }
        What::Compare { mib, rounds } => compare(&options, &bucket, *mib, *rounds)?,
    }
    Ok(())
}

fn compare(options: &Options, bucket: &Arc<Counting>, mib: usize, rounds: usize) -> Result<()> {
    let mut bytes = vec![0; mib * MIB];
    let mut random = fastrand::Rng::with_seed(15);
    random.fill(&mut bytes);
    let bytes = Bytes::from(bytes);
    let len = bytes.len() as u64;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let (mut ins, mut outs) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        let path = format!("compare-{}-{round}", std::process::id());
        let ((), plain_in) =
            measured(bucket, || runtime.block_on(put_plain(bucket, &path, &bytes)))?;
        plain_in.tell("plain puts", len);
        let ((), parts_in) =
            measured(bucket, || runtime.block_on(put_in_parts(bucket, &path, &bytes)))?;
        parts_in.tell("in parts", len);
        let ((), plain_out) =
            measured(bucket, || runtime.block_on(get_plain(bucket, &path, &bytes)))?;
        plain_out.tell("plain gets", len);

        let (store, mapping) = options.open(&path, bucket)?;
        let read = |offset, part: &mut [u8]| {
            let offset = usize::try_from(offset)?;
            part.copy_from_slice(&bytes[offset..offset + part.len()]);
            Ok(())
        };
        let ((), own_in) = measured(bucket, || copy_in(&mapping, len, read))?;
        own_in.tell("in", len);
        let ((), closing) = measured(bucket, || Ok(store.close()?))?;
        closing.tell("and close", len);
        drop((store, mapping));

        let ((_, mapping), opening) = measured(bucket, || options.open(&path, bucket))?;
        opening.tell("open", 0);
        let same = |offset, part: &[u8]| {
            let offset = usize::try_from(offset)?;
            if part == &bytes[offset..offset + part.len()] {
                Ok(())
            } else {
                Err("other bytes than were written".into())
            }
        };
        let ((), own_out) = measured(bucket, || copy_out(&mapping.handle(), same))?;
        own_out.tell("out", len);
        ins.push(plain_in.seconds / own_in.seconds);
        outs.push(plain_out.seconds / own_out.seconds);
    }
    for (what, ratios) in [("in", &mut ins), ("out", &mut outs)] {
        ratios.sort_by(f64::total_cmp);
        let median = ratios[ratios.len() / 2];
        println!(
            "{what}: {median:.2} [{:.2}-{:.2}] of what plain objects do",
            ratios[0],
            ratios[ratios.len() - 1]
        );
    }
    Ok(())
}

async fn put_plain(bucket: &Arc<Counting>, path: &str, bytes: &Bytes) -> Result<()> {
    let puts = (0..bytes.len()).step_by(OBJECT).map(|start| {
        let part = bytes.slice(start..(start + OBJECT).min(bytes.len()));
        let name = format!("plain/{path}/{start}").into();
        async move { bucket.put(&name, part.into()).await }
    });
    stream::iter(puts).buffer_unordered(AT_ONCE).try_for_each(|_| async { Ok(()) }).await?;
    Ok(())
}

/// As the database puts its tables: objects of 64 MiB, in parts. Some servers write such an object twice.
async fn put_in_parts(bucket: &Arc<Counting>, path: &str, bytes: &Bytes) -> Result<()> {
    let puts = (0..bytes.len()).step_by(8 * OBJECT).map(|start| {
        let whole = bytes.slice(start..(start + 8 * OBJECT).min(bytes.len()));
        let name = format!("parts/{path}/{start}").into();
        async move {
            let mut upload = bucket.put_multipart(&name).await?;
            let parts: Vec<_> = (0..whole.len())
                .step_by(OBJECT)
                .map(|start| {
                    upload.put_part(whole.slice(start..(start + OBJECT).min(whole.len())).into())
                })
                .collect();
            stream::iter(parts)
                .buffer_unordered(AT_ONCE / 4)
                .try_for_each(|()| async { Ok(()) })
                .await?;
            upload.complete().await
        }
    });
    stream::iter(puts).buffer_unordered(4).try_for_each(|_| async { Ok(()) }).await?;
    Ok(())
}

async fn get_plain(bucket: &Arc<Counting>, path: &str, bytes: &Bytes) -> Result<()> {
    let gets = (0..bytes.len()).step_by(OBJECT).map(|start| {
        let name = format!("plain/{path}/{start}").into();
        async move {
            let got = bucket.get(&name).await?.bytes().await?;
            let same = got == bytes.slice(start..(start + OBJECT).min(bytes.len()));
            if same { Ok(()) } else { Err("other bytes than were put".into()) }
        }
    });
    stream::iter(gets).buffer_unordered(AT_ONCE).try_collect::<Vec<()>>().await.map(drop)
}
