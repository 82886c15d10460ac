#!/usr/bin/env bash
# Installs stock clients below target/ and drives three nodes of the release build with them.
set -euo pipefail
cd "$(dirname "$0")/../.."

tools=target/clients
bin=${BIN:-target/release/raftkv}
if ! cmp -s tests/clients/requirements.txt "$tools/installed.txt"; then
    rm -rf "$tools/python"
    python3 -m venv "$tools/python"
    "$tools/python/bin/pip" install --quiet -r tests/clients/requirements.txt
    cp tests/clients/requirements.txt "$tools/installed.txt"
fi
if [ ! -x "$tools/bin/httpwg" ]; then
    "${CARGO:-cargo}" install --quiet --locked --root "$tools" httpwg-cli@0.2.5
fi
PYTHONDONTWRITEBYTECODE=1 HTTPWG="$tools/bin/httpwg" "$tools/python/bin/python" tests/clients/check.py "$bin"
