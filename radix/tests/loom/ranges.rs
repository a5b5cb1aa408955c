//! Calls on ranges, and scans that let go of their guard.

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
}
