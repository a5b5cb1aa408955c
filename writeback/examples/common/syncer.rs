//! A syncer: calls `sync_data` and then looks past the cache whether it kept its promise.

use std::fs::File;
use std::io;
use std::thread;
use std::time::{Duration, Instant};

use rand::Rng;
use rand::rngs::SmallRng;
use writeback::Handle;

use super::Fallible;
use super::at::read_exact_at;
use super::run::Run;

/// Every so many syncs all pages are checked, not only those that changed since the last one.
const FULL_CHECK_EVERY: u64 = 8;

/// For how long a page may make no sense because somebody writes it (see [`Syncer::read`]).
const TORN_AT_MOST: Duration = Duration::from_secs(2);

/// Calls `sync_data` and checks what it promised.
pub(crate) struct Syncer<'run> {
    run: &'run Run<'run>,
    handle: Handle,
    name: String,
    /// Opened separately and used for reading only; the cache knows nothing of it.
    file: File,
    /// For each page the version completed before the sync.
    noted: Vec<u64>,
    /// For each page the version found last.
    found: Vec<u64>,
    buffer: Vec<u8>,
    calls: u64,
}

impl<'run> Syncer<'run> {
    pub(crate) fn new(run: &'run Run<'run>, name: String, file: File) -> Self {
        let pages = run.ledger.pages();
        Self {
            run,
            handle: run.mapping.handle(),
            name,
            file,
            noted: vec![0; pages],
            found: vec![0; pages],
            buffer: vec![0; run.mapping.page_size()],
            calls: 0,
        }
    }

    /// Syncs and checks until the run stops.
    pub(crate) fn run(mut self, mut rng: SmallRng) -> Fallible<()> {
        while !self.run.stopping() {
            self.note();
            let begun = Instant::now();
            self.handle.sync_data()?;
            self.run.synced(begun.elapsed());
            self.check(self.calls.is_multiple_of(FULL_CHECK_EVERY))?;
            self.calls += 1;
            thread::sleep(Duration::from_micros(rng.random_range(0..2_000)));
        }
        Ok(())
    }

    /// After everything was saved and all is quiet: every page must be there in its last version.
    pub(crate) fn check_all(mut self) -> Fallible<()> {
        self.note();
        self.check(true)
    }

    fn note(&mut self) {
        for (page, noted) in self.noted.iter_mut().enumerate() {
            *noted = self.run.ledger.completed(page);
        }
    }

    /// Checks every page that was dirtied since it was last found, or really every page.
    fn check(&mut self, all: bool) -> Fallible<()> {
        for page in 0..self.noted.len() {
            if all || self.noted[page] > self.found[page] {
                self.check_page(page)?;
            }
        }
        Ok(())
    }

    fn check_page(&mut self, page: usize) -> Fallible<()> {
        let noted = self.noted[page];
        let read = self.read(page)?;
        self.run.counters.checked.add(1);
        let what = match read {
            Ok(version) if version < noted => format!("the file has version {version}"),
            Ok(version) => {
                self.found[page] = version;
                if self.run.store.flushed(page) >= noted {
                    return Ok(());
                }
                "it was written, but no fdatasync came after".to_owned()
            }
            Err(fault) => fault,
        };
        let (name, calls) = (&self.name, self.calls);
        let when = format!("version {noted} was complete before sync {calls} of {name}");
        self.run.missed(format!("page {page}: {when}; {what}"));
        Ok(())
    }

    /// Which version of `page` the file has, or what is wrong with the page.
    ///
    /// A read is not atomic against a write of the same page by somebody else, so it may return
    /// parts of two versions. A page that makes no sense is read again if a write of it was under
    /// way. An old version is not read again: it can only be old because it was missed.
    fn read(&mut self, page: usize) -> Fallible<Result<u64, String>> {
        let (run, begun) = (self.run, Instant::now());
        let bytes = &mut self.buffer[..run.workload.page_len(page)];
        loop {
            let writes_ended = run.store.writes_ended(page);
            match read_exact_at(&self.file, bytes, run.offset(page)) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Ok(Err("the file ends before it".into()));
                }
                Err(error) => return Err(format!("reading the file to check it: {error}").into()),
            }
            let fault = match run.workload.version(page, bytes, run.ledger.begun(page)) {
                Ok(version) => return Ok(Ok(version)),
                Err(fault) => fault,
            };
            let undisturbed = run.store.writes_begun(page) == writes_ended;
            if undisturbed || begun.elapsed() > TORN_AT_MOST {
                return Ok(Err(fault));
            }
            run.counters.read_again.add(1);
            thread::sleep(Duration::from_micros(50));
        }
    }
}
