#!/usr/bin/env bash
# Breaks one rule at a time (the entries of ci/mutants/*.toml) and sees whether the tests notice that are meant to: ci/mutants/tool.
# Usage: ci/mutants.sh [NAME...]; --sample, --check, --discover, --write-docs and the rest: ci/mutants.sh --help.
set -euo pipefail
cd "$(dirname "$0")/.."

RUSTC_WORKSPACE_WRAPPER='' RUSTFLAGS='' cargo build --quiet --locked --manifest-path ci/mutants/tool/Cargo.toml --target-dir "${CARGO_TARGET_DIR:-target}/tools"
exec "${CARGO_TARGET_DIR:-target}/tools/debug/mutants" "$@"
