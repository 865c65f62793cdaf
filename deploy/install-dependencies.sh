#!/bin/sh
# Installs the libraries that clvd needs on Debian 12, with apt, only those that are missing.
# The Swift toolchain is checked, not installed. Needs no network when everything is there.
set -eu

packages="librdkafka-dev libsimdjson-dev libxxhash-dev zlib1g-dev libcurl4-openssl-dev libprotobuf-dev libprotoc-dev libstdc++-12-dev pkg-config ca-certificates"
# Tests make the clock jump.
packages="$packages faketime"
swift_needed=6.2

fail() {
    echo "install-dependencies: $*" >&2
    exit 1
}

command -v dpkg-query >/dev/null 2>&1 || fail "this system has no dpkg; install the equivalents of: $packages"

missing=""
for package in $packages; do
    case "$(dpkg-query -W -f '${db:Status-Abbrev}' "$package" 2>/dev/null || true)" in
        ii*) ;;
        *) missing="$missing $package" ;;
    esac
done
# The Swift package manager fetches with git.
command -v git >/dev/null 2>&1 || missing="$missing git"
# Python fetches the demo's data and runs what is in Tools; one from elsewhere than apt will do.
command -v python3 >/dev/null 2>&1 || missing="$missing python3"
python3 -m pip --version >/dev/null 2>&1 || missing="$missing python3-pip"
missing="${missing# }"

if [ -n "$missing" ]; then
    echo "Missing: $missing"
    if [ "$(id -u)" -eq 0 ]; then
        as_root=""
    elif command -v sudo >/dev/null 2>&1; then
        as_root="sudo"
    else
        fail "not root and no sudo; run as root: apt-get install $missing"
    fi
    # Go on after a failed update: the packages may be in apt's cache or lists.
    $as_root apt-get update -q || echo "install-dependencies: could not refresh the package lists; trying those at hand" >&2
    # shellcheck disable=SC2086 # one word per package
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $missing || fail \
        "apt could not install all of: $missing. Check the network and /etc/apt/sources.list" \
        "(all of them are in main of Debian 12, bookworm), then run this script again."
else
    echo "All libraries are installed."
fi

where="install Swift $swift_needed or later for Debian 12 from https://www.swift.org/install/linux/ (or use swiftly)"
command -v swift >/dev/null 2>&1 || fail "there is no swift in PATH; $where"
found="$(swift --version 2>/dev/null | sed -n 's/.*Swift version \([0-9][0-9.]*\).*/\1/p' | head -n 1)"
[ -n "$found" ] || fail "swift --version names no version; $where"
oldest="$(printf '%s\n%s\n' "$swift_needed" "$found" | sort -V | head -n 1)"
[ "$oldest" = "$swift_needed" ] || fail "Swift $found is too old; $where"
echo "Swift $found. Ready: swift build -c release"
