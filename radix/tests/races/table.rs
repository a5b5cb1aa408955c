//! The races. Each is a tree and what each thread calls on it.
//!
//! A tree is written as its entries, `index:tags`; tags are letters, A the first. An index here
//! is a number with one digit a level, so that a few small numbers give every shape: in
//! [`Fan::Two`] entry 5 = 101 in binary has digits 1, 0, 1.

use crate::common::BITS;

/// Digits of the indices in a race.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fan {
    Two,
    Four,
}

/// The real index for `number`: one digit a level; `levels` says at which levels of the tree
/// the digits stand.
pub(crate) fn spread(number: u64, fan: Fan, levels: [u32; 3]) -> u64 {
    let bits = match fan {
        Fan::Two => 1,
        Fan::Four => 2,
    };
    let digit = |position: u32| number >> (bits * position) & ((1 << bits) - 1);
    (0..3).map(|at| digit(at) << (BITS * levels[at as usize])).sum()
}

#[derive(Debug)]
pub(crate) struct Race {
    pub(crate) name: &'static str,
    pub(crate) fan: Fan,
    pub(crate) entries: &'static str,
    pub(crate) threads: &'static [&'static str],
}

const fn two(name: &'static str, entries: &'static str, threads: &'static [&'static str]) -> Race {
    Race { name, fan: Fan::Two, entries, threads }
}

const fn four(name: &'static str, entries: &'static str, threads: &'static [&'static str]) -> Race {
    Race { name, fan: Fan::Four, entries, threads }
}

/// Top node, two leaves.
const PAIR: &str = "0:A 1 6";
/// Top node, an inner node with two leaves, a leaf.
const DEEP: &str = "0:A 2 6";

pub(crate) const TAGS: &[Race] = &[
    two("siblings in a leaf", PAIR, &["clear 0 A", "set 1 A", "scan A"]),
    two("cousins, any_tagged", DEEP, &["clear 0 A", "set 2 A", "any A; any A"]),
    two("cousins, tagged scan", DEEP, &["clear 0 A", "set 2 A; set 2 A", "scan A"]),
    two("one entry, both ways", PAIR, &["clear 0 A; set 0 A", "set 0 A; clear 0 A", "has 0 A"]),
    two("three under one inner node", "0:A 2:A 6", &["clear 0 A", "clear 2 A", "set 6 A"]),
    two(
        "clear, clear, set of a cousin",
        "0:A 2:A 6",
        &["clear 0 A; set 0 A", "clear 2 A", "scan A"],
    ),
    two("hand-over, scans for either", DEEP, &["update 0 B A", "scan A; scan B", "any A; any B"]),
    two("value and tags, reads", PAIR, &["update 0 B A new", "get 0; set 0 A", "entry 0; has 0 B"]),
    two("hand-over, two sets", PAIR, &["update 0 B A", "set 0 B; set 0 A"]),
    two("seen set, then looked for", DEEP, &["set 2 B", "has 2 B; scan B", "set 2 B; any B"]),
    two("overwritten, tags stay", PAIR, &["insert 0 B", "has 0 A; entry 0", "set 0 A; entry 0"]),
    two("hand-over, folds for either", DEEP, &["update 0 B A", "fold A; fold B", "any A; any B"]),
    two("heal and set", PAIR, &["clear 0 A; scan A", "set 1 A", "fold A"]),
    two("heal up to the root and set", DEEP, &["clear 0 A; fold A", "set 2 A", "any A; any A"]),
    two("heal of a node by two, and set", DEEP, &["clear 0 A; fold A; set 2 A; scan A", "fold A"]),
    two("heal by two", "0:A 2:A 6", &["clear 0 A; back A", "clear 2 A; fold A", "set 6 A"]),
    two("set, clear, heal", DEEP, &["set 2 A; clear 2 A", "clear 0 A; gang A", "any A; set 0 A"]),
    two("overwritten under a scan", "0:A 1:A 6", &["insert 0", "scan A", "set 1 B"]),
];

pub(crate) const REMOVAL: &[Race] = &[
    two("set and remove", PAIR, &["remove 0", "set 0 A; get 0", "has 0 A; get 0"]),
    two("set sibling and remove", PAIR, &["remove 0", "set 1 A", "scan A"]),
    two("remove, scan then get", DEEP, &["remove 0", "scan A; get 0", "any A; get 0"]),
    two("remove, get then scan", PAIR, &["remove 0", "scan; get 0", "get 0; scan"]),
    two("remove, insert again, entry", PAIR, &["remove 0; insert 0", "entry 0; entry 0"]),
    two("remove, insert again, scan", PAIR, &["remove 0; insert 0", "scan A", "has 0 A; has 0 A"]),
    two("insert with tags into a leaf", "1 6", &["insert 0 A", "get 0; has 0 A", "scan A; get 0"]),
    two("insert into a leaf", "1 6", &["insert 0", "get 0; scan", "scan; get 0"]),
    two("clear and remove", PAIR, &["remove 0", "clear 0 A; get 0", "set 0 A"]),
    two("insert, next absent", "1 6", &["insert 0", "absent 0; get 0"]),
    two("remove, next absent", "0 1 6", &["remove 0; insert 0", "absent 0", "absent 1; get 1"]),
    two("remove, count", "0 1 6", &["remove 0; insert 0", "get 0; count", "count; get 0"]),
    two("sweep, count", PAIR, &["sweep", "get 0; count", "count; scan"]),
];

pub(crate) const LEAVES: &[Race] = &[
    two("new tagged leaf", "0 3 6", &["remove 3", "insert 2 A", "scan A; get 2"]),
    two(
        "insert and unlink of a leaf",
        DEEP,
        &["remove 2; get 2", "insert 3; get 3", "get 3; get 2"],
    ),
    two("unlink and come back", DEEP, &["remove 2; insert 2", "get 2; get 2", "scan"]),
    two(
        "heal of a leaf that has gone",
        "0:A 1",
        &["clear 0 A; sweep; insert 0 A; scan A", "fold A"],
    ),
    two(
        "heal of a node that a splice takes out",
        DEEP,
        &["clear 0 A; fold A; remove 2; set 0 A; scan A", "fold A"],
    ),
    two("unlink below a standing summary", DEEP, &["clear 0 A; remove 0", "fold A", "set 2 A"]),
    two("splice below a standing summary", DEEP, &["clear 0 A; remove 2", "set 0 A", "fold A"]),
    two("splice and set", DEEP, &["remove 2", "set 0 A; clear 0 A", "scan A"]),
    two("splice and clear", DEEP, &["remove 2", "clear 0 A; set 0 A", "any A; scan A"]),
    two("splice and insert below it", DEEP, &["remove 2", "insert 3 A", "get 3; get 0"]),
    two("splice and plain scan", DEEP, &["remove 2; insert 3", "scan", "get 0"]),
    two("splice and tagged scan", "0 2:A 6", &["remove 0; insert 1", "scan A", "set 6 A"]),
    two("splice and plain fold", DEEP, &["remove 2; insert 3", "fold", "get 0"]),
    two("both leaves at once", DEEP, &["remove 0", "remove 2", "scan"]),
    two("all removed at once", "0:A 2", &["remove 0; insert 0", "remove 2", "get 0; get 2"]),
    two("tagged leaf removed, cousin set", DEEP, &["remove 0", "set 2 A", "scan A"]),
    two("two splices in a row", "0:A 2 4", &["remove 2; remove 4", "clear 0 A; set 0 A"]),
    two("two splices at once", "0:A 2 4", &["remove 2", "remove 4", "clear 0 A; set 0 A"]),
    two("two splices and an insert", "0:A 2 4", &["remove 2", "remove 4", "insert 3 A"]),
    two("unlink, readers come again", DEEP, &["remove 2", "get 2; get 2; get 2"]),
    two("splice and scans back", "0:A 2 6:A", &["remove 2; insert 3", "back A", "back"]),
    two("tag read in a dying leaf", DEEP, &["remove 0; insert 0 B", "has 0 A; has 0 B; entry 0"]),
];

pub(crate) const SPLITS: &[Race] = &[
    two("split and set", PAIR, &["insert 2", "set 6 A; set 1 A", "scan A"]),
    two("split and set below it", "0 6", &["insert 2", "set 0 A", "scan A; scan A"]),
    two("heal and split", "0 6", &["set 0 A; clear 0 A; fold A", "insert 2 A"]),
    two("split with a tagged entry, set below it", "0 6", &["insert 2 A", "set 0 A; fold A"]),
    two("new top with a tagged entry, set below it", "0", &["insert 6 A", "set 0 A; fold A"]),
    two("split below a standing summary", "0:A 6", &["clear 0 A; insert 2", "set 0 A", "fold A"]),
    two("split and clear below it", PAIR, &["insert 2", "clear 0 A", "any A; scan A"]),
    two("split with a tagged entry", PAIR, &["insert 2 A", "clear 0 A", "scan A; get 2"]),
    two("two splits of one edge", "0 6", &["insert 2", "insert 3 A", "set 0 A"]),
    two("split, get and scan", PAIR, &["insert 2; remove 2", "get 2; get 0", "scan"]),
    two("split and removal under it", "0:A 6", &["insert 2", "remove 0", "scan"]),
    two("split, removal and set", "0 6", &["insert 2 A", "remove 0", "set 0 A"]),
    two("split then splice", "0 6", &["insert 2; remove 2", "set 0 A; clear 0 A"]),
    two("new top and set", "0", &["insert 6", "set 0 A", "any A; scan A"]),
    two("new top, clear and remove", "0:A", &["insert 6", "clear 0 A", "remove 0"]),
    two("new top, old top removed", "0:A", &["insert 6 A", "remove 0; get 6", "scan A"]),
    two("empty tree, two inserts", "", &["insert 0 A", "insert 6", "scan; scan A"]),
    two("split against splice", DEEP, &["remove 2", "insert 4", "set 0 B"]),
    two("get beyond the top node", "6", &["insert 0", "get 0; get 2", "remove 6"]),
    two("skipped edge does not fit", DEEP, &["remove 6; insert 4", "insert 5", "get 5"]),
    two("two new tops, set below", "0", &["insert 6", "insert 2", "set 0 A; clear 0 A; set 0 A"]),
    two("two new tops, removed below", "0:A", &["insert 6", "insert 2", "remove 0"]),
    two("split and removal below it", "0 6", &["insert 2", "remove 0"]),
    two(
        "split, readers come again",
        "0 6",
        &["insert 2", "remove 0", "any A; any A; entry 0; entry 0", "any A; get 0; get 0; get 0"],
    ),
    two("split, the rest removed", "0 6", &["insert 2", "remove 0; remove 6"]),
    two("get beyond a top of two leaves", "0 2", &["get 4; get 6", "insert 6", "get 5"]),
    two("split and scan back", "0:A 6:A", &["insert 2 A", "back A"]),
    two("new top, tagged", "0", &["insert 6 A", "scan A; has 0 A", "scan A"]),
];

pub(crate) const RANGES: &[Race] = &[
    two("range tagging and set", DEEP, &["copy A B; scan B", "set 2 A", "any B"]),
    two("range tagging and clear", "0:A 2:A 6", &["copy A B", "clear 0 A", "scan B"]),
    two("range tagging and splice", "0:A 2:A 6:A", &["copy A B", "remove 0"]),
    two("range tagging and split", "0:A 6:A", &["copy A B", "insert 2 A", "clear 6 B"]),
    two("resumed scan and splice", DEEP, &["resume", "remove 0; remove 2"]),
    two("resumed scan, splice, split", "0:A 2:A 6:A", &["resume A", "remove 0", "insert 4 A"]),
    two("resumed scan, clear and set", "0:A 1:A 6:A", &["resume A", "clear 0 A; set 0 A"]),
    two("hand-over, scan back", "0:A 1:B 6", &["update 0 B A", "back A; back B"]),
    two("range tagging within a leaf", "0:A 1:A 4", &["copy A B", "clear 0 B; clear 1 A"]),
    two(
        "painting and removal",
        "0:A 2:A 6",
        &["paint B A", "remove 2; insert 3 A", "any A; scan B"],
    ),
    two("cleared at once and set", "0:A 1 4", &["paint - A", "set 1 A; scan A", "scan A"]),
    two("cleared at once and set beside", DEEP, &["paint - A", "set 2 A; any A", "fold A"]),
    two("painted over, flags of both", "0:A 6", &["paint B A", "any A; any B", "fold A; fold B"]),
    two("painting and set", "0 1:A 4", &["paint A B", "clear 0 A; clear 1 A", "scan A; any A"]),
];

pub(crate) const WIDE: &[Race] = &[
    four("new tagged leaf", "0 8", &["insert 4 A", "scan A; get 4", "any A; scan"]),
    four("two inserts of one new leaf", "0 8", &["insert 4", "insert 5 A", "scan; scan A"]),
    four(
        "new leaf, old one unlinked",
        "0:A 4:A 8",
        &["remove 4; get 4", "insert 5; get 5", "get 5; get 4"],
    ),
    four("the same, tagged scan", "0:A 4:A 8", &["remove 4", "insert 4 A", "scan A; get 4"]),
    four("new leaf and splice above it", "0:A 4", &["remove 4", "insert 8 A", "clear 0 A"]),
    four("new leaf and two removals", "0 4 8", &["remove 4", "remove 8", "insert 12"]),
    four("new leaf, cousins set, cleared", "0:A 8", &["insert 4 A", "clear 0 A", "set 8 A"]),
    four("node above does not cover it", "16 20", &["insert 8; get 8", "get 8; scan", "remove 16"]),
    four(
        "split above a spliced node",
        "16:A 20",
        &["insert 8", "remove 20", "clear 16 A; set 16 A"],
    ),
    four("split above, new leaf below", "16 20", &["insert 8", "insert 24 A", "set 16 A"]),
    four("three levels, splice", "0 4 16", &["remove 4", "set 0 A; clear 0 A", "scan A"]),
    four("range tagging and new leaf", "0:A 8:A", &["copy A B", "insert 4 A", "clear 8 B"]),
    four("resumed scan and new leaf", "0:A 4:A 8:A", &["resume A", "remove 4; insert 5 A"]),
];

pub(crate) const OTHERS: &[Race] = &[
    two("list against clear", "0 1:A 4", &["mark A 0 1 4", "clear 1 A; clear 0 A", "scan A"]),
    two(
        "list against unlink and split",
        "0 2 6",
        &["mark A 0 2 6; any A", "remove 2; insert 4", "scan A"],
    ),
    two("list and a new neighbour", "0 4", &["mark A 0 1 4", "insert 1; remove 0", "gather A"]),
    two("range in batches, splice", DEEP, &["gather A; gather", "remove 2; insert 3 A", "set 6 A"]),
    two("replace if untagged, set", "0 1 4", &["swap 0; swap 0", "set 0 A; entry 0"]),
    two("remove if untagged, set", "0 1 4", &["drop 0 A", "set 0 A; entry 0"]),
    two("remove if untagged, new value", "0 4", &["drop 0 A; get 0", "insert 0; set 0 A"]),
    two("get or insert, twice", "2 4", &["make 0; get 0", "make 0; remove 0", "make 0"]),
    two("gang lookup and splice", "0:A 2 6:A", &["gang A", "remove 2; set 2 A", "gang"]),
    two("gang lookup and hand-over", "0:A 1:B 4:A", &["gang A; gang B", "update 0 B A", "set 1 A"]),
    two("sweep and insert", "0:A 2 6", &["sweep", "insert 3; get 3", "scan"]),
    two("sweep and set", "0 1 4:A", &["sweep", "set 1 A; clear 1 A", "any A; scan A"]),
    two("two sweeps", "0:A 2 6", &["sweep", "sweep", "get 2"]),
    two("sweep, get then has", "0:A 1 6", &["sweep", "get 0; has 0 A"]),
    two("sweep, scan then get", DEEP, &["sweep", "scan A; get 0", "any A; get 0"]),
];

/// An entry alone in its leaf that gets a neighbour, or loses it.
pub(crate) const NEAR: &[Race] = &[
    two(
        "two neighbours and a tag",
        "0:A 6",
        &["insert 1 B", "clear 0 A; set 0 B", "scan A; scan B"],
    ),
    two(
        "neighbour, removal, scan",
        "0:A 6:A",
        &["insert 1 A", "remove 0; insert 0 A", "scan A; get 0"],
    ),
    two(
        "neighbour and overwriting",
        "0:A 6",
        &["insert 1", "insert 0 B; get 1", "entry 0; entry 0"],
    ),
    two("neighbour and splice", DEEP, &["insert 3 A", "remove 2; remove 0", "scan; any A"]),
    two(
        "neighbour and split",
        "0:A 6:B",
        &["insert 1 B; remove 1", "insert 2 A", "scan A; scan B"],
    ),
    two("neighbours from both sides", "0 2:A", &["insert 1 A", "insert 3 B", "resume A; any B"]),
    two(
        "neighbour and counting",
        "0:A 2",
        &["insert 1 A; insert 3 A", "count; count A", "absent 0"],
    ),
    two(
        "neighbour and counting at the top",
        "0:A",
        &["insert 1 A; insert 3 A", "count; count A", "absent 0"],
    ),
    two(
        "neighbour and range tagging",
        "0:A 6:A",
        &["copy A B; scan B", "insert 1 A", "paint A B; has 0 A"],
    ),
    two(
        "neighbour and range tagging at the top",
        "0:A",
        &["copy A B; scan B", "insert 1 A", "paint A B; has 0 A"],
    ),
    two("neighbour and sweep", "0:A 2:A", &["sweep", "insert 1 A; get 0", "any A; scan"]),
    two(
        "neighbour and gang lookups",
        "0:A 2:A",
        &["gang A; gang", "insert 1 A; remove 0", "set 2 B"],
    ),
    two(
        "neighbour and backward scan",
        "1:A 6:A",
        &["back A; back A", "insert 0 A", "update 1 B A new"],
    ),
    two("hand-over of one alone", "0:A 6", &["update 0 B A", "has 0 A; has 0 B", "entry 0"]),
    two("neighbour at the root", "0:A", &["insert 1 B", "remove 0; insert 0", "any A; scan B"]),
    two(
        "two new tops over one entry",
        "1:A",
        &["insert 2; remove 2", "insert 6; remove 6", "clear 1 A; set 1 B"],
    ),
    two(
        "conditional changes",
        "0 2",
        &["swap 0; drop 0 A", "insert 1 A; set 0 A", "make 0; get 1"],
    ),
];

/// Small inner nodes that get more children than they have places for: under shuttle with compact nodes, which are born with two
/// places.
pub(crate) const GROWTH: &[Race] = &[
    four("growth and set", "0:A 1 4 32", &["insert 8", "set 1 B; set 4 A", "scan A; scan B"]),
    four("growth and clear", "0:A 1 4 32", &["insert 8", "clear 0 A", "any A; scan A"]),
    four(
        "growth and clear, set beside",
        "0:A 1 4 32",
        &["insert 8 A", "clear 0 A; set 0 A", "any A"],
    ),
    four("growth and splice", "0:A 1 4 32", &["insert 8 A", "remove 4", "clear 0 A; set 0 B"]),
    four(
        "growth and both removed",
        "0:A 1 4 32",
        &["insert 8", "remove 4; get 8", "remove 0; remove 1"],
    ),
    four("two growths", "0 1 4 32", &["insert 8 A; get 12", "insert 12; get 8", "scan; any A"]),
    four("growth at the root", "16 20:A", &["insert 24", "insert 28 A; get 24", "clear 20 A"]),
    four(
        "growth and split above",
        "16:A 17 20",
        &["insert 24", "insert 0", "clear 16 A; set 16 B"],
    ),
    four("growth and split below", "0:A 1 16 48", &["insert 32", "insert 4 A", "set 0 B; scan A"]),
    four(
        "growth of a node and above",
        "0:A 1 4 32",
        &["insert 8 B", "insert 16", "clear 0 A; set 4 A"],
    ),
    four("growth and splice above", "0:A 1 4 32", &["insert 8", "remove 32", "set 1 A; clear 0 A"]),
    four(
        "growth and lone entries",
        "0:A 4:A 32",
        &["insert 8", "clear 0 A; set 4 B", "remove 4; any A"],
    ),
    four("growth and neighbour", "0:A 4 32", &["insert 8", "insert 1 A; get 0", "entry 0; scan A"]),
    four(
        "growth, a place that is kept",
        "0 4:A 8 32",
        &["remove 8; insert 8", "remove 4; insert 5", "get 8; get 5"],
    ),
    four(
        "growth without more children",
        "0:A 4 8 32",
        &["remove 8; insert 12", "insert 9 A", "scan; get 12"],
    ),
    four(
        "growth, readers come again",
        "0 1 4 32",
        &["insert 8; insert 12", "get 8; get 12; get 0", "scan; get 4"],
    ),
    four("growth and plain scans", "0 4 32", &["insert 8; get 8", "get 8; scan", "scan; get 8"]),
    four("growth and resumed scan", "0:A 4:A 32:A", &["resume A", "insert 8 A; remove 0"]),
    four("growth and scan back", "0:A 4:A 32", &["back A; back", "insert 8 A; insert 12 A"]),
    four(
        "growth and range tagging",
        "0:A 1 4:A 32",
        &["copy A B; scan B", "insert 8 A; clear 4 B"],
    ),
    four("growth and sweep", "0 4 32", &["sweep", "insert 8; insert 12 A", "any A; scan"]),
    four(
        "growth and counting",
        "0:A 4 32",
        &["count; count A", "insert 8 A; insert 12", "absent 8"],
    ),
    four(
        "full below small",
        "0:A 4 8 12 32",
        &["insert 13 A", "insert 16; get 13", "clear 0 A; set 32 B"],
    ),
    four(
        "full below small, splice",
        "0:A 1 4 8 12 32",
        &["insert 13", "remove 32; get 13", "set 1 B; scan A"],
    ),
    four(
        "full below small, reads",
        "0 4 8 12 32",
        &["insert 13 A; insert 48", "scan A; get 48", "get 13; get 0"],
    ),
];

pub(crate) const ABSENT: &[Race] = &[
    two("two in one place", "1 6", &["alloc 0 1", "alloc 0 1", "get 0; absent 0"]),
    two("full, one goes", "0 1 6", &["alloc 0 1; alloc 0 1", "remove 0; absent 0", "remove 1"]),
    two(
        "marked and freed",
        "0 1 2 3 6",
        &["alloc 0 1; alloc 0 1", "remove 0; get 0; absent 0", "alloc 2 3"],
    ),
    two(
        "freed, filled, freed",
        "0 1 2 3 6",
        &["alloc 0 1; remove 1", "remove 0; insert 0", "alloc 0 1; absent 0"],
    ),
    two("marked, swept", "0 1 2 3", &["alloc 2 3; alloc 0 1", "sweep", "absent 0"]),
    two(
        "marked, split off",
        "0:A 1",
        &["alloc 0 1; alloc 0 1", "insert 6; remove 0; absent 0", "insert 2"],
    ),
    two(
        "marked, spliced",
        "0 1 2 6",
        &["alloc 0 1; alloc 0 1", "remove 2; remove 6", "remove 1; absent 0"],
    ),
];

pub(crate) const MIXES: &[Race] = &[
    two(
        "splice, new leaf, scan",
        DEEP,
        &["remove 2; insert 2 A", "clear 0 A; set 0 A", "scan A; get 2"],
    ),
    two(
        "split, splice, scan",
        PAIR,
        &["insert 2 A; remove 2", "clear 0 A; set 0 A", "scan A; any A"],
    ),
    two(
        "empty and fill the tree",
        "0:A 2",
        &["remove 0; insert 0 A", "remove 2; insert 6", "scan; scan A"],
    ),
    two("hand-over twice", DEEP, &["update 0 B A; update 0 A B", "set 2 B; clear 2 B", "resume B"]),
    two("range tagging, churn", DEEP, &["copy A B; scan B", "remove 2; insert 3 A", "set 1 A"]),
    two(
        "writers only",
        DEEP,
        &["insert 2 A; remove 0", "remove 2; insert 1 A", "set 0 A; clear 6 A"],
    ),
    four(
        "removals only",
        "0:A 4:A 8:A",
        &["remove 0; remove 4", "remove 4; remove 8", "remove 8; remove 0"],
    ),
];

/// A test for each group of races; `$run` plays a group.
macro_rules! tests {
    ($run:path) => {
        #[test]
        fn tags_against_tags() {
            $run(crate::table::TAGS);
        }

        #[test]
        fn tags_against_removal_and_insertion() {
            $run(crate::table::REMOVAL);
        }

        #[test]
        fn new_leaf_unlink_and_splice() {
            $run(crate::table::LEAVES);
        }

        #[test]
        fn split_and_new_top() {
            $run(crate::table::SPLITS);
        }

        #[test]
        fn range_tagging_and_resumed_scans() {
            $run(crate::table::RANGES);
        }

        #[test]
        fn inner_nodes_with_room() {
            $run(crate::table::WIDE);
        }

        #[test]
        fn conditional_changes_batches_and_sweeps() {
            $run(crate::table::OTHERS);
        }

        #[test]
        fn a_neighbour_for_an_entry_that_was_alone() {
            $run(crate::table::NEAR);
        }

        #[test]
        fn small_nodes_that_grow() {
            $run(crate::table::GROWTH);
        }

        #[test]
        fn insertion_at_an_absent_index() {
            $run(crate::table::ABSENT);
        }

        #[test]
        fn longer_mixes() {
            $run(crate::table::MIXES);
        }
    };
}

pub(crate) use tests;
