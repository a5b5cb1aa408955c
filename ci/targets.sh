#!/usr/bin/env bash
# Other targets than this one: all tests where pointers have 32 bits, on i686; those of the tree that need no threads on wasm32, under
# Node.js; and whether the crates compile for other systems that they are meant for.
# Needs the targets of the toolchain in use, which it installs, a C compiler for 32 bits (Debian: gcc-multilib) and node. Usage: ci/targets.sh
set -euo pipefail
cd "$(dirname "$0")/.."

crates=(--package tagged-radix --package page-frames --package writeback)
others=(aarch64-apple-darwin x86_64-unknown-freebsd aarch64-unknown-linux-gnu)
rustup target add i686-unknown-linux-gnu wasm32-wasip1 "${others[@]}"
echo 'int main(void) { return 0; }' | cc -m32 -x c -o /dev/null - 2>/dev/null || { apt-get update -q && apt-get install -qy gcc-multilib; }
cargo test --target i686-unknown-linux-gnu "${crates[@]}" --lib --tests
# There are no threads, and a panic ends the process: tests that need them are ignored.
export CARGO_TARGET_WASM32_WASIP1_RUNNER="node --no-warnings $PWD/ci/wasi.mjs"
cargo test --target wasm32-wasip1 --package tagged-radix --lib --test arithmetic --test basic --test kernel --test limits
for target in "${others[@]}"; do
    RUSTFLAGS="-D warnings" cargo check --target "$target" "${crates[@]}" --package writeback-uring
done
