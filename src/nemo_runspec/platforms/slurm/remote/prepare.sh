# Makes the folder of all jobs, and sees that nobody else may write there.
# $1: the folder, from the root.  $2: the digest of a source tree, or nothing.  Reads nothing.
# Prints lines of a word and a value: `source yes|no`, whether the tree is there; `basis DIGEST`, the tree that was used
# last; `size BYTES` and `free BYTES` of the file system.
# Exits with 0; with 73 where it cannot be made, with 77 where others may write to it; why is on standard error.
set -u
umask 077
export LC_ALL=C
home=$1 sha=$2

mkdir -p -- "$home" || exit 73
real=$(cd -P -- "$home" && pwd) || exit 73
path=$real
while [ -n "${path%/*}" ]; do
    path=${path%/*}
    mode=$((8#$(stat -c %a -- "$path"))) || exit 73
    if ((mode & 8#002 && !(mode & 8#1000))); then
        echo "everyone may replace what is in $path" >&2
        exit 77
    fi
done
for folder in "$real" "$real/jobs" "$real/sources"; do
    [ -d "$folder" ] || mkdir -m 700 -- "$folder" 2> /dev/null || [ -d "$folder" ] || mkdir -m 700 -- "$folder" || exit 73
    if [ "$(stat -L -c %u -- "$folder")" != "$(id -u)" ]; then
        echo "$folder belongs to $(stat -L -c %U -- "$folder")" >&2
        exit 77
    fi
    mode=$((8#$(stat -L -c %a -- "$folder"))) || exit 73
    if ((mode & 8#022)); then
        echo "others may write to $folder (mode $(stat -L -c %a -- "$folder")); chmod go-w $folder" >&2
        exit 77
    fi
done

# Made here, because rsync's flock would let others see it.
{ exec 9>> "$real/sources/.transfer.lock"; } 2> /dev/null || { echo "cannot write to $real/sources" >&2; exit 73; }
flock -n -E 75 9
code=$?
if [ $code -ne 0 ] && [ $code -ne 75 ]; then
    echo "the file system of $real has no locks, without which a job could be submitted twice" >&2
    exit 73
fi
exec 9>&-

if [ -n "$sha" ] && [ -d "$real/sources/$sha" ]; then echo "source yes"; else echo "source no"; fi
for tree in $(cd "$real/sources" && ls -1t); do
    case $tree in
        *[!0-9a-f]*) ;;
        *) echo "basis $tree"; break ;;
    esac
done
# The file system's own name, which may hold blanks, is left out.
df -B1 --output=size,avail -- "$real" | awk 'NR == 2 { print "size", $1; print "free", $2 }'
