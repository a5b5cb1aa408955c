//! A disk on the network: an [nbdkit](https://libguestfs.org/nbdkit.1.html) plugin that serves a file through the page cache.
//!
//! ```text
//! cargo build --release -p engines --example nbd_disk
//! nbdkit --foreground target/release/examples/libnbd_disk.so file=disk.img size=1G
//! nbdcopy image.raw nbd://localhost
//! ```
//!
//! A write that was acknowledged is in the cache. It is durable when a flush that began later has been acknowledged, through whichever
//! connection (NBD's "multi-conn"), or when the write asked for that itself (NBD's FUA). Until then a `kill -9` or a power cut may take it.
//! What cannot be written or flushed fails with the store's error number, once for each connection, and stays in the cache.

#![allow(missing_docs, reason = "the functions that nbdkit looks for")]

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock};

use nbdkit::{Error, Flags, FuaFlags, Result, Server, ThreadModel, parse_size, plugin};
use writeback::{
    CacheConfig, Config, FileStore, Flusher, FlusherConfig, Handle, Mapping, PageCache,
};

/// Bytes of memory, if `memory` is not given.
const MEMORY: u64 = 256 << 20;
const PAGE: usize = 4096;

/// What the command line says.
struct Parameters {
    file: Option<PathBuf>,
    size: Option<u64>,
    memory: u64,
}

static PARAMETERS: Mutex<Parameters> =
    Mutex::new(Parameters { file: None, size: None, memory: MEMORY });
static DISK: OnceLock<Mapping> = OnceLock::new();
static FLUSHER: Mutex<Option<Flusher>> = Mutex::new(None);

/// One client's connection. It is told each failed write once, as every handle is.
struct Disk(Handle);

impl Server for Disk {
    fn name() -> &'static str {
        "writeback"
    }

    fn config_help() -> Option<&'static str> {
        Some(
            "file=PATH    (required) The file to serve; created if it does not exist.\n\
             size=BYTES   Its length from now on. Without it, the length it has.\n\
             memory=BYTES For cached pages, 256M if not given.",
        )
    }

    fn config(key: &str, value: &str) -> Result<()> {
        let mut parameters = PARAMETERS.lock().expect("nobody panics with it");
        match key {
            "file" => parameters.file = Some(value.into()),
            "size" => parameters.size = Some(bytes(value)?),
            "memory" => parameters.memory = bytes(value)?,
            _ => return Err(invalid(format!("unknown parameter {key}"))),
        }
        Ok(())
    }

    fn config_complete() -> Result<()> {
        match PARAMETERS.lock().expect("nobody panics with it").file {
            Some(_) => Ok(()),
            None => Err(invalid("the parameter file is missing".to_owned())),
        }
    }

    /// The cache and its flusher belong to the process that serves, which nbdkit has forked by now.
    fn after_fork() -> Result<()> {
        let mapping = open(&PARAMETERS.lock().expect("nobody panics with it"))?;
        let flusher = Flusher::start([mapping.clone()], FlusherConfig::new()).map_err(failed)?;
        *FLUSHER.lock().expect("nobody panics with it") = Some(flusher);
        DISK.set(mapping).map_err(|_| invalid("served twice".to_owned()))
    }

    fn open(_readonly: bool) -> Result<Box<dyn Server>> {
        let mapping = DISK.get().expect("it is open before there are clients");
        Ok(Box::new(Disk(mapping.handle())))
    }

    fn get_size(&self) -> Result<i64> {
        i64::try_from(self.0.len()).map_err(|_| invalid("the file is too long".to_owned()))
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        let count = self.0.read_at(buf, offset).map_err(failed)?;
        // Somebody else has cut the file.
        if count < buf.len() { Err(io::Error::from_raw_os_error(EIO).into()) } else { Ok(()) }
    }

    fn write_at(&self, buf: &[u8], offset: u64, flags: Flags) -> Result<()> {
        self.0.write_at(buf, offset).map_err(failed)?;
        if flags.contains(Flags::FUA) {
            self.0.sync_range(offset..offset + buf.len() as u64).map_err(failed)?;
        }
        Ok(())
    }

    fn flush(&self) -> Result<()> {
        self.0.sync_data().map_err(failed)
    }

    fn can_flush(&self) -> Result<bool> {
        Ok(true)
    }

    fn can_fua(&self) -> Result<FuaFlags> {
        Ok(FuaFlags::Native)
    }

    /// A flush covers what all connections have written.
    fn can_multi_conn(&self) -> Result<bool> {
        Ok(true)
    }

    fn is_rotational(&self) -> Result<bool> {
        Ok(false)
    }

    fn thread_model() -> Result<ThreadModel> {
        Ok(ThreadModel::Parallel)
    }

    /// What clients did not flush is not lost by an orderly end either.
    fn unload() {
        if let Some(flusher) = FLUSHER.lock().expect("nobody panics with it").take() {
            flusher.stop();
        }
        if let Some(mapping) = DISK.get()
            && let Err(failed) = mapping.clone().close()
        {
            eprintln!("{failed}");
        }
    }
}

plugin!(Disk {
    config,
    config_complete,
    after_fork,
    write_at,
    flush,
    can_flush,
    can_fua,
    can_multi_conn,
    is_rotational,
    thread_model,
    unload
});

/// The file as a mapping of the length that was asked for, which is durable.
fn open(parameters: &Parameters) -> Result<Mapping> {
    let path = parameters.file.as_ref().expect("looked at before");
    let store =
        FileStore::open_or_create(path).map_err(|error| Error::new(errno(&error), error))?;
    let cache = PageCache::new(CacheConfig::new(parameters.memory.div_ceil(PAGE as u64)))
        .map_err(failed)?;
    let config = Config::new().page_size(PAGE).cache(&cache);
    let mapping = Mapping::with_config(Arc::new(store), config).map_err(failed)?;
    let handle = mapping.handle();
    if let Some(size) = parameters.size {
        handle.set_len(size).map_err(failed)?;
    }
    handle.sync_all().map_err(failed)?;
    Ok(mapping)
}

fn bytes(text: &str) -> Result<u64> {
    let size = parse_size(text)?;
    u64::try_from(size).map_err(|_| invalid(format!("{text} is negative")))
}

const EIO: i32 = 5;
const EINVAL: i32 = 22;

fn invalid(message: String) -> Error {
    Error::new(EINVAL, message)
}

/// The store's own error number, or that of an error of input and output.
fn failed(error: impl Into<io::Error>) -> Error {
    let error = error.into();
    Error::new(errno(&error), error)
}

fn errno(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(EIO)
}
