#!/usr/bin/env bash
# The store on object storage: its own tests against an S3 server that starts here, and the tests of the network disk over it.
# Its crate is outside of the workspace and takes minutes to build, so nothing else calls this but ci/long.sh.
# Installs nbdkit and its clients where apt-get can; the tests that need them are skipped elsewhere. Usage: ci/objects.sh [long]
set -euo pipefail
cd "$(dirname "$0")/.."

kills=4
if [ "${1:-}" = long ]; then
    export OBJECTS_PROGRAMS=2000 OBJECTS_KILLS=100 OBJECTS_SERVER_KILLS=30 OBJECTS_FAULTS=400 OBJECTS_ROUNDS=50
    kills=100
fi
cd objects
cargo fmt --check
cargo clippy --all-targets -- -D warnings
RUSTDOCFLAGS="-D warnings" cargo doc --no-deps
cargo build --examples
cargo test
# What a test must notice: conditional puts that are not one step.
racy=$(OBJECTS_RACY=1 OBJECTS_ROUNDS=60 cargo test --test server two_clients 2>&1) || true
if ! grep -q 'acknowledged and lost' <<<"$racy"; then
    tail -n 50 <<<"$racy"
    echo "objects: two writers in one bucket were not noticed" >&2
    exit 1
fi
if [ "${1:-}" = long ]; then ./mutants.sh; else ./mutants.sh --check; fi
cd ..

ci/nbd-clients.sh || exit 0
built=${CARGO_TARGET_DIR:-$PWD/objects/target}/debug/examples
folder=$(mktemp -d)
"$built/s3_server" --root "$folder/root" >"$folder/url" &
server=$!
trap 'kill $server 2>/dev/null; rm -rf "$folder"' EXIT
until [ -s "$folder/url" ]; do sleep 0.05; done
export AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=testtest AWS_REGION=us-east-1
export NBD_REQUIRED=1 NBD_KILLS=$kills NBD_PLUGIN=$built/libs3_disk.so
NBD_PARAMETERS="url=$(cat "$folder/url") bucket=disks path={}" cargo test --package engines --test nbd -- --nocapture
