#!/usr/bin/env bash
# Other targets than this one: all tests where pointers have 32 bits, on i686; those of the tree that need no threads on wasm32, under
# Node.js; all tests that are meant for Windows, under Wine; and whether the crates compile for other systems that they are meant for.
# Needs the targets of the toolchain in use, which it installs, C compilers for 32 bits and for Windows and Wine (Debian: gcc-multilib,
# gcc-mingw-w64-x86-64, wine64) and node. Usage: ci/targets.sh
set -euo pipefail
cd "$(dirname "$0")/.."

crates=(--package tagged-radix --package page-frames --package writeback)
others=(aarch64-apple-darwin x86_64-unknown-freebsd aarch64-unknown-linux-gnu x86_64-pc-windows-msvc)
windows=x86_64-pc-windows-gnu
rustup target add i686-unknown-linux-gnu wasm32-wasip1 "$windows" "${others[@]}"
echo 'int main(void) { return 0; }' | cc -m32 -x c -o /dev/null - 2>/dev/null || { apt-get update -q && apt-get install -qy gcc-multilib; }
cargo test --target i686-unknown-linux-gnu "${crates[@]}" --lib --tests
# There are no threads, and a panic ends the process: tests that need them are ignored.
export CARGO_TARGET_WASM32_WASIP1_RUNNER="node --no-warnings $PWD/ci/wasi.mjs"
cargo test --target wasm32-wasip1 --package tagged-radix --lib --test arithmetic --test basic --test kernel --test limits
wine=$(command -v wine64 || command -v /usr/lib/wine/wine64) ||
    { apt-get update -q && apt-get install -qy --no-install-recommends wine64 gcc-mingw-w64-x86-64 && wine=/usr/lib/wine/wine64; }
export CARGO_TARGET_X86_64_PC_WINDOWS_GNU_RUNNER=$wine WINEDEBUG=-all WINEPREFIX=${WINEPREFIX:-$(realpath -m "${CARGO_TARGET_DIR:-target}")/wine}
# Wine's server stays for all of them: one that ends when it has nothing to do may do so while the next program calls it.
server=$(dirname "$(realpath "$wine")")/wineserver64
[ -x "$server" ] || server=wineserver
"$server" -p
trap '"$server" -k' EXIT
"$wine" cmd /c exit
# Where the standard library gets random bytes on Windows; Wine has it since version 9.
if [ ! -f "$WINEPREFIX/drive_c/windows/system32/bcryptprimitives.dll" ]; then
    x86_64-w64-mingw32-gcc -shared -x c -o "$WINEPREFIX/drive_c/windows/system32/bcryptprimitives.dll" - -x none -ladvapi32 <<'END'
#include <windows.h>
BOOLEAN NTAPI SystemFunction036(PVOID, ULONG);
__declspec(dllexport) BOOL ProcessPrng(PBYTE bytes, SIZE_T count) { return SystemFunction036(bytes, count); }
END
fi
cargo test --target "$windows" "${crates[@]}" --lib --tests
for target in "${others[@]}"; do
    # The store over io_uring has nothing to say to Windows.
    [[ $target == *windows* ]] && more=() || more=(--package writeback-uring)
    RUSTFLAGS="-D warnings" cargo check --target "$target" "${crates[@]}" "${more[@]}"
    RUSTFLAGS="-D warnings" cargo check --target "$target" --package tagged-radix --features asymmetric,arena
done
