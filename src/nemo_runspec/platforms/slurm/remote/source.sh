# Makes a source tree that has been sent one that jobs use: only when every file is what it should be, and nothing else.
# Removes those that were used last more than 30 days ago.
# $1: the folder of all jobs.  $2: the tree's digest.  $3: how many files it has.  Reads a list for sha256sum.
# Exits with 0; with 66 where it is not whole, with 73 where it cannot be written, with 75 where a transfer is at work.
set -u
umask 077
export LC_ALL=C
cd -- "$1/sources" || exit 73
tree=$2 part=.$2.part list=.$2.sha256

exec 9>> .transfer.lock # rsync holds it as long as it writes
flock -w 45 9 || exit 75
cat > "$list.tmp" || { rm -f -- "$list.tmp"; exit 73; }
if [ ! -d "$tree" ]; then
    [ -d "$part" ] || { echo "nothing has arrived" >&2; exit 66; }
    count=$(cd -- "$part" && find . ! -type d -printf x | wc -c) || exit 73
    if [ "$count" -ne "$3" ]; then
        echo "$count files have arrived instead of $3" >&2
        exit 66
    fi
    (cd -- "$part" && sha256sum --check --quiet --strict "../$list.tmp" 2>&1) >&2 || exit 66
    chmod 700 -- "$part" && mv -f -- "$list.tmp" "$list" && mv -T -- "$part" "$tree" || exit 73
fi
rm -rf -- "$list.tmp" "$part"
touch -- "$tree"
# What no job has used for so long is sent anew when one does, and so is what a transfer has left.
find . -mindepth 1 -maxdepth 1 -type d -mtime +30 -printf '%f\n' | while read -r old; do
    case ${old#.} in
        *[!0-9a-f.prt]*) ;;
        *) rm -rf -- "$old" ".$old.sha256" ;;
    esac
done
