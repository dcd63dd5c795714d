# Tells to which Slurm cluster the programs here lead. Reads nothing.
# Prints its name, or nothing where there is no Slurm.
# Exits with 0; with 75 where Slurm does not tell, and why is on standard error. Takes at most about 5 s.
set -u
export LC_ALL=C

if ! command -v scontrol > /dev/null; then
    # Only a login's profile may have it on PATH.
    set +u
    . /etc/profile > /dev/null 2>&1 < /dev/null
    set -u
fi
command -v scontrol > /dev/null || exit 0

name_in() { # reads a configuration, or what `scontrol show config` prints
    awk -F= 'tolower($1) ~ /^[ \t]*clustername[ \t]*$/ {
        sub(/#.*/, "", $2); gsub(/[ \t"]/, "", $2); print tolower($2); exit
    }'
}

# Where a file is given, it is what Slurm's programs read, also while the controller does not answer.
name=
[ ! -f "${SLURM_CONF:-}" ] || name=$(name_in < "$SLURM_CONF")
if [ -z "$name" ]; then
    said=$(timeout -k 1 4 scontrol show config 2>&1 < /dev/null)
    name=$(name_in <<< "$said")
fi
for file in /etc/slurm/slurm.conf /run/slurm/conf/slurm.conf; do
    [ -n "$name" ] || [ ! -f "$file" ] || name=$(name_in < "$file")
done
if [ -z "$name" ]; then
    case $said in *'configuration source'*) exit 0 ;; esac # the programs are installed, and there is no cluster
    printf '%s\n' "${said:-scontrol does not answer}" >&2
    exit 75
fi
printf '%s\n' "$name"
