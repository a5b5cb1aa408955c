//! A seal that notices what is not what was written: CRC-32C.

use std::io;
use std::ops::Range;

use super::Seal;

/// Bytes of the checksum.
const LEN: usize = 4;

/// A [`Seal`] that keeps a checksum in each page: CRC-32C of the page's index and its other bytes, little
/// endian, in the last four bytes, or the first.
///
/// It notices bytes that have changed, pages that were torn, and, by the index, pages that were written to,
/// or read from, the wrong place. It does not notice a write that never happened: the page from before has
/// the right checksum. Nor does it keep anybody from changing a page on purpose.
///
/// A page of nothing but zeros is accepted as one that was never written, because that is what a hole in a
/// file reads as; so a page that the device lost to zeros is not noticed, unless the seal is told to
/// [reject](Self::reject_zeros) it.
///
/// # Examples
/// ```
/// use std::sync::Arc;
/// use writeback::{Config, Error, Mapping, MemStore};
/// use writeback::hooks::Crc32c;
///
/// let config = Config::new().seal(Arc::new(Crc32c::new()));
/// let store = MemStore::new();
/// let mapping = Mapping::with_config(Arc::new(store.clone()), config.clone())?;
/// assert_eq!(mapping.payload(), 0..4092);
/// mapping.handle().write_at(b"abc", 0)?;
/// mapping.handle().sync_data()?;
///
/// let mut rotten = store.durable();
/// rotten[1] ^= 1;
/// let mapping = Mapping::with_config(Arc::new(MemStore::with_contents(rotten)), config)?;
/// assert!(matches!(mapping.page(0), Err(Error::Corrupt { index: 0, .. })));
/// # Ok::<(), writeback::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Crc32c {
    at_start: bool,
    rejects_zeros: bool,
}

impl Crc32c {
    /// In the last four bytes of each page; pages of zeros are accepted.
    ///
    /// # Examples
    /// ```
    /// use writeback::hooks::{Crc32c, Seal};
    ///
    /// assert_eq!(Crc32c::new().reserved(4096), 4092..4096);
    /// ```
    pub const fn new() -> Self {
        Self { at_start: false, rejects_zeros: false }
    }

    /// In the first four bytes of each page.
    ///
    /// # Examples
    /// ```
    /// use writeback::hooks::{Crc32c, Seal};
    ///
    /// assert_eq!(Crc32c::new().at_start().reserved(4096), 0..4);
    /// ```
    #[must_use]
    pub const fn at_start(mut self) -> Self {
        self.at_start = true;
        self
    }

    /// Pages of zeros are corrupt like any other page without its checksum. For engines that write every
    /// page of the mapping before it is read from the store.
    ///
    /// # Examples
    /// ```
    /// use writeback::hooks::{Crc32c, Seal};
    ///
    /// assert!(Crc32c::new().open(7, &mut [0; 512]).is_ok());
    /// assert!(Crc32c::new().reject_zeros().open(7, &mut [0; 512]).is_err());
    /// ```
    #[must_use]
    pub const fn reject_zeros(mut self) -> Self {
        self.rejects_zeros = true;
        self
    }

    fn checksum(&self, index: u64, bytes: &[u8]) -> u32 {
        let reserved = self.reserved(bytes.len());
        let sum = crc32c::crc32c(&index.to_le_bytes());
        let sum = crc32c::crc32c_append(sum, &bytes[..reserved.start]);
        crc32c::crc32c_append(sum, &bytes[reserved.end..])
    }
}

impl Default for Crc32c {
    fn default() -> Self {
        Self::new()
    }
}

impl Seal for Crc32c {
    fn reserved(&self, page_size: usize) -> Range<usize> {
        if self.at_start { 0..LEN } else { page_size - LEN..page_size }
    }

    fn seal(&self, index: u64, bytes: &mut [u8]) -> io::Result<()> {
        let sum = self.checksum(index, bytes);
        let reserved = self.reserved(bytes.len());
        bytes[reserved].copy_from_slice(&sum.to_le_bytes());
        Ok(())
    }

    fn open(&self, index: u64, bytes: &mut [u8]) -> io::Result<()> {
        let stored = &bytes[self.reserved(bytes.len())];
        let stored = u32::from_le_bytes(stored.try_into().expect("four bytes"));
        let sum = self.checksum(index, bytes);
        let unwritten = !self.rejects_zeros && bytes.iter().all(|byte| *byte == 0);
        if sum == stored || unwritten {
            return Ok(());
        }
        let text = format!("the checksum is {stored:08x} and should be {sum:08x}");
        Err(io::Error::new(io::ErrorKind::InvalidData, text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_one_of_the_standard() {
        // RFC 3720, B.4: 32 bytes of zeros, of ones, and counting up.
        assert_eq!(crc32c::crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c::crc32c(&[0xff; 32]), 0x62a8_ab43);
        let counting: Vec<u8> = (0..32).collect();
        assert_eq!(crc32c::crc32c(&counting), 0x46dd_794e);
    }

    #[test]
    fn every_bit_counts_and_so_does_the_place() {
        for seal in [Crc32c::new(), Crc32c::new().at_start()] {
            let mut page = [7; 512];
            seal.seal(3, &mut page).unwrap();
            seal.open(3, &mut page.clone()).unwrap();
            seal.open(4, &mut page.clone()).unwrap_err();
            // A checksum of zeros is accepted with zeros only.
            let mut without = page;
            without[seal.reserved(512)].fill(0);
            seal.open(3, &mut without).unwrap_err();
            for bit in 0..512 * 8 {
                let mut rotten = page;
                rotten[bit / 8] ^= 1 << (bit % 8);
                seal.open(3, &mut rotten).unwrap_err();
            }
        }
    }
}
