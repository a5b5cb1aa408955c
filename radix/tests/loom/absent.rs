//! Insertion at the lowest absent index, and what it marks as solid: of two slots each is a group.

crate::model::models! {
    /// Two that look for a place get one each, the lower one first.
    alloc_vs_alloc: "1 4", "alloc 0 3" | "alloc 0 3";
    /// Two that want the last place.
    alloc_vs_alloc_of_the_last: "0 4", "alloc 0 1" | "alloc 0 1";
    /// A leaf is marked while an entry goes: what is absent is found by the one who has removed it.
    mark_vs_remove: "0 1 4", "alloc 0 3" | "remove 0; absent 0";
    /// The same, and a second search by the one who marks, after it has found the entry gone.
    mark_then_get_vs_remove: "0 1 4", "alloc 0 1; get 0; absent 0" | "remove 0";
    /// A node is marked, and one above it: both lose their marks before the entry goes.
    solid_vs_remove: "0 1 2 3 4 solid", "remove 2; absent 0" | "alloc 0 3";
    /// Marks that are taken away are not set again before the entry has gone.
    solid_vs_mark_again: "0 1 2 3 4 solid", "remove 0" | "alloc 0 3; absent 0";
    /// Bits are cleared by two, below one node.
    solid_vs_two_removals: "0 1 2 3 4 solid", "remove 0" | "remove 3; absent 0";
    /// A marked leaf is swept, and its neighbour.
    solid_vs_sweep: "0 1 2 3 solid", "sweep" | "alloc 0 3; absent 0";
    /// An entry goes that comes back while the leaf is marked.
    mark_vs_remove_and_insert: "0 1 4", "alloc 0 1" | "remove 0; insert 0; absent 0";
    /// Two mark, one removes from what both have seen.
    mark_vs_mark: "0 1 4", "alloc 0 1" | "alloc 0 1; remove 0; absent 0";
    /// A section of the user removes, too.
    mark_vs_drop: "0 1 4", "alloc 0 1" | "drop 0 A; absent 0";
    /// A marked leaf moves below a new top.
    solid_vs_new_top: "0 1 solid", "remove 1; absent 0" | "insert 6";
    /// And one below a node that is spliced out.
    solid_vs_splice: "0 1 2 6 solid", "remove 1; absent 0" | "remove 2";
    /// Whoever passes over an index by a mark finds its entry.
    passed_then_get: "1 2 4", "alloc 0 0" | "absent 0; get 0";
    /// Whoever finds an entry that was inserted passes over no index that it has seen absent.
    get_then_alloc: "1 4", "get 0; alloc 0 1" | "insert 0";
}
