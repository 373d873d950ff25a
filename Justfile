# Recipes; run them through ./justw, which installs what they need.

set shell := ["bash", "-euo", "pipefail", "-c"]

cache := env("ASSIZE_CACHE", env("HOME") / ".cache/assize")
ci_seeds := "5000"

e2e_env := 'ASSIZE_BIN="$PWD/target/fast/assize" ASSIZE_CLIENTS="' + cache + '/clients"'

# List the recipes.
default:
    @just --list --unsorted

# Build, start a whole cluster in one process, print how to connect.
demo *args: build
    exec target/fast/assize demo {{args}}

# Start one node: ./justw run --config cluster/single.toml
run *args: build
    exec target/fast/assize start {{args}}

# Three nodes on loopback with prefixed logs, certificates and a clean Ctrl-C: ./justw cluster --fresh
cluster *args: build
    exec python3 cluster/run.py {{args}}

# The optimised binary that demo and the end-to-end tests use: target/fast/assize.
build:
    cargo build --profile fast --package assize-server --bin assize

# The container image `assize`, out of target/fast/assize: ./justw image --engine podman (docs/operations.md)
image *args: build
    cluster/image.sh {{args}}

# One command of cargo for all: one that selects other packages selects other features of what these depend on, and compiles
# most of it once more.
# Every test that needs no second machine.
test: clients
    cargo build --profile fast --package assize-server --bin assize --package assize-sim --bin assize-sim
    target/fast/assize-sim --seeds {{ci_seeds}}
    {{e2e_env}} cargo test --workspace --no-fail-fast

# Unit, golden, property and tidy tests of every crate.
test-unit:
    cargo test --workspace --exclude assize-tests
    cargo test --package assize-tests --test tidy

# The simulator over as many seeds as CI runs.
test-sim seeds=ci_seeds:
    cargo run --quiet --profile fast --package assize-sim -- --seeds {{seeds}}

# Real processes, real clients, kill -9 (needs MariaDB, which ./justw installs).
e2e: build clients
    {{e2e_env}} cargo test --package assize-tests

# Torment three real nodes under load, judge what clients saw and what is on the disks: ./justw chaos --fault kill-leader --seconds 60
chaos *args: build
    ASSIZE_BIN="$PWD/target/fast/assize" cargo run --quiet --package assize-tests --bin chaos -- {{args}}

# Move and merge shards of a gigabyte under load, and say how long anybody waited: ./justw moves --megabytes 1100
moves *args: build
    ASSIZE_BIN="$PWD/target/fast/assize" cargo run --quiet --package assize-tests --bin moves -- {{args}}

# Replace an earlier release under load by this one, node by node: ./justw upgrade --from REVISION|BINARY --seconds 60
upgrade *args: build
    tests/upgrade.sh {{args}}

# Python drivers for the end-to-end tests, in a virtual environment of their own.
clients:
    tests/clients/install.sh "{{cache}}/clients"

# Simulate: ./justw sim 42 replays one seed, ./justw sim --seeds 1000000 runs many (docs/simulation.md).
sim *args:
    cargo run --quiet --profile fast --package assize-sim -- {{args}}

# The read-only gate: format, lints, tidy, licences.
verify: deny
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings

# Licences, duplicate and banned crates.
deny:
    command -v cargo-deny >/dev/null || cargo install --quiet --locked --root "{{cache}}/tools" cargo-deny@0.20.2
    cargo fetch --locked --quiet # what other platforms need is looked at as well
    cargo deny --offline check bans licenses sources

# Format and apply what clippy can fix by itself.
fix:
    cargo fmt --all
    cargo clippy --workspace --all-targets --fix --allow-dirty

# Criterion benches: ./justw bench conflict_window
bench *args:
    cargo bench --package assize-benches {{args}}

# Fuzz one target for some seconds (needs a nightly toolchain and cargo-fuzz).
fuzz target seconds="60":
    cd fuzz && cargo +nightly fuzz run {{target}} -- -max_total_time={{seconds}}

# Write docs/errors anew from the table of error codes; what is written on the pages by hand stays.
errors:
    cargo run --quiet --package assize-model --example errors docs/errors
