//! Telling the observers what the rules have counted, and the accounts what has become of pages.

use crate::hooks::untold;
use crate::page::Page;
use crate::page::tag::PageTag;
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
        let observers = &self.observers;
        let dirtied = untold(&observers.dirtied, self.counters.dirtied.get());
        if dirtied > 0 {
            observers.tell(|observer| observer.dirtied(dirtied));
        }
        let evicted = untold(&observers.evicted, self.counters.evicted.get());
        if evicted > 0 {
            observers.tell(|observer| observer.evicted(evicted));
        }
        let recorded = self.errors.recorded();
        let failed = untold(&observers.failed, recorded);
        if let Some(error) = self.errors.latest_after(recorded - failed).filter(|_| failed > 0) {
            observers.tell(|observer| observer.failed(&error, failed));
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
        if let Some(member) = &self.member {
            let now = member.cache.turns.now();
            if !page.usage.is_of(now) {
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

impl Core {
    /// A page of this mapping became dirty, in the section that made it so.
    pub(crate) fn charge(&self) {
        if let Some(member) = &self.member {
            member.cache.throttle.charge(&member.account);
        }
    }

    /// After that: wakes the flushers if there is too much.
    pub(crate) fn consider_kick(&self) {
        if let Some(member) = &self.member {
            member.cache.kick_flushers();
        }
    }

    /// The mapping has enough of its cache's debt that a flusher is to write it.
    pub(crate) fn is_in_debt(&self) -> bool {
        self.member
            .as_ref()
            .is_some_and(|member| member.cache.throttle.is_over_background(&member.account))
    }

    /// Pages of this mapping are clean, or gone. Not within a section, and not under a latch.
    pub(crate) fn discharge(&self, pages: u64) {
        if let Some(member) = &self.member {
            member.cache.throttle.discharge(&member.account, pages);
        }
    }

    /// A batch of the mapping is about to be handed to the store.
    pub(crate) fn batch_begun(&self) {
        if let Some(member) = &self.member {
            member.account.pace.begun();
        }
    }

    /// It has ended, with so many pages written well.
    pub(crate) fn batch_ended(&self, well: u64) {
        if let Some(member) = &self.member {
            member.account.pace.ended(well);
        }
    }

    /// A page has been written well.
    pub(crate) fn count_written(&self) {
        if let Some(member) = &self.member {
            member.cache.throttle.written.add(1);
        }
    }

    /// A claim was given up: the page can be written again, by whoever found nothing to write.
    pub(crate) fn claim_given_up(&self) {
        if let Some(member) = &self.member
            && member.cache.throttle.somebody_waits()
        {
            member.cache.throttle.given_up(&member.account);
        }
    }

    /// Has the mapping's waiting writers look again.
    pub(crate) fn nudge_writers(&self) {
        if let Some(member) = &self.member {
            member.cache.throttle.nudge(&member.account);
        }
    }
}
