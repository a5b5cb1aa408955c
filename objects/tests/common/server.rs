//! A server in a process of its own, and clients of it.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use writeback_objects::object_store::aws::AmazonS3Builder;
use writeback_objects::object_store::{BackoffConfig, ObjectStore, RetryConfig};

pub(crate) struct Server {
    process: Child,
    root: PathBuf,
    pub(crate) url: String,
    arguments: Vec<String>,
}

impl Server {
    pub(crate) fn start(root: &Path, arguments: &[&str]) -> Self {
        let arguments: Vec<_> = arguments.iter().map(|text| (*text).to_owned()).collect();
        let (process, url) = spawn(root, &arguments);
        Self { process, root: root.to_owned(), url, arguments }
    }

    /// As `kill -9` does it.
    pub(crate) fn kill(&mut self) {
        self.process.kill().expect("it is our child");
        self.process.wait().expect("it is our child");
    }

    /// After a kill, at the address it had.
    pub(crate) fn restart(&mut self) {
        let port = self.url.rsplit(':').next().expect("a port").to_owned();
        let mut arguments = self.arguments.clone();
        arguments.extend(["--port".to_owned(), port]);
        let (process, url) = spawn(&self.root, &arguments);
        assert_eq!(url, self.url);
        self.process = process;
    }

    pub(crate) fn client(&self) -> Arc<dyn ObjectStore> {
        Arc::new(client(&self.url).build().expect("all is given"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn spawn(root: &Path, arguments: &[String]) -> (Child, String) {
    let test = std::env::current_exe().expect("the test runs from a file");
    let program = test
        .ancestors()
        .nth(2)
        .expect("tests are built in PROFILE/deps")
        .join("examples/s3_server");
    assert!(program.exists(), "cargo build --examples first");
    let mut process = Command::new(program)
        .arg("--root")
        .arg(root)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the server starts");
    let mut url = String::new();
    BufReader::new(process.stdout.take().expect("a pipe"))
        .read_line(&mut url)
        .expect("it says where it is");
    (process, url.trim_end().to_owned())
}

/// A client of the server's bucket, which asks again for some seconds.
pub(crate) fn client(url: &str) -> AmazonS3Builder {
    let backoff = BackoffConfig {
        init_backoff: Duration::from_millis(20),
        max_backoff: Duration::from_millis(500),
        base: 2.0,
    };
    AmazonS3Builder::new()
        .with_endpoint(url)
        .with_allow_http(true)
        .with_region("us-east-1")
        .with_bucket_name("disks")
        .with_access_key_id("test")
        .with_secret_access_key("testtest")
        .with_retry(RetryConfig { backoff, max_retries: 10, retry_timeout: Duration::from_secs(5) })
}
