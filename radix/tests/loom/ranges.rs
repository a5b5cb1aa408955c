//! Calls on ranges, scans that let go of their guard, and changes with a condition.

crate::model::models! {
    /// Every entry that had the tag throughout gets the other one.
    copy_vs_set: "0:A 4:A", "copy A B" | "set 0 B";
    /// A tag set while the range is walked is copied or not; a set that came before is copied.
    copy_vs_set_source: "0:A 2 4", "copy A B" | "set 2 A";
    /// What is cleared while the range is walked has the other tag or not, and no summary is left over nothing.
    copy_vs_clear_source: "0:A 4", "copy A B" | "clear 0 A";
    /// What another call clears after the copy stays clear.
    copy_vs_clear_target: "0:A 4", "copy A B" | "clear 0 B";
    /// A copy passes the leaf that is unlinked.
    copy_vs_unlink: "0:A 2:A 4", "copy A B" | "remove 0";
    /// A copy passes the edge that is split.
    copy_vs_split: "0:A 6:A", "copy A B" | "insert 2 A";
    /// Two copies in opposite directions.
    copy_vs_copy: "0:A 1:B", "copy A B" | "copy B A";
    /// A resumed scan reports what matched all along though its place has been unlinked.
    resumed_scan_vs_unlink: "0 2 4", "resume" | "remove 0";
    /// The same for a tagged scan and a splice.
    resumed_scan_vs_splice: "0:A 2:A 6:A", "resume A" | "remove 0";
    /// A batch reports what matched all along though a splice passes.
    gang_vs_splice: "0:A 2 6:A", "gang A" | "remove 2";
    /// A sweep removes what is there all along, with its tags, and nothing that it does not return.
    sweep_vs_insert: "0:A 2 4", "sweep" | "insert 3; get 3";
    /// Two sweeps share the entries, and the nodes.
    sweep_vs_sweep: "0:A 2", "sweep" | "sweep";
    /// A value is replaced only if the entry is still what was looked at.
    swap_vs_set: "0 4", "swap 0" | "set 0 A";
    /// An entry is removed only if it is still what was looked at.
    drop_vs_set: "0 4", "drop 0 A" | "set 0 A";
    /// Who makes a value gets the one that is in the tree.
    make_vs_make: "2 4", "make 0" | "make 0";
    /// The entries of one leaf are tagged at one instant, those that are there all along.
    mark_vs_walk: "0 1 4", "mark A 0 1" | "scan A";
    /// A list that passes a leaf which is unlinked, and one that a splice moves up.
    mark_vs_splice: "0 2 6", "mark A 0 2" | "remove 2";
    /// Of an entry that gets a neighbour while a list is worked through, and the neighbour.
    mark_vs_near: "0 4", "mark A 0 1" | "insert 1";
    /// A range in batches reports what matched all along though a splice passes.
    gather_vs_splice: "0:A 2 6:A", "gather A" | "remove 2";
    /// Every entry that is there all along is painted; summaries end exact.
    paint_vs_set_and_clear: "0 1:A 4", "paint A B" | "clear 1 A; set 1 B";
}
