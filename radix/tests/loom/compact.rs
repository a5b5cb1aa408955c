//! Compact leaves: a full leaf that replaces one, and a parent that is found without a field that names it. In a build without
//! compact leaves these are models of full ones.

crate::model::models! {
    /// Of two that put different neighbours beside an entry, neither undoes the other.
    near_vs_near: "0 4", "insert 1 A" | "insert 1 B";
    /// An entry that is replaced while a full leaf takes it over is not replaced in the dead compact leaf.
    near_vs_insert: "0:A 4", "insert 1" | "insert 0 B";
    /// A tag that is set while the entry moves to a full leaf is not lost, nor are its summaries.
    near_vs_set_tag: "0 4", "insert 1" | "set 0 A";
    /// A tag that is cleared while the entry moves does not come back.
    near_vs_clear_tag: "0:A 4", "insert 1" | "clear 0 A";
    /// A tag that is set while the entry moves, by the bit that stands above.
    near_vs_set_below_a_standing_summary: "0 4 stale", "insert 1" | "set 0 A; any A";
    /// A walk that heals the dead compact leaf does not lower what the full one has.
    near_vs_heal: "0 4 stale", "insert 1 A" | "fold A; any A";
    /// A bit that stands above a compact leaf, which a split moves below another node.
    moved_down_vs_set_below_a_standing_summary: "0 6 stale", "insert 2 A" | "set 0 A; any A";
    /// An entry that is removed while it moves does not come back.
    near_vs_remove: "0:A 4", "insert 1 B" | "remove 0";
    /// The neighbour comes when the entry has gone, and the node above with it.
    near_vs_splice: "0 2 6", "insert 1 A" | "remove 2";
    /// The node above is split off while the entry moves.
    near_vs_split: "0:A 6", "insert 1" | "insert 2 B";
    /// A lookup finds the entry in the compact leaf or in the full one.
    near_vs_get: "0:A 4", "insert 1 B" | "get 0; get 1";
    /// Value and tags belong together wherever they are found.
    near_vs_entry: "0:A 4", "insert 1 B; update 0 B A new" | "entry 0; entry 0";
    /// A tagged scan that finds the dead compact leaf reports what was tagged all along, and nothing twice.
    near_vs_walk: "0:A 4:A", "insert 1 A" | "scan A";
    /// So does a fold, also one over all entries, which takes compact leaves side by side.
    near_vs_fold: "0:A 2 4:A", "insert 1 A" | "fold A";
    /// That one reports what is there all along, whatever the leaves become.
    near_vs_fold_of_all: "0 2 4", "insert 3" | "fold";
    /// A tag set beside a compact leaf that is unlinked keeps its summary.
    unlink_vs_near: "0:A 2", "remove 0" | "insert 3 A";
    /// A parent that is found from the root, while a split moves the compact leaf below another.
    moved_down_vs_set_tag: "0 6", "insert 2; clear 0 A" | "set 0 A";
    /// A parent that is found from the root, while a splice moves the compact leaf up.
    moved_up_vs_remove: "0:A 2 6", "remove 2" | "remove 0";
    /// Unlinked while a new top comes above it.
    new_top_vs_remove: "0:A", "insert 6; insert 0 B" | "remove 0";
    /// A compact leaf dies while a reader stands in it and looks for tags.
    remove_vs_has_tag: "0:A 4", "update 0 B A; remove 0" | "has 0 A; has 0 B";
    /// A clear tag of an entry that is alone in its leaf is reported only if it was clear.
    has_vs_hand_over_alone: "0:A 4", "update 0 B A" | "has 0 A; has 0 B";
    /// The tree grows from one compact leaf to a full one without anything above.
    near_at_the_root: "0:A", "insert 1 B" | "clear 0 A; any A";
}
