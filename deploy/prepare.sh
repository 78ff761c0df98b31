#!/bin/sh
# Makes what is installed beside the binary $1: its completions and manual pages, below $2 (target/package).
set -eu
binary=$1
made=${2:-target/package}

rm -rf "$made"
mkdir -p "$made/completions"
for shell in bash fish zsh; do
    "$binary" completions "$shell" >"$made/completions/$shell"
done
cargo run --quiet --example manual -- "$made/man"
