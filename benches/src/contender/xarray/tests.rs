//! The stand-in does what a map does.

use std::collections::BTreeMap;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::*;

/// Small ones, each height, and both ends.
fn keys(random: &mut SmallRng) -> u64 {
    match random.random_range(0..4) {
        0 => random.random_range(0..200),
        1 => random.random_range(4000..4200),
        2 => 1 << random.random_range(0..64),
        _ => u64::MAX - random.random_range(0..3),
    }
}

#[test]
fn it_does_what_a_map_with_two_flags_does() {
    let mut random = SmallRng::seed_from_u64(1);
    let tree = XArray::with_key_bits(64);
    let mut model = BTreeMap::<u64, [bool; 2]>::new();
    for step in 0..20_000 {
        let (key, mut writer) = (keys(&mut random), tree.write());
        match random.random_range(0..6) {
            0 | 1 => {
                XArray::insert(&mut writer, key);
                model.entry(key).or_default();
            }
            2 => {
                assert_eq!(XArray::remove(&mut writer, key), model.remove(&key).is_some());
            }
            3 => {
                let flags = model.get_mut(&key);
                let set = flags.is_some_and(|flags| !std::mem::replace(&mut flags[0], true));
                assert_eq!(XArray::set(&mut writer, key, true), set);
            }
            4 => {
                let flags = model.get_mut(&key);
                let cleared = flags.is_some_and(|flags| std::mem::take(&mut flags[0]));
                assert_eq!(XArray::clear(&mut writer, key, true), cleared);
            }
            _ if step % 64 == 0 => {
                let dirty = model.values_mut().filter(|flags| flags[0] && !flags[1]);
                let changed = dirty.map(|flags| flags[1] = true).count() as u64;
                assert_eq!(XArray::retag(&mut writer), changed);
            }
            _ if step % 64 == 1 => {
                XArray::tag_range(&mut writer, Mark::ToWrite, false, key);
                model.range_mut(key..).for_each(|(_, flags)| flags[1] = false);
            }
            _ if step % 640 == 2 => {
                XArray::remove_range(&mut writer);
                model.clear();
            }
            _ => {}
        }
        drop(writer);
        let expected = if model.contains_key(&key) { word_of(key) } else { 0 };
        assert_eq!(XArray::get(&&tree, key), expected);
        if step % 16 == 0 {
            agree(&tree, &model, key);
        }
    }
}

fn word_of(key: u64) -> u64 {
    super::super::word(value_of(key))
}

fn agree(tree: &XArray, model: &BTreeMap<u64, [bool; 2]>, from: u64) {
    let mut all = Vec::new();
    XArray::iterate(&tree, |key, word| all.push((key, word)));
    assert!(all.iter().copied().eq(model.keys().map(|&key| (key, word_of(key)))));
    let mut scanned = Vec::new();
    XArray::scan(&tree, from, 5, |key, _| scanned.push(key));
    assert!(scanned.iter().eq(model.range(from..).map(|(key, _)| key).take(5)));
    let dirty = |flags: &[bool; 2]| flags[0];
    assert_eq!(XArray::count(&tree), model.values().filter(|&flags| dirty(flags)).count() as u64);
    for (filter, out) in [(Filter::Dirty, false), (Filter::DirtyOnly, true)] {
        let (mut found, mut next) = (Vec::new(), Some(0));
        while let Some(at) = next {
            next = tree.gang::<16>(filter, at, |key, _| found.push(key));
        }
        let expected = model.iter().filter(|(_, flags)| dirty(flags) && !(out && flags[1]));
        assert!(found.iter().eq(expected.map(|(key, _)| key)));
    }
}
