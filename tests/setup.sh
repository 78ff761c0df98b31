#!/bin/sh
# Installs the programs that are named, such as git, nginx, wrk, systemd-analyze. Starts nothing. Does nothing where all of
# them are there; on other systems than Debian's, or without the right to install, it says what is missing.
set -eu

missing=
PATH="$PATH:/usr/sbin:/sbin"
for program in "$@"; do
    case "$program" in
    nginx) package=nginx-light ;;
    h2load) package=nghttp2-client ;;
    systemd-analyze) package=systemd ;;
    *) package=$program ;;
    esac
    command -v "$program" >/dev/null 2>&1 || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

as_root=
if [ "$(id -u)" -ne 0 ]; then
    as_root="sudo -n"
    sudo -n true >/dev/null 2>&1 || as_root=none
fi
if [ "$as_root" = none ] || ! command -v apt-get >/dev/null 2>&1; then
    echo "missing:$missing; what needs them is skipped, or fails. On Debian: sudo apt-get install --no-install-recommends$missing" >&2
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
    echo "installed:$missing"
else
    cat "$log" >&2
    rm -f "$log"
    echo "cannot be installed:$missing" >&2
    exit 1
fi
