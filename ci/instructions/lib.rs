//! Nothing: the package is its two programs, in `benches`.
