//! Writing images side by side, however little of them each call takes.
//!
//! A positioned write may take less than it was given, anywhere: at a limit of the file's size, where space
//! ends, at the most bytes of one call. What is left is then written from exactly there. This file knows
//! offsets and how many bytes a call took; it does not know what it writes to.

use std::io::{self, IoSlice};

use arrayvec::ArrayVec;
use rustix::io::Errno;

use crate::buffer::Image;
use crate::error::StoreError;

/// Most slices one system call takes (`IOV_MAX` is 1024 where it is known).
pub(super) const SLICES: usize = 256;

/// Writes all of `images`, the first at `offset`, by calls of `write`, which tells how many bytes it took.
///
/// # Errors
/// How many bytes were accepted, from the front, before the error.
pub(super) fn write_all(
    mut images: &[Image],
    offset: u64,
    mut write: impl FnMut(&[IoSlice<'_>], u64) -> Result<usize, Errno>,
) -> Result<(), (u64, StoreError)> {
    let (mut accepted, mut skip) = (0, 0);
    while !images.is_empty() {
        let mut slices: ArrayVec<IoSlice<'_>, SLICES> = ArrayVec::new();
        for image in images.iter().take(SLICES) {
            let from = if slices.is_empty() { skip } else { 0 };
            slices.push(IoSlice::new(&image.as_ref()[from..]));
        }
        let count = match write(&slices, offset + accepted) {
            Ok(0) => return Err((accepted, io::Error::from(io::ErrorKind::WriteZero).into())),
            Ok(count) => count,
            Err(Errno::INTR) => continue,
            Err(errno) => return Err((accepted, io::Error::from(errno).into())),
        };
        accepted += count as u64;
        let mut rest = skip + count;
        while let Some(image) = images.first().filter(|image| image.len() <= rest) {
            rest -= image.len();
            images = &images[1..];
        }
        skip = rest;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFFSET: u64 = 1000;

    /// Images of these sizes, and the bytes of all of them.
    fn images(sizes: &[usize]) -> (Vec<Image>, Vec<u8>) {
        let mut next = 0_u8;
        let mut bytes = |size: usize| {
            let mut byte = || {
                next = next.wrapping_add(1);
                next
            };
            (0..size).map(|_| byte()).collect::<Vec<_>>()
        };
        let parts: Vec<_> = sizes.iter().map(|size| bytes(*size)).collect();
        (parts.iter().map(|part| Image::from(&part[..])).collect(), parts.concat())
    }

    /// Takes what `takes` says of each call, then an error; returns the file from `OFFSET` on, and the outcome.
    fn run(
        images: &[Image],
        takes: impl IntoIterator<Item = Result<usize, Errno>>,
    ) -> (Vec<u8>, Result<(), (u64, StoreError)>) {
        crate::watchdog::watch();
        let (mut file, mut takes) = (Vec::new(), takes.into_iter());
        let outcome = write_all(images, OFFSET, |slices, at| {
            assert!(slices.len() <= SLICES && slices.iter().all(|slice| !slice.is_empty()));
            let all: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
            let count = takes.next().unwrap_or(Err(Errno::IO))?.min(all.len());
            let at = usize::try_from(at - OFFSET).unwrap();
            file.resize(file.len().max(at + count), 0);
            file[at..at + count].copy_from_slice(&all[..count]);
            Ok(count)
        });
        (file, outcome)
    }

    #[test]
    fn a_write_goes_on_where_the_call_before_it_ended() {
        let (images, bytes) = images(&[4, 1, 7, 3]);
        for first in 1..=bytes.len() {
            for second in 1..=bytes.len() {
                let takes = [Ok(first), Err(Errno::INTR), Ok(second)];
                let (file, outcome) = run(&images, takes.into_iter().chain([Ok(usize::MAX); 2]));
                assert!(outcome.is_ok() && file == bytes, "{first}, {second}");
            }
        }
        let (file, outcome) = run(&images, std::iter::repeat(Ok(1)));
        assert!(outcome.is_ok() && file == bytes, "byte by byte");
    }

    #[test]
    fn an_error_tells_what_was_accepted_before_it() {
        let (images, bytes) = images(&[4, 1, 7, 3]);
        for first in 1..bytes.len() {
            let (file, outcome) = run(&images, [Ok(first), Err(Errno::INTR), Err(Errno::NOSPC)]);
            let (accepted, error) = outcome.unwrap_err();
            assert!(accepted == first as u64 && error.is_no_space());
            assert_eq!(file, bytes[..first]);
            let (_, outcome) = run(&images, [Ok(first), Ok(0)]);
            let (accepted, error) = outcome.unwrap_err();
            assert!(accepted == first as u64 && matches!(error, StoreError::Io(_)));
        }
    }

    #[test]
    fn more_images_than_one_call_takes_are_written_in_several() {
        let (images, bytes) = images(&[3; SLICES + 5]);
        let (file, outcome) = run(&images, [Ok(usize::MAX); 2]);
        assert!(outcome.is_ok() && file == bytes);
        let (file, outcome) = run(&images, [Ok(2), Ok(usize::MAX), Ok(usize::MAX)]);
        assert!(outcome.is_ok() && file == bytes);
    }
}
