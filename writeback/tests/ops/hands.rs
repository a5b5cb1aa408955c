//! What an engine does by hand: claims, writes of its own, holds; and forgetting that a page is dirty.

use writeback::page::{Claim, Hold, Writeback};

use super::data::{Ending, Op, Wrong};
use super::history::PAGES_MAX;
use super::session::Session;

#[derive(Debug)]
pub(super) enum Hand {
    Claim(Claim),
    Write(Writeback),
    Hold(Hold),
}

impl Session {
    /// False if `op` is none of those done by hand.
    pub(super) fn by_hand(&mut self, op: Op) -> bool {
        match op {
            Op::Claim { page } => self.claim(u64::from(page) % PAGES_MAX),
            Op::Hold { page } => self.hold(u64::from(page) % PAGES_MAX),
            Op::Cancel { page } => self.cancel(u64::from(page) % PAGES_MAX),
            Op::End { which, how } if !self.hands.is_empty() => {
                let hand = self.hands.swap_remove(usize::from(which) % self.hands.len());
                self.end_hand(hand, how);
            }
            Op::End { .. } => {}
            _ => return false,
        }
        true
    }

    fn claim(&mut self, at: u64) {
        let Some(page) = self.cached(at) else { return };
        let Some(locked) = page.try_lock_state() else {
            return assert!(self.model.claimed.contains(&at), "page {at} is locked");
        };
        let free = self.model.dirty.contains(&at) && !self.model.under.contains(&at);
        match locked.clear_dirty_for_io() {
            Ok(claim) => {
                assert!(free, "page {at} is claimed and was not free");
                self.model.dirty.remove(&at);
                self.model.claimed.insert(at);
                self.hands.push(Hand::Claim(claim));
            }
            Err(_) => assert!(!free, "page {at} is refused"),
        }
    }

    fn hold(&mut self, at: u64) {
        let busy = self.model.under.contains(&at) || self.model.held.contains(&at);
        match self.mapping.try_hold_page(at) {
            Ok(Some(hold)) => {
                assert!(!busy, "page {at} is held and was busy");
                assert_eq!(hold.image().as_ref(), self.model.image(at));
                self.model.held.insert(at);
                self.hands.push(Hand::Hold(hold));
            }
            Ok(None) => assert!(busy, "page {at} is refused"),
            Err(error) => self.check_no_page(at, &error),
        }
    }

    fn cancel(&mut self, at: u64) {
        self.drop_hands();
        let (cancelled, _) = self.waiting(&(at..=at), |session| {
            let locked = session.cached(at)?.try_lock_state().expect("nobody has the lock");
            Some(locked.cancel_dirty())
        });
        if let Some(was_dirty) = cancelled {
            assert_eq!(was_dirty, self.model.cancel(at));
        }
    }

    fn end_hand(&mut self, hand: Hand, how: Ending) {
        match hand {
            Hand::Claim(claim) => self.end_claim(claim, how),
            Hand::Write(write) => self.end_write(write, how),
            Hand::Hold(hold) => {
                self.model.held.remove(&hold.index());
            }
        }
    }

    fn end_claim(&mut self, claim: Claim, how: Ending) {
        let at = claim.page().index();
        if let Ending::Good = how {
            assert_eq!(claim.is_held(), self.model.held.contains(&at));
            match claim.start_writeback() {
                Ok(write) => {
                    assert!(!self.model.held.contains(&at), "page {at} is held");
                    self.model.claimed.remove(&at);
                    self.model.begin(at, write.image().as_ref());
                    self.hands.push(Hand::Write(write));
                }
                Err(claim) => {
                    assert!(self.model.held.contains(&at), "page {at} is refused");
                    self.hands.push(Hand::Claim(claim));
                }
            }
            return;
        }
        match how {
            Ending::Bad(_) => claim.redirty(),
            _ => drop(claim),
        }
        self.model.claimed.remove(&at);
        self.model.dirty.insert(at);
    }

    fn end_write(&mut self, write: Writeback, how: Ending) {
        let at = write.page().index();
        let outcome = match how {
            Ending::Good => {
                self.store.accept(write.offset(), write.image().as_ref());
                write.end(Ok(()));
                Ok(())
            }
            Ending::Bad(wrong) => {
                write.end(Err(wrong.error()));
                Err(wrong)
            }
            Ending::Dropped => {
                drop(write);
                Err(Wrong::Lost)
            }
        };
        self.model.end(at, outcome);
    }

    /// Gives up everything that an operation could wait for.
    pub(super) fn drop_hands(&mut self) {
        while let Some(hand) = self.hands.pop() {
            let how = if matches!(hand, Hand::Claim(_)) { Ending::Dropped } else { Ending::Good };
            self.end_hand(hand, how);
        }
    }
}
