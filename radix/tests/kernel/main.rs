//! Scenarios of the Linux kernel's radix tree and XArray test suites, told anew for this tree.
//! Each test names the scenario it re-tells: M main, TC tag check, R regression, IT iteration
//! check, ID id allocator, X XArray; they are also run at places where the originals never ran.

#[path = "../common/mod.rs"]
mod common;
mod gang;
mod iteration;
mod points;
mod range_tagging;
mod regressions;
mod searches;
mod structure;
mod tags;
mod thrash;
