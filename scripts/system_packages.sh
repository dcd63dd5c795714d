#!/usr/bin/env bash
# Installs the system's packages that the tests, rehearsals and test beds need and that are missing, where that is
# allowed (root, or sudo without a password, and apt-get). Otherwise says what is missing; with --strict that is an
# error. No daemon is started by it, now or when the machine starts the next time.
set -euo pipefail

strict=
if [[ ${1:-} == --strict ]]; then
    strict=1
fi
# The file that packages ask before they start a daemon; another one only in tests of this script.
policy=${POLICY_RC_D:-/usr/sbin/policy-rc.d}

# Many of the beds' programs are the administrator's, which a user's PATH may lack.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

missing=()
units=()
need() { # PROGRAM PACKAGE [UNIT...]
    if ! command -v "$1" >/dev/null; then
        missing+=("$2")
        units+=("${@:3}")
    fi
}
need git git
need make make
need bwrap bubblewrap
need nsenter util-linux
if command -v python3 >/dev/null; then
    python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
else
    missing+=(python3 python3-venv)
fi

# A Slurm of one's own, and ssh.
need slurmctld slurmctld slurmctld.service
need slurmd slurmd slurmd.service
need slurmdbd slurmdbd slurmdbd.service
need sbatch slurm-client
need munged munge munge.service
need mariadbd mariadb-server-core
need mksquashfs squashfs-tools
need ip iproute2
need iptables iptables
need sshd openssh-server ssh.service ssh.socket
need ssh openssh-client
need rsync rsync
# The compiler, C's own headers, and Slurm's.
gcc -fsyntax-only -include stdio.h -include slurm/spank.h -x c /dev/null 2>/dev/null ||
    missing+=(gcc libc6-dev libslurm-dev)

# A Docker engine of one's own: a client without an engine is not enough. Images are made of Debian and of busybox,
# which must not need the system's libraries.
need dockerd docker.io docker.service docker.socket containerd.service
need debootstrap debootstrap
if ! command -v busybox >/dev/null || ldd "$(command -v busybox)" >/dev/null 2>&1; then
    missing+=(busybox-static)
fi

if ((${#missing[@]} == 0)); then
    exit 0
fi

as_root=()
if ((EUID != 0)); then
    as_root=(sudo -n)
fi

refuse_starts() { # until this script ends, unless something else does so already
    if [[ ! -e $policy ]]; then
        trap '"${as_root[@]}" rm -f "$policy"' EXIT
        "${as_root[@]}" install -m 755 /dev/stdin "$policy" <<<$'#!/bin/sh\nexit 101'
    fi
}

name_database() { # on some releases the package's name ends in a version
    local i name
    for i in "${!missing[@]}"; do
        if [[ ${missing[i]} == mariadb-server-core ]]; then
            name=$(apt-cache search --names-only '^mariadb-server-core(-[0-9.]+)?$' | sort | head -n 1)
            missing[i]=${name%% *}
        fi
    done
}

if command -v apt-get >/dev/null && "${as_root[@]}" true 2>/dev/null; then
    export DEBIAN_FRONTEND=noninteractive
    "${as_root[@]}" apt-get update -q
    name_database
    if ((${#units[@]})); then
        refuse_starts
    fi
    "${as_root[@]}" apt-get install -q -y --no-install-recommends "${missing[@]}"
    if ((${#units[@]})) && command -v systemctl >/dev/null; then
        # One at a time: not every release has each of them.
        for unit in "${units[@]}"; do
            "${as_root[@]}" systemctl disable --quiet "$unit" 2>/dev/null || true
        done
    fi
    exit 0
fi
echo "missing and not installed, because that takes root: ${missing[*]}" >&2
echo "  the tests that need them are skipped; install them with: sudo apt-get install ${missing[*]}" >&2
exit ${strict:-0}
