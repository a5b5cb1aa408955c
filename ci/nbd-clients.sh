#!/usr/bin/env bash
# nbdkit and its clients, installed where apt-get can; fails, with a message, elsewhere. Called by the scripts that test a network disk.
set -euo pipefail

needed=()
for program in nbdkit:nbdkit nbdcopy:libnbd-bin qemu-io:qemu-utils fio:fio; do
    command -v "${program%:*}" >/dev/null || needed+=("${program#*:}")
done
[ ${#needed[@]} -eq 0 ] && exit
if ! { apt-get update -q && apt-get install -qy --no-install-recommends "${needed[@]}"; }; then
    echo "the network disk is skipped: these are not installed: ${needed[*]}"
    exit 1
fi
