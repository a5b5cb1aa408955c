//! What the pages hold and which one is changed next.

use rand::rngs::SmallRng;
use rand::{Rng, RngCore, SeedableRng};

use super::Fallible;

/// What a run writes. A page's contents depend on nothing but its index and its version, so whoever
/// reads it can tell which version it has before it.
pub(crate) trait Workload: Sync {
    fn pages(&self) -> usize;

    /// How many bytes of the file lie in `page`: the last one may be shorter.
    fn page_len(&self, page: usize) -> usize;

    /// Makes the contents of `page` in `version`.
    fn fill(&self, page: usize, version: u64, bytes: &mut [u8]) -> Fallible<()>;

    /// Which version `bytes` are, or what is wrong with them; no version after `newest` was begun.
    fn version(&self, page: usize, bytes: &[u8], newest: u64) -> Result<u64, String>;

    /// The page to change next; `None`: this writer is done. Comes to an end once time is up.
    fn next(&self, rng: &mut SmallRng, time_up: bool) -> Option<usize>;
}

/// Random pages that say who they are: index, version and a checksum over the whole page, then
/// bytes that are different in every version.
#[derive(Debug)]
pub(crate) struct Numbered {
    pub(crate) pages: usize,
    pub(crate) page_size: usize,
    pub(crate) seed: u64,
}

const HEADER: usize = 24;

/// One change in four goes to so many pages, which are therefore often dirtied while being written.
const HOT_PAGES: usize = 64;

impl Numbered {
    /// The version a page claims to be, unchecked.
    pub(crate) fn claimed_version(bytes: &[u8]) -> u64 {
        word(bytes, 8)
    }
}

fn word(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

/// Over the whole page but the checksum itself.
fn checksum(bytes: &[u8]) -> u64 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&bytes[..16]);
    hasher.update(&bytes[HEADER..]);
    u64::from(hasher.finalize())
}

impl Workload for Numbered {
    fn pages(&self) -> usize {
        self.pages
    }

    fn page_len(&self, _page: usize) -> usize {
        self.page_size
    }

    fn fill(&self, page: usize, version: u64, bytes: &mut [u8]) -> Fallible<()> {
        let mixed = self.seed ^ (page as u64).rotate_left(40) ^ version.rotate_left(20);
        SmallRng::seed_from_u64(mixed).fill_bytes(&mut bytes[HEADER..]);
        bytes[..8].copy_from_slice(&(page as u64).to_le_bytes());
        bytes[8..16].copy_from_slice(&version.to_le_bytes());
        let sum = checksum(bytes);
        bytes[16..HEADER].copy_from_slice(&sum.to_le_bytes());
        Ok(())
    }

    fn version(&self, page: usize, bytes: &[u8], newest: u64) -> Result<u64, String> {
        let (index, version) = (word(bytes, 0), Self::claimed_version(bytes));
        if word(bytes, 16) != checksum(bytes) {
            Err("the checksum is wrong".into())
        } else if index != page as u64 {
            Err(format!("these are the bytes of page {index}"))
        } else if version > newest {
            Err(format!("version {version} was never written, the newest is {newest}"))
        } else {
            Ok(version)
        }
    }

    fn next(&self, rng: &mut SmallRng, time_up: bool) -> Option<usize> {
        let hot = rng.random_ratio(1, 4);
        let among = if hot { self.pages.min(HOT_PAGES) } else { self.pages };
        (!time_up).then(|| rng.random_range(0..among))
    }
}
