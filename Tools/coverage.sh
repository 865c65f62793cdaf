#!/bin/bash
# Says which lines of Sources tests reach, by folder: Tools/coverage.sh [FILTER of swift test]. It has a build of its own.
# Exit codes: 0; 1 when a test failed, after the table.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
if [ "${1:-}" = --help ]; then sed -n '2,3s/^# //p' "$0"; exit 0; fi
flags=(--enable-code-coverage --scratch-path .build-coverage --disable-xctest)
status=0
swift test "${flags[@]}" --filter "${1:-.}" || status=1

folder="$(dirname "$(swift test "${flags[@]}" --show-codecov-path)")"
program="$(find "$folder/.." -maxdepth 1 -name '*PackageTests.xctest' | head -1)"
if [ ! -f "$folder/default.profdata" ] || [ -z "$program" ]; then
    echo "coverage: the tests wrote no profile." >&2
    exit 1
fi
# It lies beside the compiler, behind whatever links lead there.
cov="$(dirname "$(readlink -f "$(command -v swift)")")/llvm-cov"
[ -x "$cov" ] || cov=llvm-cov
"$cov" export -summary-only -instr-profile "$folder/default.profdata" "$program" >"$folder/summary.json"
Tools/coverage.py "$folder/summary.json"
exit "$status"
