#!/bin/sh
# Fetches the CDNOW purchase log (69,659 purchases of 23,570 customers, 1997 and 1998) to data/CDNOW_master.txt.
# The file comes from the wheel of the Python package lifetimes 0.11.3 (MIT licence). The package is never run.
#
#   deploy/fetch-cdnow.sh [DIRECTORY]      DIRECTORY: where to put the file; default: data/ of this repository
#
# Exit status: 0 the file is there and verified; 3 it cannot be fetched (offline); 1 what was fetched is not the file.
set -eu

wheel=Lifetimes-0.11.3-py3-none-any.whl
wheel_sha256=261e3dc89977c2b60767ca6728aaa29d429de0c814635070a749c36555895da8
member=lifetimes/datasets/CDNOW_master.txt
file_sha256=eff6889ed364c5199d6eacbbeb7a6d559971df4406ac876f322c373f00a072ef
rows=69659

directory="${1:-$(dirname "$0")/../data}"
target="$directory/CDNOW_master.txt"

unavailable() {
    echo "fetch-cdnow: $*; use the simulation instead, or put the file at $target by hand." >&2
    exit 3
}
reject() {
    echo "fetch-cdnow: $*" >&2
    exit 1
}
matches() { [ "$(sha256sum <"$1" | cut -d ' ' -f 1)" = "$2" ]; }

if [ -f "$target" ]; then
    matches "$target" "$file_sha256" || reject "$target is not the file expected (SHA-256 differs); remove it and try again."
    echo "$target is there already."
    exit 0
fi

mkdir -p "$directory" || reject "cannot create $directory"
scratch="$(mktemp -d "$directory/.cdnow.XXXXXX")" || reject "cannot write to $directory"
trap 'rm -rf "$scratch"' EXIT
trap 'exit 130' INT TERM

# Fetches the wheel with pip, which knows proxies, mirrors and credentials.
with_pip() {
    python3 -m pip --version >/dev/null 2>&1 || return 1
    timeout 180 python3 -m pip --disable-pip-version-check --timeout 15 --retries 1 --quiet download \
        --no-deps --only-binary :all: --dest "$scratch" lifetimes==0.11.3 >"$scratch/log" 2>&1
}

# Without pip: fetches it from the package's page in the index.
with_curl() {
    command -v curl >/dev/null 2>&1 || return 1
    index="${PIP_INDEX_URL:-https://pypi.org/simple}"
    page="${index%/}/lifetimes/"
    href="$(curl -fsSL --max-time 30 "$page" 2>>"$scratch/log" | grep -io "href=\"[^\"#]*$wheel" | head -n 1)" || return 1
    href="${href#*\"}"
    case "$href" in
        "") return 1 ;;
        http://* | https://*) url="$href" ;;
        /*) url="$(echo "$index" | sed 's|^\([a-z]*://[^/]*\).*|\1|')$href" ;;
        *) url="$page$href" ;;
    esac
    curl -fsSL --max-time 120 -o "$scratch/$wheel" "$url" 2>>"$scratch/log"
}

with_pip || with_curl || unavailable "cannot fetch lifetimes 0.11.3 from the Python package index (offline?)"

# Some indexes write the file's name with a capital, some without.
for found in "$scratch"/[Ll]ifetimes-0.11.3-*.whl; do break; done
[ -f "$found" ] || unavailable "the Python package index gave no wheel of lifetimes 0.11.3"
matches "$found" "$wheel_sha256" || reject "the wheel fetched is not the one expected (SHA-256 differs); nothing was kept."

if command -v python3 >/dev/null 2>&1; then
    python3 -c 'import sys, zipfile; sys.stdout.buffer.write(zipfile.ZipFile(sys.argv[1]).read(sys.argv[2]))' \
        "$found" "$member" >"$scratch/log.txt"
elif command -v unzip >/dev/null 2>&1; then
    unzip -p "$found" "$member" >"$scratch/log.txt"
else
    unavailable "neither python3 nor unzip is installed to open the wheel"
fi

# The first line is the heading.
count="$(tail -n +2 "$scratch/log.txt" | wc -l)"
[ "$count" -eq "$rows" ] || reject "CDNOW_master.txt has $count rows, not $rows; nothing was kept."
matches "$scratch/log.txt" "$file_sha256" || reject "CDNOW_master.txt is not the file expected (SHA-256 differs); nothing was kept."
mv "$scratch/log.txt" "$target"
echo "$target: $rows purchases, verified."
