//! Reads without locks against changes of shape: they find what is there, and touch nothing that has been freed.

crate::model::models! {
    /// A lookup finds a value that is complete, or none.
    get_vs_insert: "1 4", "get 0; get 0" | "insert 0";
    /// A lookup in a leaf that is being linked.
    get_vs_new_leaf: "2 4", "get 0; get 0" | "insert 0";
    /// A lookup in a tree that gets its first entry.
    get_vs_first_entry: "", "get 0; get 0" | "insert 0";
    /// A lookup stands in the leaf that is unlinked and retired.
    get_vs_unlink: "0 2 4", "get 2 / get 2" | "remove 2";
    /// The same, and the unlinked leaf's successor.
    get_vs_unlink_and_insert: "0 2 4", "get 2" | "remove 2; insert 2";
    /// A lookup passes the node that is spliced out.
    get_vs_splice: "0 2 6", "get 0" | "remove 2";
    /// A lookup passes the edge that is split.
    get_vs_split: "0 6", "get 0; get 2" | "insert 2";
    /// A lookup during a split and the splice that undoes it.
    get_vs_split_and_splice: "0 6", "get 0" | "insert 2; remove 2";
    /// A lookup above the range of the old top.
    get_vs_new_top: "0", "get 6; get 0" | "insert 6";
    /// A lookup in the only leaf, unlinked and replaced by one elsewhere.
    get_vs_moved_top: "0", "get 0; get 6" | "remove 0; insert 6";
    /// A plain scan reports what is there all along.
    scan_vs_unlink: "0 2 4", "scan" | "remove 2";
    /// A tagged scan passes the node that is spliced out.
    tagged_scan_vs_splice: "0:A 2 6:A", "scan A" | "remove 2";
    /// A tagged scan passes the edge that is split.
    tagged_scan_vs_split: "0:A 6:A", "scan A" | "insert 2 A";
    /// A tag that a scan did not find is gone with its entry, not before it.
    scan_then_get_vs_remove: "0:A 4", "scan A; get 0" | "remove 0";
    /// The same for the root flag.
    any_then_get_vs_remove: "0:A 4", "any A; get 0" | "remove 0";
    /// Guards taken and let go of while what they might meet is retired.
    guards_vs_unlink_and_insert: "0 2 4", "get 2 / get 2 / get 2" | "remove 2 / insert 2 / remove 2";
    /// A lookup that finds an entry gone, then a scan that does not report it.
    get_then_scan_vs_remove: "0 1", "get 0; scan" | "remove 0";
    /// A scan that does not report an entry, then a lookup that does not find it.
    scan_then_get_vs_remove_beside: "0 1 4", "scan; get 0" | "remove 0";
    /// A lookup that finds a new entry, then a scan that reports it.
    get_then_scan_vs_insert: "1 4", "get 0; scan" | "insert 0";
    /// The same with a new leaf.
    get_then_scan_vs_new_leaf: "2 4", "get 0; scan" | "insert 0";
    /// Who sees a tag set finds the entry by it from the root.
    has_then_scan_vs_set: "0 4", "has 0 A; scan A" | "set 0 A";
    /// Set already, a tag needs no lock; the scan after it finds the entry from the root all the same.
    set_then_scan_vs_set: "0 4", "set 0 A; scan A" | "set 0 A";
    /// Who reads under the lock passes on to the next section what the last one did.
    entry_between_sections: "0 1 4", "set 0 A" | "entry 0" | "set 1 A";
    /// A guard held over several calls keeps what they met.
    entry_vs_remove_and_insert: "0:A 1", "entry 0; entry 0" | "remove 0; insert 0";
    /// A value and the tags it is inserted with appear at one instant.
    entry_vs_insert_tagged: "1 4", "entry 0; entry 0" | "insert 0 A";
    /// Who sees the tag sees the value.
    has_then_get_vs_insert_tagged: "1 4", "has 0 A; get 0" | "insert 0 A";
    /// Who finds the value gone finds the tag gone.
    get_then_has_vs_remove: "0:A 1 4", "get 0; has 0 A" | "remove 0";
    /// A tagged scan of an entry that goes and comes back without the tag.
    tagged_scan_vs_remove_and_insert: "0:A 1:A 4", "scan A" | "remove 0; insert 0";
    /// What is passed over was there.
    absent_vs_insert: "1 4", "absent 0; get 0" | "insert 0";
    /// A scan from above meets a splice.
    scan_back_vs_splice: "0:A 2 6:A", "back A" | "remove 2";
}

/// A guard that is repinned finds nothing that it does not protect from then on. It takes three preemptions: between the
/// removal and the end of its two epochs the guard has to be repinned, and then not to look.
#[test]
fn repin_vs_unlink() {
    crate::model::model_of("repin_vs_unlink", "0 2 4", &["get 0 ~ get 2", "remove 2 / get 0"], 3);
}
