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

use writeback::FileStore;
use writeback::store::Store;

mod serve;

/// The file.
#[derive(Default)]
struct Source(Option<PathBuf>);

impl Source {
    const HELP: &str = "file=PATH    (required) The file to serve; created if it does not exist.";

    fn set(&mut self, key: &str, value: &str) -> bool {
        let is_known = key == "file";
        if is_known {
            self.0 = Some(value.into());
        }
        is_known
    }

    fn missing(&self) -> Option<&'static str> {
        self.0.is_none().then_some("file")
    }

    fn open(&self) -> io::Result<Arc<dyn Store>> {
        Ok(Arc::new(FileStore::open_or_create(self.0.as_ref().expect("looked at before"))?))
    }
}
