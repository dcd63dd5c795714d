#!/bin/bash
# Clones a git repository at one commit, once: clone.sh FOLDER URL COMMIT
#
#   FOLDER   absolute path of the clone; the folder that it lies in is made, with mode 0700
#   URL      the repository's address
#   COMMIT   40 hexadecimal digits
#
# Prints FOLDER, which holds the whole commit and cannot be written to. Submodules are not fetched, nobody is asked for
# anything. What goes wrong is told on standard error.
# Exits with 0: FOLDER is there; 69: there is no git here; 73: the folder is somebody else's; else 1.
set -u
export LC_ALL=C
umask 077
clone=$1 url=$2 commit=$3

say() { printf '%s\n' "$*" >&2; }
git_() {
    # gc would go on in the background, in a folder that is about to be renamed.
    git -c protocol.ext.allow=never -c advice.detachedHead=false -c core.hooksPath=/dev/null -c gc.auto=0 "$@"
}

# A redirect or a helper must not ask for a password, nor ssh for anything.
export GIT_TERMINAL_PROMPT=0 GIT_SSH_COMMAND="${GIT_SSH_COMMAND:-ssh -oBatchMode=yes}"
# Settings for another repository would send these commands there.
unset GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE GIT_OBJECT_DIRECTORY GIT_ASKPASS SSH_ASKPASS

command -v git >/dev/null 2>&1 || { set +u; . /etc/profile >/dev/null 2>&1; set -u; }
command -v git >/dev/null 2>&1 || { say 'git is not there'; exit 69; }

place=${clone%/*} name=${clone##*/}
mkdir -p -- "$place" || exit 1
for folder in "$place" "$clone"; do
    [ -e "$folder" ] || continue
    if [ ! -O "$folder" ] || [ -n "$(find "$folder" -maxdepth 0 -perm /022)" ]; then
        say "$folder is not yours alone to write to"
        exit 73
    fi
done

# It is renamed to its place when it is complete, so that its being there is enough.
if [ -d "$clone" ]; then printf '%s\n' "$clone"; exit 0; fi
locked=1
exec 9>"$place/.$name.lock" || exit 1
flock -n -E 99 9
case $? in
    0) ;;
    99) say "another clone of this commit is under way; waiting for it"; flock 9 || locked=0 ;;
    *) locked=0 ;;
esac
if [ -d "$clone" ]; then printf '%s\n' "$clone"; exit 0; fi

remove() { chmod -R u+w -- "$@" 2>/dev/null; rm -rf -- "$@"; }
[ "$locked" = 0 ] || remove "$place/.$name.part."*
part=$(mktemp -d "$place/.$name.part.XXXXXX") || exit 1
trap 'remove "$part"' EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM
cd -- "$part" || exit 1

git_ init --quiet && git_ remote add origin "$url" || exit 1
# Servers that give no single commits give everything; what the first attempt said is told if the second fails too.
if ! said=$(git_ fetch --quiet --no-tags --depth=1 origin "$commit" 2>&1); then
    git_ fetch --quiet --tags origin '+refs/*:refs/remotes/origin/*' >&2 || { say "$said"; exit 1; }
fi
git_ checkout --quiet --detach "$commit" >&2 || exit 1
if [ "$(git_ rev-parse HEAD)" != "$commit" ]; then say "the repository gave another commit than $commit"; exit 1; fi
# Of the folder itself only behind the rename, for which some file systems want it to be writable.
chmod -R a-w -- "$part" && chmod u+w -- "$part" || exit 1
mv -T -- "$part" "$clone" || [ -d "$clone" ] || exit 1
chmod a-w -- "$clone" || exit 1
printf '%s\n' "$clone"
