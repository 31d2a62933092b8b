# Everything a developer types. Programs built from Go modules are cached in ~/.cache/tidegate (TIDEGATE_CACHE).
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.PHONY: up build test lint clean

# Builds, starts an embedded cluster with simulated nodes, rolls the sample sidecar out, serves until Ctrl-C.
up: build
	@exec target/release/tidegate up

build:
	@cargo build --release --quiet --package tidegate-cli
	@ln -sf tidegate target/release/kubectl-tidegate
	@ln -sf tidegate target/release/kubectl_complete-tidegate

# Everything that can be tested on this machine, with each phase's time.
test:
	@exec bash testbed/test-phases.sh

lint:
	@cargo fmt --all --check
	@cargo clippy --workspace --all-targets --quiet -- -D warnings
	@cargo xtask tidy

clean:
	@cargo clean --quiet
