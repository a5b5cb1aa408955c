//! What happened to the store, in order.

use super::plan::{Fault, Operation};

/// How far an operation is.
///
/// # Examples
/// ```
/// use writeback::store::Store;
/// use writeback::store::fault::{FaultStore, Stage};
///
/// let store = FaultStore::new(1);
/// store.set_len(1)?;
/// let stages: Vec<_> = store.log().iter().map(|event| event.stage).collect();
/// assert_eq!(stages, [Stage::Begun, Stage::Ended]);
/// # Ok::<(), writeback::StoreError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// It was asked for and nothing has been done.
    Begun,
    /// What it does to the medium is done, and nobody has been told.
    Ended,
}

/// One thing that happened to a [`FaultStore`](super::FaultStore).
///
/// # Examples
/// ```
/// use writeback::store::Store;
/// use writeback::store::fault::{Fault, FaultStore, Rule};
///
/// let store = FaultStore::new(1);
/// store.inject(Rule::new(Fault::Io).nth(2));
/// store.set_len(1)?;
/// store.set_len(2).unwrap_err();
/// let faults: Vec<_> = store.log().iter().map(|event| event.fault).collect();
/// assert_eq!(faults, [None, None, Some(Fault::Io), Some(Fault::Io)]);
/// # Ok::<(), writeback::StoreError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Event {
    /// Of which operation.
    pub operation: Operation,
    /// How far it is.
    pub stage: Stage,
    /// What goes wrong with it.
    pub fault: Option<Fault>,
}
