#!/bin/bash
# Compares, byte for byte, what clvd of a commit and clvd of this tree write for the same input.
usage="usage: Tools/same-bits.sh BASE [DATA]

  BASE   a commit; it is built in .build-same-bits once
  DATA   a folder with data sets NAME.csv.gz and NAME.landmarks.csv.gz (default: ../shared/data)

SETS=\"cdnow other\" takes only some of the data sets, SETS=none takes none. Compared are the forecasts of clvd evaluate,
and the topics that clvd run writes from a fixed replay, through a Kafka broker in a process of its own on loopback.
Exit codes: 0 all the same, 1 something differs or failed, 2 arguments."
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
if [ "${1:-}" = --help ]; then echo "$usage"; exit 0; fi
if [ $# -lt 1 ] || [ $# -gt 2 ]; then echo "$usage" >&2; exit 2; fi

commit="$(git rev-parse --verify --quiet "$1^{commit}")" || { echo "same-bits: $1 is no commit here." >&2; exit 2; }
data="${2:-../shared/data}"
work=.build-same-bits
base="$work/$commit"
records=4000
mkdir -p "$base" "$work/input"

if [ ! -x "$base/clvd" ]; then
    echo "== building $commit"
    rm -rf "$base/tree.part"
    if [ ! -d "$base/tree" ]; then
        mkdir "$base/tree.part"
        git archive "$commit" | tar x -C "$base/tree.part"
        mv "$base/tree.part" "$base/tree"
    fi
    if [ -f Package.resolved ]; then cp Package.resolved "$base/tree/"; fi
    swift build --package-path "$base/tree" -c release --product clvd
    cp "$(swift build --package-path "$base/tree" -c release --show-bin-path)/clvd" "$base/clvd.part"
    mv "$base/clvd.part" "$base/clvd"
fi
echo "== building this tree"
swift build -c release --product clvd
now="$(swift build -c release --show-bin-path)/clvd"
broker="$work/mock-broker"
# Flags are words of their own.
# shellcheck disable=SC2046
clang -O1 -Wall -Wextra -Werror -o "$broker" Tools/mock-broker.c $(pkg-config --cflags --libs rdkafka)

processes=()
scratch=""
stop() {
    for process in "${processes[@]}"; do
        kill "$process" 2>/dev/null || true
        wait "$process" 2>/dev/null || true
    done
    processes=()
    if [ -n "$scratch" ]; then rm -rf "$scratch"; fi
}
trap stop EXIT

# The base says what the stream is; the tree's own simulation is compared with it.
simulate() { "$1" simulate --users 300 --days 150 --seed 3 --out "$2/simulated.csv" --truth "$2/truth.csv" --no-progress >/dev/null; }
simulate "$base/clvd" "$work/input"
Tools/same-bits.py landmarks "$work/input/simulated.csv" "$work/input/landmarks.csv"
Tools/same-bits.py replay "$work/input/simulated.csv" "$work/input/replay.csv" "$records"

# Small, so that much is learned from few events.
settings() {  # servers, folder of snapshots
    cat <<END
kafka:
  bootstrapServers: $1
  groupId: same-bits
  properties: {session.timeout.ms: "6000", heartbeat.interval.ms: "300"}
input: {topics: [events]}
output: {updatesTopic: updates, alertsTopic: alerts, deadLetterTopic: dead-letters, partitions: 1, commitIntervalMs: 50}
delivery: at-least-once
snapshots: {directory: "$2", intervalSeconds: 3600}
runtime: {threads: 1, batchRecords: 256, idleTickSeconds: 0}
targets:
  - {name: clv, kind: value, events: [purchase], horizonsDays: [2, 7, 20]}
  - {name: purchase, kind: occurrence, events: [purchase], horizonsDays: [2, 7, 20]}
  - {name: churn, kind: absence, horizonsDays: [7]}
binEdgesDays: [2, 7, 20]
model: {units: 16, hidden: 16, categoryBuckets: 32, crossBuckets: 32}
learning:
  batchSize: 32
  intervalRecords: 256
  minimumSteps: 5
  warmupSteps: 5
  stepsPerThousandEvents: 40
  learningRate: 0.01
  earlyStoppingInterval: 5
  maxLandmarks: 2048
  landmarkIntervalDays: 3
alerts: {coolDownDays: 5, raiseThreshold: 0.3, clearThreshold: 0.2}
END
}

evaluate() {  # clvd, folder
    settings localhost:9092 none >"$work/input/clvd.yaml"
    "$1" evaluate --config "$work/input/clvd.yaml" --events "$work/input/simulated.csv" \
        --landmarks "$work/input/landmarks.csv" --out "$2/evaluate-simulated.csv" --no-progress >/dev/null
    for landmarks in "$data"/*.landmarks.csv.gz; do
        [ -f "$landmarks" ] || continue
        name="$(basename "$landmarks" .landmarks.csv.gz)"
        [[ -z "${SETS:-}" || " $SETS " == *" $name "* ]] || continue
        "$1" evaluate --events "$data/$name.csv.gz" --landmarks "$landmarks" --out "$2/evaluate-$name.csv" \
            --no-progress >/dev/null
    done
}

run_topics() {  # clvd, folder
    local servers daemon
    scratch="$(mktemp -d)"
    mkfifo "$scratch/input"
    "$broker" serve events updates alerts dead-letters <"$scratch/input" >"$scratch/servers" &
    processes+=($!)
    exec 7>"$scratch/input"  # the broker ends with this script, however that ends
    for _ in $(seq 100); do [ -s "$scratch/servers" ] && break; sleep 0.1; done
    servers="$(cat "$scratch/servers")"
    "$base/clvd" replay --events "$work/input/replay.csv" --bootstrap "$servers" --topic events --no-progress >/dev/null
    settings "$servers" "$scratch/snapshots" >"$scratch/clvd.yaml"
    "$1" run --config "$scratch/clvd.yaml" 2>"$2.log" 7>&- &
    daemon=$!
    processes+=("$daemon")
    if ! "$broker" wait "$servers" same-bits events 120; then
        echo "same-bits: $1 run did not get to the end; its log is $2.log." >&2
        return 1
    fi
    kill -TERM "$daemon"
    wait "$daemon" || { echo "same-bits: $1 run failed; its log is $2.log." >&2; return 1; }
    for topic in updates alerts dead-letters; do "$broker" dump "$servers" "$topic" "$2/topic-$topic.records"; done
    exec 7>&-
    stop
}

for side in base now; do
    if [ "$side" = base ]; then clvd="$base/clvd"; out="$work/base"; else clvd="$now"; out="$work/now"; fi
    echo "== $side"
    rm -rf "$out"
    mkdir -p "$out"
    simulate "$clvd" "$out"
    evaluate "$clvd" "$out"
    run_topics "$clvd" "$out"
done
Tools/same-bits.py compare "$work/base" "$work/now"
