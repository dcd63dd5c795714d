#!/usr/bin/env bash
# Installs the system's packages that the tests and rehearsals need and that are missing, where that is allowed (root,
# or sudo without a password, and apt-get). Otherwise says what is missing; with --strict that is an error.
set -euo pipefail

strict=
if [[ ${1:-} == --strict ]]; then
    strict=1
fi

missing=()
command -v git >/dev/null || missing+=(git)
command -v make >/dev/null || missing+=(make)
command -v bwrap >/dev/null || missing+=(bubblewrap)
command -v nsenter >/dev/null || missing+=(util-linux)
if command -v python3 >/dev/null; then
    python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
else
    missing+=(python3 python3-venv)
fi
if ((${#missing[@]} == 0)); then
    exit 0
fi

as_root=()
if ((EUID != 0)); then
    as_root=(sudo -n)
fi
install=("${as_root[@]}" apt-get install -q -y --no-install-recommends "${missing[@]}")
if command -v apt-get >/dev/null && "${as_root[@]}" true 2>/dev/null; then
    export DEBIAN_FRONTEND=noninteractive
    "${as_root[@]}" apt-get update -q
    "${install[@]}"
    exit 0
fi
echo "missing and not installed, because that takes root: ${missing[*]}" >&2
echo "  the tests that need them are skipped; install them with: sudo apt-get install ${missing[*]}" >&2
exit ${strict:-0}
