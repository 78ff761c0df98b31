#!/bin/sh
# Installs what the tests run beside the gateway: git, nginx and fcgiwrap. Starts nothing. Does nothing where all of it
# is there; on other systems than Debian's, or without the right to install, it says what is missing.
set -eu

missing=
need() { command -v "$1" >/dev/null 2>&1 || missing="$missing $2"; }

PATH="$PATH:/usr/sbin:/sbin"
need git git
need nginx nginx-light
need fcgiwrap fcgiwrap
[ -n "$missing" ] || exit 0

as_root=
if [ "$(id -u)" -ne 0 ]; then
    as_root="sudo -n"
    sudo -n true >/dev/null 2>&1 || as_root=none
fi
if [ "$as_root" = none ] || ! command -v apt-get >/dev/null 2>&1; then
    echo "the tests skip what needs:$missing; on Debian: sudo apt-get install --no-install-recommends$missing" >&2
    exit 0
fi

# The packages would start their services. A policy that is there already stays, and decides.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' | $as_root tee "$policy" >/dev/null
    $as_root chmod 755 "$policy"
    trap '$as_root rm -f "$policy"' EXIT
fi

log=$(mktemp)
install() {
    # shellcheck disable=SC2086 # both are lists of words
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get -q update &&
        $as_root env DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends $missing
}
if install >"$log" 2>&1; then
    rm -f "$log"
    echo "installed for the tests:$missing"
else
    cat "$log" >&2
    rm -f "$log"
    echo "the tests' packages cannot be installed:$missing" >&2
    exit 1
fi
