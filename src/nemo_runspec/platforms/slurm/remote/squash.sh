#!/bin/bash
# Imports a container image to a file with enroot, on a compute node: squash.sh FILE URI FORCE [SRUN_OPTION...]
#
#   FILE         absolute path of the .sqsh file; its folder is made, with mode 0700
#   URI          what `enroot import` takes; empty: only see whether FILE is there
#   FORCE        1: import also when FILE is there, which stays in use until the new one is complete; else 0
#   SRUN_OPTION  options of the srun that runs the import
#
# Prints FILE. What happens meanwhile is told on standard error, line by line.
# Exits with 0: FILE is there; 66: it is not, and there is no URI; 69: no enroot on the compute node; 73: the folder is
# somebody else's; 75: there is no srun here; else with what srun or enroot exited with, or 1.
set -u
export LC_ALL=C
umask 077
file=$1 uri=$2 force=$3
shift 3

say() { printf '%s\n' "$*" >&2; }
inode() { stat -L -c %i -- "$file" 2>/dev/null || echo none; }
is_there() { [ -f "$file" ] && [ -s "$file" ]; }

before=$(inode)
if is_there && [ "$force" != 1 ]; then printf '%s\n' "$file"; exit 0; fi
if [ -z "$uri" ]; then say "there is no file $file"; exit 66; fi

# Only a login profile has Slurm on the PATH of some clusters.
# shellcheck disable=SC1091 # not a file of this project
command -v srun >/dev/null 2>&1 || { set +u; . /etc/profile >/dev/null 2>&1; set -u; }
command -v srun >/dev/null 2>&1 || { say 'srun is not there'; exit 75; }

folder=${file%/*} name=${file##*/}
mkdir -p -- "$folder" || exit 1
if [ ! -O "$folder" ] || [ -n "$(find "$folder" -maxdepth 0 -perm /022)" ]; then
    say "$folder is not yours alone to write to"
    exit 73
fi

# The lock only saves work: what makes a half image impossible is the rename. Some file systems have no locks (99 means
# that another import has it; anything else, that there are none).
locked=1
exec 9>"$folder/.$name.lock" || exit 1
flock -n -E 99 9
case $? in
    0) ;;
    99) say "another import of this image is under way; waiting for it"; flock 9 || locked=0 ;;
    *) locked=0 ;;
esac
# Who has waited takes what the other one has imported, also when it was to be renewed.
if is_there && { [ "$force" != 1 ] || [ "$(inode)" != "$before" ]; }; then printf '%s\n' "$file"; exit 0; fi

# What an import left that was killed; nobody else is at work while the lock is held.
[ "$locked" = 0 ] || rm -rf -- "$folder/.$name.part."*
part=$(mktemp -d "$folder/.$name.part.XXXXXX") || exit 1
trap 'rm -rf -- "$part"' EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 141' PIPE
trap 'exit 143' TERM
mkdir -p -- "$folder/.cache/layers" "$folder/.cache/data" || exit 1

# ENROOT_TEMP_PATH stays the node's own: layers are unpacked there, which shared file systems often cannot do.
export ENROOT_CACHE_PATH="$folder/.cache/layers" ENROOT_DATA_PATH="$folder/.cache/data"
# srun hands its umask on, and an image must not lose what its files let others do; the folder is private all the same.
umask 022
# shellcheck disable=SC2016 # it is the compute node that fills this in
srun --nodes=1 --ntasks=1 --job-name=nemotron-squash --export=ALL "$@" \
    bash -c 'command -v enroot >/dev/null 2>&1 || { echo "enroot is not there" >&2; exit 69; }
             exec enroot import --output "$1" "$2"' import "$part/image.sqsh" "$uri" </dev/null >&2
code=$?
[ "$code" = 0 ] || exit "$code"

# A compute node has written it; over NFS it may take a moment until this machine sees it.
for _ in 1 2 3 4 5; do
    [ -s "$part/image.sqsh" ] && break
    sleep 1
    ls -la -- "$part" >/dev/null
done
if [ ! -s "$part/image.sqsh" ]; then say "enroot has written no image"; exit 1; fi
mv -T -f -- "$part/image.sqsh" "$file" || exit 1
printf '%s\n' "$file"
