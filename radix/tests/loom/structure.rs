//! Changes of shape against changes of shape, and against tags.

crate::model::models! {
    /// Two insertions into one empty slot of a leaf: one is first, the other replaces it.
    insert_vs_insert_same_slot: "1", "insert 0" | "insert 0";
    /// Two insertions that both need the same new leaf.
    insert_vs_insert_new_leaf: "2 4", "insert 0" | "insert 1 A";
    /// Two insertions into an empty tree, which want different tops.
    insert_vs_insert_empty_tree: "", "insert 0 A" | "insert 6";
    /// Two splits of one edge.
    insert_vs_insert_two_splits: "0 6", "insert 2" | "insert 3 A";
    /// An insertion and a removal of one entry.
    insert_vs_remove: "0:A 1", "insert 0 B" | "remove 0";
    /// Only one of two removals gets the value.
    remove_vs_remove: "0:A 1", "remove 0" | "remove 0";
    /// The leaf that a removal unlinks is not the one that an insertion fills.
    unlink_vs_insert: "0 2 4", "remove 2" | "insert 3 A";
    /// Both leaves below one inner node are unlinked: it is spliced out once.
    unlink_vs_unlink: "0:A 2 4", "remove 0" | "remove 2";
    /// The node that is spliced out is not the one in which a new leaf is linked.
    splice_vs_insert: "0 2 6", "remove 2" | "insert 4 A";
    /// A child that moves up while a tag is set in it: the summaries of its new parents are set.
    splice_vs_set_tag: "0 2 6", "remove 2" | "set 0 A";
    /// A child that moves up while its tag is cleared leaves no summary behind.
    splice_vs_clear_tag: "0:A 2 6", "remove 2" | "clear 0 A";
    /// A child that moves down under a new node while a tag is set in it.
    split_vs_set_tag: "0 6", "insert 2" | "set 0 A";
    /// A child that moves down while its tag is cleared.
    split_vs_clear_tag: "0:A 6", "insert 2" | "clear 0 A";
    /// The same with its bits lowered at once, up to the root flag.
    split_vs_lower: "0:A 6", "insert 2" | "paint - A";
    /// And where it moves up.
    splice_vs_lower: "0:A 2 6", "remove 2" | "paint - A";
    /// A child that moves down while it is unlinked.
    split_vs_unlink: "0:A 6", "insert 2" | "remove 0";
    /// A split above a node that is being spliced out.
    split_vs_splice: "0 2 6", "remove 2" | "insert 4";
    /// A new top while the old one is unlinked.
    new_top_vs_unlink: "0:A", "insert 6" | "remove 0";
    /// A new top while a tag is set below the old one.
    new_top_vs_set_tag: "0", "insert 6" | "set 0 A";
    /// A bit that is seen set above may be of the tagged leaf beside which the child comes to lie.
    split_vs_set_tag_of_a_tagged_insertion: "0 6", "insert 2 A" | "set 0 A";
    /// A summary that stands over nothing moves with the child while it is healed.
    split_vs_heal: "0 6 stale", "insert 2 A" | "fold A";
    /// And while a tag is set below it.
    split_vs_set_below_a_standing_summary: "0 6 stale", "insert 2" | "set 0 A; any A";
    /// A child that moves up while it is healed.
    splice_vs_heal: "0 2 6 stale", "remove 2" | "fold A";
    /// And while a tag is set in it, which relies on the bit above.
    splice_vs_set_below_a_standing_summary: "0 2 6 stale", "remove 2" | "set 0 A; any A";
    /// A leaf that is unlinked leaves no summary, whoever is first.
    unlink_vs_heal: "0 2 4 stale", "remove 0" | "fold A; any A";
    /// The next leaf in that place keeps what it raised, though a walk stands in the dead one.
    unlink_and_new_leaf_vs_heal: "0 stale", "remove 0; insert 0 A" | "fold A";
    /// A new leaf raises what a walk lowers.
    new_leaf_vs_heal: "2 4 stale", "insert 0 A" | "fold A; any A";
    /// A new top takes over the root flag.
    new_top_vs_heal: "0 stale", "insert 6" | "fold A; set 0 A";
    /// A tag never outlives its entry.
    remove_vs_set_tag: "0 4", "remove 0" | "set 0 A";
    /// A removal that empties a leaf of a tag, and a set beside it.
    remove_vs_set_tag_of_sibling: "0:A 1 4", "remove 0" | "set 1 A";
}
