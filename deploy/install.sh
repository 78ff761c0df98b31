#!/bin/sh
# Installs the binary $1, completions, manual pages and systemd units below $DESTDIR$PREFIX. Starts nothing and makes no user:
# docs/deploy.md says what comes next. `make install` builds first.
set -eu
binary=$1
made=${2:-target/package}
prefix=${PREFIX:-/usr/local}
to=${DESTDIR:-}$prefix

# A mode, a file, and where it goes.
put() {
    install -D -m "$1" "$2" "$to/$3"
}

put 755 "$binary" bin/portcullis
put 644 "$made/completions/bash" share/bash-completion/completions/portcullis
put 644 "$made/completions/fish" share/fish/vendor_completions.d/portcullis.fish
put 644 "$made/completions/zsh" share/zsh/site-functions/_portcullis
for page in "$made"/man/*.1; do
    put 644 "$page" "share/man/man1/$(basename "$page")"
done
for unit in deploy/systemd/portcullis.service deploy/systemd/socket/portcullis.socket; do
    put 644 "$unit" "lib/systemd/system/$(basename "$unit")"
done
sed -i "s#/usr/bin/portcullis#$prefix/bin/portcullis#" "$to/lib/systemd/system/portcullis.service"
put 644 deploy/systemd/sysusers.d/portcullis.conf lib/sysusers.d/portcullis.conf
put 644 deploy/systemd/tmpfiles.d/portcullis.conf lib/tmpfiles.d/portcullis.conf
