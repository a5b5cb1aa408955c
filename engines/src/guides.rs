//! The guides and the README of the repository: their code is compiled and run as documentation tests of this crate.

/// The README of the repository.
#[doc = include_str!("../../README.md")]
struct Readme;

#[doc = include_str!("../../docs/guides/bounded-cache.md")]
struct BoundedCache;

#[doc = include_str!("../../docs/guides/which-hold.md")]
struct WhichHold;

#[doc = include_str!("../../docs/guides/write-ahead-log.md")]
struct WriteAheadLog;

#[doc = include_str!("../../docs/guides/own-store.md")]
struct OwnStore;

#[doc = include_str!("../../docs/guides/async.md")]
struct FromAsyncCode;
