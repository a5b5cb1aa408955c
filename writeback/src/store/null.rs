//! The store of a memory-backed mapping: holds nothing, accepts everything.

use super::{Completion, FlushKind, Limits, Store, WriteBatch};
use crate::error::StoreError;

#[derive(Debug)]
pub(crate) struct NullStore;

impl Store for NullStore {
    fn limits(&self) -> Limits {
        Limits::default()
    }

    fn len(&self) -> Result<u64, StoreError> {
        Ok(0)
    }

    fn set_len(&self, _len: u64) -> Result<(), StoreError> {
        Ok(())
    }

    fn read(&self, _offset: u64, _into: &mut [u8]) -> Result<usize, StoreError> {
        Ok(0)
    }

    fn submit(&self, batch: WriteBatch, completion: Completion) {
        completion.complete(Ok(batch.len()));
    }

    fn flush(&self, _kind: FlushKind) -> Result<(), StoreError> {
        Ok(())
    }
}
