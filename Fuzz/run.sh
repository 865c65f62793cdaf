#!/bin/bash
# Fuzzes for SECONDS each: Fuzz/run.sh SECONDS [target …]. What a target has failed at lies in Fuzz/Corpus with its seeds,
# so that every run begins with it. New inputs go to .build-fuzz/corpus, findings to .build-fuzz/findings.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

seconds="${1:?seconds for each target}"
shift
targets=("$@")
[ ${#targets[@]} -gt 0 ] || targets=(decoder avro protobuf mapping settings snapshot)

# The order of the two sanitizers would otherwise differ from run to run, and everything be built anew.
export SWIFT_DETERMINISTIC_HASHING=1
# Optimised, or the libraries' own debug code takes most of the time; what traps in a debug build still traps.
build=(-c release --scratch-path .build-fuzz --product clvd-fuzz --sanitize=fuzzer --sanitize=address
    -Xswiftc -assert-config -Xswiftc Debug)
CLVD_FUZZ=1 swift build "${build[@]}" | { grep -vE '^\[[0-9]+/[0-9]+\]' || true; }
program="$(CLVD_FUZZ=1 swift build "${build[@]}" --show-bin-path)/clvd-fuzz"

# Swift hides pointers where the leak checker does not look; memory that grows is found by the limit.
export ASAN_OPTIONS=detect_leaks=0
failed=()
for target in "${targets[@]}"; do
    corpus=".build-fuzz/corpus/$target"
    findings=".build-fuzz/findings/$target"
    mkdir -p "$corpus" "$findings"
    echo "== $target, $seconds s"
    if ! CLVD_FUZZ_TARGET="$target" "$program" "$corpus" "Fuzz/Corpus/$target" -artifact_prefix="$findings/" \
        -max_total_time="$seconds" -max_len=12288 -timeout=20 -rss_limit_mb=2048 -print_final_stats=1 \
        >"$findings/log" 2>&1; then
        failed+=("$target")
        grep -aE -A12 'ERROR: |Fatal error' "$findings/log" | head -40 || tail -20 "$findings/log"
        echo "Fuzz/run.sh: $target failed; the input is in $findings, the log is $findings/log." \
            "Try it again with CLVD_FUZZ_TARGET=$target $program FILE; when it is mended, keep it in Fuzz/Corpus/$target." >&2
    else
        grep -aE '^(stat::number_of_executed_units|Done )|DONE' "$findings/log" | sed 's/^/   /'
    fi
done
[ ${#failed[@]} -eq 0 ]
