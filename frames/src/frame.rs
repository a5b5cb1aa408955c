//! Frames: blocks that are out, with one owner or several.

use std::fmt;
use std::mem;
use std::ops::{Deref, DerefMut};
use std::slice;
use std::sync::Arc;

use crate::blocks::block::Block;
use crate::blocks::{Inner, Limit, give_back};
use crate::error::Error;
use crate::size::Class;
use crate::sync::{AtomicU32, Ordering, fence};

/// More owners than a block can have unless billions of them were forgotten.
const OWNERS_MAX: u32 = u32::MAX / 2;

/// A block of memory with one owner: bytes to read and write, aligned to their number.
///
/// Made by [`Pool::frame`](crate::Pool::frame) and [`Pool::zeroed`](crate::Pool::zeroed). Goes back to its pool when dropped.
pub struct Frame(Block);

/// A block that does not change, with several owners: what an image of a page is made of.
///
/// Cheap to clone, like an `Arc<[u8]>`. The block goes back to its pool with the last owner.
pub struct SharedFrame(Block);

/// A block that is written in place while no image of it is out, and copied first if one is.
///
/// # Examples
/// ```
/// use page_frames::{CowFrame, Limit, Pool};
///
/// let pool = Pool::new(1 << 20);
/// let mut page = CowFrame::from(pool.zeroed(512, Limit::Keep)?);
/// page.make_mut(Limit::Keep)?[0] = 1;
/// let image = page.share();
/// page.make_mut(Limit::Keep)?[0] = 2; // on a copy, which is the page's block from now on
/// assert_eq!((image[0], page[0]), (1, 2));
/// # Ok::<(), page_frames::Error>(())
/// ```
pub struct CowFrame(Block);

/// The bytes of a block.
#[inline]
fn bytes(block: &Block) -> &[u8] {
    block.note_read();
    // SAFETY: they are initialized (I-BYTES) and of this length (I-HANDLE), in a segment that exists (I-SEGMENT). Nobody writes them while the owner is borrowed (I-EXCLUSIVE).
    unsafe { slice::from_raw_parts(block.start(), block.len()) }
}

/// The bytes of a block that has one owner, the caller.
#[inline]
fn bytes_mut(block: &mut Block) -> &mut [u8] {
    block.note_write();
    // SAFETY: as in `bytes`; and nobody else reaches them, since the callers are a `Frame` and a `CowFrame` that is not marked shared (I-EXCLUSIVE).
    unsafe { slice::from_raw_parts_mut(block.start(), block.len()) }
}

/// Adds an owner. Called by one.
fn add_owner(owners: &AtomicU32) {
    // Relaxed: see Orderings in PROTOCOL.md.
    let before = owners.fetch_add(1, Ordering::Relaxed);
    if before > OWNERS_MAX {
        owners.fetch_sub(1, Ordering::Relaxed);
        panic!("a frame has more than {OWNERS_MAX} owners");
    }
}

/// Ends an image. The last owner returns the block.
fn remove_image(block: Block) {
    // Release: E-OWNERS.
    if block.tally().owners.fetch_sub(1, Ordering::Release) == 1 {
        // Acquire: E-OWNERS.
        fence(Ordering::Acquire);
        // No `CowFrame` has it any more, so it was added by the one that had, or by `into_shared` (I-IMAGE).
        block.pool().images().sub(block.len());
        block.note_write();
        give_back(block);
    }
}

/// Ends a `CowFrame` that is marked shared: what is left are images, if anything is.
fn leave_images(block: Block) {
    if is_alone(&block) {
        block.note_write();
        return give_back(block);
    }
    // Before the last image can take it out again. Should they all end in between, this is as good as one of them.
    block.pool().images().add(block.len());
    remove_image(block);
}

/// Whether the owner that asks is the only one. It stays so, since only an owner adds another (I-EXCLUSIVE).
fn is_alone(block: &Block) -> bool {
    // Acquire: E-OWNERS.
    block.tally().owners.load(Ordering::Acquire) == 1
}

impl Frame {
    #[inline]
    pub(crate) fn take(pool: &Arc<Inner>, len: usize, limit: Limit) -> Result<Frame, Error> {
        let mut block = pool.take(Class::of(len)?, limit)?;
        block.no_longer_zero();
        block.note_write();
        Ok(Frame(block))
    }

    pub(crate) fn take_zeroed(pool: &Arc<Inner>, len: usize, limit: Limit) -> Result<Frame, Error> {
        let mut block = pool.take(Class::of(len)?, limit)?;
        let is_zero = block.is_zero();
        block.no_longer_zero();
        let mut frame = Frame(block);
        if !is_zero {
            frame.fill(0);
        }
        Ok(frame)
    }

    /// Takes another frame from the same pool and copies the bytes into it.
    ///
    /// # Errors
    /// As [`Pool::frame`](crate::Pool::frame).
    pub fn try_clone(&self, limit: Limit) -> Result<Frame, Error> {
        copy(&self.0, limit)
    }

    /// Makes it a block that does not change, with one owner for now. Copies nothing.
    #[must_use]
    pub fn into_shared(self) -> SharedFrame {
        let block = self.into_block();
        block.pool().images().add(block.len());
        // Relaxed: other owners come from this one, by means that order what they see.
        block.tally().owners.store(1, Ordering::Relaxed);
        SharedFrame(block)
    }

    fn into_block(self) -> Block {
        // SAFETY: `self` is forgotten, so only one handle remains (I-OWNER).
        let block = unsafe { self.0.duplicate() };
        mem::forget(self);
        block
    }
}

fn copy(block: &Block, limit: Limit) -> Result<Frame, Error> {
    let mut frame = Frame::take(block.pool(), block.len(), limit)?;
    frame.copy_from_slice(bytes(block));
    Ok(frame)
}

impl Drop for Frame {
    #[inline]
    fn drop(&mut self) {
        self.0.note_write();
        // SAFETY: this handle is never used again (I-OWNER).
        give_back(unsafe { self.0.duplicate() });
    }
}

impl SharedFrame {
    /// Makes it a frame again, if there is no other owner.
    ///
    /// # Errors
    /// Hands itself back if there is one.
    pub fn try_into_frame(self) -> Result<Frame, SharedFrame> {
        if !is_alone(&self.0) {
            return Err(self);
        }
        self.0.pool().images().sub(self.0.len());
        // SAFETY: `self` is forgotten, so only one handle remains (I-OWNER).
        let block = unsafe { self.0.duplicate() };
        mem::forget(self);
        Ok(Frame(block))
    }

    /// Takes a frame from the same pool and copies the bytes into it.
    ///
    /// # Errors
    /// As [`Pool::frame`](crate::Pool::frame).
    pub fn to_frame(&self, limit: Limit) -> Result<Frame, Error> {
        copy(&self.0, limit)
    }
}

impl Clone for SharedFrame {
    /// Adds an owner.
    ///
    /// # Panics
    /// If there are two billion already, which takes [`mem::forget`].
    fn clone(&self) -> Self {
        add_owner(&self.0.tally().owners);
        // SAFETY: the tally counts both (I-OWNER).
        SharedFrame(unsafe { self.0.duplicate() })
    }
}

impl Drop for SharedFrame {
    fn drop(&mut self) {
        // SAFETY: this handle is never used again (I-OWNER).
        remove_image(unsafe { self.0.duplicate() });
    }
}

impl AsRef<[u8]> for SharedFrame {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl CowFrame {
    /// Returns an image of the bytes as they are now. Copies nothing.
    ///
    /// # Panics
    /// If two billion images are out, which takes [`mem::forget`].
    #[must_use]
    pub fn share(&mut self) -> SharedFrame {
        if self.0.is_shared() {
            add_owner(&self.0.tally().owners);
        } else {
            // This one and the image. Relaxed, as in `Frame::into_shared`.
            self.0.tally().owners.store(2, Ordering::Relaxed);
            self.0.set_shared(true);
        }
        // SAFETY: the tally counts both (I-OWNER).
        SharedFrame(unsafe { self.0.duplicate() })
    }

    /// Tells whether no image is out, so that the next write needs no copy. Reading and writing are a step shorter from then on.
    pub fn take_back(&mut self) -> bool {
        if self.0.is_shared() && is_alone(&self.0) {
            self.0.set_shared(false);
        }
        !self.0.is_shared()
    }

    /// Returns the bytes for writing: those of a copy, if an image is out.
    ///
    /// # Errors
    /// As [`Pool::frame`](crate::Pool::frame), if a copy is needed. Then nothing has changed.
    #[inline]
    pub fn make_mut(&mut self, limit: Limit) -> Result<&mut [u8], Error> {
        if self.0.is_shared() {
            self.unshare(limit)?;
        }
        Ok(bytes_mut(&mut self.0))
    }

    /// Returns the bytes for writing, or `None` while an image is out.
    #[inline]
    pub fn get_mut(&mut self) -> Option<&mut [u8]> {
        if self.take_back() { Some(bytes_mut(&mut self.0)) } else { None }
    }

    #[cold]
    fn unshare(&mut self, limit: Limit) -> Result<(), Error> {
        if !self.take_back() {
            *self = CowFrame::from(copy(&self.0, limit)?);
        }
        Ok(())
    }
}

impl From<Frame> for CowFrame {
    fn from(frame: Frame) -> Self {
        CowFrame(frame.into_block())
    }
}

impl Drop for CowFrame {
    fn drop(&mut self) {
        let is_shared = self.0.is_shared();
        // SAFETY: this handle is never used again (I-OWNER).
        let block = unsafe { self.0.duplicate() };
        if is_shared {
            leave_images(block);
        } else {
            block.note_write();
            give_back(block);
        }
    }
}

impl DerefMut for Frame {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        bytes_mut(&mut self.0)
    }
}

macro_rules! read {
    ($($name:ident)*) => { $(
        impl Deref for $name {
            type Target = [u8];

            #[inline]
            fn deref(&self) -> &[u8] {
                bytes(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({} bytes)", stringify!($name), self.0.len())
            }
        }
    )* };
}

read! { Frame SharedFrame CowFrame }
