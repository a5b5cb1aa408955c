//! What a call does to the contents of a tree at the instant at which it takes effect, and what it may return.

use tagged_radix::Tag;

use crate::call::{Call, Content, Entry, How, Outcome};

pub(crate) fn has(entry: &Entry, tag: Tag) -> bool {
    entry.1 >> tag.number() & 1 == 1
}

/// Entries a scan would report now.
pub(crate) fn matching(
    content: &Content,
    tag: Option<Tag>,
    how: How,
) -> impl Iterator<Item = (u64, Entry)> {
    let with_tags = tag.is_some() && !matches!(how, How::Gang | How::Gather);
    content
        .iter()
        .filter(move |(_, entry)| tag.is_none_or(|tag| has(entry, tag)))
        .map(move |(index, entry)| (*index, (entry.0, if with_tags { entry.1 } else { 0 })))
}

/// What the call does when it takes effect: all outcomes it may have, the content changed.
pub(crate) fn effect(call: &Call, content: &mut Content) -> Vec<Outcome> {
    let outcome = match *call {
        Call::Any(tag) => {
            let none = !content.values().any(|entry| has(entry, tag));
            let allowed = if none { vec![true, false] } else { vec![true] };
            return allowed.into_iter().map(Outcome::Flag).collect();
        }
        Call::Get(index) => Outcome::Stamp(content.get(&index).map(|entry| entry.0)),
        Call::Entry(index) => Outcome::Entry(content.get(&index).copied()),
        Call::Has(index, tag) => {
            Outcome::Flag(content.get(&index).is_some_and(|entry| has(entry, tag)))
        }
        Call::Insert { index, stamp, tags } => {
            let old = content.get(&index).copied();
            content.insert(index, (stamp, tags | old.map_or(0, |entry| entry.1)));
            Outcome::Stamp(old.map(|entry| entry.0))
        }
        Call::Remove(index) => Outcome::Stamp(content.remove(&index).map(|entry| entry.0)),
        Call::Set(index, tag) => {
            let before = edit(content, index, 1 << tag.number(), 0, None);
            Outcome::Changed(before.map(|entry| !has(&entry, tag)))
        }
        Call::Clear(index, tag) => {
            let before = edit(content, index, 0, 1 << tag.number(), None);
            Outcome::Changed(before.map(|entry| has(&entry, tag)))
        }
        Call::Update { index, set, clear, stamp } => {
            Outcome::Entry(edit(content, index, set, clear, stamp))
        }
        Call::Swap { index, stamp } => {
            let free = content.get(&index).is_some_and(|entry| entry.1 == 0);
            Outcome::Stamp(free.then(|| edit(content, index, 0, 0, Some(stamp)).expect("there").0))
        }
        Call::Drop(index, tag) => {
            let entry = content.get(&index).copied();
            Outcome::Removal(match entry {
                Some(entry) if !has(&entry, tag) => {
                    content.remove(&index);
                    Ok(entry.0)
                }
                entry => Err(entry.map(|entry| entry.0)),
            })
        }
        Call::Make { index, stamp } => {
            Outcome::Stamp(Some(content.entry(index).or_insert((stamp, 0)).0))
        }
        Call::Scan { .. }
        | Call::Copy { .. }
        | Call::Paint { .. }
        | Call::Mark { .. }
        | Call::Alloc { .. }
        | Call::Absent(_)
        | Call::Sweep => {
            unreachable!("not a call of one instant")
        }
    };
    vec![outcome]
}

/// Changes an entry; returns what it was before.
fn edit(
    content: &mut Content,
    index: u64,
    set: u8,
    clear: u8,
    stamp: Option<u64>,
) -> Option<Entry> {
    let entry = content.get_mut(&index)?;
    let before = *entry;
    *entry = (stamp.unwrap_or(before.0), before.1 & !clear | set);
    Some(before)
}

/// What a call does to the entry at an index that it works on.
pub(crate) fn paint(call: &Call, index: u64, entry: &mut Entry) {
    match *call {
        Call::Mark { tag, ref indices } if indices.contains(&index) => {
            entry.1 |= 1 << tag.number();
        }
        Call::Copy { from, to } if has(entry, from) => entry.1 |= 1 << to.number(),
        Call::Paint { set, clear } => entry.1 = entry.1 & !clear | set,
        _ => {}
    }
}
