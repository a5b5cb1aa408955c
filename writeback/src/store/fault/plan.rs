//! What is to go wrong: rules, and the decision that they make for each operation.
//!
//! A decision depends on the operation, on what the rules have seen before, and on the random numbers
//! it is handed; it knows nothing of media and completions, and does nothing.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;

/// What the cache asks of a store.
///
/// # Examples
/// ```
/// use writeback::store::fault::{Action, FaultStore};
/// use writeback::store::{FlushKind, Store};
///
/// let store = FaultStore::new(1);
/// store.sync(FlushKind::Data)?;
/// assert_eq!(store.operations(Action::Flush), 1);
/// # Ok::<(), writeback::StoreError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// [`Store::read`](crate::store::Store::read).
    Read,
    /// [`Store::write`](crate::store::Store::write).
    Write,
    /// [`Store::flush`](crate::store::Store::flush).
    Flush,
    /// [`Store::set_len`](crate::store::Store::set_len).
    SetLen,
}

impl Action {
    /// All there are.
    ///
    /// # Examples
    /// ```
    /// use writeback::store::fault::{Action, FaultStore};
    ///
    /// let store = FaultStore::new(1);
    /// assert!(Action::ALL.iter().all(|action| store.operations(*action) == 0));
    /// ```
    pub const ALL: [Action; 4] = [Action::Read, Action::Write, Action::Flush, Action::SetLen];
}

/// One thing that the cache asked of the store.
///
/// # Examples
/// ```
/// use writeback::store::Store;
/// use writeback::store::fault::{Action, FaultStore};
///
/// let store = FaultStore::new(1);
/// store.set_len(100)?;
/// let operation = store.log()[0].operation;
/// assert_eq!((operation.action, operation.number, operation.len), (Action::SetLen, 1, 100));
/// # Ok::<(), writeback::StoreError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Operation {
    /// What.
    pub action: Action,
    /// The how manieth of its action, from 1 on.
    pub number: u64,
    /// First byte of a read or a write; 0 for others.
    pub offset: u64,
    /// Bytes of a read or a write, the new length for `set_len`; 0 for a flush.
    pub len: u64,
}

/// How an operation goes wrong.
///
/// # Examples
/// ```
/// use writeback::store::fault::{Action, Fault, FaultStore, Rule};
/// use writeback::StoreError;
/// use writeback::store::{FlushKind, Store};
///
/// let store = FaultStore::new(1);
/// store.inject(Rule::new(Fault::NoSpace).on(Action::SetLen));
/// assert!(matches!(store.set_len(100), Err(StoreError::NoSpace)));
/// assert!(store.set_len(100).is_ok(), "once");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// An error of the device (EIO). A write that fails so may be on the medium in part; a length that
    /// could not be set is as it was, or perhaps not; what a failed flush was to cover may be lost, and
    /// a later flush that succeeds does not cover it.
    Io,
    /// No space (ENOSPC). Nothing was written, or changed.
    NoSpace,
    /// Of a write only so many bytes are accepted, at most all but one; `None`: up to the end of a sector
    /// that the seed says.
    Short {
        /// How many bytes; this may tear a sector.
        accepted: Option<u64>,
    },
    /// A read, a write or a flush is begun and nobody is ever told how it ended: its completion is dropped. A write may be on the
    /// medium in part; nothing is certain of what a flush was to cover.
    Lost,
    /// It does not end before [`release_stuck`](super::FaultStore::release_stuck). A change of the length keeps its
    /// caller waiting.
    Stuck,
    /// It takes so long, by the store's clock. A write ends when the clock is moved on and completions
    /// are delivered; all others move the clock on themselves.
    Slow(Duration),
    /// A flush that says it is done and has done nothing. No cache can make up for that; it shows what a
    /// checksum or a log has to find.
    Lie,
    /// A read has one bit wrong, and says nothing. For tests of checksums, as above.
    BitRot,
    /// The call panics. A write may be on the medium in part, a flush has failed; a length may be as it was,
    /// or as it was to be.
    Panic,
}

impl Fault {
    /// Whether this can go wrong with it.
    fn suits(self, action: Action) -> bool {
        match self {
            Fault::Short { .. } => action == Action::Write,
            Fault::Lost => action != Action::SetLen,
            Fault::Lie => action == Action::Flush,
            Fault::BitRot => action == Action::Read,
            Fault::NoSpace => matches!(action, Action::Write | Action::SetLen),
            Fault::Io | Fault::Stuck | Fault::Slow(_) | Fault::Panic => true,
        }
    }
}

type Predicate = Arc<dyn Fn(&Operation) -> bool + Send + Sync>;

/// When something goes wrong.
///
/// Without anything further: with the first operation it can go wrong with, once.
///
/// # Examples
/// ```
/// use writeback::store::fault::{Action, Fault, FaultStore, Rule};
/// use writeback::Mapping;
///
/// let store = FaultStore::new(7);
/// // The third write and all after it, and one read in ten.
/// store.inject(Rule::new(Fault::Io).on(Action::Write).nth(3).persistent());
/// store.inject(Rule::new(Fault::Io).on(Action::Read).probability(0.1).persistent());
///
/// let handle = Mapping::open(store.clone())?.handle();
/// for byte in 0..2 {
///     handle.write_at(&[byte; 4096], 0)?;
///     handle.sync_data()?;
/// }
/// handle.write_at(&[2; 4096], 0)?;
/// assert!(handle.sync_data().is_err());
/// store.heal();
/// handle.sync_data()?; // the page was kept
/// # Ok::<(), writeback::Error>(())
/// ```
#[derive(Clone)]
pub struct Rule {
    fault: Fault,
    action: Option<Action>,
    bytes: Option<Range<u64>>,
    matches: Option<Predicate>,
    nth: u64,
    times: u64,
    probability: f64,
    seen: u64,
}

impl Rule {
    /// The first operation that it can go wrong with, once.
    ///
    /// # Examples
    /// ```
    /// use writeback::store::fault::{Fault, FaultStore, Rule};
    /// use writeback::store::Store;
    ///
    /// let store = FaultStore::new(1);
    /// store.inject(Rule::new(Fault::Io));
    /// assert!(store.set_len(1).is_err());
    /// assert!(store.set_len(1).is_ok());
    /// ```
    pub fn new(fault: Fault) -> Self {
        Self {
            fault,
            action: None,
            bytes: None,
            matches: None,
            nth: 1,
            times: 1,
            probability: 1.0,
            seen: 0,
        }
    }

    /// Only operations of this kind.
    ///
    /// # Examples
    /// ```
    /// # use writeback::store::fault::{Action, Fault, FaultStore, Rule};
    /// # use writeback::store::{FlushKind, Store};
    /// let store = FaultStore::new(1);
    /// store.inject(Rule::new(Fault::Io).on(Action::Flush));
    /// assert!(store.set_len(1).is_ok());
    /// assert!(store.sync(FlushKind::Data).is_err());
    /// ```
    #[must_use]
    pub fn on(mut self, action: Action) -> Self {
        self.action = Some(action);
        self
    }

    /// Only reads and writes that touch these bytes.
    ///
    /// # Examples
    /// ```
    /// # use writeback::store::fault::{Action, Fault, FaultStore, Rule};
    /// # use writeback::store::Store;
    /// let store = FaultStore::new(1);
    /// store.inject(Rule::new(Fault::Io).touching(4096..8192).persistent());
    /// assert!(store.read_at(0, &mut [0; 4096]).is_ok());
    /// assert!(store.read_at(4000, &mut [0; 4096]).is_err());
    /// ```
    #[must_use]
    pub fn touching(mut self, bytes: Range<u64>) -> Self {
        self.bytes = Some(bytes);
        self
    }

    /// Only operations for which `matches` is true. It must not call the store.
    ///
    /// # Examples
    /// ```
    /// # use writeback::store::fault::{Action, Fault, FaultStore, Rule};
    /// # use writeback::store::Store;
    /// let store = FaultStore::new(1);
    /// store.inject(Rule::new(Fault::Io).matching(|operation| operation.len > 1000).persistent());
    /// assert!(store.set_len(1000).is_ok());
    /// assert!(store.set_len(1001).is_err());
    /// ```
    #[must_use]
    pub fn matching(
        mut self,
        matches: impl Fn(&Operation) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.matches = Some(Arc::new(matches));
        self
    }

    /// Not before the `nth` of them, counted from 1 and from when the rule was injected.
    ///
    /// # Examples
    /// ```
    /// # use writeback::store::fault::{Action, Fault, FaultStore, Rule};
    /// # use writeback::store::Store;
    /// let store = FaultStore::new(1);
    /// store.inject(Rule::new(Fault::Io).nth(3));
    /// let went: Vec<_> = (0..5).map(|len| store.set_len(len).is_ok()).collect();
    /// assert_eq!(went, [true, true, false, true, true]);
    /// ```
    #[must_use]
    pub fn nth(mut self, nth: u64) -> Self {
        self.nth = nth;
        self
    }

    /// So many times, instead of once.
    ///
    /// # Examples
    /// ```
    /// # use writeback::store::fault::{Action, Fault, FaultStore, Rule};
    /// # use writeback::store::Store;
    /// let store = FaultStore::new(1);
    /// store.inject(Rule::new(Fault::Io).times(2));
    /// let went: Vec<_> = (0..4).map(|len| store.set_len(len).is_ok()).collect();
    /// assert_eq!(went, [false, false, true, true]);
    /// ```
    #[must_use]
    pub fn times(mut self, times: u64) -> Self {
        self.times = times;
        self
    }

    /// Every time, until [`heal`](super::FaultStore::heal).
    ///
    /// # Examples
    /// ```
    /// # use writeback::store::fault::{Action, Fault, FaultStore, Rule};
    /// # use writeback::store::Store;
    /// let store = FaultStore::new(1);
    /// store.inject(Rule::new(Fault::Io).persistent());
    /// assert!(store.set_len(1).is_err() && store.set_len(1).is_err());
    /// store.heal();
    /// assert!(store.set_len(1).is_ok());
    /// ```
    #[must_use]
    pub fn persistent(self) -> Self {
        self.times(u64::MAX)
    }

    /// Each time with this probability, from 0 to 1, drawn from the store's seed.
    ///
    /// # Examples
    /// ```
    /// # use writeback::store::fault::{Action, Fault, FaultStore, Rule};
    /// # use writeback::store::Store;
    /// let store = FaultStore::new(1);
    /// store.inject(Rule::new(Fault::Io).probability(0.25).persistent());
    /// let failed = (0..1000).filter(|len| store.set_len(*len).is_err()).count();
    /// assert!((150..350).contains(&failed));
    /// ```
    #[must_use]
    pub fn probability(mut self, probability: f64) -> Self {
        self.probability = probability;
        self
    }

    fn concerns(&self, operation: &Operation) -> bool {
        let touches = |bytes: &Range<u64>| {
            matches!(operation.action, Action::Read | Action::Write)
                && operation.offset < bytes.end
                && bytes.start < operation.offset.saturating_add(operation.len)
        };
        self.fault.suits(operation.action)
            && self.action.is_none_or(|action| action == operation.action)
            && self.bytes.as_ref().is_none_or(touches)
            && self.matches.as_ref().is_none_or(|matches| matches(operation))
    }

    fn decide(&mut self, operation: &Operation, random: &mut Rng) -> bool {
        if self.times == 0 || !self.concerns(operation) {
            return false;
        }
        self.seen += 1;
        let fires = self.seen >= self.nth && random.f64() < self.probability;
        if fires && self.times != u64::MAX {
            self.times -= 1;
        }
        fires
    }
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rule")
            .field("fault", &self.fault)
            .field("action", &self.action)
            .field("bytes", &self.bytes)
            .field("nth", &self.nth)
            .field("times", &self.times)
            .field("probability", &self.probability)
            .finish_non_exhaustive()
    }
}

/// All rules. The first that says so decides; those after it do not see the operation.
#[derive(Debug, Default)]
pub(super) struct Plan {
    rules: Vec<Rule>,
}

impl Plan {
    pub(super) fn add(&mut self, rule: Rule) {
        self.rules.push(rule);
    }

    pub(super) fn clear(&mut self) {
        self.rules.clear();
    }

    pub(super) fn decide(&mut self, operation: &Operation, random: &mut Rng) -> Option<Fault> {
        let rule = self.rules.iter_mut().find_map(|rule| {
            let fires = rule.decide(operation, random);
            fires.then_some(rule.fault)
        });
        self.rules.retain(|rule| rule.times > 0);
        rule
    }
}
