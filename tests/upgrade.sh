#!/bin/bash
# Upgrades a cluster that is under load: builds an earlier revision (or takes a binary of it), starts three nodes of it, and
# replaces one after the other by target/fast/assize. What follows goes to the chaos command.
#
#   tests/upgrade.sh --from v0.1.0 --seconds 60
#   tests/upgrade.sh --from /usr/bin/assize
set -euo pipefail
cd "$(dirname "$0")/.."

[ "${1:-}" = --from ] && [ $# -ge 2 ] || { echo "usage: upgrade --from REVISION|BINARY [chaos options]" >&2; exit 64; }
from=$2
shift 2

if [ -f "$from" ]; then
    old=$from
else
    revision=$(git rev-parse --verify --quiet "$from^{commit}") || { echo "there is no revision $from" >&2; exit 64; }
    old=$PWD/target/upgrade/$revision/assize
    if [ ! -x "$old" ]; then
        tree=$PWD/target/upgrade/tree
        git worktree remove --force "$tree" 2>/dev/null || rm -rf "$tree"
        git worktree add --quiet --force --detach "$tree" "$revision"
        trap 'git worktree remove --force "$tree"' EXIT
        # One directory for all of them, so that only the first takes long. Not ours: crates of one name at one place of two
        # workspaces are the same to cargo, and each build would undo the other.
        target=$PWD/target/upgrade/target
        (cd "$tree" && CARGO_TARGET_DIR=$target cargo build --profile fast --package assize-server --bin assize)
        mkdir -p "$(dirname "$old")"
        cp "$target/fast/assize" "$old.part"
        mv "$old.part" "$old"
        trap - EXIT
        git worktree remove --force "$tree"
    fi
fi

ASSIZE_BIN=${ASSIZE_BIN:-$PWD/target/fast/assize} exec cargo run --quiet --package assize-tests --bin chaos -- \
    --fault upgrade --old-binary "$old" "$@"
