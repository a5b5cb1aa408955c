//! Small inner nodes whose place a copy with more room takes. A node has four slots here, a small one two places to begin with:
//! entries 0 to 3 share a leaf; 4, 8 and 12 lie in the next ones, below the same inner node; 16, 32 and 48 below others.

crate::model::models! {
    /// A tag that is set below a node while that grows keeps its summaries.
    growth_vs_set_tag: "0 1 4 32", "insert 8" | "set 0 A";
    /// The same below a compact leaf, which finds its parent from the root.
    growth_vs_set_tag_alone: "0 4 32", "insert 8" | "set 0 A";
    /// A tag that is cleared below a node while that grows leaves no summary behind.
    growth_vs_clear_tag: "0:A 1 4 32", "insert 8" | "clear 0 A";
    /// The same with its bits lowered at once.
    growth_vs_lower: "0:A 1 4 32", "insert 8" | "paint - A";
    /// The copy takes over what stands over nothing, while it is healed.
    growth_vs_heal: "0 1 4 32 stale", "insert 8 A" | "fold A; any A";
    /// A tag that is set by a bit of the original.
    growth_vs_set_below_a_standing_summary: "0 1 4 32 stale", "insert 8" | "set 0 A; any A";
    /// The same of a compact leaf.
    growth_vs_set_alone_below_a_standing_summary: "0 4 32 stale", "insert 8" | "set 0 A";
    /// A leaf is unlinked from the copy, not from the original.
    growth_vs_unlink: "0 4 8 32", "insert 12" | "remove 4";
    /// A node grows or is spliced out, one after the other.
    growth_vs_splice: "0:A 1 4 32", "insert 8" | "remove 4";
    /// Of two insertions that need room, neither undoes the other.
    growth_vs_growth: "0 4 32", "insert 8" | "insert 12";
    /// Both want the same place.
    growth_vs_same_place: "0 4 32", "insert 8" | "insert 9";
    /// A lookup finds what was there all the time, in the original or in the copy, and what is new once and for all.
    growth_vs_get: "0 1 4 32", "insert 8" | "get 8; get 0; get 8";
    /// An entry that was found is in the scan that comes after.
    growth_vs_get_then_scan: "0 4 32", "insert 8" | "get 8; scan";
    /// A walk that stands in the original reports what was tagged all the time.
    growth_vs_walk: "0:A 4:A 32", "insert 8 A" | "scan A; any A";
    /// A node is split off above while it grows.
    growth_vs_split_above: "16:A 17 20", "insert 24" | "insert 0";
    /// The child of a node that grows moves below another.
    growth_vs_split_below: "0:A 1 16", "insert 32" | "insert 4 A";
    /// A node grows, and so does the one above.
    growth_vs_growth_above: "0 4 32", "insert 8" | "insert 16";
    /// The node above is spliced out while one grows.
    growth_vs_splice_above: "0:A 1 4 32", "insert 8" | "remove 32";
    /// A place is used again by its offset only.
    growth_vs_place_again: "0 4 8 32", "remove 8; insert 12" | "insert 9";
    /// A small node above a full one becomes full while a tag is set below it. The lower one is made full by the thread itself: of
    /// entries that are there before, the upper one is made last and full.
    widening_vs_set_tag: "0 4 8 32 33", "insert 12; insert 13" | "set 32 A";
    /// And while a child leaves it, and it is spliced out.
    widening_vs_splice: "0:A 4 8 32", "insert 12; insert 13" | "remove 32";
    /// The root's edge leads to the copy.
    growth_at_the_root: "16 17 20", "insert 24" | "set 16 A; any A";
}
