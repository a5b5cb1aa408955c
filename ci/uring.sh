#!/usr/bin/env bash
# The tests of the store over io_uring. Where the kernel gives a ring none may be skipped; where it does not (an old one, a sysctl, a container's
# filter of system calls), those which need one say so. Usage: ci/uring.sh
set -euo pipefail
cd "$(dirname "$0")/.."

if cargo run --quiet --package writeback-uring --example probe; then
    export URING_REQUIRED=1
fi
cargo test --package writeback-uring --no-fail-fast
