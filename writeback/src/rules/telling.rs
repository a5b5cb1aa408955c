//! Telling the observers what has been counted, and the clock of the cache what is used.

use crate::held;
use crate::hooks::untold;
use crate::pages::Page;
use crate::pages::tag::PageTag;
use crate::rules::core::Core;

impl Core {
    /// Tells the observers what has been counted since they were last told. Called with no latch held.
    #[inline]
    pub(crate) fn tell_counts(&self) {
        if self.observers.any() {
            self.tell_what_was_counted();
        }
    }

    #[cold]
    fn tell_what_was_counted(&self) {
        if held::any() {
            return; // Under a latch: it is told when the thread lets go of its last guard.
        }
        self.observers.tell_counts(&self.counters);
        let recorded = self.errors.recorded_about();
        let failed = untold(&self.observers.failed, recorded);
        if failed > 0
            && let Some(error) = self.errors.latest_after(recorded - failed)
        {
            self.observers.tell(|observer| observer.failed(&error, failed));
        }
    }

    /// Tells them when the returned value is dropped: to be taken before any latch.
    pub(crate) fn tell_at_end(&self) -> AtEnd<'_> {
        AtEnd(self)
    }
}

/// See [`Core::tell_at_end`].
#[must_use = "it tells when it is dropped"]
pub(crate) struct AtEnd<'s>(&'s Core);

impl Drop for AtEnd<'_> {
    fn drop(&mut self) {
        self.0.tell_counts();
    }
}

impl Core {
    /// The page is used, whichever way.
    #[inline]
    pub(crate) fn used(&self, page: &Page) {
        self.used_if(page, || true);
    }

    /// The same, if it `is_use`, which is asked where it matters.
    #[inline]
    pub(crate) fn used_if(&self, page: &Page, is_use: impl FnOnce() -> bool) {
        if let Some(member) = &*self.member {
            let now = member.cache.turns.now();
            if !page.usage.is_of(now) && is_use() {
                self.used_in_turn(page, now);
            }
        }
    }

    #[cold]
    fn used_in_turn(&self, page: &Page, now: u32) {
        if page.usage.count(now) {
            // Cheap if the tag is set already. Should the page have been replaced, the other is spared.
            self.tree.pin().set_tag(page.index(), PageTag::Accessed.tag());
        }
    }
}
