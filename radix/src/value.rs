//! What a tree can hold: values of one word, without a second indirection.

use core::fmt;
use core::marker::PhantomData;
use core::ops::Deref;
use core::ptr::NonNull;
use std::sync::Arc;

/// A value that a tree can hold: one word that is not null.
///
/// Implemented for `Box<T>`, `Arc<T>`, `&'static T` and [`Inline`]. The tree keeps the pointer or the number itself in its
/// slot; a lookup returns a [`Ref`](Value::Ref) made from that word, without touching what it points to.
///
/// A value that leaves the tree is dropped once no [`Guard`](crate::Guard) that could see it is left. That can happen on
/// any thread, and after the tree is gone, hence `Send + 'static`. For a type that needs no drop
/// ([`core::mem::needs_drop`]) it is simply forgotten: [`from_word`](Value::from_word) may never be called for it.
///
/// # Examples
/// A type of one's own passes on to one of these:
/// ```
/// use core::ptr::NonNull;
/// use tagged_radix::{RadixTree, Value};
///
/// struct Page(Box<[u8; 64]>);
///
/// // SAFETY: all is passed on to `Box`, which keeps the contract.
/// unsafe impl Value for Page {
///     type Ref<'g> = &'g [u8; 64];
///
///     fn into_word(self) -> NonNull<()> {
///         self.0.into_word()
///     }
///     unsafe fn from_word(word: NonNull<()>) -> Page {
///         Page(unsafe { Value::from_word(word) })
///     }
///     unsafe fn as_ref<'g>(word: NonNull<()>) -> Self::Ref<'g> {
///         unsafe { <Box<[u8; 64]> as Value>::as_ref(word) }
///     }
///     fn ref_word(reference: Self::Ref<'_>) -> NonNull<()> {
///         <Box<[u8; 64]> as Value>::ref_word(reference)
///     }
/// }
///
/// let tree: RadixTree<Page> = RadixTree::new();
/// tree.pin().insert(0, Page(Box::new([7; 64])));
/// assert_eq!(tree.pin().get(0).unwrap()[63], 7);
/// ```
///
/// # Safety
/// For a word that [`into_word`](Value::into_word) returned, until [`from_word`](Value::from_word) takes it back:
/// * [`from_word`](Value::from_word) gives back the value, on any thread;
/// * [`as_ref`](Value::as_ref) gives a reference that is valid as long as the value is not taken back, from any thread if
///   the type is `Sync`; what it refers to does not move when the value does;
/// * [`ref_word`](Value::ref_word) of that reference is the word.
pub unsafe trait Value: Send + 'static {
    /// What a lookup returns: a reference that lives as long as its guard.
    type Ref<'g>: Copy + Deref
    where
        Self: 'g;

    /// About how many bytes come free when a value is dropped, besides its word: what garbage is bounded by, together with the number
    /// of objects. For `Box<T>` and `Arc<T>` that is the size of `T`, without what `T` owns in turn.
    const BYTES: usize = 0;

    /// Turns the value into its word.
    fn into_word(self) -> NonNull<()>;

    /// Turns a word back into the value.
    ///
    /// # Safety
    /// `word` came from [`into_word`](Value::into_word) of this type, and this is the only time that it is taken back.
    unsafe fn from_word(word: NonNull<()>) -> Self;

    /// A reference to the value behind a word.
    ///
    /// # Safety
    /// `word` came from [`into_word`](Value::into_word) of this type and is not taken back during `'g`.
    unsafe fn as_ref<'g>(word: NonNull<()>) -> Self::Ref<'g>;

    /// The word of the value that a reference refers to.
    fn ref_word(reference: Self::Ref<'_>) -> NonNull<()>;
}

/// A value of which a lookup can give an owned copy, so that no guard need be held to use it.
///
/// # Examples
/// ```
/// use std::sync::Arc;
/// use tagged_radix::{CloneValue, RadixTree};
///
/// let tree: RadixTree<Arc<str_box::Name>> = RadixTree::new();
/// tree.pin().insert(7, Arc::new(str_box::Name("seven")));
/// let owned: Arc<str_box::Name> = <Arc<_> as CloneValue>::clone_value(tree.pin().get(7).unwrap());
/// assert_eq!(owned.0, "seven");
/// # mod str_box { pub struct Name(pub &'static str); }
/// ```
pub trait CloneValue: Value {
    /// An owned value equal to the one referred to: for `Arc`, another handle to the same object. Called under a guard, and no lock.
    fn clone_value(reference: Self::Ref<'_>) -> Self;
}

// SAFETY: `into_raw` and `from_raw` are inverse, and the pointer may change threads since the box may. The contents do not
// move with the box. A reference's address is the word.
unsafe impl<T: Send + 'static> Value for Box<T> {
    type Ref<'g> = &'g T;
    const BYTES: usize = size_of::<T>();

    #[inline]
    fn into_word(self) -> NonNull<()> {
        NonNull::from(Box::leak(self)).cast()
    }

    #[inline]
    unsafe fn from_word(word: NonNull<()>) -> Box<T> {
        // SAFETY: made by `into_word`, and taken back once, says the caller.
        unsafe { Box::from_raw(word.cast().as_ptr()) }
    }

    #[inline]
    unsafe fn as_ref<'g>(word: NonNull<()>) -> &'g T {
        // SAFETY: the box stays during `'g`, says the caller.
        unsafe { word.cast().as_ref() }
    }

    #[inline]
    fn ref_word(reference: &T) -> NonNull<()> {
        NonNull::from(reference).cast()
    }
}

// SAFETY: as for `Box`, with `Arc::into_raw` and `Arc::from_raw`.
unsafe impl<T: Send + Sync + 'static> Value for Arc<T> {
    type Ref<'g> = ArcRef<'g, T>;
    const BYTES: usize = size_of::<T>();

    #[inline]
    fn into_word(self) -> NonNull<()> {
        // SAFETY: the pointer of an `Arc` is never null.
        unsafe { NonNull::new_unchecked(Arc::into_raw(self).cast_mut().cast()) }
    }

    #[inline]
    unsafe fn from_word(word: NonNull<()>) -> Arc<T> {
        // SAFETY: made by `into_word`, and taken back once, says the caller.
        unsafe { Arc::from_raw(word.cast().as_ptr()) }
    }

    #[inline]
    unsafe fn as_ref<'g>(word: NonNull<()>) -> ArcRef<'g, T> {
        ArcRef { pointer: word.cast(), lives: PhantomData }
    }

    #[inline]
    fn ref_word(reference: ArcRef<'_, T>) -> NonNull<()> {
        reference.pointer.cast()
    }
}

impl<T: Send + Sync + 'static> CloneValue for Arc<T> {
    #[inline]
    fn clone_value(reference: ArcRef<'_, T>) -> Arc<T> {
        ArcRef::to_arc(reference)
    }
}

// SAFETY: the referent lives for ever and does not move; its address is the word.
unsafe impl<T: Sync + 'static> Value for &'static T {
    type Ref<'g> = &'static T;

    #[inline]
    fn into_word(self) -> NonNull<()> {
        NonNull::from(self).cast()
    }

    #[inline]
    unsafe fn from_word(word: NonNull<()>) -> &'static T {
        // SAFETY: made by `into_word` from a reference to something that lives for ever.
        unsafe { word.cast().as_ref() }
    }

    #[inline]
    unsafe fn as_ref<'g>(word: NonNull<()>) -> Self::Ref<'g> {
        // SAFETY: made by `into_word` from a reference to something that lives for ever.
        unsafe { word.cast().as_ref() }
    }

    #[inline]
    fn ref_word(reference: &'static T) -> NonNull<()> {
        NonNull::from(reference).cast()
    }
}

impl<T: Sync + 'static> CloneValue for &'static T {
    #[inline]
    fn clone_value(reference: &'static T) -> &'static T {
        reference
    }
}

/// A borrowed `Arc<T>`: derefs to `T`, is free to make and to copy, and can be turned into an `Arc<T>`.
///
/// # Examples
/// ```
/// use std::sync::Arc;
/// use tagged_radix::{ArcRef, RadixTree};
///
/// let tree: RadixTree<Arc<String>> = RadixTree::new();
/// tree.pin().insert(1, Arc::new("one".to_string()));
/// let owned: Arc<String> = tree.pin().get(1).map(ArcRef::to_arc).unwrap();
/// assert_eq!(*owned, "one");
/// ```
pub struct ArcRef<'g, T> {
    pointer: NonNull<T>,
    lives: PhantomData<&'g T>,
}

// SAFETY: it stands for `&T` and for the right to make an `Arc<T>`; both need `Sync`, and the latter `Send`.
unsafe impl<T: Send + Sync> Send for ArcRef<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send + Sync> Sync for ArcRef<'_, T> {}

impl<'g, T> ArcRef<'g, T> {
    /// Another handle to the same object, which outlives the guard. Costs one atomic addition.
    ///
    /// An associated function, so that it does not hide a method of `T`.
    ///
    /// # Examples
    /// ```
    /// use std::sync::Arc;
    /// use tagged_radix::{ArcRef, RadixTree};
    ///
    /// let tree: RadixTree<Arc<u32>> = RadixTree::from_iter([(0, Arc::new(5))]);
    /// let owned = ArcRef::to_arc(tree.pin().get(0).unwrap());
    /// drop(tree);
    /// assert_eq!(*owned, 5);
    /// ```
    #[inline]
    #[must_use]
    pub fn to_arc(this: ArcRef<'g, T>) -> Arc<T> {
        // SAFETY: the pointer came from an `Arc` that is not dropped during `'g`.
        unsafe { Arc::increment_strong_count(this.pointer.as_ptr()) };
        // SAFETY: as above; the line above made the handle that this one takes over.
        unsafe { Arc::from_raw(this.pointer.as_ptr()) }
    }

    /// The object, for as long as the guard lives and not only as long as this value.
    ///
    /// # Examples
    /// ```
    /// use std::sync::Arc;
    /// use tagged_radix::{ArcRef, RadixTree};
    ///
    /// let tree: RadixTree<Arc<u32>> = RadixTree::from_iter([(0, Arc::new(5))]);
    /// let pinned = tree.pin();
    /// let object: &u32 = ArcRef::get(pinned.get(0).unwrap());
    /// assert_eq!(*object, 5);
    /// ```
    #[inline]
    #[must_use]
    pub fn get(this: ArcRef<'g, T>) -> &'g T {
        // SAFETY: the object belongs to an `Arc` that is not dropped during `'g`.
        unsafe { this.pointer.as_ref() }
    }
}

impl<T> Clone for ArcRef<'_, T> {
    #[inline]
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for ArcRef<'_, T> {}

impl<T> Deref for ArcRef<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        ArcRef::get(*self)
    }
}

impl<T> From<ArcRef<'_, T>> for Arc<T> {
    #[inline]
    fn from(reference: ArcRef<'_, T>) -> Arc<T> {
        ArcRef::to_arc(reference)
    }
}

impl<T: fmt::Debug> fmt::Debug for ArcRef<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        T::fmt(self, f)
    }
}

/// A number below 2^63, or 2^31 where pointers have 32 bits, that is kept in the tree itself, without an allocation.
///
/// # Examples
/// ```
/// use tagged_radix::{Inline, RadixTree};
///
/// let tree: RadixTree<Inline> = RadixTree::new();
/// tree.pin().insert(0, Inline::new(42).unwrap());
/// assert_eq!(tree.pin().get(0).map(Inline::get), Some(42));
/// assert_eq!(Inline::new(Inline::MAX + 1), None);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Inline(u64);

impl Inline {
    /// The highest number that fits: 2^63 - 1, or 2^31 - 1 where pointers have 32 bits.
    pub const MAX: u64 = (1 << (usize::BITS - 1)) - 1;

    /// Wraps `number`, or returns `None` if it is above [`Inline::MAX`].
    ///
    /// # Examples
    /// ```
    /// assert!(tagged_radix::Inline::new(0).is_some());
    /// ```
    #[must_use]
    #[inline]
    pub const fn new(number: u64) -> Option<Inline> {
        if number <= Inline::MAX { Some(Inline(number)) } else { None }
    }

    /// The number.
    ///
    /// # Examples
    /// ```
    /// assert_eq!(tagged_radix::Inline::new(9).unwrap().get(), 9);
    /// ```
    #[must_use]
    #[inline]
    pub const fn get(self) -> u64 {
        self.0
    }
}

// `Value::Ref` asks for it.
impl Deref for Inline {
    type Target = u64;

    #[inline]
    fn deref(&self) -> &u64 {
        &self.0
    }
}

// SAFETY: the word holds the number itself, shifted by one, with the lowest bit set: it is never null, and nothing is
// behind it.
unsafe impl Value for Inline {
    type Ref<'g> = Inline;

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "the highest number fits")]
    fn into_word(self) -> NonNull<()> {
        let word = core::ptr::without_provenance_mut((self.0 << 1 | 1) as usize);
        // SAFETY: the lowest bit is set.
        unsafe { NonNull::new_unchecked(word) }
    }

    #[inline]
    unsafe fn from_word(word: NonNull<()>) -> Inline {
        Inline(word.addr().get() as u64 >> 1)
    }

    #[inline]
    unsafe fn as_ref<'g>(word: NonNull<()>) -> Self::Ref<'g> {
        Inline(word.addr().get() as u64 >> 1)
    }

    #[inline]
    fn ref_word(reference: Inline) -> NonNull<()> {
        reference.into_word()
    }
}

impl CloneValue for Inline {
    #[inline]
    fn clone_value(reference: Inline) -> Inline {
        reference
    }
}
