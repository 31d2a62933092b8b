#!/bin/bash
# `make test`: runs each phase, prints its time, and says in one line what was not tested and why.
set -uo pipefail
cd "$(dirname "$0")/.."
failed=()
skipped=()
started=$SECONDS

phase() {
  local name=$1 from=$SECONDS
  shift
  echo "== $name"
  if "$@"; then
    echo "== $name: $((SECONDS - from)) s"
  else
    echo "== $name: FAILED after $((SECONDS - from)) s"
    failed+=("$name")
  fi
}

rust_tests() { cargo test --workspace --no-fail-fast; }

packages() {
  if [ "$(id -u)" != 0 ]; then
    skipped+=("real kubelets (not root)")
    return 0
  fi
  testbed/install-packages.sh || skipped+=("real kubelets (Debian packages could not be installed)")
}

real_programs() { cargo run --quiet --package tidegate-testbed --example bed -- build; }

prometheus() {
  cargo run --quiet --package tidegate-testbed --example bed -- prometheus ||
    skipped+=("a real Prometheus (Debian's package could not be had)")
}

# What an earlier run that was cut short may have left.
no_bed() {
  [ "$(id -u)" = 0 ] || return 0
  cargo run --quiet --package tidegate-testbed --example bed -- down
}

# Built beside the command, so that both share what they are made of but for tokio's clock.
storm_build() { cargo build --release --quiet --package tidegate-cli --package tidegate-storm --bin storm; }

storm() { "${CARGO_TARGET_DIR:-target}/release/storm" "$@"; }

chart() { cargo xtask chart --check; }

# About 75 s on two idle cores, once.
install_cargo_deny() {
  local version=0.20.2 tools=${TIDEGATE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/tidegate}/tools
  export PATH=$tools/cargo-deny-$version/bin:$PATH
  cargo deny --version >/dev/null 2>&1 && return
  cargo install --locked --debug --no-default-features --quiet --version "$version" \
    --root "$tools/cargo-deny-$version" --target-dir "$tools/target" cargo-deny
  local outcome=$?
  rm -rf "$tools/target"
  return $outcome
}

# Advisories need a database that is fetched from GitHub. The benchmarks may use what is banned: as a peer.
dependencies() {
  if ! install_cargo_deny; then
    skipped+=("licences, bans and sources of dependencies (cargo-deny could not be installed)")
    return 0
  fi
  skipped+=("advisories on dependencies (cargo deny check advisories, where GitHub is reachable)")
  cargo deny --log-level error check licenses sources && cargo deny --log-level error --exclude tidegate-bench check bans
}

phase "formatting" cargo fmt --all --check
phase "clippy" cargo clippy --workspace --all-targets --quiet -- -D warnings
phase "tidy" cargo xtask tidy
phase "dependencies" dependencies
phase "packages for real nodes" packages
phase "real Kubernetes, etcd, containerd, registry, Helm from their Go modules" real_programs
phase "Prometheus" prometheus
phase "no leftovers of an earlier bed" no_bed
phase "chart" chart
phase "tests" rust_tests
phase "bed down" no_bed
phase "release build" make build
phase "release build of the storm" storm_build
phase "2,000 seeds full of faults" storm seeds --seeds 2000 --quiet 60
# All of them: cargo xtask storm matrix.
phase "one fault at one write, every fourth case" storm matrix --of 4 --quiet 60

skipped+=("injection right after etcd was put back to before our webhook configuration (one of 250 such seeds: printed as known by the phase above)")

echo "all phases: $((SECONDS - started)) s"
if [ ${#skipped[@]} -gt 0 ]; then
  printf 'not tested here: %s\n' "$(IFS=';'; echo "${skipped[*]}")"
fi
if [ ${#failed[@]} -gt 0 ]; then
  printf 'failed: %s\n' "$(IFS=,; echo "${failed[*]}")"
  exit 1
fi
