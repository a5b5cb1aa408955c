//! A B+tree over the page cache, by latch coupling: several threads insert into a tree that is larger than the memory it
//! is given, and look up what they have inserted. Then the file is read again and checked.
//!
//! ```sh
//! cargo run --release -p writeback --example btree
//! ```

mod tree;

use std::sync::Arc;
use std::time::Instant;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tree::Tree;
use writeback::{CacheConfig, Config, FileStore, Flusher, FlusherConfig, Mapping, PageCache};

const THREADS: u64 = 4;
const KEYS: u64 = 50_000;
/// 2 MiB, for a tree of more than 4.
const CAPACITY: u64 = 512;

/// Keys in an order that is no order, none of them twice.
fn key(number: u64) -> u64 {
    number.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("tree");
    let cache = PageCache::new(CacheConfig::new(CAPACITY))?;
    let config = || Config::new().cache(&cache);
    let mapping = Mapping::with_config(Arc::new(FileStore::create(&path)?), config())?;
    let flusher = Flusher::start([mapping.clone()], FlusherConfig::new())?;
    let tree = Tree::create(mapping.clone(), usize::MAX)?;

    let began = Instant::now();
    std::thread::scope(|scope| {
        let work = |thread: u64| {
            let tree = &tree;
            move || -> writeback::Result<()> {
                let mut random = SmallRng::seed_from_u64(thread);
                for number in 0..KEYS {
                    tree.insert(key(number * THREADS + thread), number)?;
                    let earlier = random.random_range(0..=number);
                    assert_eq!(tree.get(key(earlier * THREADS + thread))?, Some(earlier));
                }
                Ok(())
            }
        };
        let threads: Vec<_> = (0..THREADS).map(|thread| scope.spawn(work(thread))).collect();
        threads.into_iter().try_for_each(|thread| thread.join().expect("no thread panics"))
    })?;
    let took = began.elapsed();
    drop(tree);
    flusher.stop();
    let pages = mapping.len() / mapping.page_size() as u64;
    mapping.close()?;

    let mapping = Mapping::with_config(Arc::new(FileStore::open(&path)?), config())?;
    let keys = Tree::open(mapping, usize::MAX).check()?;
    assert_eq!(keys as u64, THREADS * KEYS);
    println!(
        "{keys} keys, each looked up, in {took:.1?}; {pages} pages, of which {CAPACITY} had room"
    );
    println!("The file has them all: nothing was lost.");
    Ok(())
}
