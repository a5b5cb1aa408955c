//! Those who get in each other's way: writers, the journal, the reclaimer.

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

use rand::Rng;
use rand::rngs::SmallRng;
use writeback::page::{Claim, PageRef};
use writeback::{Handle, StoreError};

use super::Fallible;
use super::run::Run;

/// Changes pages, and reads one back for each that it changed, until it is told that it is done.
pub(crate) fn writer(run: &Run<'_>, mut rng: SmallRng) -> Fallible<()> {
    let handle = run.mapping.handle();
    let mut buffer = vec![0; run.mapping.page_size()];
    while let Some(page) = run.next_page(&mut rng) {
        let bytes = &mut buffer[..run.workload.page_len(page)];
        run.ledger.change(page, |version| {
            run.workload.fill(page, version, bytes)?;
            if rng.random_ratio(7, 8) {
                handle.write_at(bytes, run.offset(page))?;
            } else {
                let whole = 0..bytes.len();
                run.mapping
                    .page(page as u64)?
                    .write_with(whole, |contents| contents.copy_from_slice(bytes))?;
            }
            Ok(())
        })?;
        run.counters.writes.add(1);
        read_back(run, &handle, rng.random_range(0..run.ledger.pages()), &mut buffer)?;
    }
    Ok(())
}

/// Reads a page through the cache, which must have at least what was completed before.
fn read_back(run: &Run<'_>, handle: &Handle, page: usize, buffer: &mut [u8]) -> Fallible<()> {
    let bytes = &mut buffer[..run.workload.page_len(page)];
    let noted = run.ledger.completed(page);
    handle.read_at(bytes, run.offset(page))?;
    run.counters.reads.add(1);
    match run.workload.version(page, bytes, run.ledger.begun(page)) {
        Ok(version) if version >= noted => {}
        Ok(version) => run.misread(page, &format!("version {version}, but {noted} was complete")),
        Err(fault) => run.misread(page, &fault),
    }
    Ok(())
}

/// Most pages in one transaction of the journal.
const TRANSACTION_PAGES: usize = 64;

/// Takes the contents of some pages to itself, as a journal does while it writes them to its log, and
/// gives them back a few milliseconds later. Nobody else may write them meanwhile.
pub(crate) fn journal(run: &Run<'_>, mut rng: SmallRng) -> Fallible<()> {
    let pages = run.ledger.pages();
    while !run.stopping() {
        let wanted = TRANSACTION_PAGES.min(pages / 8).max(1);
        // In ascending order, so that nobody who waits for several pages waits in a circle.
        let transaction: BTreeSet<_> = (0..wanted).map(|_| rng.random_range(0..pages)).collect();
        let mut holds = Vec::with_capacity(transaction.len());
        for page in transaction {
            let hold = run.mapping.hold_page(page as u64)?;
            if let Err(fault) =
                run.workload.version(page, hold.image().as_ref(), run.ledger.begun(page))
            {
                run.misread(page, &fault);
            }
            holds.push(hold);
        }
        thread::sleep(Duration::from_micros(rng.random_range(1_000..8_000)));
        drop(holds);
        thread::sleep(Duration::from_micros(rng.random_range(0..500)));
    }
    Ok(())
}

/// How many pages the reclaimer looks at before it takes a rest.
const RECLAIM_PAGES: usize = 64;

/// How long it hopes for the journal to let go of a page.
const PATIENCE: Duration = Duration::from_millis(3);

/// Writes dirty pages one by one, with nothing but the public claim interface and its own I/O.
///
/// It is the other party of the race of 2004: it clears a page's dirty flag in order to write the
/// page, only to find that the journal holds it. It looks around for a moment, and if the journal
/// does not let go, it makes the page dirty again and leaves it to others.
pub(crate) fn reclaimer(run: &Run<'_>, mut rng: SmallRng) -> Fallible<()> {
    let pages = run.ledger.pages();
    while !run.stopping() {
        let start = rng.random_range(0..pages);
        for index in (start..pages).take(RECLAIM_PAGES) {
            if let Some(page) = run.mapping.cached_page(index as u64) {
                reclaim(run, &page);
            }
        }
        thread::sleep(Duration::from_micros(rng.random_range(0..1_000)));
    }
    Ok(())
}

fn reclaim(run: &Run<'_>, page: &PageRef) {
    if !page.snapshot().is_dirty() {
        return;
    }
    let Some(locked) = page.try_lock_state() else { return };
    let Ok(claim) = locked.clear_dirty_for_io() else { return };
    look_around(&claim);
    match claim.start_writeback() {
        Ok(writeback) => {
            let written = run.store.write_page(writeback.offset(), writeback.image());
            writeback.end(written.map_err(StoreError::from));
        }
        Err(claim) => {
            claim.redirty();
            run.counters.declined.add(1);
        }
    }
}

fn look_around(claim: &Claim) {
    let until = Instant::now() + PATIENCE;
    while claim.is_held() && Instant::now() < until {
        thread::sleep(Duration::from_micros(100));
    }
}
