# make          what there is
# make test     everything that has to hold
# make demo     the CDNOW purchase log through an embedded Kafka, live; ARGS are passed on to `clvd demo`
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help deps build test demo lint format clean

sources := Sources Tests Package.swift
style := --configuration .swift-format

help:  ## List the targets
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 16

deps:  ## Install the libraries (Debian 12, apt) and fetch the Swift packages
	@deploy/install-dependencies.sh
	@swift package resolve || { echo "make: cannot fetch the Swift packages of Package.swift; check the network (github.com), then try again." >&2; exit 1; }

build: deps  ## Build .build/release/clvd
	swift build -c release --product clvd

test: deps lint  ## Lint, build and run all tests
	swift build --build-tests
	swift test --skip-build --disable-xctest

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

lint:  ## Check the format of the sources
	swift format lint -r --strict $(style) $(sources)

format:  ## Format the sources
	swift format -i -r $(style) $(sources)

clean:  ## Remove what was built
	swift package clean

.ONESHELL:
