#!/usr/bin/env bash
# A disk that nbdkit serves through the page cache, with real clients: nbdcopy, qemu-img, qemu-io and fio, and `kill -9` between flushes.
# Over each store of a file that there is here. Installs them where apt-get can; does nothing elsewhere. Usage: ci/nbd.sh [KILLS]
set -euo pipefail
cd "$(dirname "$0")/.."

ci/nbd-clients.sh || exit 0
export NBD_REQUIRED=1 NBD_KILLS=${1:-6}
cargo build --package engines --example nbd_disk
stores=(file direct)
# The kernel may refuse io_uring.
cargo run --quiet --package writeback-uring --example probe && stores+=(uring)
for store in "${stores[@]}"; do
    NBD_STORE=$store cargo test --package engines --test nbd
done
