//! What the fuzz targets do with their input. The operations, the models they are compared with and the properties are
//! those of the property tests of `tagged-radix`, `writeback` and `page-frames`.

#[path = "../../radix/tests/arithmetic/properties.rs"]
mod arithmetic;
mod edge;
#[path = "../../frames/tests/ops/mod.rs"]
mod frame_ops;
mod frames;
mod input;
mod mapping;
#[path = "../../writeback/tests/ops/mod.rs"]
mod mapping_ops;
#[path = "../../radix/tests/ops/mod.rs"]
mod ops;
mod threads;

use arbitrary::Unstructured;
use tagged_radix::RadixTree;

use arithmetic::sync;
use frame_ops::Session as FramesSession;
use input::{any_op, any_ops};
use mapping_ops::Session as MappingSession;
use ops::{Session, Territory, assert_matches};

/// Operations of one input at most: what takes longer finds nothing more.
const OPS_MAX: usize = 256;

pub use edge::edge;

/// Runs the operations one by one on a tree and on a model; checks the whole tree after each.
pub fn tree_ops(data: &[u8]) {
    let tree = RadixTree::new();
    let mut session = Session::new(&tree, Territory::Whole);
    for op in any_ops(&mut Unstructured::new(data), OPS_MAX, any_op) {
        session.step(op);
        assert_matches(&tree, &session.model);
    }
}

/// Deals the operations to two or three threads; each must find its own entries as it left them,
/// and the tree must be sound in the end and hold exactly what all left there.
pub fn tree_threads(data: &[u8]) {
    let Some((how, rest)) = data.split_first() else { return };
    let threads = 2 + usize::from(how % 2);
    let ops = any_ops(&mut Unstructured::new(rest), OPS_MAX, any_op);
    threads::run(&ops, threads);
}

/// Runs operations one by one on a mapping over a store that may fail, and on a model; checks every page after each, and
/// in the end that everything can be saved and a crash loses nothing of it.
pub fn writeback_ops(data: &[u8]) {
    let mut input = Unstructured::new(data);
    let Ok(setup) = mapping::any_setup(&mut input) else { return };
    let mut session = MappingSession::new(setup);
    for op in any_ops(&mut input, OPS_MAX, mapping::any_op) {
        session.step(op);
    }
    session.finish();
}

/// Runs operations one by one on a pool of frames and on a model; checks every frame after each, and in the end that all memory goes back.
pub fn frames_ops(data: &[u8]) {
    let mut input = Unstructured::new(data);
    let Ok(limit) = frames::any_bytes(&mut input) else { return };
    let mut session = FramesSession::new(limit);
    for op in any_ops(&mut input, OPS_MAX, frames::any_op) {
        session.step(&op);
    }
    session.finish();
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    /// Runs a target on each file of its corpus.
    fn replay(target: fn(&[u8]), corpus: &str) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(corpus);
        let files = fs::read_dir(&folder).expect("the corpus is there");
        let inputs: Vec<_> =
            files.map(|file| fs::read(file.unwrap().path()).expect("a readable file")).collect();
        assert!(!inputs.is_empty(), "{} is empty", folder.display());
        inputs.iter().for_each(|input| target(input));
    }

    #[test]
    fn the_corpus_of_tree_ops_passes() {
        replay(super::tree_ops, "tree_ops");
    }

    #[test]
    fn the_corpus_of_tree_threads_passes() {
        replay(super::tree_threads, "tree_threads");
    }

    #[test]
    fn the_corpus_of_edge_passes() {
        replay(super::edge, "edge");
    }

    #[test]
    fn the_corpus_of_frames_ops_passes() {
        replay(super::frames_ops, "frames_ops");
    }

    #[test]
    fn the_corpus_of_writeback_ops_passes() {
        replay(super::writeback_ops, "writeback_ops");
    }
}
