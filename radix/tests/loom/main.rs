//! The tree under loom: two or three threads, few calls each, in every interleaving with at most so many preemptions
//! (`LOOM_MAX_PREEMPTIONS`, default 2; with `LOOM_QUICK` one in the longest models, and some of the executions with two), and with every value that the memory orderings let a load return.
//!
//! Needs `--cfg radix_loom` and the feature `loom`. A node has two slots: entries 0 and 1 share a leaf; 2 and 3 the next one,
//! below the same inner node; 4 to 7 lie below another. A tree is written as its entries, `index:tags`; with `stale` behind them all
//! summaries of tag A stand, whoever has it.
//! With `--cfg radix_compact` an entry alone in its leaf takes a compact one, and inner nodes are small; else there are none.
//! With `--cfg radix_wide` besides, nodes have four slots, and the models are those of small inner nodes that grow.
//! A thread makes its calls under one guard, or under several where a stroke parts them; where a tilde does, it is repinned.
#![cfg(all(radix_loom, feature = "loom"))]

#[path = "../races/call.rs"]
mod call;
mod coherence;
#[path = "../races/effect.rs"]
mod effect;
mod model;
#[path = "../races/stamp.rs"]
mod stamp;
#[path = "../races/told.rs"]
mod told;

#[cfg(not(radix_wide))]
mod absent;
#[cfg(not(radix_wide))]
mod compact;
#[cfg(not(radix_wide))]
mod flight;
#[cfg(radix_wide)]
mod growth;
#[cfg(not(radix_wide))]
mod ranges;
#[cfg(not(radix_wide))]
mod reads;
#[cfg(not(radix_wide))]
mod structure;
#[cfg(not(radix_wide))]
mod tags;
