//! What a mapping says to the accounts of its cache; of one that is in no cache, nothing.

use std::ops::Deref;

use crate::accounts::Member;
use crate::accounts::usage::Usage;

/// A mapping's place in a cache, if it is in one.
pub(crate) struct Membership<M>(pub(crate) Option<Member<M>>);

impl<M> Deref for Membership<M> {
    type Target = Option<Member<M>>;

    #[inline]
    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl<M> Membership<M> {
    /// The page at `index` is about to come in; returns whether it left not long ago.
    pub(crate) fn comes_in(&self, index: u64, usage: &Usage) -> bool {
        let Some(member) = &self.0 else { return false };
        let known = member.cache.ghosts.knows(member.number, index);
        usage.come_in(member.cache.turns.now(), known);
        known
    }

    /// A page has come in, the `first` of its mapping or not.
    pub(crate) fn came_in(&self, first: bool) {
        let Some(member) = &self.0 else { return };
        member.cache.turns.admit(member.account.weight);
        if first {
            member.got_first_page();
        }
    }

    /// A page has left.
    pub(crate) fn give_back(&self) {
        if let Some(member) = &self.0 {
            member.cache.give_back(member.account.weight);
        }
    }

    /// A page of this mapping became dirty, in the section that made it so.
    pub(crate) fn charge(&self) {
        if let Some(member) = &self.0 {
            member.cache.throttle.charge(&member.account);
        }
    }

    /// After that: wakes the flushers if there is too much.
    pub(crate) fn consider_kick(&self) {
        if let Some(member) = &self.0 {
            member.cache.kick_flushers();
        }
    }

    /// The mapping has enough of its cache's debt that a flusher is to write it.
    pub(crate) fn is_in_debt(&self) -> bool {
        self.0
            .as_ref()
            .is_some_and(|member| member.cache.throttle.is_over_background(&member.account))
    }

    /// Pages of this mapping are clean, or gone. Not within a section, and not under a latch.
    pub(crate) fn discharge(&self, pages: u64) {
        if let Some(member) = &self.0 {
            member.cache.throttle.discharge(&member.account, pages);
        }
    }

    /// A batch of the mapping is about to be handed to the store.
    pub(crate) fn batch_begun(&self) {
        if let Some(member) = &self.0 {
            member.account.pace.begun();
        }
    }

    /// It has ended, with so many pages written well.
    pub(crate) fn batch_ended(&self, well: u64) {
        if let Some(member) = &self.0 {
            member.account.pace.ended(well);
        }
    }

    /// A page has been written well.
    pub(crate) fn count_written(&self) {
        if let Some(member) = &self.0 {
            member.cache.throttle.written.add(1);
        }
    }

    /// A claim was given up: the page can be written again, by whoever found nothing to write.
    pub(crate) fn claim_given_up(&self) {
        if let Some(member) = &self.0
            && member.cache.throttle.somebody_waits()
        {
            member.cache.throttle.given_up(&member.account);
        }
    }

    /// Has the mapping's waiting writers look again.
    pub(crate) fn nudge_writers(&self) {
        if let Some(member) = &self.0 {
            member.cache.throttle.nudge(&member.account);
        }
    }
}
