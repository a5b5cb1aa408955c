#!/usr/bin/env bash
# redb's own tests, of the version in Cargo.lock, with its pages in a mapping: where they use redb's file backend they get `engines::Cached`.
# The published package has the tests. A copy of it is made in the target directory; there the sources of `Cached` become modules of redb, as its
# in-crate tests need, and the name of the file backend means a shell around `Cached`. Its byte locks are still those of the file backend.
# With --plain nothing is replaced: what redb passes by itself. Takes minutes to build, so nothing else calls this but ci/long.sh.
# Usage: ci/redb-own.sh [--plain] [ARGUMENTS of cargo test]
set -euo pipefail
cd "$(dirname "$0")/.."

plain=
if [ "${1:-}" = --plain ]; then plain=yes && shift; fi
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
manifest=$(cargo metadata --locked --format-version 1 | grep -o '"manifest_path":"[^"]*/redb-[0-9][^"/]*/Cargo.toml"' | cut -d'"' -f4)
copy=$target/redb-own
rm -rf "$copy"
cp -r "$(dirname "$manifest")" "$copy"
chmod -R u+w "$copy"
rm -f "$copy/rust-toolchain"
printf '\n[workspace]\n' >>"$copy/Cargo.toml"

if [ -z "$plain" ]; then
    printf '\n[dependencies.writeback]\npath = "%s"\n\n[dependencies.parking_lot]\nversion = "0.12"\n' "$PWD/writeback" >>"$copy/Cargo.toml"
    # Without their tests and examples, which are run where they belong.
    for module in backend locks peers; do
        sed -e '/^#\[cfg(test)\]/,$d' -e '/^ *\/\/\//d' -e 's/redb::backends::FileBackend/crate::tree_store::file_backend::OfKernel as FileBackend/' \
            "engines/src/$module.rs" >"$copy/src/$module.rs"
    done
    printf '\nextern crate self as redb;\nmod backend;\nmod locks;\nmod peers;\n' >>"$copy/src/lib.rs"
    folder=$copy/src/tree_store/page_store/file_backend
    sed -i 's/^pub use optimized::FileBackend;/pub use optimized::FileBackend as OfKernel;\nmod cached;\npub use cached::FileBackend;/' "$folder/mod.rs"
    grep -q cached "$folder/mod.rs"
    cat >"$folder/cached.rs" <<'RUST'
use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Bound;
use std::os::fd::AsRawFd;

use writeback::Config;

use crate::backend::Cached;
use crate::{BackendError, DatabaseError, StorageBackend};

#[derive(Debug)]
pub struct FileBackend(Cached);

impl FileBackend {
    pub fn new(file: File) -> Result<Self, DatabaseError> {
        Ok(Self::from_file(file))
    }

    pub(crate) fn from_file(file: File) -> Self {
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        // A store has to be open for writing, and redb opens some files only for reading.
        let cached = Cached::over_file(file.try_clone().unwrap(), Config::new());
        Self(cached.unwrap_or_else(|_| {
            let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
            Cached::over_file(file, Config::new()).unwrap()
        }))
    }
}

type Locked<T> = Result<T, BackendError>;

impl StorageBackend for FileBackend {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read(offset, out)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write(offset, data)
    }
    fn close(&self) -> io::Result<()> {
        self.0.close()
    }
    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Locked<bool> {
        self.0.try_lock_range(start, end)
    }
    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Locked<bool> {
        self.0.try_lock_shared_range(start, end)
    }
    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Locked<()> {
        self.0.lock_range(start, end)
    }
    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Locked<()> {
        self.0.lock_shared_range(start, end)
    }
    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Locked<()> {
        self.0.unlock_range(start, end)
    }
    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Locked<bool> {
        self.0.query_lock_range(start, end)
    }
}
RUST
fi

cd "$copy"
# Not the examples: one needs a crate that the package does not have. Nor the features of redb's next version.
features=(--features chrono_v0_4,uuid,logging,cache_metrics)
export CARGO_TARGET_DIR=$target CARGO_PROFILE_DEV_OPT_LEVEL=1 CARGO_PROFILE_DEV_DEBUG=0
failed=
cargo test --no-fail-fast "${features[@]}" --lib --tests "$@" || failed=yes
cargo test --no-fail-fast "${features[@]}" --doc "$@" || failed=yes
[ -z "$failed" ]
