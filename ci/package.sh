#!/usr/bin/env bash
# The packages are whole: each is unpacked where nothing of this repository is in reach, and its tests and examples are checked with
# all features, and without their tests with default ones; with the argument "run", the tests are run there as well, with both.
set -euo pipefail
cd "$(dirname "$0")/.."

packages=(tagged-radix writeback page-frames writeback-uring)
how=(check --quiet)
every=(--tests --examples)
[ "${1:-}" != run ] || how=(test) every=()
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
cargo package "${packages[@]/#/--package=}" --allow-dirty --no-verify
version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
for package in "${packages[@]}"; do
    # Touched: all files in a package are from 2006, and what an earlier call built would be taken for up to date.
    tar --directory "$folder" --extract --touch --file "$target/package/$package-$version.crate"
done
for package in "${packages[@]}"; do
    for features in "--features=" "--all-features ${every[*]}"; do
        # Published or not, the others are those packaged beside.
        CARGO_TARGET_DIR=$target cargo "${how[@]}" --manifest-path "$folder/$package-$version/Cargo.toml" \
            $features --config "patch.crates-io.tagged-radix.path = '$folder/tagged-radix-$version'" \
            --config "patch.crates-io.page-frames.path = '$folder/page-frames-$version'" \
            --config "patch.crates-io.writeback.path = '$folder/writeback-$version'"
    done
done
