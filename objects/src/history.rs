//! Checkpoints, and stores that begin as one.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use slatedb::CloneSourceSpec;
use slatedb::admin::Admin;
use slatedb::config::{CheckpointOptions, CheckpointScope};
use slatedb::object_store::ObjectStore;
use slatedb::object_store::path::Path;
use uuid::Uuid;
use writeback::StoreError;

use crate::error::store_error;
use crate::pages::ObjectPages;

impl ObjectPages {
    /// Keeps the store as the last flush left it, under a number to begin a [clone](Self::clone_to) with, for so long, or until
    /// it is [forgotten](Self::forget_checkpoint). Copies nothing.
    ///
    /// Of a mapping: sync first.
    ///
    /// # Errors
    /// As a flush; but the store can be used afterwards.
    pub fn checkpoint(&self, name: &str, lifetime: Option<Duration>) -> Result<Uuid, StoreError> {
        let inner = Arc::clone(self.inner());
        let options = CheckpointOptions { lifetime, source: None, name: Some(name.to_owned()) };
        self.wait(async move {
            // A flush that is under way is in it or not; what was spilled is, and belongs to nothing.
            let _turn = inner.turn.lock().await;
            let made = inner.db.create_checkpoint(CheckpointScope::All, &options).await;
            Ok(made.map_err(store_error)?.id)
        })
    }

    /// Makes a store at `path`, of the same bucket, that begins as `checkpoint` is. Copies nothing; what both have stays until neither
    /// needs it. It is opened as any other.
    ///
    /// # Errors
    /// If there is no such checkpoint, or something at `path`.
    pub fn clone_to(&self, checkpoint: Uuid, path: impl Into<Path>) -> Result<(), StoreError> {
        let inner = Arc::clone(self.inner());
        let path = path.into();
        self.wait(async move {
            let there = Admin::builder(path.clone(), Arc::clone(&inner.objects)).build();
            let manifest = there.read_manifest(None).await.map_err(store_error)?;
            // One that is not complete is from a call like this that did not end.
            if manifest.is_some_and(|manifest| manifest.initialized()) {
                let text = "there is a database already";
                return Err(io::Error::new(io::ErrorKind::AlreadyExists, text).into());
            }
            let source = CloneSourceSpec::with_checkpoint(inner.path.clone(), checkpoint);
            let admin =
                Admin::builder(path, Arc::clone(&inner.objects) as Arc<dyn ObjectStore>).build();
            let made = admin.create_clone_builder_from_source(source).build().await;
            made.map_err(store_error)
        })
    }

    /// Lets go what only this checkpoint keeps.
    ///
    /// # Errors
    /// Whatever keeps it from that. Nothing but room is lost.
    pub fn forget_checkpoint(&self, checkpoint: Uuid) -> Result<(), StoreError> {
        let inner = Arc::clone(self.inner());
        self.wait(async move {
            let admin = Admin::builder(inner.path.clone(), Arc::clone(&inner.objects)).build();
            admin.delete_checkpoint(checkpoint).await.map_err(store_error)
        })
    }
}
