//! Writing images side by side, and reading into buffers so, however little of them each call takes.
//!
//! A positioned write may take less than it was given, anywhere: at a limit of the file's size, where space
//! ends, at the most bytes of one call. What is left is then written from exactly there. So is what a read has left, unless
//! the file ends. This file knows offsets and how many bytes a call took; it does not know what it writes to.

use std::io::{self, IoSlice, IoSliceMut};

use crate::errno::Errno;
use arrayvec::ArrayVec;

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

/// Reads into all of `buffers`, from `offset` on, by calls of `read`, which tells how many bytes there were; none, or, with an
/// `alignment`, not a multiple of it, only where the file ends. Returns how many bytes there are until there.
///
/// # Errors
/// How many bytes were read, from the front, before the error.
#[expect(single_use_lifetimes, reason = "the elided one is unstable there")]
pub(super) fn read_all<'b>(
    buffers: impl Iterator<Item = &'b mut [u8]>,
    offset: u64,
    alignment: usize,
    mut read: impl FnMut(&mut [IoSliceMut<'_>], u64) -> Result<usize, Errno>,
) -> Result<u64, (u64, StoreError)> {
    let mut buffers = buffers.map(IoSliceMut::new);
    let (mut slices, mut done): (ArrayVec<_, SLICES>, u64) = (ArrayVec::new(), 0);
    loop {
        // What the last call has left comes first, then as many others as one call takes.
        slices.extend(buffers.by_ref().take(SLICES - slices.len()));
        if slices.is_empty() {
            return Ok(done);
        }
        let count = match read(&mut slices, offset + done) {
            Ok(0) => return Ok(done),
            Ok(count) => count,
            Err(Errno::INTR) => continue,
            Err(errno) => return Err((done, io::Error::from(errno).into())),
        };
        done += count as u64;
        if !done.is_multiple_of(alignment as u64) {
            // The end; there is no asking for what comes after it.
            return Ok(done);
        }
        let mut left = &mut slices[..];
        IoSliceMut::advance_slices(&mut left, count);
        let left = left.len();
        slices.drain(..slices.len() - left);
    }
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

    /// Reads what there is of a file from `OFFSET` on, each call as much as `gives` says, then an error; returns the buffers too.
    fn run_read(
        file: &[u8],
        sizes: &[usize],
        alignment: usize,
        gives: impl IntoIterator<Item = Result<usize, Errno>>,
    ) -> (Vec<u8>, Result<u64, (u64, StoreError)>) {
        crate::watchdog::watch();
        let mut buffers: Vec<_> = sizes.iter().map(|size| vec![0xee; *size]).collect();
        let mut gives = gives.into_iter();
        let slices = buffers.iter_mut().map(|buffer| &mut buffer[..]);
        let outcome = read_all(slices, OFFSET, alignment, |slices, at| {
            assert!(slices.len() <= SLICES && slices.iter().all(|slice| !slice.is_empty()));
            let mut rest = &file[usize::try_from(at - OFFSET).unwrap().min(file.len())..];
            let mut left = gives.next().unwrap_or(Err(Errno::IO))?.min(rest.len());
            let room: usize = slices.iter().map(|slice| slice.len()).sum();
            let count = left.min(room);
            for slice in slices {
                let (here, after) = rest.split_at(left.min(slice.len()));
                slice[..here.len()].copy_from_slice(here);
                (rest, left) = (after, left - here.len());
            }
            Ok(count)
        });
        (buffers.concat(), outcome)
    }

    #[test]
    fn a_read_goes_on_where_the_call_before_it_ended() {
        let file: Vec<u8> = (1..=15).collect();
        for first in 1..=15 {
            for second in 1..=15 {
                let gives = [Ok(first), Err(Errno::INTR), Ok(second)];
                let gives = gives.into_iter().chain([Ok(usize::MAX); 2]);
                let (bytes, outcome) = run_read(&file, &[4, 1, 7, 3], 1, gives);
                assert!(matches!(outcome, Ok(15)) && bytes == file, "{first}, {second}");
            }
        }
        let (bytes, outcome) = run_read(&file, &[4, 1, 7, 3], 1, std::iter::repeat(Ok(1)));
        assert!(matches!(outcome, Ok(15)) && bytes == file, "byte by byte");
    }

    #[test]
    fn a_read_ends_where_the_file_does_and_tells_what_came_before_an_error() {
        let file: Vec<u8> = (1..=15).collect();
        let (bytes, outcome) = run_read(&file[..6], &[4, 4, 4], 1, [Ok(usize::MAX); 3]);
        assert!(matches!(outcome, Ok(6)), "{outcome:?}");
        assert_eq!(bytes[..6], file[..6]);
        // With an alignment the end is where a call stops within it, and nothing is asked for from there.
        let (_, outcome) = run_read(&file[..6], &[4, 4, 4], 4, [Ok(usize::MAX)]);
        assert!(matches!(outcome, Ok(6)), "{outcome:?}");
        for first in 1..12 {
            let (bytes, outcome) = run_read(&file, &[4, 4, 4], 1, [Ok(first), Err(Errno::IO)]);
            let (count, error) = outcome.unwrap_err();
            assert_eq!(
                (count, error.raw_os_error()),
                (first as u64, Some(Errno::IO.raw_os_error()))
            );
            assert_eq!(bytes[..first], file[..first]);
        }
    }

    #[test]
    fn more_buffers_than_one_call_takes_are_read_in_several() {
        let file: Vec<u8> = (0..=u8::MAX).cycle().take(3 * (SLICES + 5)).collect();
        let sizes = [3; SLICES + 5];
        for gives in [vec![Ok(usize::MAX); 2], vec![Ok(2), Ok(usize::MAX), Ok(usize::MAX)]] {
            let (bytes, outcome) = run_read(&file, &sizes, 1, gives);
            assert!(outcome.is_ok() && bytes == file);
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
