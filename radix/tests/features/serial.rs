//! A tree and its tags survive being written and read, and what is not a tree is refused.

use serde::de::DeserializeOwned;
use tagged_radix::{Inline, RadixTree, Tag, TagFilter, TagSet};

type Tree = RadixTree<Box<String>>;

fn sample() -> Tree {
    let tree = Tree::new();
    for index in [0, 1, 63, 64, 5_000, 1 << 40, u64::MAX] {
        let tags = if index % 2 == 0 { TagSet::EMPTY } else { TagSet::of(&[Tag::T0, Tag::T3]) };
        tree.pin().insert_tagged(index, Box::new(format!("page {index}")), tags);
    }
    tree
}

fn contents(tree: &Tree) -> Vec<(u64, String, TagSet)> {
    let pinned = tree.pin();
    let entries = pinned.range_tagged(.., TagFilter::ANY);
    entries.map(|(index, value, tags)| (index, value.clone(), tags)).collect()
}

#[test]
fn json_keeps_values_and_tags() {
    let tree = sample();
    let text = serde_json::to_string(&tree).unwrap();
    assert!(text.starts_with(r#"{"0":["page 0",[]],"1":["page 1",[0,3]],"#), "{text}");
    let read: Tree = serde_json::from_str(&text).unwrap();
    assert_eq!(contents(&read), contents(&tree));
    assert_eq!(read.check(), Ok(()));
    assert!(read.any_tagged(Tag::T3) && !read.any_tagged(Tag::T1));
}

#[test]
fn postcard_keeps_values_and_tags() {
    let tree = sample();
    let bytes = postcard::to_stdvec(&tree).unwrap();
    let read: Tree = postcard::from_bytes(&bytes).unwrap();
    assert_eq!(contents(&read), contents(&tree));
    assert_eq!(read.check(), Ok(()));
    assert_eq!(postcard::to_stdvec(&TagSet::of(&[Tag::T1, Tag::T3])).unwrap(), [0b1010]);
    // Every cut of it is refused, none panics.
    for length in 0..bytes.len() {
        assert!(postcard::from_bytes::<Tree>(&bytes[..length]).is_err());
    }
}

#[test]
fn an_empty_tree_is_an_empty_map() {
    assert_eq!(serde_json::to_string(&Tree::new()).unwrap(), "{}");
    assert!(serde_json::from_str::<Tree>("{}").unwrap().is_empty());
}

fn error<T: DeserializeOwned>(text: &str) -> String {
    match serde_json::from_str::<T>(text) {
        Ok(_) => panic!("{text} was taken"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn what_is_not_a_tree_is_refused_with_a_reason() {
    for (text, reason) in [
        (r#"{"1":["a",[]],"1":["b",[]]}"#, "index 1 occurs twice"),
        (r#"{"1":["a",[4]]}"#, "numbers of tags below 4"),
        (r#"{"1":["a",[256]]}"#, "u8"),
        (r#"{"-1":["a",[]]}"#, "invalid"),
        (r#"{"18446744073709551616":["a",[]]}"#, "invalid"),
        (r#"{"1":["a"]}"#, "tuple"),
        ("[1]", "a map from index to value and tags"),
    ] {
        let error = error::<Tree>(text);
        assert!(error.contains(reason), "{text}: {error}");
    }
    let error = error::<RadixTree<Inline>>(r#"{"1":[9223372036854775808,[]]}"#);
    assert!(error.contains("an integer below 2^63"), "{error}");
    assert!(postcard::from_bytes::<TagSet>(&[0b1_0000]).is_err());
    // A length that is only claimed costs nothing.
    assert!(postcard::from_bytes::<Tree>(&[0xff, 0xff, 0xff, 0xff, 0x7f]).is_err());
}
