#!/bin/sh
# Builds the Debian package out of target/release/portcullis: target/debian/portcullis_*.deb. cargo-deb is installed below target/tools,
# in the version that stands here.
set -eu
version=3.8.0
tools=target/tools

if ! [ -x "$tools/bin/cargo-deb" ] || [ "$("$tools/bin/cargo-deb" --version)" != "$version" ]; then
    cargo install cargo-deb --version "$version" --locked --quiet --root "$tools"
fi

sh deploy/prepare.sh target/release/portcullis

# The changes of the program stand in CHANGELOG.md.
revision=$(target/release/portcullis --version | cut -d ' ' -f 2)-1
maintainer=$(sed -n 's/^maintainer = "\(.*\)"$/\1/p' Cargo.toml)
cat >target/package/changelog <<END
portcullis ($revision) unstable; urgency=medium

  * See changelog.gz.

 -- $maintainer  $(date -R -u -d "@${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}")
END

PATH="$PWD/$tools/bin:$PATH" cargo deb --no-build --dbgsym --quiet --output target/debian/
