//! The version lock: one word a node, bit 0 "locked", the rest a version. `lock` does not know what it guards.

use crate::sync::{self, AtomicU32, Backoff, Guarded, Ordering, const_unless_checked};

const LOCKED: u32 = 1;

/// How often a reader repeats a read that a section spoiled, before it takes the lock.
pub(in crate::raw) const READ_TRIES: usize = if sync::CHECKED { 0 } else { 8 };

/// A spin lock whose word changes with every critical section, so that readers can tell that there was none.
#[derive(Debug)]
pub(crate) struct VersionLock(AtomicU32);

/// The version of an unlocked node, to be compared with [`VersionLock::is_still`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Version(u32);

impl VersionLock {
    const_unless_checked! {
        pub(crate) const fn unlocked() -> VersionLock {
            VersionLock(AtomicU32::new(0))
        }
    }

    /// For a node that is published before its maker is done with it.
    pub(crate) fn locked() -> VersionLock {
        VersionLock(AtomicU32::new(LOCKED))
    }

    #[inline]
    pub(crate) fn lock(&self) {
        let word = self.0.load(Ordering::Relaxed);
        if word & LOCKED != 0 || !self.try_lock(word) {
            self.lock_contended();
        }
    }

    #[inline]
    fn try_lock(&self, word: u32) -> bool {
        // Acquire: E-LOCK, the sections before this one are seen whole.
        self.0
            .compare_exchange_weak(word, word | LOCKED, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
    }

    /// Locks if nobody holds the lock, for who would rather leave something undone than wait.
    #[inline]
    pub(crate) fn lock_now(&self) -> bool {
        let word = self.0.load(Ordering::Relaxed);
        // Acquire: as in `try_lock`. Not the weak exchange: failing without a reason, it would leave what is asked for when all is quiet.
        word & LOCKED == 0
            && self
                .0
                .compare_exchange(word, word | LOCKED, Ordering::Acquire, Ordering::Relaxed)
                .is_ok()
    }

    #[cold]
    fn lock_contended(&self) {
        let mut backoff = Backoff::default();
        loop {
            let word = self.0.load(Ordering::Relaxed);
            if word & LOCKED == 0 && self.try_lock(word) {
                return;
            }
            backoff.wait();
        }
    }

    /// Ends the critical section and moves the version on. The caller holds the lock.
    #[inline]
    pub(crate) fn unlock(&self) {
        let word = self.held();
        debug_assert!(word & LOCKED != 0, "unlock of a lock that is not held");
        // Release: E-LOCK and E-VERSION.
        self.0.store(word.wrapping_add(1), Ordering::Release);
    }

    /// The version now, or `None` if a critical section is under way.
    #[inline]
    pub(crate) fn version(&self) -> Option<Version> {
        // Acquire: E-VERSION, reads after it see at least what this version was published with.
        let word = self.0.load(Ordering::Acquire);
        if word & LOCKED == 0 { Some(Version(word)) } else { None }
    }

    /// Whether no critical section began since `version` was read: what was read in between, by Acquire loads, is one state.
    #[inline]
    pub(crate) fn is_still(&self, version: Version) -> bool {
        // Relaxed: E-VERSION. Who has read a Release store of a section by an Acquire load sees at least the word that
        // `lock` left before it.
        self.0.load(Ordering::Relaxed) == version.0
    }

    /// What `read` finds at one instant in what the lock guards. It is told the version of that instant.
    ///
    /// `read` may run several times, on words that do not belong together; only the result of a run without a
    /// concurrent critical section is returned. After a bounded number of tries it runs under the lock.
    #[inline]
    pub(crate) fn at_one_instant<R>(&self, mut read: impl FnMut(Version) -> R) -> R {
        match self.try_at_one_instant(&mut read) {
            Some(result) => result,
            None => self.at_one_instant_contended(&mut read),
        }
    }

    /// The same, if no section intervenes in one run of `read`.
    #[inline]
    pub(crate) fn try_at_one_instant<R>(&self, read: impl FnOnce(Version) -> R) -> Option<R> {
        let version = self.version()?;
        let result = read(version);
        self.is_still(version).then_some(result)
    }

    #[cold]
    fn at_one_instant_contended<R>(&self, read: &mut impl FnMut(Version) -> R) -> R {
        let mut backoff = Backoff::default();
        for _ in 0..READ_TRIES {
            if let Some(result) = self.try_at_one_instant(&mut *read) {
                return result;
            }
            backoff.wait();
        }
        self.read_locked(read)
    }

    /// What `read` finds under the lock. Does not move the version on, since nothing changes: other readers need not read
    /// again because of this one.
    pub(crate) fn read_locked<R>(&self, read: impl FnOnce(Version) -> R) -> R {
        struct Unchanged<'l>(&'l VersionLock);
        impl Drop for Unchanged<'_> {
            fn drop(&mut self) {
                self.0.unlock_unchanged();
            }
        }
        self.lock();
        let _unchanged = Unchanged(self);
        // The version before the lock was taken, which comes back if nothing changes.
        read(Version(self.held() & !LOCKED))
    }

    /// Unlocks without moving the version on: for those who only read. The caller holds the lock.
    fn unlock_unchanged(&self) {
        let word = self.held();
        debug_assert!(word & LOCKED != 0, "unlock of a lock that is not held");
        // Release: E-LOCK; the next section's stores come after what was read here.
        self.0.store(word & !LOCKED, Ordering::Release);
    }

    /// The word while the caller holds the lock: nobody else stores to it then.
    #[inline]
    fn held(&self) -> u32 {
        self.0.load_guarded()
    }

    pub(crate) fn is_locked(&self) -> bool {
        self.0.load(Ordering::Relaxed) & LOCKED != 0
    }
}

#[cfg(all(test, radix_loom))]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::sync::{AtomicU64, Builder, thread};

    /// Who only reads under the lock passes on to the next section what the one before did. Nobody waits: a model in which three
    /// threads wait for each other has no end.
    #[test]
    fn a_reader_passes_sections_on() {
        let mut model = Builder::new();
        model.preemption_bound.get_or_insert(2);
        model.check(|| {
            let shared = Arc::new((VersionLock::unlocked(), AtomicU64::new(0)));
            let writer = Arc::clone(&shared);
            let writer = thread::spawn(move || {
                if writer.0.lock_now() {
                    writer.1.store(1, Ordering::Relaxed);
                    writer.0.unlock();
                }
            });
            let reader = Arc::clone(&shared);
            let reader = thread::spawn(move || {
                if reader.0.lock_now() {
                    reader.0.unlock_unchanged();
                }
            });
            if shared.0.lock_now() {
                // Panics if the writer's store does not come before this load, in an execution in which it was made.
                shared.1.load_guarded();
                shared.0.unlock_unchanged();
            }
            writer.join().unwrap();
            reader.join().unwrap();
        });
    }
}
