//! What of a run of bytes is still to be read or written, however little of it each call takes.
//!
//! A call may take less than it was given, anywhere. What is left is then asked for from exactly there, unless that is the end: of a
//! file when it is read, of room when it is written. This is what `FileStore` does in a loop, a step at a time. It knows offsets and
//! how many bytes a call took; it does not know what they belong to.

use libc::iovec;

use crate::ring::{Act, Bytes};

/// Most slices in one call (`IOV_MAX`).
const SLICES: usize = 1024;
/// How often in a row the kernel may say that it cannot take a call now.
const REFUSALS_MAX: u32 = 1000;

#[derive(Debug)]
pub(crate) struct Span {
    act: Act,
    /// All of them; of that which is the first left, without the bytes that are done.
    slices: Box<[iovec]>,
    first: usize,
    /// Bytes of the first that are done.
    skip: usize,
    offset: u64,
    done: u64,
    alignment: usize,
    /// Whether it goes on a block at a time.
    narrow: bool,
    refusals: u32,
}

// SAFETY: it has addresses only, and hands them to a ring, under I-PINNED, on whatever thread.
unsafe impl Send for Span {}

/// What is to be done after a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// The call that there is now.
    Again,
    /// Nothing: so many bytes were read or written, from the front. Then an error came, if one did.
    Ended(u64, Option<Why>),
}

/// Why not all of it was read or written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    Errno(i32),
    /// A write that wrote nothing.
    WriteZero,
}

impl Span {
    /// `slices` follow each other from `offset` on; those that lie side by side in memory become one.
    pub(crate) fn new(
        act: Act,
        offset: u64,
        alignment: usize,
        slices: impl Iterator<Item = iovec>,
    ) -> Self {
        let mut joined: Vec<iovec> = Vec::new();
        for slice in slices.filter(|slice| slice.iov_len > 0) {
            match joined.last_mut() {
                Some(last) if last.iov_base.addr() + last.iov_len == slice.iov_base.addr() => {
                    last.iov_len += slice.iov_len;
                }
                _ => joined.push(slice),
            }
        }
        let slices = joined.into_boxed_slice();
        let alignment = alignment.max(1);
        let (first, skip, done, narrow, refusals) = (0, 0, 0, false, 0);
        Self { act, slices, first, skip, offset, done, alignment, narrow, refusals }
    }

    /// Whether there is nothing to be asked for.
    pub(crate) fn is_empty(&self) -> bool {
        self.first == self.slices.len()
    }

    /// Whether what is done ends within a block, where there are some.
    pub(crate) fn is_within_a_block(&self) -> bool {
        !self.done.is_multiple_of(self.alignment as u64)
    }

    /// Whether some of it is where no file reaches. The kernel takes the last offset of all for the file's own position.
    pub(crate) fn is_out_of_reach(&self) -> bool {
        let len: u64 = self.slices.iter().map(|slice| slice.iov_len as u64).sum();
        len > 0 && self.offset.checked_add(len).is_none_or(|end| i64::try_from(end).is_err())
    }

    pub(crate) fn act(&self) -> Act {
        self.act
    }

    /// The next call: where, and which bytes. Of a span that is not empty.
    pub(crate) fn call(&self) -> (u64, Bytes<'_>) {
        let left = &self.slices[self.first..];
        let bytes = match left {
            [slice, ..] if self.narrow => {
                Bytes::One(iovec { iov_len: slice.iov_len.min(self.alignment), ..*slice })
            }
            [slice] => Bytes::One(*slice),
            _ => Bytes::Many(&left[..left.len().min(SLICES)]),
        };
        (self.offset + self.done, bytes)
    }

    /// Takes what a call ended with: a number of bytes, or an error below zero.
    pub(crate) fn advance(&mut self, result: i32) -> Next {
        match usize::try_from(result) {
            Err(_) => self.refused(-result),
            Ok(0) if self.act == Act::Write => Next::Ended(self.done, Some(Why::WriteZero)),
            Ok(0) => Next::Ended(self.done, None),
            Ok(count) => {
                self.refusals = 0;
                self.skip_bytes(count);
                // A read that ends within a block has met the end; there is no asking for what comes after it.
                let at_end = self.act == Act::Read && self.is_within_a_block();
                if at_end || self.is_empty() { Next::Ended(self.done, None) } else { Next::Again }
            }
        }
    }

    fn refused(&mut self, errno: i32) -> Next {
        match errno {
            libc::EINTR => return Next::Again,
            libc::EAGAIN if self.refusals < REFUSALS_MAX => {
                self.refusals += 1;
                return Next::Again;
            }
            // At a limit that lies within a block all is refused, also what comes before it.
            libc::EINVAL if self.act == Act::Write && self.alignment > 1 && !self.narrow => {
                self.narrow = true;
                return Next::Again;
            }
            _ => {}
        }
        Next::Ended(self.done, Some(Why::Errno(errno)))
    }

    fn skip_bytes(&mut self, count: usize) {
        self.done += count as u64;
        let mut rest = count;
        while rest > 0 && !self.is_empty() {
            let slice = &mut self.slices[self.first];
            let part = rest.min(slice.iov_len);
            slice.iov_base = slice.iov_base.wrapping_byte_add(part);
            slice.iov_len -= part;
            self.skip += part;
            rest -= part;
            if slice.iov_len == 0 {
                self.restore();
                self.first += 1;
            }
        }
    }

    /// The first slice that is left, as it was.
    fn restore(&mut self) {
        if let Some(slice) = self.slices.get_mut(self.first) {
            slice.iov_base = slice.iov_base.wrapping_byte_sub(self.skip);
            slice.iov_len += self.skip;
        }
        self.skip = 0;
    }

    /// Begins anew.
    pub(crate) fn rewind(&mut self) {
        self.restore();
        (self.first, self.done) = (0, 0);
    }
}

#[cfg(all(test, not(uring_loom)))]
mod tests {
    use super::*;

    const OFFSET: u64 = 4096;

    /// Slices of these sizes, apart from each other, at addresses that nobody goes to.
    fn span(act: Act, alignment: usize, sizes: &[usize]) -> Span {
        let slice = |(number, size): (usize, &usize)| iovec {
            iov_base: std::ptr::without_provenance_mut((number + 1) << 20),
            iov_len: *size,
        };
        Span::new(act, OFFSET, alignment, sizes.iter().enumerate().map(slice))
    }

    /// Where a call goes, and for each slice which one it is, from where in it, and its length.
    fn call(span: &Span) -> (u64, Vec<(usize, usize, usize)>) {
        let (offset, bytes) = span.call();
        let slices = match &bytes {
            Bytes::One(slice) => std::slice::from_ref(slice),
            Bytes::Many(slices) => slices,
        };
        let of = |slice: &iovec| {
            let address = slice.iov_base.addr();
            ((address >> 20) - 1, address & 0xf_ffff, slice.iov_len)
        };
        (offset - OFFSET, slices.iter().map(of).collect())
    }

    /// The slices that are left when the first `done` bytes are not.
    fn left(sizes: &[usize], done: usize) -> Vec<(usize, usize, usize)> {
        let (mut left, mut before) = (Vec::new(), 0);
        for (number, size) in sizes.iter().enumerate() {
            let skip = done.saturating_sub(before).min(*size);
            if skip < *size {
                left.push((number, skip, size - skip));
            }
            before += size;
        }
        left
    }

    #[test]
    fn each_call_goes_on_where_the_one_before_it_ended() {
        let sizes = [4, 1, 7, 3];
        for act in [Act::Read, Act::Write] {
            for first in 1..15_usize {
                for second in 1..=15 - first {
                    let mut span = span(act, 1, &sizes);
                    assert_eq!(call(&span), (0, left(&sizes, 0)));
                    assert_eq!(span.advance(i32::try_from(first).unwrap()), Next::Again);
                    assert_eq!(call(&span), (first as u64, left(&sizes, first)));
                    assert_eq!(span.advance(-libc::EINTR), Next::Again);
                    let done = first + second;
                    let next = span.advance(i32::try_from(second).unwrap());
                    if done == 15 {
                        assert_eq!(next, Next::Ended(15, None));
                        continue;
                    }
                    assert_eq!(next, Next::Again);
                    assert_eq!(call(&span), (done as u64, left(&sizes, done)));
                    span.rewind();
                    assert_eq!(call(&span), (0, left(&sizes, 0)));
                    assert_eq!(span.advance(15), Next::Ended(15, None));
                }
            }
        }
    }

    #[test]
    fn it_ends_where_the_file_or_the_room_does_and_tells_what_came_before() {
        let mut read = span(Act::Read, 1, &[4, 4]);
        assert_eq!(read.advance(5), Next::Again);
        assert_eq!(read.advance(0), Next::Ended(5, None));
        let mut write = span(Act::Write, 1, &[4, 4]);
        assert_eq!(write.advance(5), Next::Again);
        assert_eq!(write.advance(0), Next::Ended(5, Some(Why::WriteZero)));
        let mut write = span(Act::Write, 1, &[4, 4]);
        assert_eq!(write.advance(5), Next::Again);
        assert_eq!(write.advance(-libc::ENOSPC), Next::Ended(5, Some(Why::Errno(libc::ENOSPC))));
        // With an alignment a read that ends within a block is the last one.
        let mut read = span(Act::Read, 4, &[4, 4, 4]);
        assert_eq!(read.advance(4), Next::Again);
        assert_eq!(read.advance(2), Next::Ended(6, None));
    }

    #[test]
    fn a_write_that_is_refused_whole_goes_on_block_by_block() {
        let mut write = span(Act::Write, 4, &[8, 8]);
        assert_eq!(write.advance(-libc::EINVAL), Next::Again);
        assert_eq!(call(&write), (0, vec![(0, 0, 4)]));
        assert_eq!(write.advance(4), Next::Again);
        assert_eq!(call(&write), (4, vec![(0, 4, 4)]));
        assert_eq!(write.advance(-libc::EINVAL), Next::Ended(4, Some(Why::Errno(libc::EINVAL))));
        for (act, alignment) in [(Act::Write, 1), (Act::Read, 4)] {
            let mut other = span(act, alignment, &[8, 8]);
            assert_eq!(
                other.advance(-libc::EINVAL),
                Next::Ended(0, Some(Why::Errno(libc::EINVAL)))
            );
        }
    }

    #[test]
    fn a_kernel_that_never_takes_a_call_is_not_asked_for_ever() {
        let mut write = span(Act::Write, 1, &[8]);
        for _ in 0..REFUSALS_MAX {
            assert_eq!(write.advance(-libc::EAGAIN), Next::Again);
        }
        assert_eq!(write.advance(1), Next::Again);
        for _ in 0..REFUSALS_MAX {
            assert_eq!(write.advance(-libc::EAGAIN), Next::Again);
        }
        assert_eq!(write.advance(-libc::EAGAIN), Next::Ended(1, Some(Why::Errno(libc::EAGAIN))));
    }

    #[test]
    fn neighbours_in_memory_are_one_slice_and_many_are_several_calls() {
        let slices = |len: usize, step: usize| {
            (0..len).map(move |number| iovec {
                iov_base: std::ptr::without_provenance_mut(4096 + number * step),
                iov_len: 512,
            })
        };
        let joined = Span::new(Act::Write, 0, 1, slices(8, 512));
        assert!(matches!(joined.call(), (0, Bytes::One(slice)) if slice.iov_len == 4096));
        let mut many = Span::new(Act::Write, 0, 1, slices(SLICES + 5, 1024));
        assert!(matches!(many.call(), (0, Bytes::Many(slices)) if slices.len() == SLICES));
        let bytes = i32::try_from(SLICES * 512).unwrap();
        assert_eq!(many.advance(bytes), Next::Again);
        assert!(matches!(many.call(), (_, Bytes::Many(slices)) if slices.len() == 5));
        assert!(Span::new(Act::Read, 0, 1, slices(0, 1)).is_empty());
    }
}
