//! Indices and edges made of bytes.

use arbitrary::{Result, Unstructured};

use crate::OPS_MAX;
use crate::arithmetic::{LEVELS, check_edges, check_indices};
use crate::input::any_key;

/// Takes indices and edges apart and compares with plain arithmetic.
pub fn edge(data: &[u8]) {
    let mut input = Unstructured::new(data);
    for _ in 0..OPS_MAX {
        if input.is_empty() || check_any_edge(&mut input).is_err() {
            break;
        }
    }
}

fn check_any_edge(input: &mut Unstructured<'_>) -> Result<()> {
    let how: u8 = input.arbitrary()?;
    if how < 32 {
        check_edges(input.arbitrary()?, how % LEVELS, how >= 16, input.arbitrary()?);
    } else {
        let mut index = || any_key(input).map(|key| key.index());
        check_indices(index()?, index()?, index()?);
    }
    Ok(())
}
