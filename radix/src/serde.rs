//! Trees and sets of tags as serde data.
//!
//! A tree is a map from index to value and tags, in index order: `{"7": [value, tags]}` in JSON. A set of tags is the list of
//! its numbers in formats for people, and a byte with bit *i* for tag *i* in others.

use core::fmt;
use core::marker::PhantomData;
use core::ops::Deref;

use serde::de::{Error, MapAccess, SeqAccess, Unexpected, Visitor};
use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::tag::{Tag, TagFilter, TagSet};
use crate::tree::RadixTree;
use crate::value::{Inline, Value};

impl Serialize for TagSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if !serializer.is_human_readable() {
            return serializer
                .serialize_u8(self.iter().fold(0, |bits, tag| bits | 1 << tag.number()));
        }
        let mut list = serializer.serialize_seq(Some(self.len()))?;
        for tag in self.iter() {
            list.serialize_element(&tag.number())?;
        }
        list.end()
    }
}

impl<'de> Deserialize<'de> for TagSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<TagSet, D::Error> {
        if deserializer.is_human_readable() {
            return deserializer.deserialize_seq(Numbers);
        }
        let bits = u8::deserialize(deserializer)?;
        if bits >> Tag::COUNT != 0 {
            let found = Unexpected::Unsigned(bits.into());
            return Err(Error::invalid_value(found, &"a bit for each of four tags"));
        }
        Ok(Tag::all().into_iter().filter(|tag| bits >> tag.number() & 1 == 1).collect())
    }
}

/// Reads the numbers of tags.
struct Numbers;

impl<'de> Visitor<'de> for Numbers {
    type Value = TagSet;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "numbers of tags below {}", Tag::COUNT)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<TagSet, A::Error> {
        let mut tags = TagSet::EMPTY;
        while let Some(number) = list.next_element::<u8>()? {
            let Some(tag) = Tag::new(number) else {
                return Err(Error::invalid_value(Unexpected::Unsigned(number.into()), &self));
            };
            tags = tags.with(tag);
        }
        Ok(tags)
    }
}

impl Serialize for Inline {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.get())
    }
}

impl<'de> Deserialize<'de> for Inline {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Inline, D::Error> {
        let number = u64::deserialize(deserializer)?;
        let found = Unexpected::Unsigned(number);
        Inline::new(number).ok_or_else(|| Error::invalid_value(found, &"an integer below 2^63"))
    }
}

/// A map from index to value and tags, in index order. While others write, it is as consistent as a tagged scan: each entry
/// is as it was at one instant, not all at the same.
///
/// The entries are listed first, since many formats begin with their number: 24 bytes an entry, and one guard for all.
impl<V> Serialize for RadixTree<V>
where
    V: Value,
    for<'g> V::Ref<'g>: Deref<Target: Serialize>,
{
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let pinned = self.pin();
        let entries: Vec<_> = pinned.range_tagged(.., TagFilter::ANY).collect();
        let mut map = serializer.serialize_map(Some(entries.len()))?;
        for (index, value, tags) in entries {
            map.serialize_entry(&index, &(&*value, tags))?;
        }
        map.end()
    }
}

/// An index that occurs twice is an error. Nothing is allocated for a length that is only claimed.
impl<'de, V> Deserialize<'de> for RadixTree<V>
where
    V: Value + Deserialize<'de>,
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<RadixTree<V>, D::Error> {
        deserializer.deserialize_map(Entries(PhantomData))
    }
}

/// Reads the entries of a tree.
struct Entries<V>(PhantomData<V>);

impl<'de, V: Value + Deserialize<'de>> Visitor<'de> for Entries<V> {
    type Value = RadixTree<V>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map from index to value and tags")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RadixTree<V>, A::Error> {
        let tree = RadixTree::new();
        while let Some((index, (value, tags))) = map.next_entry::<u64, (V, TagSet)>()? {
            if tree.pin().try_insert_tagged(index, value, tags).is_err() {
                return Err(Error::custom(format_args!("index {index} occurs twice")));
            }
        }
        Ok(tree)
    }
}
