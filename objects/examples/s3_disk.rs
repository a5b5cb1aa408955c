//! A disk on the network whose bytes are on S3: an [nbdkit](https://libguestfs.org/nbdkit.1.html) plugin.
//!
//! ```text
//! cargo run --release --example s3_server -- --root DIR --port 9000 &
//! cargo build --release --example s3_disk
//! export AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=testtest
//! nbdkit --foreground target/release/examples/libs3_disk.so url=http://127.0.0.1:9000 bucket=disks size=1G
//! nbdcopy --flush image.raw nbd://localhost
//! ```

#![allow(missing_docs, reason = "the functions that nbdkit looks for")]

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use writeback::store::Store;
use writeback_objects::ObjectPages;
use writeback_objects::object_store::aws::AmazonS3Builder;

#[path = "../../engines/examples/serve/mod.rs"]
mod serve;

/// Where the disk is. Keys and region are in the environment, as AWS's own tools have them.
#[derive(Default)]
struct Source(HashMap<String, String>);

impl Source {
    const HELP: &str = "bucket=NAME  (required) The bucket.\n\
                        path=NAME    Of the disk in it, `disk` if not given.\n\
                        url=URL      Of the server, if it is not Amazon's.";

    fn set(&mut self, key: &str, value: &str) -> bool {
        self.0.insert(key.to_owned(), value.to_owned());
        ["bucket", "path", "url"].contains(&key)
    }

    fn missing(&self) -> Option<&'static str> {
        (!self.0.contains_key("bucket")).then_some("bucket")
    }

    fn open(&self) -> io::Result<Arc<dyn Store>> {
        let mut s3 = AmazonS3Builder::from_env().with_bucket_name(&self.0["bucket"]);
        if let Some(url) = self.0.get("url") {
            s3 = s3.with_endpoint(url).with_allow_http(true);
        }
        let path = self.0.get("path").map_or("disk", String::as_str);
        Ok(Arc::new(ObjectPages::open(path, Arc::new(s3.build()?))?))
    }
}
