# Gives a small file of a job's folder.
# $1: the folder of all jobs.  $2: the job's unique name.  $3: the file's name.  Reads nothing.
# Prints the file, or nothing where there is none or it is larger than a megabyte.
# Exits with 0; with 66 where there is no such file.
set -u
file=$1/jobs/$2/$3
[ -f "$file" ] && [ -z "$(find "$file" -size +1024k 2>/dev/null)" ] || exit 66
exec cat -- "$file"
