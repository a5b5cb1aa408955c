//! The workload that both examples run, and the proof that no page was missed.
//!
//! Everybody who may touch a page at the same time is here: *writers* change pages through the cache
//! and read others back, a *flusher* writes in the background, a *journal* holds pages so that
//! nobody else may write them, a *reclaimer* writes pages one by one through the claim interface and
//! has to decline those that the journal holds, and *syncers* call `sync_data`.
//!
//! The proof: every page carries its index, a version and a checksum. A syncer notes the versions
//! that writers had completed before it calls `sync_data`, and when that has returned `Ok` it reads
//! the pages through a file of its own, past the cache. A page of an older version is *missed*. So is
//! one that was written and not followed by an `fdatasync` (see [`witness`]).
//!
//! What it can not prove: reading goes through the operating system, so it shows what has reached
//! the file and was followed by a successful `fdatasync`, not what a device keeps when its power
//! fails. And a page that somebody else writes between the sync and the look at it is not counted,
//! so the number of missed pages is a lower bound.

pub(crate) mod actors;
pub(crate) mod at;
pub(crate) mod ledger;
pub(crate) mod options;
pub(crate) mod outcome;
pub(crate) mod progress;
pub(crate) mod run;
pub(crate) mod syncer;
pub(crate) mod target;
pub(crate) mod witness;
pub(crate) mod workload;

/// The result of what cannot go on if it fails: a full disk, a bad argument. One line for people.
pub(crate) type Fallible<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;
