#!/usr/bin/env bash
# The packages are whole: each is unpacked where nothing of this repository is in reach and checked alone with default features, and with
# all features all together with their tests and examples; with the argument "run", each package's tests are run alone there, with both.
set -euo pipefail
cd "$(dirname "$0")/.."

packages=(tagged-radix writeback page-frames writeback-uring)
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
cargo package "${packages[@]/#/--package=}" --allow-dirty --no-verify
version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
for package in "${packages[@]}"; do
    # Touched: all files in a package are from 2006, and what an earlier call built would be taken for up to date.
    tar --directory "$folder" --extract --touch --file "$target/package/$package-$version.crate"
done
# A workspace of them alone, with the profiles and versions of this one: what they depend on need not be built once more.
{
    printf '[workspace]\nresolver = "3"\nmembers = ["*-%s"]\n' "$version"
    # Published or not, the others are those packaged beside.
    printf '[patch.crates-io]\n'
    for package in "${packages[@]}"; do
        printf '%s.path = "%s-%s"\n' "$package" "$package" "$version"
    done
    sed -n '/^\[profile/,$p' Cargo.toml
} >"$folder/Cargo.toml"
cp Cargo.lock "$folder"
whole() {
    CARGO_TARGET_DIR=$target cargo "$@" --manifest-path "$folder/Cargo.toml"
}
for package in "${packages[@]}"; do
    if [ "${1:-}" = run ]; then
        whole test --package "$package"
        whole test --package "$package" --all-features
    else
        whole check --quiet --package "$package"
    fi
done
[ "${1:-}" = run ] || whole check --quiet --all-features --tests --examples
