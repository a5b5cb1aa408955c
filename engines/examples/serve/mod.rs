//! What a disk is to nbdkit, whatever it is on: a part of each example that serves one, which has a `Source` of its own.
//!
//! A write that was acknowledged is in the cache. It is durable when a flush that began later has been acknowledged, through whichever
//! connection (NBD's "multi-conn"), or when the write asked for that itself (NBD's FUA). Until then a `kill -9` or a power cut may take it.
//! What cannot be written or flushed fails with the store's error number, once for each connection, and stays in the cache.

use std::io;
use std::sync::{LazyLock, Mutex, OnceLock};

use nbdkit::{Error, Flags, FuaFlags, Result, Server, ThreadModel, parse_size, plugin};
use writeback::{CacheConfig, Config, Flusher, FlusherConfig, Handle, Mapping, PageCache};

use crate::Source;

/// Bytes of memory, if `memory` is not given.
const MEMORY: u64 = 256 << 20;
const PAGE: usize = 4096;

/// What the command line says.
#[derive(Default)]
struct Parameters {
    source: Source,
    size: Option<u64>,
    memory: Option<u64>,
}

static PARAMETERS: LazyLock<Mutex<Parameters>> = LazyLock::new(Mutex::default);
static HELP: OnceLock<String> = OnceLock::new();
static DISK: OnceLock<Mapping> = OnceLock::new();
static FLUSHER: Mutex<Option<Flusher>> = Mutex::new(None);

/// One client's connection. It is told each failed write once, as every handle is.
struct Disk(Handle);

impl Server for Disk {
    fn name() -> &'static str {
        "writeback"
    }

    fn config_help() -> Option<&'static str> {
        Some(HELP.get_or_init(|| {
            let own = Source::HELP;
            format!(
                "{own}\nsize=BYTES   Its length from now on. Without it, the length it has.\n\
                 memory=BYTES For cached pages, 256M if not given."
            )
        }))
    }

    fn config(key: &str, value: &str) -> Result<()> {
        let mut parameters = PARAMETERS.lock().expect("nobody panics with it");
        match key {
            "size" => parameters.size = Some(bytes(value)?),
            "memory" => parameters.memory = Some(bytes(value)?),
            _ if parameters.source.set(key, value) => {}
            _ => return Err(invalid(format!("unknown parameter {key}"))),
        }
        Ok(())
    }

    fn config_complete() -> Result<()> {
        match PARAMETERS.lock().expect("nobody panics with it").source.missing() {
            None => Ok(()),
            Some(name) => Err(invalid(format!("the parameter {name} is missing"))),
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
        i64::try_from(self.0.len()).map_err(|_| invalid("the disk is too long".to_owned()))
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        let count = self.0.read_at(buf, offset).map_err(failed)?;
        // Somebody else has cut the store.
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

/// The store as a mapping of the length that was asked for, which is durable.
fn open(parameters: &Parameters) -> Result<Mapping> {
    let store = parameters.source.open().map_err(failed)?;
    let pages = parameters.memory.unwrap_or(MEMORY).div_ceil(PAGE as u64);
    let cache = PageCache::new(CacheConfig::new(pages)).map_err(failed)?;
    let config = Config::new().page_size(PAGE).cache(&cache);
    let mapping = Mapping::with_config(store, config).map_err(failed)?;
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
