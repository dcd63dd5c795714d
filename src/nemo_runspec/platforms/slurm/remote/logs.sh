#!/bin/bash
# Gives what the logs of a job hold beyond what was read before: logs.sh HOME NAME EACH TOTAL
#
#   HOME, NAME   the job's folder is HOME/jobs/NAME
#   EACH         how many bytes of one log it gives at most
#   TOTAL        how many bytes of all of them; the logs are read in the order in which they are asked for
#
# Reads one line for each log that is wanted: OFFSET FILE, of which the bytes from OFFSET on are given.
# Prints, its words apart by tabs, and last `end`:
#   size BYTES FILE           each log that is there
#   data OFFSET FILE BASE64   bytes from OFFSET on, which is 0 where the log is shorter than what was read before
# Exits with 0, also where nothing is there.
set -u
export LC_ALL=C
shopt -s nullglob
home=$1 name=$2 each=$3 total=$4

wanted=()
while read -r offset file; do
    [[ $offset =~ ^[0-9]+$ && $file =~ ^(task-[A-Za-z0-9_-]+|batch)\.[0-9]+\.log$ ]] && wanted+=("$offset $file")
done

cd -- "$home/jobs/$name/logs" 2>/dev/null || { printf 'end\n'; exit 0; }
declare -A sizes=()
files=(task-*.*.log batch.*.log)
# Opening a file makes a network file system ask for its true size.
for file in ${files[@]+"${files[@]}"}; do [ -f "$file" ] && : <"$file"; done 2>/dev/null
if ((${#files[@]})); then
    while IFS=/ read -r size file; do
        sizes[$file]=$size
        printf 'size\t%s\t%s\n' "$size" "$file"
    done < <(stat -L -c '%s/%n' -- "${files[@]}" 2>/dev/null)
fi

for want in ${wanted[@]+"${wanted[@]}"}; do
    offset=${want%% *} file=${want#* }
    size=${sizes[$file]:-0}
    ((offset > size)) && offset=0
    length=$((size - offset))
    ((length > each)) && length=$each
    ((length > total)) && length=$total
    ((length > 0)) || continue
    total=$((total - length))
    printf 'data\t%s\t%s\t' "$offset" "$file"
    dd if="$file" bs=65536 iflag=skip_bytes,count_bytes,fullblock skip="$offset" count="$length" 2>/dev/null | base64 -w 0
    printf '\n'
done
printf 'end\n'
