//! What optional features add.

#[cfg(feature = "rayon")]
mod parallel;
#[cfg(feature = "serde")]
mod serial;
