//! The store of a memory-backed mapping: holds nothing, accepts everything.

use super::{Completion, FlushCompletion, FlushKind, Limits, ReadRun, Store, WriteBatch};
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

    fn read(&self, run: ReadRun) {
        run.complete(Ok(0));
    }

    fn write(&self, batch: WriteBatch, completion: Completion) {
        completion.complete(Ok(batch.len()));
    }

    fn flush(&self, _kind: FlushKind, completion: FlushCompletion) {
        completion.complete(Ok(()));
    }

    fn punch(&self, _offset: u64, _len: u64) -> Result<(), StoreError> {
        Ok(())
    }

    fn zero(&self, _offset: u64, _len: u64) -> Result<(), StoreError> {
        Ok(())
    }

    fn allocate(&self, _offset: u64, _len: u64) -> Result<(), StoreError> {
        Ok(())
    }
}
