#!/bin/sh
# What cargo calls in place of rustc, as RUSTC_WORKSPACE_WRAPPER, where a build is to be linted on the way: clippy, whose warnings are errors.
exec clippy-driver "$@" -D warnings
