//! What takes no lock unless writers intervene: lookups, walks, scans.

pub(crate) mod absent;
mod ahead;
pub(crate) mod gang;
pub(crate) mod lookup;
mod passed;
#[cfg(feature = "rayon")]
pub(crate) mod pieces;
pub(crate) mod scan;
pub(crate) mod walk;
