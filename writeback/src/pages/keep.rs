//! A page in somebody's hands: eviction goes by it.
//!
//! Who finds a page in the index and means to use it after letting go of the index keeps it, or finds out
//! that it has just left. Keeping does not lock, and truncation takes no notice of it. Those who stay
//! within the index, the fast paths of [`access`](crate::io::access), need not keep a page: they look at
//! MAPPED under the latch, and change the page's state in a section of the index only.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use crate::pages::Page;

/// A page that is not evicted while this exists.
pub(crate) struct Kept(Arc<Page>);

impl Kept {
    /// Keeps a page that was found in the index. `None`: it is leaving it.
    pub(crate) fn new(page: Arc<Page>) -> Option<Self> {
        page.state.keep().then(|| Self(page))
    }
}

impl Clone for Kept {
    /// # Panics
    /// If there are more than a million references to one page.
    fn clone(&self) -> Self {
        self.0.state.keep_anyway();
        Self(Arc::clone(&self.0))
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.0.state.let_go();
    }
}

impl Deref for Kept {
    type Target = Page;

    fn deref(&self) -> &Page {
        &self.0
    }
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clean_page() -> Arc<Page> {
        crate::watchdog::watch();
        let page = Arc::new(Page::new(3, 1));
        page.state.set_uptodate();
        page.wake(page.state.unlock());
        page
    }

    #[test]
    fn a_kept_page_is_not_evicted_and_an_evicted_one_can_not_be_kept() {
        let page = clean_page();
        let kept = Kept::new(Arc::clone(&page)).expect("mapped");
        let again = kept.clone();
        assert!(page.state.evict().is_err());
        drop(kept);
        assert!(page.state.evict().is_err(), "one of two is left");
        drop(again);
        page.state.evict().unwrap();
        assert!(Kept::new(Arc::clone(&page)).is_none());
        assert!(!page.snapshot().is_kept() && !page.snapshot().is_mapped());
    }

    #[test]
    fn a_page_that_is_busy_or_dirty_is_not_evicted() {
        let page = clean_page();
        assert!(page.state.try_lock());
        assert!(page.state.evict().is_err(), "locked");
        page.wake(page.state.unlock());
        page.state.try_hold().unwrap();
        assert!(page.state.evict().is_err(), "held");
        page.wake(page.state.release_hold());
        assert!(page.state.set_dirty());
        assert!(page.state.evict().is_err(), "dirty");
        assert!(page.state.try_lock());
        assert!(page.state.clear_dirty());
        page.state.begin_writeback().unwrap();
        page.wake(page.state.unlock());
        assert!(page.state.evict().is_err(), "under writeback");
        page.state.end_writeback(false);
        page.state.evict().unwrap();
    }
}
