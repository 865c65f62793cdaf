#!/bin/bash
# Runs tests under the thread sanitizer, in a build of its own: Tools/tsan.sh [FILTER]. Without a filter those that use
# threads and are short. Exit codes: 0; 1 when a test failed or a data race was found.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
if [ "${1:-}" = --help ]; then sed -n '2,3s/^# //p' "$0"; exit 0; fi
filter="${1:-}"
[ -n "$filter" ] || filter='EngineTests|KafkaTests|RuntimeTests.(Publication|Snapshot|StartPlan|Stream|Pipeline|Privacy)'
log=.build-tsan/log
mkdir -p .build-tsan
export TSAN_OPTIONS="halt_on_error=0 exitcode=66"
status=0
swift test --sanitize=thread --scratch-path .build-tsan --disable-xctest --filter "$filter" 2>&1 | tee "$log" || status=$?
races="$(grep -c 'WARNING: ThreadSanitizer' "$log" || true)"
if [ "$races" -gt 0 ]; then
    echo "tsan: $races reports; they are in $log." >&2
    exit 1
fi
[ "$status" -eq 0 ] || exit 1
