//! The promises P-ENTRY, P-SCAN and P-ANY: entries are atomic, scans are exact about what stays, root flags are
//! never too low and their changes are told once.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::SeqCst};

use rand::Rng;

use crate::common::{
    NONE, Race, T0, T1, T2, T3, Tree, add, add_tagged, assert_at_rest, assert_untagged, rng,
    stress_time, tree_of,
};
use tagged_radix::{Tag, TagFilter, TagSet, TreeEdges};

#[test]
fn value_and_tags_change_together() {
    // P-ENTRY: a section gives even values tag 0, odd values tag 1; no one ever sees it otherwise.
    let tree = Tree::new();
    let indices = [0, 63, 64, 1 << 30];
    for index in indices {
        tree.pin().insert_tagged(index, Box::new(0), T0.into());
    }
    let tag_of = |value: u64| if value.is_multiple_of(2) { T0 } else { T1 };
    let agrees = |value: u64, tags: TagSet| tags == TagSet::from(tag_of(value));
    let begun = AtomicU64::new(0);
    let turn_over = |turn: u64| {
        begun.store(turn + 1, SeqCst);
        let index = indices[usize::try_from(turn % 4).unwrap()];
        tree.pin().update(index, |slot| {
            assert!(agrees(*slot.value(), slot.tags()));
            let (set, clear) = if slot.tags().contains(T0) { (T1, T0) } else { (T0, T1) };
            slot.set(set);
            let next = *slot.value() + 1;
            slot.clear(clear);
            slot.replace(Box::new(next));
        });
    };
    let look = |_| {
        let p = tree.pin();
        for index in indices {
            let (value, tags) = p.get_with_tags(index).expect("it stays");
            assert!(agrees(*value, tags), "{value} with {tags:?}");
            let tags = p.tags(index).expect("it stays");
            assert_eq!(tags.len(), 1, "{tags:?}");
        }
        let all: Vec<_> = p
            .range_tagged(.., TagFilter::ANY)
            .map(|(index, value, tags)| (index, *value, tags))
            .collect();
        assert!(all.iter().all(|(_, value, tags)| agrees(*value, *tags)), "{all:?}");
        assert!(all.iter().map(|(index, ..)| index).eq(&indices), "{all:?}");
        assert!(
            p.range_tagged(.., T0)
                .chain(p.range_tagged(.., T1).rev())
                .all(|(_, v, tags)| agrees(*v, tags))
        );
        assert_eq!(
            p.range_tagged(.., TagFilter::all_of(T0).and_all_of(T1)).count(),
            0,
            "never both"
        );
        assert_eq!(
            p.range_tagged(.., TagFilter::none_of(T0).and_none_of(T1)).count(),
            0,
            "never none"
        );
        // Two calls are two moments. Only when all four entries turn over between them may both say no: four
        // changes, of which at least three begin in between.
        let before = begun.load(SeqCst);
        let any = tree.any_tagged(T0) || tree.any_tagged(T1);
        assert!(any || begun.load(SeqCst) - before >= 3);
    };
    Race::new(stress_time()).repeat(turn_over).repeat(look).repeat(look).run();
    assert_at_rest(&tree);
}

#[test]
fn a_tag_never_outlives_its_entry() {
    // P-ENTRY: entries are stored with a tag and removed, stored without and removed.
    let tree = tree_of([1, 1 << 30]);
    let churn = |turn: u64| {
        let p = tree.pin();
        let (value, tags) = if turn.is_multiple_of(2) { (0, TagSet::from(T0)) } else { (1, NONE) };
        assert_eq!(p.insert_tagged(0, Box::new(value), tags), None);
        assert_eq!(p.remove(0), Some(&value));
    };
    let look = |_| {
        let p = tree.pin();
        if let Some((value, tags)) = p.get_with_tags(0) {
            assert_eq!(tags.contains(T0), *value == 0, "{value} with {tags:?}");
        }
        for (index, value, tags) in p.range_tagged(.., T0) {
            assert_eq!((index, *value, tags), (0, 0, T0.into()));
        }
        assert!(p.range_tagged(..1, TagFilter::none_of(T0)).all(|(_, value, _)| *value == 1));
    };
    Race::new(stress_time()).repeat(churn).repeat(look).repeat(look).run();
    assert_untagged(&tree, T0);
    assert_at_rest(&tree);
}

#[test]
fn a_thread_finds_what_it_has_just_tagged() {
    // P-SCAN and P-ANY, the bug of 2004 inside the tree: others clear and remove beside it.
    let tree = tree_of([0, 64, 128, 4096, 1 << 30]);
    let setter = |index: u64| {
        let tree = &tree;
        move |_| {
            let p = tree.pin();
            assert_eq!(p.set_tag(index, T0), Some(true));
            assert!(p.has_tag(index, T0) && tree.any_tagged(T0));
            assert!(p.range_tagged(.., T0).any(|(found, ..)| found == index), "{index} is missed");
            assert!(
                p.range_tagged(.., T0).rev().any(|(found, ..)| found == index),
                "{index} is missed"
            );
            assert!(p.count_tagged(index..=index, T0) == 1);
            assert_eq!(p.clear_tag(index, T0), Some(true));
            assert!(p.range_tagged(.., T0).all(|(found, ..)| found != index), "{index} is seen");
        }
    };
    let toggler = |index: u64| {
        let tree = &tree;
        move |_| {
            let p = tree.pin();
            add_tagged(&p, index, T0);
            assert!(p.range_tagged(.., T0).any(|(found, ..)| found == index), "{index} is missed");
            assert_eq!(p.remove(index), Some(&index));
            assert!(p.get(index).is_none());
        }
    };
    Race::new(stress_time())
        .repeat(setter(0))
        .repeat(setter(64))
        .repeat(toggler(1))
        .repeat(toggler(300))
        .run();
    Race::new(stress_time())
        .repeat(setter(1 << 30))
        .repeat(toggler(65))
        .repeat(toggler(u64::MAX))
        .run();
    assert_untagged(&tree, T0);
    assert_at_rest(&tree);
}

#[test]
fn any_tagged_is_true_while_a_set_stands() {
    // P-ANY: one entry keeps the tag, or two pass it on so that one of them has it always.
    let tree = tree_of([0, 70, 5000]);
    let p = tree.pin();
    p.set_tag(5000, T0);
    p.set_tag(0, T1);
    drop(p);
    let flicker = |_| {
        let p = tree.pin();
        p.set_tag(70, T0);
        p.clear_tag(70, T0);
        add_tagged(&p, u64::MAX, T0);
        p.remove(u64::MAX);
    };
    let pass_on = |_| {
        let p = tree.pin();
        p.set_tag(70, T1);
        p.clear_tag(0, T1);
        p.set_tag(0, T1);
        p.clear_tag(70, T1);
    };
    let look = |_| {
        assert!(tree.any_tagged(T0), "5000 has it throughout");
        assert!(tree.any_tagged(T1), "one of two has it at any time");
    };
    Race::new(stress_time()).repeat(flicker).repeat(pass_on).repeat(look).repeat(look).run();
    assert_at_rest(&tree);
}

#[test]
fn each_change_of_a_root_flag_is_told_once() {
    // P-ANY: what was told to have been set, less what was told to have been cleared, is the flag.
    let tree = Tree::new();
    let told: [AtomicI64; Tag::COUNT] = Default::default();
    let changes = AtomicU64::new(0);
    let note = |edges: TreeEdges| {
        for (tags, sign) in [(edges.tagged, 1), (edges.untagged, -1)] {
            for tag in tags.iter() {
                told[usize::from(tag.number())].fetch_add(sign, SeqCst);
                changes.fetch_add(1, SeqCst);
            }
        }
    };
    let worker = |seed| {
        let (tree, note, mut random) = (&tree, &note, rng(seed));
        move |_| {
            let p = tree.pin();
            let index = [0, 1, 64, 4096, u64::MAX][random.random_range(0..5)];
            let tag = Tag::all()[random.random_range(0..4)];
            match random.random_range(0..7) {
                0 => {
                    p.insert_tagged(index, Box::new(index), tag.into());
                }
                1 | 2 => {
                    p.remove(index);
                }
                3 => {
                    p.set_tag(index, tag);
                }
                4 => {
                    p.clear_tag(index, tag);
                }
                5 => {
                    p.update_tags(index, TagSet::of(&[T0, T1]), TagSet::of(&[T2, T3]));
                }
                _ => {
                    p.update(index, |slot| {
                        slot.set(tag);
                        slot.clear(!TagSet::from(tag));
                    });
                }
            }
            note(p.take_edges());
        }
    };
    Race::new(stress_time()).repeat(worker(1)).repeat(worker(2)).repeat(worker(3)).run();
    for tag in Tag::all() {
        let told = told[usize::from(tag.number())].load(SeqCst);
        assert_eq!(told, i64::from(tree.any_tagged(tag)), "{tag:?}");
    }
    assert!(changes.load(SeqCst) > 100, "the flags did change");
    assert_at_rest(&tree);
}

#[test]
fn what_an_edge_starts_finds_everything_before_it_stops() {
    // P-ANY: work is started for each rise of the flag, and stops when it has found nothing and the flag is down then.
    let indices = [0, 1, 64, 4096, 1 << 30];
    let tree = tree_of(indices);
    let (started, found) = (AtomicI64::new(0), AtomicU64::new(0));
    let setter = |seed| {
        let (tree, started, mut random) = (&tree, &started, rng(seed));
        move |_| {
            let p = tree.pin();
            let set = p.set_tag(indices[random.random_range(0..indices.len())], T0);
            started.fetch_add(i64::from(p.take_edges().tagged.contains(T0)), SeqCst);
            if set == Some(false) {
                // With few cores: else little happens but that one thread finds its work done.
                std::thread::yield_now();
            }
        }
    };
    let work = |_| {
        if started.load(SeqCst) == 0 {
            return std::thread::yield_now();
        }
        let p = tree.pin();
        let tagged: Vec<_> = p.range_tagged(.., T0).map(|(index, ..)| index).collect();
        tagged.iter().for_each(|index| assert_eq!(p.clear_tag(*index, T0), Some(true)));
        found.fetch_add(tagged.len() as u64, SeqCst);
        if tagged.is_empty() && !tree.any_tagged(T0) {
            started.fetch_sub(1, SeqCst);
        }
    };
    Race::new(stress_time()).repeat(setter(1)).repeat(setter(2)).repeat(work).run();
    while started.load(SeqCst) > 0 {
        work(0);
    }
    assert_eq!(tree.pin().count_tagged(.., T0), 0, "nobody looks for it any more");
    assert!(found.load(SeqCst) > 0, "work was done");
    assert_at_rest(&tree);
}

#[test]
fn scans_report_what_stays_through_growth_and_collapse() {
    // P-SCAN: what stays is spread over all levels, and the nodes between come and go.
    let stays: Vec<_> = (0..10).map(|k| 5 << (6 * k)).collect();
    let tree = tree_of(stays.iter().copied());
    tree.pin().tag_range(.., T2, NONE);
    let churn = |seed| {
        let (tree, mut random) = (&tree, rng(seed));
        move |_| {
            let p = tree.pin();
            let near = 5_u64 << (6 * random.random_range(0..10));
            // One bit from what stays, so not what stays: those have two bits set each.
            let index = near ^ 1 << random.random_range(0..64);
            p.insert_tagged(index, Box::new(index), T2.into());
            p.remove(index);
        }
    };
    let look = |turn: u64| {
        let p = tree.pin();
        let found: Vec<_> = match turn % 4 {
            0 => p.iter().map(|(index, _)| index).collect(),
            1 => p.range_tagged(.., T2).map(|(index, ..)| index).collect(),
            2 => p.iter().rev().map(|(index, _)| !index).collect(),
            _ => p.range_tagged(.., T2).rev().map(|(index, ..)| !index).collect(),
        };
        assert!(found.is_sorted_by(|a, b| a < b), "{found:x?}");
        let there =
            |index: &u64| found.binary_search(&if turn % 4 < 2 { *index } else { !*index }).is_ok();
        assert!(stays.iter().all(there), "{found:x?}");
    };
    Race::new(stress_time()).repeat(churn(1)).repeat(churn(2)).repeat(look).run();
    assert_eq!(tree.len(), 10);
    assert_at_rest(&tree);
}

#[test]
fn scans_report_what_stays_while_a_small_node_grows() {
    // P-SCAN and P-ANY: two entries stay below one inner node, which others make grow through every size, and which starts small
    // again when a copy without the old places, or a new node, takes its place.
    let at = |child: u64| 9 << 40 | child << 12;
    let stays = [at(0), at(0) + 1, at(63)];
    let tree = tree_of(stays);
    tree.pin().tag_range(.., T2, NONE);
    let churn = |seed| {
        let (tree, mut random) = (&tree, rng(seed));
        move |turn: u64| {
            let p = tree.pin();
            // The threads have children of their own.
            let others = (1..63).filter(|child| child % 2 == seed).map(at);
            for index in
                others.clone().filter(|_| turn.is_multiple_of(3) || random.random_bool(0.4))
            {
                p.insert_tagged(index, Box::new(index), T2.into());
                assert_eq!(p.get(index), Some(&index));
            }
            p.clear_tag(at(0), T1);
            p.set_tag(at(0), T1);
            others.for_each(|index| {
                p.remove(index);
            });
            if seed == 0 && turn.is_multiple_of(4) {
                // It goes altogether.
                p.remove(at(63));
                p.insert_tagged(at(63), Box::new(at(63)), T2.into());
            }
        }
    };
    let look = |turn: u64| {
        let p = tree.pin();
        let found: Vec<_> = match turn % 3 {
            0 => p.iter().map(|(index, _)| index).collect(),
            1 => p.range_tagged(.., T2).map(|(index, ..)| index).collect(),
            _ => p.range_tagged(.., T2).rev().map(|(index, ..)| !index).collect(),
        };
        assert!(found.is_sorted_by(|a, b| a < b), "{found:x?}");
        let there = |index: u64| {
            found.binary_search(&if turn % 3 < 2 { index } else { !index }).is_ok()
                && p.get(index) == Some(&index)
                && p.has_tag(index, T2)
        };
        assert!(stays[..2].iter().all(|index| there(*index)), "{found:x?}");
        assert!(tree.any_tagged(T2));
    };
    Race::new(stress_time()).repeat(churn(0)).repeat(churn(1)).repeat(look).run();
    assert_eq!(tree.len(), 3);
    assert_at_rest(&tree);
}

#[test]
fn absent_neighbours_are_truly_absent() {
    // A slot that is being filled is not yet present, and one that stays is never called absent.
    let tree = Tree::new();
    (0..128).filter(|index| index % 2 == 0).for_each(|index| add(&tree.pin(), index));
    let toggle = |turn: u64| {
        let (p, index) = (tree.pin(), (2 * turn + 1) % 128);
        add(&p, index);
        assert_eq!(p.remove(index), Some(&index));
    };
    let look = |turn: u64| {
        let (p, from) = (tree.pin(), 2 * turn % 128);
        let next = p.next_absent(from).expect("there is room above");
        assert!(next > from && (next % 2 == 1 || next == 128), "{next} from {from}");
        let prev = p.prev_absent(from);
        assert!(prev.is_none_or(|prev| prev < from && prev % 2 == 1), "{prev:?} from {from}");
    };
    Race::new(stress_time() / 2).repeat(toggle).repeat(look).repeat(look).run();
    assert_at_rest(&tree);
}
