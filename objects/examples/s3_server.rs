//! An S3 server in a folder of this machine, for tests and first steps.
//!
//! ```text
//! cargo run --release --example s3_server -- --root DIR --port 9000
//! ```
//!
//! It prints its address, has one bucket (`disks`), and knows one key (`test`, secret `testtest`). It is s3s-fs, with four things around it:
//! conditional puts are made one at a time, because s3s-fs looks whether there is an object and makes it later, and the fencing of
//! writers rests on that being one step; what such a put says of its object is written down before the object is made, because s3s-fs does
//! so afterwards, and a server that is killed in between would have an object of which its writer could not tell that it is its own; requests are counted (`GET /-/counts`); and it can be slow and fail as it is told.
//! It does not sync files: a power cut may take what it has acknowledged. Not for the network: it speaks no TLS.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::Parser;
use hyper::body::Incoming;
use hyper::header::{IF_MATCH, IF_NONE_MATCH};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::{Body, HttpError, HttpResponse};
use tokio::net::TcpListener;
use tokio::sync::Mutex;

#[derive(Parser)]
struct Options {
    /// Where the buckets are: a folder each.
    #[arg(long)]
    root: PathBuf,
    /// 0: any that is free.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Of each answer.
    #[arg(long, default_value_t = 0)]
    delay_ms: u64,
    /// Every so many requests one fails: by an answer that says so, or by none, which may come before the request has had its effect or after it.
    #[arg(long, default_value_t = 0)]
    fail: u64,
    /// Conditional puts side by side, as s3s-fs has them, and a moment between the look and the making: two clients may then both win. Only to see
    /// that tests notice.
    #[arg(long)]
    racy: bool,
}

/// How long a race is open.
const RACE: Duration = Duration::from_millis(5);

/// What is counted.
#[derive(Default)]
struct Counts {
    get: AtomicU64,
    put: AtomicU64,
    other: AtomicU64,
    failed: AtomicU64,
}

struct Server {
    s3: S3Service,
    options: Options,
    conditional: Mutex<()>,
    requests: AtomicU64,
    counts: Counts,
}

/// How a request fails.
#[derive(Clone, Copy, PartialEq)]
enum Fault {
    Unavailable,
    CutOffBefore,
    CutOffAfter,
}

impl Server {
    async fn answer(&self, request: Request<Incoming>) -> Result<HttpResponse, HttpError> {
        if request.uri().path() == "/-/counts" {
            return Ok(HttpResponse::new(Body::from(self.counted())));
        }
        let fault = self.count(request.method());
        tokio::time::sleep(Duration::from_millis(self.options.delay_ms)).await;
        match fault {
            Some(Fault::Unavailable) => return Ok(unavailable()),
            Some(Fault::CutOffBefore) => return Err(cut_off()),
            _ => {}
        }
        let is_conditional =
            [IF_MATCH, IF_NONE_MATCH].iter().any(|name| request.headers().contains_key(name));
        let alone = match is_conditional && request.method() == Method::PUT && !self.options.racy {
            true => Some(self.conditional.lock().await),
            false => None,
        };
        if self.options.racy && is_conditional && !self.object(&request).exists() {
            tokio::time::sleep(RACE).await;
            // What another has made meanwhile is not seen. The header has to stay: it is signed.
            let _ = fs::remove_file(self.object(&request));
        }
        if alone.is_some() && request.headers().contains_key(IF_NONE_MATCH) {
            self.note(&request).map_err(|error| HttpError::new(error.into()))?;
        }
        let answer = self.s3.call(request.map(Body::from)).await;
        drop(alone);
        if fault == Some(Fault::CutOffAfter) { Err(cut_off()) } else { answer }
    }

    /// Where the object of a request is, or would be.
    fn object(&self, request: &Request<Incoming>) -> PathBuf {
        self.options.root.join(request.uri().path().trim_start_matches('/'))
    }

    /// Writes down, where s3s-fs looks for it, what a put says of an object that there is not yet.
    fn note(&self, request: &Request<Incoming>) -> io::Result<()> {
        let path = request.uri().path().trim_start_matches('/');
        let Some((bucket, key)) = path.split_once('/') else { return Ok(()) };
        // No key of a database has to be escaped.
        if path.contains('%') || self.object(request).exists() {
            return Ok(());
        }
        let said = request.headers().iter().filter_map(|(name, value)| {
            let name = name.as_str().strip_prefix("x-amz-meta-")?;
            Some((name.to_owned(), value.to_str().ok()?.to_owned()))
        });
        let said: BTreeMap<_, _> = said.collect();
        let [bucket, key] = [bucket, key].map(|name| URL_SAFE_NO_PAD.encode(name));
        let note = format!(".bucket-{bucket}.object-{key}.metadata.json");
        let new = self.options.root.join(".new-note");
        fs::write(&new, serde_json::to_vec(&BTreeMap::from([("user_metadata", said)]))?)?;
        fs::rename(new, self.options.root.join(note))
    }

    fn count(&self, method: &Method) -> Option<Fault> {
        let counts = &self.counts;
        match *method {
            Method::GET | Method::HEAD => counts.get.fetch_add(1, Relaxed),
            Method::PUT | Method::POST => counts.put.fetch_add(1, Relaxed),
            _ => counts.other.fetch_add(1, Relaxed),
        };
        let number = self.requests.fetch_add(1, Relaxed) + 1;
        if self.options.fail == 0 || !number.is_multiple_of(self.options.fail) {
            return None;
        }
        counts.failed.fetch_add(1, Relaxed);
        Some(
            [Fault::Unavailable, Fault::CutOffBefore, Fault::CutOffAfter]
                [(number / self.options.fail % 3) as usize],
        )
    }

    fn counted(&self) -> String {
        let Counts { get, put, other, failed } = &self.counts;
        let [get, put, other, failed] = [get, put, other, failed].map(|count| count.load(Relaxed));
        format!("get {get}\nput {put}\nother {other}\nfailed {failed}\n")
    }
}

fn unavailable() -> HttpResponse {
    let mut answer = HttpResponse::new(Body::from("told to fail".to_owned()));
    *answer.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    answer
}

/// Makes the server close the connection.
fn cut_off() -> HttpError {
    HttpError::new("told to fail".into())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let options = Options::parse();
    fs::create_dir_all(options.root.join("disks"))?;
    let mut builder = S3ServiceBuilder::new(
        s3s_fs::FileSystem::new(&options.root).map_err(|error| format!("{error:?}"))?,
    );
    builder.set_auth(SimpleAuth::from_single("test", "testtest"));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, options.port)).await?;
    println!("http://{}", listener.local_addr()?);
    let server = Arc::new(Server {
        s3: builder.build(),
        options,
        conditional: Mutex::new(()),
        requests: AtomicU64::new(0),
        counts: Counts::default(),
    });
    loop {
        let (socket, _) = listener.accept().await?;
        socket.set_nodelay(true)?;
        let server = Arc::clone(&server);
        tokio::spawn(async move {
            let answer = service_fn(|request| server.answer(request));
            // A client that goes away is its own affair.
            let _ = http1::Builder::new()
                .timer(TokioTimer::new())
                .serve_connection(TokioIo::new(socket), answer)
                .await;
        });
    }
}
