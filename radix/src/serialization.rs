//! Trees, tags and inline values as serde sees them.
//!
//! A tree is written as a map from index to value and tags, the same as a `BTreeMap<u64, (V, TagSet)>` would be, and can be read
//! back as one.

use core::fmt;
use core::marker::PhantomData;

use serde::de::{Deserializer, Error as _, MapAccess, SeqAccess, Unexpected, Visitor};
use serde::ser::{SerializeMap as _, SerializeSeq as _, Serializer};
use serde::{Deserialize, Serialize};

use crate::tag::{Tag, TagFilter, TagSet};
use crate::tree::RadixTree;
use crate::value::{ArcRef, Inline, Value};

/// With the feature `serde`: a map from index to a pair of value and tags, in ascending order of the indices.
///
/// A format sees what a `BTreeMap<u64, (V, TagSet)>` would show it. Values are written as what their references are: `Box<T>`
/// and `Arc<T>` as `T`.
///
/// # Concurrency
/// The entries are those of one [`range_tagged`](crate::Pinned::range_tagged) over all indices, with what is said there: not a
/// snapshot of the tree as a whole, each entry true at one instant. They are gathered first, since many formats ask for their
/// number before the first of them and it can change while they are written. A guard is held until the last one is written: so
/// write to memory, and from there to what may block.
/// # Complexity
/// O(entries), and 24 bytes an entry for as long as it takes.
///
/// # Examples
/// ```
/// use tagged_radix::{RadixTree, Tag};
///
/// let tree: RadixTree<Box<String>> = RadixTree::from_iter([(7, Box::new("seven".to_string()))]);
/// tree.pin().set_tag(7, Tag::T2);
/// let text = serde_json::to_string(&tree)?;
/// assert_eq!(text, r#"{"7":["seven",[2]]}"#);
/// let back: RadixTree<Box<String>> = serde_json::from_str(&text)?;
/// assert_eq!(back.pin().tags(7), Some(Tag::T2.into()));
/// # Ok::<(), serde_json::Error>(())
/// ```
impl<V: Value> Serialize for RadixTree<V>
where
    for<'g> V::Ref<'g>: Serialize,
{
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let pinned = self.pin();
        let entries: Vec<_> = pinned.range_tagged(.., TagFilter::ANY).collect();
        let mut map = serializer.serialize_map(Some(entries.len()))?;
        for (index, value, tags) in entries {
            map.serialize_entry(&index, &(value, tags))?;
        }
        map.end()
    }
}

/// With the feature `serde`: from a map as [`Serialize`] writes it, in any order.
///
/// # Complexity
/// O(entries), O(height) each. What the input says about its length is not believed: memory is taken for entries that have been
/// read. Yet a lone index can take a node of 576 bytes, which a few bytes of input bring about: limit the length of what comes from
/// strangers.
/// # Errors
/// An index that is not a `u64` or occurs twice; tags that do not exist; whatever the values' own reading finds wrong.
///
/// # Examples
/// ```
/// use tagged_radix::{Inline, RadixTree};
///
/// let twice = serde_json::from_str::<RadixTree<Inline>>(r#"{"5": [1, []], "5": [2, []]}"#);
/// assert!(twice.unwrap_err().to_string().starts_with("index 5 occurs twice"));
/// ```
impl<'de, V: Value + Deserialize<'de>> Deserialize<'de> for RadixTree<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Entries(PhantomData))
    }
}

/// Reads the entries of a tree.
struct Entries<V>(PhantomData<V>);

impl<'de, V: Value + Deserialize<'de>> Visitor<'de> for Entries<V> {
    type Value = RadixTree<V>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map from index to a pair of value and tags")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<RadixTree<V>, A::Error> {
        let tree = RadixTree::new();
        while let Some((Index(index), (value, tags))) = entries.next_entry::<_, (V, TagSet)>()? {
            // A guard each: the next entry may be long in coming.
            if tree.pin().insert_tagged(index, value, tags).is_some() {
                return Err(A::Error::custom(format_args!("index {index} occurs twice")));
            }
        }
        Ok(tree)
    }
}

/// An index, read with a word about what it should be.
struct Index(u64);

impl<'de> Deserialize<'de> for Index {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Index, D::Error> {
        struct Number;

        impl Visitor<'_> for Number {
            type Value = Index;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an index, 0 to 2^64 - 1")
            }

            fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Index, E> {
                Ok(Index(number))
            }

            fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Index, E> {
                let index = u64::try_from(number);
                index.map(Index).map_err(|_| E::invalid_value(Unexpected::Signed(number), &self))
            }
        }

        deserializer.deserialize_u64(Number)
    }
}

/// With the feature `serde`: its number, 0 to 3.
impl Serialize for Tag {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(self.number())
    }
}

/// With the feature `serde`: from its number.
///
/// # Errors
/// A number that is no tag's.
impl<'de> Deserialize<'de> for Tag {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Tag, D::Error> {
        let number = u8::deserialize(deserializer)?;
        Tag::new(number).ok_or_else(|| {
            D::Error::invalid_value(Unexpected::Unsigned(number.into()), &"a tag's number, 0 to 3")
        })
    }
}

/// With the feature `serde`: a list of the tags' numbers in ascending order where people read it, as in `[0, 2]`; otherwise one
/// byte, in which bit *n* is tag *n*.
impl Serialize for TagSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            let mut list = serializer.serialize_seq(Some(self.len()))?;
            for tag in *self {
                list.serialize_element(&tag)?;
            }
            return list.end();
        }
        let bits = self.iter().fold(0, |bits, tag| bits | 1 << tag.number());
        serializer.serialize_u8(bits)
    }
}

/// With the feature `serde`: from what [`Serialize`] writes in the same format; a list may be in any order.
///
/// # Errors
/// A tag that does not exist, or that a list names twice.
impl<'de> Deserialize<'de> for TagSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<TagSet, D::Error> {
        if deserializer.is_human_readable() {
            return deserializer.deserialize_seq(Numbers);
        }
        let bits = u8::deserialize(deserializer)?;
        let tags: TagSet =
            Tag::all().into_iter().filter(|tag| bits >> tag.number() & 1 != 0).collect();
        if bits.count_ones() as usize != tags.len() {
            let found = Unexpected::Unsigned(bits.into());
            return Err(D::Error::invalid_value(
                found,
                &"tags as bits, of which only the lowest four mean one",
            ));
        }
        Ok(tags)
    }
}

/// Reads a list of tags.
struct Numbers;

impl<'de> Visitor<'de> for Numbers {
    type Value = TagSet;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of tag numbers, 0 to 3")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<TagSet, A::Error> {
        let mut tags = TagSet::EMPTY;
        while let Some(tag) = list.next_element::<Tag>()? {
            if tags.contains(tag) {
                return Err(A::Error::custom(format_args!("tag {} occurs twice", tag.number())));
            }
            tags = tags.with(tag);
        }
        Ok(tags)
    }
}

/// With the feature `serde`: the object, as `Arc<T>` is written.
impl<T: Serialize> Serialize for ArcRef<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        T::serialize(self, serializer)
    }
}

/// With the feature `serde`: the number.
impl Serialize for Inline {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.get())
    }
}

/// With the feature `serde`: from a number.
///
/// # Errors
/// A number above [`Inline::MAX`].
impl<'de> Deserialize<'de> for Inline {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Inline, D::Error> {
        let number = u64::deserialize(deserializer)?;
        Inline::new(number).ok_or_else(|| {
            D::Error::invalid_value(Unexpected::Unsigned(number), &"a number below 2^63")
        })
    }
}
