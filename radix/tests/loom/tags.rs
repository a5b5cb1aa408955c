//! Tags against tags: a summary is never clear above a set tag, and at rest never set above none.

crate::model::models! {
    /// One of two clears empties the word; the summary ends clear, and each call is told what it did.
    clear_vs_clear_in_a_leaf: "0:A 1:A", "clear 0 A" | "clear 1 A";
    /// A set in a leaf that is being emptied of the tag is not lost.
    clear_vs_set_in_a_leaf: "0:A 1 4", "clear 0 A" | "set 1 A";
    /// Set and clear of one entry end in one of the two states, at all levels.
    set_vs_clear_of_one_entry: "0 4", "set 0 A" | "clear 0 A";
    /// Of two that set one tag, one is told that it changed.
    set_vs_set_of_one_entry: "0 4", "set 0 A" | "set 0 A";
    /// A tag set in a sibling leaf keeps the summary that a clear would lower.
    clear_vs_set_in_sibling_leaves: "0:A 2 4", "clear 0 A" | "set 2 A";
    /// The same in sibling subtrees, at the root flag.
    clear_vs_set_in_sibling_subtrees: "0:A 4", "clear 0 A" | "set 4 A";
    /// Two raises that share an ancestor both return with all summaries set.
    set_vs_set_in_sibling_leaves: "0 2 4", "set 0 A" | "set 2 A";
    /// A root flag that a completed set raised is not seen clear by the setter.
    own_set_is_seen: "0:A 2 4", "set 2 A; any A" | "clear 0 A";
    /// A tagged walk finds a tag that was set all along while another is set and cleared.
    walk_vs_clear_and_set: "0:A 2:A 4", "scan A" | "clear 0 A; set 0 A";
    /// A tagged walk does not miss the entry that gains the tag in the same leaf in which another loses it.
    walk_vs_hand_over: "0:A 1:B 4", "scan A" | "set 1 A; clear 0 A";
    /// Nor does a fold, which reads the leaf at once.
    fold_vs_hand_over: "0:A 1:B 4", "fold A" | "set 1 A; clear 0 A";
    /// What a fold reports of an entry belongs together.
    fold_vs_update: "0:A 4", "update 0 B A new" | "fold A";
    /// One section hands an entry from one tag to the other: a walk for either sees it in the state it reports.
    walk_vs_update: "0:A 4", "update 0 B A" | "scan A";
    /// Tags of an entry in which two are changed at once are read together.
    entry_vs_update: "0:A 1", "update 0 B A" | "entry 0";
    /// Value and tags change at one instant.
    entry_vs_replacement: "0:A 1", "update 0 B A new" | "entry 0";
    /// A clear bit is reported only if the tag was clear.
    has_vs_hand_over: "0:A 1", "update 0 B A" | "has 0 A; has 0 B";
    /// Three threads: emptied by two clears, raised by a set.
    clear_clear_set: "0:A 2:A 4", "clear 0 A" | "clear 2 A" | "set 4 A";
    /// A value is overwritten under a scan, which reports each entry once.
    walk_vs_overwrite: "0:A 1:A 4", "scan A" | "insert 0";
    /// A removal leaves neither present bit nor entry to one who tags it then, by the bit alone.
    set_vs_remove_beside: "0 1 4", "remove 0" | "set 0 A; get 0";
    /// An insertion leaves both.
    set_vs_insert_beside: "1 4", "insert 0" | "set 0 A; get 0";
    /// A walk that began at the top before.
    walk_vs_new_top: "0:A 1", "scan A; get 0" | "insert 6 A";
    /// A tag is set in a leaf while a walk that has found none there lowers the summaries.
    heal_vs_set: "0 4 stale", "fold A" | "set 0 A; any A";
    /// Beside one that is cleared by the walker itself.
    clear_and_heal_vs_set_beside: "0:A 1 4", "clear 0 A; fold A" | "set 1 A; fold A";
    /// A summary that one heals is another's, too: in the next leaf, at the node above.
    heal_vs_set_in_a_sibling_leaf: "0:A 2 4", "clear 0 A; fold A" | "set 2 A; any A";
    /// The same at the root flag.
    heal_vs_set_in_a_sibling_subtree: "0 4 stale", "fold A" | "set 4 A; any A";
    /// A tag is cleared under a walk that heals.
    heal_vs_clear: "0:A 2 4 stale", "fold A" | "clear 0 A; any A";
    /// Two heal the same, or one what the other leaves.
    heal_vs_heal: "0 2 stale", "fold A" | "fold A";
    /// One heals from above while another comes from below.
    heal_vs_heal_and_set: "0 2 stale", "fold A" | "back A" | "set 0 A";
    /// A walk finds what is set behind a summary that stood already.
    walk_vs_set_below_a_standing_summary: "0 2 stale", "set 2 A; fold A" | "fold A; any A";
    /// Who clears many entries lowers at once, and does not lose the tag that another sets meanwhile.
    lower_vs_set_in_a_leaf: "0:A 1 4", "paint - A" | "set 1 A; any A";
    /// Nor in the next leaf.
    lower_vs_set_in_a_sibling_leaf: "0:A 2 4", "paint - A" | "set 2 A; any A";
    /// A list is lowered at once; what another sets meanwhile stays.
    paint_vs_heal: "0:A 2:A", "paint - A" | "fold A; set 2 A";
    /// From above.
    walk_back_vs_new_top: "6:A", "back A; get 6" | "insert 0 A";
    /// The top in which a walk stands is spliced out.
    walk_vs_spliced_top: "0:A 6", "scan A; get 0" | "remove 6";
    /// A slot that the walk knows of is nulled, and filled again.
    walk_vs_slot_again: "0:A 2:A 4", "scan A" | "remove 2; insert 2 A";
}
