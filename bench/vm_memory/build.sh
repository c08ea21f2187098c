#!/bin/sh
# SPDX-License-Identifier: MIT
# build.sh CARGO MANIFEST CRATES OUTPUT: build the program of a manifest from crates that are installed; nothing is fetched.
set -eu
target=$(dirname "$4")/cargo
"$1" build --quiet --release --offline --manifest-path "$2" --target-dir "$target" \
    --config 'source.crates-io.replace-with="installed"' --config "source.installed.directory=\"$3\""
cp "$target/release/$(basename "$4")" "$4"
