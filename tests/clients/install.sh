#!/usr/bin/env bash
# Installs the drivers that tests/tests/clients.rs runs, into a directory of their own: Python's in a virtual
# environment, node's if there is a node. Does nothing if they are there already in these versions.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
into=${1:?usage: install.sh DIRECTORY}
mkdir -p "$into"

stamp=$(cat "$here/requirements.txt" "$here/package.json" | cksum)
[ "$(cat "$into/stamp" 2>/dev/null)" = "$stamp" ] && exit 0

python3 -m venv --clear "$into/python"
"$into/python/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt"

if command -v node >/dev/null && command -v npm >/dev/null; then
    mkdir -p "$into/node"
    cp "$here/package.json" "$into/node/package.json"
    (cd "$into/node" && npm install --silent --no-audit --no-fund)
fi
printf '%s\n' "$stamp" >"$into/stamp"
