//! Errors. A value that was not taken is handed back.

use core::fmt;

use crate::value::Value;

/// An insertion found an entry where there should be none.
///
/// # Examples
/// ```
/// use tagged_radix::{Inline, RadixTree};
///
/// let tree: RadixTree<Inline> = RadixTree::new();
/// let pinned = tree.pin();
/// pinned.insert(3, Inline::new(1).unwrap());
/// let error = pinned.try_insert(3, Inline::new(2).unwrap()).unwrap_err();
/// assert_eq!((error.current.get(), error.value.get()), (1, 2));
/// ```
#[non_exhaustive]
pub struct OccupiedError<'g, V: Value> {
    /// The value that was not inserted.
    pub value: V,
    /// The value that is there.
    pub current: V::Ref<'g>,
}

/// Every index of a range has an entry.
///
/// # Examples
/// ```
/// use tagged_radix::{Inline, RadixTree};
///
/// let tree: RadixTree<Inline> = RadixTree::from_iter([(3, Inline::new(1).unwrap())]);
/// let error = tree.pin().insert_at_absent(3..4, Inline::new(2).unwrap()).unwrap_err();
/// assert_eq!(error.value.get(), 2);
/// ```
#[non_exhaustive]
pub struct RangeFullError<V: Value> {
    /// The value that was not inserted.
    pub value: V,
}

/// A conditional replacement found no entry, or one that did not meet the condition.
///
/// # Examples
/// ```
/// use tagged_radix::{Inline, RadixTree};
///
/// let tree: RadixTree<Inline> = RadixTree::new();
/// let pinned = tree.pin();
/// let error = pinned.replace_if(3, Inline::new(2).unwrap(), |_, _| true).unwrap_err();
/// assert!(error.current.is_none());
/// assert_eq!(error.value.get(), 2);
/// ```
#[non_exhaustive]
pub struct ReplaceError<'g, V: Value> {
    /// The value that was not stored.
    pub value: V,
    /// The value that is there, or `None` if there is no entry.
    pub current: Option<V::Ref<'g>>,
}

/// A conditional removal found no entry, or one that did not meet the condition.
///
/// # Examples
/// ```
/// use tagged_radix::{Inline, RadixTree};
///
/// let tree: RadixTree<Inline> = RadixTree::from_iter([(3, Inline::new(2).unwrap())]);
/// let pinned = tree.pin();
/// let refused = pinned.remove_if(3, |_, _| false).unwrap_err();
/// assert_eq!(refused.current.map(Inline::get), Some(2));
/// let absent = pinned.remove_if(4, |_, _| true).unwrap_err();
/// assert!(absent.current.is_none());
/// ```
#[non_exhaustive]
pub struct RemoveError<'g, V: Value> {
    /// The value that was refused, or `None` if there is no entry.
    pub current: Option<V::Ref<'g>>,
}

impl<V: Value> fmt::Display for OccupiedError<'_, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the index is occupied")
    }
}

impl<V: Value> fmt::Display for RangeFullError<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("every index of the range has an entry")
    }
}

impl<V: Value> fmt::Display for ReplaceError<'_, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(unmet(self.current.is_some()))
    }
}

impl<V: Value> fmt::Display for RemoveError<'_, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(unmet(self.current.is_some()))
    }
}

/// Why nothing became of a conditional change.
fn unmet(occupied: bool) -> &'static str {
    if occupied {
        "the entry does not meet the condition"
    } else {
        "there is no entry at the index"
    }
}

impl<V: Value> fmt::Debug for OccupiedError<'_, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OccupiedError").finish_non_exhaustive()
    }
}

impl<V: Value> fmt::Debug for RangeFullError<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RangeFullError").finish_non_exhaustive()
    }
}

impl<V: Value> fmt::Debug for ReplaceError<'_, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplaceError")
            .field("occupied", &self.current.is_some())
            .finish_non_exhaustive()
    }
}

impl<V: Value> fmt::Debug for RemoveError<'_, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoveError")
            .field("occupied", &self.current.is_some())
            .finish_non_exhaustive()
    }
}

impl<V: Value> core::error::Error for OccupiedError<'_, V> {}
impl<V: Value> core::error::Error for ReplaceError<'_, V> {}
impl<V: Value> core::error::Error for RemoveError<'_, V> {}
impl<V: Value> core::error::Error for RangeFullError<V> {}
