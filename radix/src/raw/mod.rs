//! The tree and its protocol. Read this page first: the other files of the module obey it and cite it by name.
//!
//! # Glossary
//!
//! * **index**: the `u64` key. **offset**: a position inside a node. **level**: 0 for leaves, rising toward the root.
//! * **slot**: one word of a node, an **edge** above level 0, a **value** at level 0.
//! * **edge**: a pointer to a node that carries the level of its target and the bit **SKIP**; or a pointer to a single.
//! * **single**: a compact leaf. It has one entry, keeps the whole index, and takes the place of a **full leaf** for an index
//!   that has no neighbour in its leaf's range. What is said of leaves is said of singles, too, unless it says otherwise.
//! * **small node**: a compact inner node. What is said of nodes is said of small ones, too; only the slots are kept in another
//!   way. **full**: of a node, with a slot for each offset.
//! * **place**: a slot of a small node. Each **belongs** to one offset or, as yet, to none. The slot of an offset to which no
//!   place belongs is null.
//! * **SKIP**: the edge passes over at least one level, or it is the root edge and the top node's prefix is not 0.
//!   Behind such an edge can lie a node that does not cover the index that led to it. So can behind a root edge without it:
//!   the top's prefix is 0 then, and the index may be above its range.
//! * **prefix**: the part of the index that all indices of a node share, `index >> BITS * (level + 1)`.
//! * **tag**: one of four searchable bits of an entry, kept in its leaf. It never means a bit of a pointer.
//! * **summary**: a tag word above level 0. Its bit says "some entry below this slot has the tag".
//! * **raise**, **lower**: make the summary bits above a leaf set, or clear.
//! * **root**: the one parent that is not a node. It has a lock, a slot, and one summary bit a tag: the **root flag**.
//! * **top**: the node that the root links to.
//! * **dead**: of a node, unlinked. **section**: what one thread does while it holds one node's lock.
//! * **told**: of a root flag's change, reported to the call that made it.
//!
//! # Shape
//!
//! A level with one child does not exist: inner nodes have two children or more, so a lone index costs one leaf and
//! nothing else. A reader takes one dependent load a level. It compares the index with the range of a top whose edge does
//! not skip, by the level in the edge alone; and it compares a prefix once, at the leaf, and only if it crossed a SKIP edge.
//! Behind the edge of a single it always compares the index, and behind that of a small node the prefix.
//!
//! A small node has fewer places than there are offsets. A place is given to an offset before the offset's first edge is stored,
//! the first that is free, and belongs to it as long as the node lives, also while its slot is null again (I-PLACE).
//! So a reader needs no more than to find the place, then to load the slot: no edge but one of that offset is ever there.
//! Where no place is free the node *grows*: a copy with more room takes its place.
//!
//! Which nodes are small decides no more than cost. New inner nodes are, but for the top if its prefix is 0, and for a node right
//! above a full inner one: lookups of dense indices then meet full nodes only. A small node under which such a one has come
//! becomes full when the next insertion passes, one with nothing but full leaves right below when it has no place left.
//! Full nodes never become small.
//!
//! # Access rules
//!
//! 1. Every node has a version lock. It guards the node's slots, places, present word, tag words and dead flag, and the `parent`
//!    field of the node's children. The root has one, too. `level` and `prefix` never change. A single's lock guards its
//!    value, tags and dead flag; its index never changes.
//! 2. Locks are taken child before parent, never downward, never sideways (I-LOCK); so there is no deadlock.
//! 3. Who holds a child locks its parent and then reads `parent` again, *always*, and starts over if it changed. That the
//!    parent is alive proves nothing: a split moves a child away from a parent that lives on.
//!    A single has no `parent` field: its holder goes down from the root to the edge that leads to it, locks the node that has
//!    it, and looks *always* whether that node is alive and still has the edge. While the single is locked and alive, one live
//!    node or the root has the edge; if a split, a splice or a growth is moving the single, it starts over.
//! 4. Who comes from above and locks a node checks that it is not dead and, in an inner node, that the slot still holds
//!    what led there. If not, it starts over from the root.
//! 5. Readers never start over because a node is dead. What a dead node says was true when it died, and the reader was on
//!    its way by then: it got hold of the node before the node was unlinked, or by way of a dead node that kept its words and
//!    that the reader, by the same argument, had reached before *that* was unlinked, which was earlier.
//! 6. Allocation and the user's code run outside sections. Two exceptions: the closure of `update`, with the conversions of
//!    its values (`Value::as_ref`, `Value::into_word`); and the record that the epoch scheme keeps of a retired node, which
//!    may allocate and frees nothing. Values are dropped outside guards, too (`reclaim::thread`).
//!
//! # What a reader may trust
//!
//! One load is enough for: a slot; a *set* tag bit of a leaf; a *clear* present bit; a *clear* summary (it prunes). Every
//! other answer (a clear tag bit, a present bit read as "occupied", a value together with tags, a tagged scan's leaf) is
//! read under the node's version and read again if a section intervened; after a bounded number of tries the reader
//! takes the lock, and gives it back without moving the version on. A dead node's lock serves for that, too: rule 5 holds
//! for what is read under it.
//!
//! # How an entry changes
//!
//! In one section of its leaf, in three steps.
//!
//! 1. **Raise.** For each tag to be set whose word in the leaf is 0: make the parent's summary bit set, in a section of
//!    the parent, which does the same with *its* parent first if its own word is 0. So the root flag is set first and
//!    the leaf last.
//! 2. **Change** the leaf: tags cleared, then the slot, then tags set. The present bit is set before a slot is filled and
//!    cleared after it is nulled. The change takes effect with the store to the slot; without one, between the clears
//!    and the sets.
//! 3. **Lower.** For each word of the leaf that became 0: clear the parent's summary bit, and so on upward. The child stays
//!    locked while the bit above it changes, so that nobody sets the child's word in between.
//!
//! Hence at every instant that a reader can see: *a tag bit in a leaf => every summary bit above it.* A set summary over
//! nothing costs a visit. A clear summary over a tagged entry would be a missed entry, and cannot be.
//!
//! Two short cuts suggest themselves and are wrong. "My word became 0, clear the parent's bit", without the child's
//! lock, loses the tag that another thread sets in the child meanwhile. "The bit is set already, stop climbing",
//! without the locks, returns success while the one who set that bit has not yet set the bits above it.
//!
//! # How the tree changes shape
//!
//! * **New leaf**: in a section of the node above it: raise for its tags, then the present bit, then the edge. The leaf
//!   already holds its first entry when it is linked.
//! * **Split**: a new inner node comes between a node and a child that does not cover the index. It takes over the summary
//!   bits that its parent had for the child. They are not computed from the child: one who sets a tag there may have
//!   raised, and not yet stored. The new node is *born locked* until both the child's `parent` and the edge are stored;
//!   else somebody could unlink the child from it, or split again above the child, between the two.
//! * **Neighbour** for a single: a full leaf takes its place. Under the single's lock, then its parent's: the entry is copied
//!   with its tags, the new one is put beside it, raise for the new one's tags (those of the old one have their summaries), the
//!   single is marked dead, the edge to the full leaf is stored. The dead single keeps its words (rule 5), and speaks for its
//!   whole range: until it died no other index of the range had an entry. So who has read it goes on behind the range, as who
//!   has read a full leaf does. A full leaf never becomes a single again. Beside a full leaf no single is made at all: the
//!   range will have more entries soon.
//! * **Grow** a small node: a copy that has room comes in its place. Under the node's lock, then its parent's: the copy takes over
//!   present word, tag words and edges, the tag words for the same reason as in a split; places without an edge stay behind. Like
//!   a new inner node it is *born locked*, until the `parent` of every child and the edge to it are stored, and for the same reason:
//!   whoever looks for the parent of a child meanwhile waits for the one or for the other. The original is marked dead before
//!   the edge goes, and *keeps its words* for those who stand in it (rule 5). No splice and no other growth of it can come between:
//!   both need its lock first. The insertion that needed the room goes on in the copy, whose lock it still holds, and finds there
//!   what it found in the original. A growth changes no answer, so it has no place in any order of effects.
//! * **Remove**: tags, slot, present, and *only then* lower: a scan that found a tag gone, then a lookup that finds the
//!   entry, would fit no order. If the leaf is empty, lock its parent, mark the leaf dead, null the edge, retire it.
//! * **Splice**: a node left with one child is taken out before it is unlocked, under its own and its parent's lock: dead,
//!   the child's `parent`, the edge. The child's lock is not needed (rule 1). The dead node *keeps its words* for those
//!   who stand in it. So an inner node never becomes empty.
//!
//! # Invariants
//!
//! | name | what holds | established by | relied on by |
//! |---|---|---|---|
//! | I-PUBLISH | a node or value is complete before a slot leads to it | `insert` | every reader |
//! | I-RETIRE | a node is retired once, by who unlinked it, and no slot leads to it then | `insert`, `remove` | `Node::of` |
//! | I-HINT | a prefetch is the only use of a pointer that is not known to lead anywhere; nothing depends on what it does | `walk` | `prefetch` |
//! | I-TAG-UP | a node's word is not 0 => its parent's bit is set, up to the root flag | `tags` | tagged scans |
//! | I-TAG-DOWN | at rest, a summary bit is set <=> the child's word is not 0 | `tags` | `any_tagged` |
//! | I-TAG-OCC | a tag bit in a leaf => the slot is occupied | `tags` | `has_tag` |
//! | I-PRESENT | slot not null => present bit; at rest <=> (a single has no present bit but its value) | `tags`, `insert`, `remove` | scans |
//! | I-PLACE | in a small node no two places belong to one offset, and none ever belongs to a second; slot not null => the place belongs to the child's offset | `inner` | readers of small nodes |
//! | I-PREFIX | a child lies in its parent's slot, at a lower level | `insert`, `remove` | descending |
//! | I-EDGE | an edge's level, kind and SKIP match its target | `insert`, `remove` | descending |
//! | I-PARENT | one live node links to a child, and is its `parent`, if it has one, unless that node is locked | `insert`, `remove` | `tags` |
//! | I-BRANCH | unlocked live inner nodes have two children or more, unlocked live leaves an entry | `remove` | no empty inner nodes |
//! | I-DEAD | dead nodes are marked under the parent's lock, linked no longer than it is held, never linked again | `insert`, `remove` | rules 3 to 5 |
//! | I-LOCK | locks are taken child before parent; at rest none is held | everywhere | no deadlock |
//!
//! `check` has a function for each that can be seen from outside; of I-LOCK that is the part about rest.
//!
//! # Orderings
//!
//! | name | writer | reader | what becomes visible |
//! |---|---|---|---|
//! | E-PUBLISH | Release store to a slot | Acquire load of it | what the slot leads to; the present bits set before; for a new leaf's edge also the summaries |
//! | E-PARENT | Release store to `parent` | Acquire load in `lock_parent` | the parent node |
//! | E-LOCK | Release store in `unlock` | Acquire CAS in `lock` | the sections before |
//! | E-VERSION | CAS in `lock`, then the section's stores, each Release; Release store in `unlock` | Acquire load in `version`, then Acquire loads, then any load in `is_still` | a reader with the same version at both ends saw no section |
//! | E-TAG | Release store to a tag word, or to a single's state | Acquire load of it | a set bit: the summaries above it; a clear one: what was changed before it |
//! | E-PLACE | Release store to the offsets of a line | Acquire load of them | that the place belongs to the offset; its slot may still be null |
//! | E-PRESENT | Release store to `present` | Acquire load of it | a clear bit: that the slot is null |
//!
//! So every store that a reader without the lock may meet is a Release store and every such load an Acquire load, but those of
//! `is_still` and of an unlocked hint. The holder of a lock loads what it guards without any ordering (`Guarded`).
//!
//! A version is 31 bits wide. A reader would have to sleep through exactly a multiple of 2^31 sections of one node
//! between two loads to be deceived; the tree accepts that.
//!
//! # Linearization points
//!
//! | operation | takes effect |
//! |---|---|
//! | `get`, `contains` | load of the slot in the leaf, of the null edge, or of the edge that leaves the index's way (to a node or a single that does not cover it); under a dead node or in a dead single: when that died, at the latest |
//! | `insert`, `replace`, `remove` | store to the slot; with a new leaf, or a full one for a single: store of the edge |
//! | tag changes without a value | in the leaf, between the clears and the sets |
//! | a call that changes nothing because of what it finds | in its section of the leaf; if there is no leaf, as `get` |
//! | `is_empty` | load of the root edge |
//! | `set_tag` of a set tag, `has_tag` that is true | load of the leaf's word |
//! | validated reads | any moment between the two loads of the version |
//! | `any_tagged` | load of the root flag |
//! | `tag_range`, `tag_range_if_tagged` | as above, for all entries of one leaf at once |
//! | `remove_range` | store to each slot |

pub(crate) mod check;
pub(crate) mod child;
pub(crate) mod edge;
pub(crate) mod index;
pub(crate) mod inner;
pub(crate) mod insert;
pub(crate) mod leaf;
pub(crate) mod lock;
pub(crate) mod lookup;
pub(crate) mod node;
pub(crate) mod remove;
pub(crate) mod scan;
pub(crate) mod single;
#[cfg(feature = "rayon")]
pub(crate) mod split;
pub(crate) mod tags;
pub(crate) mod walk;

use self::child::Child;
use self::edge::Edge;
use self::inner::{Inner, LockedInner};
use self::leaf::Leaf;
use self::lock::VersionLock;
use self::node::{Header, Node, Slot, TagWords};
use crate::reclaim::Guard;
use crate::sync::const_unless_checked;
use crate::tag::{Tag, TagSet};

pub(crate) use self::index::FANOUT;
pub(crate) use self::insert::Inserted;
pub(crate) use self::node::Word;
pub(crate) use self::tags::{Change, NewValue};

/// Whether a new leaf for one entry is a [single](single::Single), and new inner nodes are [small](inner::Small). Under a checker only with `--cfg radix_compact`: the few
/// entries that it has would hardly ever make full leaves.
pub(crate) const COMPACT: bool = !crate::sync::CHECKED || cfg!(radix_compact);

/// The parent of the top node.
#[derive(Debug)]
struct Root {
    /// Guards `slot`, `tags` and the top node's `parent`.
    lock: VersionLock,
    /// Root flags: bit 0 of each word.
    tags: TagWords,
    slot: ReadMostly<Slot>,
}

/// Keeps what every reader loads off the cache line that taggers write.
#[derive(Debug)]
#[repr(align(64))]
struct ReadMostly<T>(T);

/// An entry as one instant saw it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Entry {
    pub(crate) value: Word,
    pub(crate) tags: TagSet,
}

/// The tree without types: it keeps words, and gives back those that leave it.
///
/// It owns its nodes and frees them. What the words mean, and what becomes of one that was replaced or removed, is the
/// caller's business.
#[derive(Debug)]
pub(crate) struct Tree {
    root: Root,
}

impl Tree {
    const_unless_checked! {
        pub(crate) const fn new() -> Tree {
            let (lock, tags, slot) = (VersionLock::unlocked(), TagWords::clear(), Slot::empty());
            Tree { root: Root { lock, tags, slot: ReadMostly(slot) } }
        }
    }

    #[inline]
    fn root_edge(&self) -> Edge {
        self.root.slot.0.edge()
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.root_edge().is_null()
    }

    /// Whether some entry has `tag`: never false while a completed set stands.
    #[inline]
    pub(crate) fn any_tagged(&self, tag: Tag) -> bool {
        self.root.tags.load(tag) != 0
    }

    /// Frees all nodes and hands every value to `drop_value`. No one else can reach the tree.
    pub(crate) fn clear(&mut self, mut drop_value: impl FnMut(Word)) {
        let top = self.root_edge();
        self.root.slot.0.set_edge(Edge::NULL);
        for tag in Tag::all() {
            self.root.tags.store(tag, 0);
        }
        if !top.is_null() {
            free_below(top, &mut drop_value);
        }
    }
}

/// Frees what lies behind `edge`, which is not null, and all below it.
fn free_below(edge: Edge, drop_value: &mut impl FnMut(Word)) {
    if edge.is_single() {
        let single = core::ptr::NonNull::new(edge.single_pointer()).expect("the edge is not null");
        // SAFETY: linked, hence not freed (I-RETIRE); the tree is held exclusively.
        if let Some(value) = unsafe { single.as_ref() }.value() {
            drop_value(value);
        }
        // SAFETY: linked once (I-PARENT), and its parent is about to go; the reference above has ended.
        unsafe { single::Single::free(single) };
        return;
    }
    let pointer = core::ptr::NonNull::new(edge.inner_pointer()).expect("the edge is not null");
    if edge.level() == 0 {
        let leaf: core::ptr::NonNull<Node> = pointer.cast();
        for offset in 0..index::FANOUT {
            // SAFETY: as above; the reference ends in this line.
            if let Some(value) = unsafe { leaf.as_ref() }.value(offset) {
                drop_value(value);
            }
        }
        // SAFETY: as above.
        unsafe { Node::free(leaf) };
        return;
    }
    // SAFETY: as above.
    let node = unsafe { Inner::at(pointer) };
    for below in (0..index::FANOUT).map(|offset| node.edge(offset)) {
        if !below.is_null() {
            free_below(below, drop_value);
        }
    }
    // SAFETY: as above; `node` is not used any more.
    unsafe { Inner::free(pointer) };
}

/// Whoever links to a node: the root or an inner node. Holds its lock.
#[derive(Debug)]
enum Above<'g> {
    Root(LockedRoot<'g>),
    Node(LockedInner<'g>),
}

/// The root, whose lock is held by the owner of this value.
#[derive(Debug)]
struct LockedRoot<'g>(&'g Root);

impl Drop for LockedRoot<'_> {
    #[inline]
    fn drop(&mut self) {
        self.0.lock.unlock();
    }
}

impl<'g> Above<'g> {
    #[inline]
    fn lock_root(root: &'g Root) -> Above<'g> {
        root.lock.lock();
        Above::Root(LockedRoot(root))
    }

    /// Locks what a `parent` field names; null is the root.
    ///
    /// # Safety
    /// `parent` was read, while `guard` was held, from a node reached under the same guard.
    #[inline]
    unsafe fn lock(tree: &'g Tree, parent: *mut Header, guard: &'g Guard) -> Above<'g> {
        let _ = guard;
        match core::ptr::NonNull::new(parent) {
            // SAFETY: a node in a `parent` field is complete (I-PUBLISH, E-PARENT) and was linked when the child was
            // linked to it (I-PARENT); it is retired only after that, under our guard (I-RETIRE). A stale field of a
            // dead child names a node that was alive when the child died, which our guard has outlived.
            Some(node) => Above::Node(unsafe { Inner::at(node) }.lock()),
            None => Above::lock_root(&tree.root),
        }
    }

    /// The name of this parent in a child's `parent` field.
    #[inline]
    fn name(&self) -> *mut Header {
        match self {
            Above::Root(_) => core::ptr::null_mut(),
            Above::Node(node) => node.pointer().as_ptr(),
        }
    }

    #[inline]
    fn tags(&self) -> &TagWords {
        match self {
            Above::Root(root) => &root.0.tags,
            Above::Node(node) => node.tags(),
        }
    }

    /// The word of `tag`.
    #[inline]
    fn word(&self, tag: Tag) -> u64 {
        self.tags().load_guarded(tag)
    }

    /// The edge at `offset`.
    #[inline]
    fn edge(&self, offset: usize) -> Edge {
        match self {
            Above::Root(root) => root.0.slot.0.edge_guarded(),
            Above::Node(node) => node.edge(offset),
        }
    }

    /// Where in this parent the node lies that covers `index`.
    #[inline]
    fn offset(&self, index: u64) -> usize {
        match self {
            Above::Root(_) => 0,
            Above::Node(node) => index::offset(index, node.level()),
        }
    }

    /// Stores the edge at `offset`, for which a small node has a place, or room for one.
    #[inline]
    fn set_edge(&self, offset: usize, edge: Edge) {
        match self {
            Above::Root(root) => root.0.slot.0.set_edge(edge),
            Above::Node(node) => node.set_edge(offset, edge),
        }
    }

    /// Whether this parent has been unlinked.
    #[inline]
    fn is_dead(&self) -> bool {
        match self {
            Above::Root(_) => false,
            Above::Node(node) => node.is_dead(),
        }
    }

    /// The edge by which this parent links to `child` (I-EDGE).
    fn edge_to(&self, child: Child<'_>) -> Edge {
        let child = match child {
            Child::Leaf(Leaf::Single(single)) => {
                return Edge::single(core::ptr::NonNull::from(single));
            }
            Child::Leaf(Leaf::Full(leaf)) => Inner::from(leaf),
            Child::Inner(node) if !node.is_full() => {
                return Edge::small(node.pointer(), node.level());
            }
            Child::Inner(node) => node,
        };
        let skip = match self {
            Above::Root(_) => child.prefix() != 0,
            Above::Node(node) => child.level() + 1 < node.level(),
        };
        Edge::full(child.pointer(), child.level(), skip)
    }
}
