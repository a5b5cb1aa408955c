//! A disk on the network: an [nbdkit](https://libguestfs.org/nbdkit.1.html) plugin that serves a file through the page cache.
//!
//! ```text
//! cargo build --release -p engines --example nbd_disk
//! nbdkit --foreground target/release/examples/libnbd_disk.so file=disk.img size=1G
//! nbdcopy image.raw nbd://localhost
//! ```
//!
//! What is durable when, and what errors a client sees, is said in `serve/mod.rs`.

#![allow(missing_docs, reason = "the functions that nbdkit looks for")]

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use writeback::store::Store;
use writeback::{DirectStore, FileStore};
use writeback_uring::UringStore;

mod serve;

/// The file, and how it is read and written.
#[derive(Default)]
struct Source {
    file: Option<PathBuf>,
    store: Option<String>,
}

impl Source {
    const HELP: &str = "file=PATH    (required) The file to serve; created if it does not exist.\n\
        store=NAME   file (if not given), direct (past the kernel's cache) or uring (the same, by io_uring).";

    fn set(&mut self, key: &str, value: &str) -> bool {
        match key {
            "file" => self.file = Some(value.into()),
            "store" => self.store = Some(value.into()),
            _ => return false,
        }
        true
    }

    fn missing(&self) -> Option<&'static str> {
        self.file.is_none().then_some("file")
    }

    fn open(&self) -> io::Result<Arc<dyn Store>> {
        let file = self.file.as_ref().expect("looked at before");
        Ok(match self.store.as_deref().unwrap_or("file") {
            "file" => Arc::new(FileStore::open_or_create(file)?),
            "direct" => Arc::new(DirectStore::open_or_create(file)?),
            "uring" => Arc::new(UringStore::open_or_create(file)?),
            other => {
                let text = format!("store={other}: there are file, direct and uring");
                return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
            }
        })
    }
}
