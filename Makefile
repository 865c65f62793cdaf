# `make` lists the targets; CONTRIBUTING.md explains them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help deps build test test-newer-client faults rebalances fuzz kills outages demo evaluate evaluate-gru truth docs same-bits \
    mutants tsan coverage mistakes tidy lint format clean

sources := Sources Tests Fuzz/Sources Package.swift
style := --configuration .swift-format
# Tests that talk to a cluster or another process and mostly wait: beside those that compute, they would wait too long.
waiting := KafkaTests|RuntimeTests|CommandTests
# All at once, they would keep the few threads that tests share from one another past their deadlines.
waitingAtOnce := 6
# One after the other: the later ones take the brokers away.
mistakeSuites := MistakeTests BrokerMistakeTests ClusterMistakeTests
SECONDS ?= 600
N ?= 200
DATA ?= ../shared/data
COUNT ?= 50
SEED ?= 1
INSTANCES ?= 2
SETS ?= apparel_trans cdnow college_msgs online_retail_2

help:  ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 20

deps:  ## Install the libraries (Debian 12, apt) and fetch the Swift packages
	@deploy/install-dependencies.sh
	@swift package resolve || { echo "make: cannot fetch the Swift packages of Package.swift; check the network (github.com), then try again." >&2; exit 1; }

build: deps  ## Build .build/release/clvd
	swift build -c release --product clvd

test: deps lint tidy faults  ## Lint, build and run all tests
	swift build --build-tests
	swift test --skip-build --disable-xctest --skip '$(waiting)'
	SWT_EXPERIMENTAL_MAXIMUM_PARALLELIZATION_WIDTH=$(waitingAtOnce) \
	    swift test --skip-build --disable-xctest --filter '$(waiting)'

test-newer-client: deps  ## KafkaTests and RuntimeTests with librdkafka 2.16 instead of Debian's
	Tools/newer-librdkafka.sh .build/newer-librdkafka
	swift build --build-tests
	LD_LIBRARY_PATH="$$PWD/.build/newer-librdkafka" CLVD_TEST_LIBRDKAFKA=2.16.0 \
	    SWT_EXPERIMENTAL_MAXIMUM_PARALLELIZATION_WIDTH=$(waitingAtOnce) \
	    swift test --skip-build --disable-xctest --filter '^(KafkaTests|RuntimeTests)\.'

rebalances: deps  ## Move partitions among INSTANCES (2) COUNT times (50), in an order by SEED, and count what is missing or double
	swift build --build-tests
	CLVD_REBALANCES=$(COUNT) CLVD_SEED=$(SEED) CLVD_INSTANCES=$(INSTANCES) swift test --skip-build --disable-xctest --filter manyRebalances

fuzz: deps  ## Fuzz decoder, Avro, Protobuf, mapping, settings and snapshots for SECONDS each; TARGETS="decoder settings" for some
	Fuzz/run.sh $(SECONDS) $(TARGETS)

kills: deps  ## Kill the daemon N times at random moments, one partition and sixteen, and verify what came of it
	swift build --build-tests
	CLVD_TEST_KILLS=$(N) swift test --skip-build --disable-xctest --filter KillTests

outages: deps  ## Stop and start the broker of CLVD_TEST_BOOTSTRAP by CLVD_TEST_BROKER_STOP and _START under the daemon
	@: "$${CLVD_TEST_BOOTSTRAP:?names the broker}" "$${CLVD_TEST_BROKER_STOP:?is a command}" "$${CLVD_TEST_BROKER_START:?is a command}"
	swift build --build-tests
	swift test --skip-build --disable-xctest --filter OutageTests

mistakes: deps  ## Commit people's and brokers' mistakes on real brokers and print what clvd did; FOLDER keeps rows and logs
	@: "$${CLVD_TEST_BOOTSTRAP:?names the broker}"
	swift build --build-tests
	folder="$${FOLDER:-$$(mktemp -d)}"
	mkdir -p "$$folder"
	rm -f "$$folder/rows.jsonl"
	for suite in $(mistakeSuites); do
	    CLVD_TEST_MISTAKES="$$folder" SWT_EXPERIMENTAL_MAXIMUM_PARALLELIZATION_WIDTH=4 \
	        swift test --skip-build --disable-xctest --filter "RuntimeTests.$$suite" >"$$folder/$$suite.txt" 2>&1 || true
	done
	Tools/mistakes.py "$$folder"

faults: deps  ## Break the daemon in simulations by seed; ARGS="--seeds 10000", ARGS="--seed 42"
	swift build -c release --product faults
	"$$(swift build -c release --show-bin-path)/faults" $(ARGS)

demo: build  ## Run the demo; ARGS="--json", ARGS="--events file.csv", ARGS="--bootstrap host:9092" …
	@clvd="$$(swift build -c release --show-bin-path)/clvd"
	given="$(filter --events% --simulate%,$(ARGS))"
	status=0
	if [ -z "$$given" ]; then deploy/fetch-cdnow.sh data >&2 || status=$$?; fi
	case "$$status" in
	    0) if [ -z "$$given" ]; then given="--events data/CDNOW_master.txt"; else given=""; fi ;;
	    3) echo "make: no purchase log, so the demo shows simulated customers." >&2; given=--simulate ;;
	    *) exit "$$status" ;;
	esac
	"$$clvd" demo $$given $(ARGS)

evaluate: build  ## Forecast at the landmarks of the data sets in DATA beside the baselines there; ARGS are passed on to `clvd evaluate`
	@if ! ls $(DATA)/*.landmarks.csv.gz >/dev/null 2>&1; then
	    echo "make: no data sets in $(DATA), so there is nothing to evaluate; DATA=folder says where they are." >&2
	    exit 0
	fi
	clvd="$$(swift build -c release --show-bin-path)/clvd"
	mkdir -p .build/evaluate
	for landmarks in $(DATA)/*.landmarks.csv.gz; do
	    name="$$(basename "$$landmarks" .landmarks.csv.gz)"
	    events="$(DATA)/$$name.csv.gz"
	    out=".build/evaluate/$$name.csv.gz"
	    echo "== $$name"
	    baselines="$(DATA)/$$name.baselines.csv.gz"
	    others=()
	    if [ -f "$$baselines" ]; then others=(--baselines "$$baselines"); fi
	    "$$clvd" evaluate --events "$$events" --landmarks "$$landmarks" --out "$$out" "$${others[@]}" \
	        --report ".build/evaluate/$$name" --alerts $(ARGS)
	done

evaluate-gru: build  ## Fit a GRU monthly on the data sets SETS of DATA and evaluate beside it too (PyTorch, fetched by pip)
	@python3 -m venv .build/gru
	.build/gru/bin/pip install -q -r Benchmarks/accuracy/requirements.txt
	clvd="$$(swift build -c release --show-bin-path)/clvd"
	mkdir -p .build/evaluate
	for name in $(SETS); do
	    echo "== $$name"
	    data="$(DATA)/$$name"
	    others=()
	    if [ -f "$$data.baselines.csv.gz" ]; then others=(--with "$$data.baselines.csv.gz"); fi
	    OMP_NUM_THREADS=1 .build/gru/bin/python Benchmarks/accuracy/gru.py "$$data.csv.gz" "$$data.landmarks.csv.gz" \
	        -o ".build/evaluate/$$name.gru.csv.gz" "$${others[@]}"
	    "$$clvd" evaluate --events "$$data.csv.gz" --landmarks "$$data.landmarks.csv.gz" \
	        --baselines ".build/evaluate/$$name.gru.csv.gz" $(ARGS)
	done

truth: build  ## Forecasts and alerts on simulated customers beside the truth, and how fast a change is learned
	@clvd="$$(swift build -c release --show-bin-path)/clvd"
	mkdir -p .build/evaluate
	cd .build/evaluate
	"$$clvd" simulate --users 10000 --days 365 --seed 1 --out stationary.csv.gz --truth truth.csv.gz
	"$$clvd" evaluate --events stationary.csv.gz --truth truth.csv.gz --report truth $(ARGS)
	"$$clvd" simulate --users 8000 --days 600 --seed 1 --acquisition-days 600 --spend-shift 0.5 --browsing-per-purchase 0.5 \
	    --out shift.csv.gz --truth shift-truth.csv.gz
	"$$clvd" evaluate --events shift.csv.gz --change 300 --report shift $(ARGS)

docs: build  ## Write config/clvd.yaml and the table of docs/settings.md as the program prints them
	@clvd="$$(swift build -c release --show-bin-path)/clvd"
	"$$clvd" config print --reference >config/clvd.yaml
	Tests/Support/settings-table.sh "$$clvd" docs/settings.md

same-bits: deps  ## Compare what clvd of commit BASE and of this tree write, byte for byte; data sets from DATA
	@: "$${BASE:?is a commit}"
	Tools/same-bits.sh "$$BASE" $(DATA)

mutants: deps  ## Plant the bugs of Tests/Mutants one by one and see that tests catch them; ARGS="--only NAME", ARGS=--list
	Tools/mutants.py $(ARGS)

tsan: deps  ## Run the tests of TESTS under the thread sanitizer
	Tools/tsan.sh '$(TESTS)'

coverage: deps  ## Say which lines of Sources tests reach; TESTS for some tests
	Tools/coverage.sh '$(TESTS)'

tidy:  ## Check lengths, unused declarations, clocks in the engine and notes without an issue
	Tools/test_tidy.py
	Tools/test_mutants.py
	Tools/tidy.py

lint:  ## Check the format of the sources
	swift format lint -r --strict $(style) $(sources)

format:  ## Format the sources
	swift format -i -r $(style) $(sources)

clean:  ## Remove what was built
	swift package clean
	rm -rf .build-same-bits .build-mutants .build-tsan .build-coverage

.ONESHELL:
