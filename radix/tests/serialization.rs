//! Trees through serde: in a format that people read, and in a compact one.

#[path = "common/watchdog.rs"]
#[allow(dead_code, reason = "each test binary uses its own part of the helpers")]
mod watchdog;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;

use proptest::prelude::*;
use serde::de::value::{Error as ValueError, MapDeserializer};
use serde::de::{DeserializeOwned, IntoDeserializer};
use serde::{Deserialize, Serialize};
use tagged_radix::{Inline, RadixTree, Tag, TagFilter, TagSet, Value};
use watchdog::{SetOnDrop, watch};

type Pairs<T> = BTreeMap<u64, (T, TagSet)>;

fn tree_of<V: Value>(entries: impl IntoIterator<Item = (u64, V, TagSet)>) -> RadixTree<V> {
    let tree = RadixTree::new();
    for (index, value, tags) in entries {
        assert!(tree.pin().insert_tagged(index, value, tags).is_none());
    }
    tree
}

fn contents(tree: &RadixTree<Box<u64>>) -> Pairs<u64> {
    let p = tree.pin();
    p.range_tagged(.., TagFilter::ANY).map(|(index, value, tags)| (index, (*value, tags))).collect()
}

fn sample() -> RadixTree<Box<u64>> {
    tree_of([
        (5, Box::new(50), TagSet::EMPTY),
        (u64::MAX, Box::new(1), TagSet::ALL),
        (0, Box::new(7), TagSet::of(&[Tag::T2, Tag::T0])),
    ])
}

#[test]
fn a_tree_is_a_map_from_index_to_value_and_tags() {
    let json = r#"{"0":[7,[0,2]],"5":[50,[]],"18446744073709551615":[1,[0,1,2,3]]}"#;
    assert_eq!(serde_json::to_string(&sample()).unwrap(), json);
    let back: RadixTree<Box<u64>> = serde_json::from_str(json).unwrap();
    assert_eq!(contents(&back), contents(&sample()));
    back.check().unwrap();
    assert!(back.any_tagged(Tag::T3));
    let through_value: RadixTree<Box<u64>> =
        serde_json::from_value(serde_json::to_value(sample()).unwrap()).unwrap();
    assert_eq!(contents(&through_value), contents(&sample()));
}

#[test]
fn a_compact_format_has_tags_as_bits() {
    let bytes = postcard::to_allocvec(&sample()).unwrap();
    let mut expected = vec![3, 0, 7, 0b0101, 5, 50, 0];
    expected.extend([0xff; 9]);
    expected.extend([1, 1, 0b1111]);
    assert_eq!(bytes, expected);
    let back: RadixTree<Box<u64>> = postcard::from_bytes(&bytes).unwrap();
    assert_eq!(contents(&back), contents(&sample()));
    back.check().unwrap();
}

#[test]
fn a_tree_reads_and_writes_as_a_btreemap_of_pairs_does() {
    let pairs = contents(&sample());
    assert_eq!(serde_json::to_string(&pairs).unwrap(), serde_json::to_string(&sample()).unwrap());
    assert_eq!(postcard::to_allocvec(&pairs).unwrap(), postcard::to_allocvec(&sample()).unwrap());
    let pairs: Pairs<u64> =
        postcard::from_bytes(&postcard::to_allocvec(&sample()).unwrap()).unwrap();
    assert_eq!(pairs, contents(&sample()));
}

#[test]
fn all_kinds_of_values() {
    #[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
    struct Page {
        name: String,
        bytes: Vec<u8>,
    }

    fn round_trip<T: DeserializeOwned>(tree: &impl Serialize) -> [T; 2] {
        let compact = postcard::from_bytes(&postcard::to_allocvec(tree).unwrap()).unwrap();
        [serde_json::from_str(&serde_json::to_string(tree).unwrap()).unwrap(), compact]
    }

    let page = Page { name: "first".into(), bytes: vec![1, 2, 3] };
    let arcs = tree_of([(70, Arc::new(page.clone()), Tag::T1.into())]);
    for back in round_trip::<RadixTree<Arc<Page>>>(&arcs) {
        assert_eq!(*back.pin().get(70).unwrap(), page);
        assert_eq!(back.pin().tags(70), Some(Tag::T1.into()));
    }
    let numbers = tree_of([(70, Inline::new(Inline::MAX).unwrap(), TagSet::EMPTY)]);
    for back in round_trip::<RadixTree<Inline>>(&numbers) {
        assert_eq!(back.pin().get(70), Inline::new(Inline::MAX));
    }
    static WORD: &str = "word";
    let words = tree_of([(0, &WORD, TagSet::EMPTY)]);
    assert_eq!(serde_json::to_string(&words).unwrap(), r#"{"0":["word",[]]}"#);
    for back in round_trip::<RadixTree<Box<u64>>>(&RadixTree::<Box<u64>>::new()) {
        assert!(back.is_empty());
    }
}

#[test]
fn malformed_text_is_refused_with_a_reason() {
    let cases = [
        (r#"{"5":[1,[]],"6":[1,[]],"5":[2,[]]}"#, "index 5 occurs twice"),
        (r#"{"-1":[1,[]]}"#, "invalid value: integer `-1`, expected an index, 0 to 2^64 - 1"),
        (r#"{"18446744073709551616":[1,[]]}"#, "expected an index, 0 to 2^64 - 1"),
        (r#"{"five":[1,[]]}"#, "number"),
        (r#"{"5":[1,[4]]}"#, "invalid value: integer `4`, expected a tag's number, 0 to 3"),
        (r#"{"5":[1,[0,1,0]]}"#, "tag 0 occurs twice"),
        (r#"{"5":[1,3]}"#, "expected a list of tag numbers, 0 to 3"),
        (r#"{"5":[1,[-1]]}"#, "u8"),
        (r#"{"5":1}"#, "tuple of size 2"),
        (r#"{"5":[1]}"#, "tuple of size 2"),
        (r#"{"5":["x",[]]}"#, "u64"),
        (r#"[[5,1,[]]]"#, "expected a map from index to a pair of value and tags"),
        (r#"{"5":[1,[]]"#, "EOF"),
        ("3", "expected a map from index to a pair of value and tags"),
    ];
    for (text, reason) in cases {
        let error = serde_json::from_str::<RadixTree<Box<u64>>>(text).unwrap_err().to_string();
        assert!(error.contains(reason), "{text}: {error}");
    }
    let error = serde_json::from_str::<Inline>("9223372036854775808").unwrap_err().to_string();
    assert!(error.contains("expected a number below 2^63"), "{error}");
    assert!(serde_json::from_str::<Tag>("3").is_ok());
    assert!(serde_json::from_str::<Tag>("4").is_err());
}

#[test]
fn malformed_bytes_are_refused() {
    let good = postcard::to_allocvec(&sample()).unwrap();
    for length in 0..good.len() {
        assert!(postcard::from_bytes::<RadixTree<Box<u64>>>(&good[..length]).is_err(), "{length}");
    }
    for bytes in [
        &[2, 5, 1, 0, 5, 1, 0][..], // an index twice
        &[1, 5, 1, 16],             // a fifth tag
        &[1, 5, 1, 255],
    ] {
        assert!(postcard::from_bytes::<RadixTree<Box<u64>>>(bytes).is_err(), "{bytes:?}");
    }
}

#[test]
fn a_length_that_is_too_large_takes_no_memory() {
    // 2^64 - 1 entries are announced, two bytes follow.
    let mut bytes = vec![0xff; 9];
    bytes.extend([1, 5, 1]);
    assert!(postcard::from_bytes::<RadixTree<Box<u64>>>(&bytes).is_err());
    // A size hint of the same size, and three entries.
    struct Boastful<I>(I);
    impl<I: Iterator> Iterator for Boastful<I> {
        type Item = I::Item;
        fn next(&mut self) -> Option<I::Item> {
            self.0.next()
        }
        fn size_hint(&self) -> (usize, Option<usize>) {
            (usize::MAX, Some(usize::MAX))
        }
    }
    struct Entry(u64);
    impl IntoDeserializer<'_> for Entry {
        type Deserializer = serde::de::value::SeqDeserializer<std::vec::IntoIter<Part>, ValueError>;
        fn into_deserializer(self) -> Self::Deserializer {
            serde::de::value::SeqDeserializer::new(
                vec![Part::Value(self.0), Part::Tags].into_iter(),
            )
        }
    }
    enum Part {
        Value(u64),
        Tags,
    }
    impl IntoDeserializer<'_> for Part {
        type Deserializer = PartDeserializer;
        fn into_deserializer(self) -> PartDeserializer {
            PartDeserializer(self)
        }
    }
    struct PartDeserializer(Part);
    impl<'de> serde::Deserializer<'de> for PartDeserializer {
        type Error = ValueError;
        fn deserialize_any<V: serde::de::Visitor<'de>>(
            self,
            visitor: V,
        ) -> Result<V::Value, ValueError> {
            match self.0 {
                Part::Value(number) => visitor.visit_u64(number),
                Part::Tags => {
                    visitor.visit_seq(serde::de::value::SeqDeserializer::<_, ValueError>::new(
                        Boastful([1_u8, 3].into_iter()),
                    ))
                }
            }
        }
        serde::forward_to_deserialize_any! {
            bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit
            unit_struct newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
        }
    }
    let entries = Boastful((0..3_u64).map(|i| (i, Entry(i * i))));
    let tree =
        RadixTree::<Box<u64>>::deserialize(MapDeserializer::<_, ValueError>::new(entries)).unwrap();
    assert_eq!(tree.len(), 3);
    assert_eq!(tree.pin().get_with_tags(2), Some((&4, TagSet::of(&[Tag::T1, Tag::T3]))));
}

#[test]
fn what_is_written_is_well_formed_while_others_write() {
    // The number of entries that is announced is the number that follows.
    watch();
    let tree: RadixTree<Box<u64>> = (0..2000).map(|i| (i * 2, Box::new(i))).collect();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            for i in (0..2000_u64).cycle().take_while(|_| !done.load(Relaxed)) {
                tree.pin().insert_tagged(i * 2 + 1, Box::new(i), Tag::T0.into());
                tree.pin().remove((i * 2 + 1001) % 4000);
            }
        });
        let _ends = SetOnDrop(&done);
        for _ in 0..20 {
            let back: RadixTree<Box<u64>> =
                postcard::from_bytes(&postcard::to_allocvec(&tree).unwrap()).unwrap();
            assert!((0..2000).all(|i| back.pin().contains(i * 2)));
            back.check().unwrap();
        }
    });
}

proptest! {
    #[test]
    fn any_tree_comes_back(
        entries in proptest::collection::btree_map(
            prop_oneof![0..300_u64, any::<u64>()],
            (any::<u64>(), 0..16_u8),
            0..200,
        )
    ) {
        let of_bits = |bits: u8| Tag::all().into_iter().filter(|tag| bits >> tag.number() & 1 == 1).collect();
        let tree = tree_of(entries.iter().map(|(i, (value, bits))| (*i, Box::new(*value), of_bits(*bits))));
        let text: RadixTree<Box<u64>> = serde_json::from_str(&serde_json::to_string(&tree).unwrap()).unwrap();
        let bytes: RadixTree<Box<u64>> = postcard::from_bytes(&postcard::to_allocvec(&tree).unwrap()).unwrap();
        prop_assert_eq!(contents(&text), contents(&tree));
        prop_assert_eq!(contents(&bytes), contents(&tree));
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        if let Ok(tree) = postcard::from_bytes::<RadixTree<Box<u64>>>(&bytes) {
            tree.check().unwrap();
        }
        let _ = serde_json::from_slice::<RadixTree<Inline>>(&bytes);
    }
}
