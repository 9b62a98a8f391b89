#!/usr/bin/env bash
# Shows that Rill runs on 64-bit ARM, without such a machine: installs it from this tree into a
# Debian for arm64 under QEMU's user emulation, has it listen to recordings, compares the words with
# those of this machine, and counts instructions for an estimate of its speed on Raspberry Pis.
#
#     sudo PYTHON=.venv/bin/python scripts/arm_proof.sh FOLDER [RECORDING...]
#
# FOLDER takes 2 GB; a second run goes on with the Debian that is in it. PYTHON is one that has Rill.
# On an empty folder it takes 10 to 25 minutes, half of them for counting.
# Needs Debian's packages debootstrap, qemu-user, qemu-user-static, gcc and espeak-ng.
set -Eeuo pipefail

[[ $# -ge 1 && $EUID -eq 0 ]] || { echo "usage, as root: $0 FOLDER [RECORDING...]" >&2; exit 2; }
here=$(cd "$(dirname "$0")/.." && pwd)
mkdir -p "$1"
folder=$(cd "$1" && pwd)
root=$folder/root
log=$folder/log
python=${PYTHON:-python3}
mirror=${DEBIAN_MIRROR:-http://deb.debian.org/debian}
pi4=cortex-a72
newest=max # has the dot products of a Raspberry Pi 5, and more
shift
: > "$log"
trap 'tail -n 20 "$log" >&2' ERR

needed=(debootstrap qemu-aarch64 qemu-aarch64-static gcc espeak-ng)
for program in "${needed[@]}"; do
    command -v "$program" > /dev/null || { echo "there is no $program here" >&2; exit 1; }
done

# A program of the Debian: CPU PROGRAM ARGUMENT...
emulated() {
    chroot "$root" /usr/bin/env -i PATH=/rill/bin:/usr/bin:/bin HOME=/root LC_ALL=C.UTF-8 \
        OMP_NUM_THREADS=1 QEMU_CPU="$1" "${@:2}" 2>> "$log"
}

# Listens there: CPU NAME ARGUMENT... onnxruntime writes to the log that it misses /sys; where it
# finds one that is not of an ARM, it crashes.
heard() {
    emulated "$1" python /listen.py /src/models/en-small "${@:3}" > "$folder/$2.json"
}

# How many instructions listening takes: NAME ARGUMENT... Only the emulator that is linked
# dynamically, and so this machine's own, runs plugins.
counted() {
    chroot "$root" /usr/bin/env -i PATH=/usr/bin:/bin HOME=/root OMP_NUM_THREADS=1 \
        PYTHONPATH=/rill/lib/python3.11/site-packages /qemu-aarch64 -cpu $pi4 \
        -plugin "/count.so,to=/$1.count" /usr/bin/python3.11 /listen.py /src/models/en-small \
        "${@:2}" > /dev/null 2>> "$log"
    cp "$root/$1.count" "$folder"
}

echo "Debian for arm64"
handler=/proc/sys/fs/binfmt_misc
[[ -e $handler/register ]] || mount -t binfmt_misc binfmt_misc $handler
[[ -e $handler/qemu-aarch64 ]] || cat /usr/lib/binfmt.d/qemu-aarch64.conf > $handler/register
if [[ ! -e $root/rill/bin/pip ]]; then
    debootstrap --arch=arm64 --variant=minbase \
        --include=python3,python3-venv,python3-dev,gcc,libc6-dev bookworm "$root" "$mirror" \
        >> "$log" 2>&1
    emulated $pi4 python3 -m venv /rill
fi
mountpoint -q "$root/proc" || mount -t proc proc "$root/proc"
trap 'umount "$root/proc"' EXIT

echo "Rill from this tree, with the wheels for arm64 that it needs"
rm -rf "$root/src" "$root/clips"
mkdir -p "$root/src" "$root/clips"
git -C "$here" ls-files -z --cached --others --exclude-standard asr export models pyproject.toml \
    README.md LICENSE setup.py | tar -C "$here" --ignore-failed-read --null -T - -c |
    tar -x -C "$root/src"
cp "$here/scripts/arm/listen.py" "$root"
"$python" -c 'import sys, tomllib
known = tomllib.load(open(sys.argv[1], "rb"))
print("\n".join(known["build-system"]["requires"] + known["project"]["dependencies"]))' \
    "$here/pyproject.toml" > "$folder/needed.txt"
"$python" -m pip download -qq --dest "$root/wheels" --only-binary :all: --python-version 3.11 \
    --platform=manylinux_2_{17,26,27,28}_aarch64 --requirement "$folder/needed.txt"
emulated $pi4 pip install --quiet --no-index --find-links /wheels --no-compile \
    --upgrade --force-reinstall /src

echo "Recordings"
cp "$here/asr/cli/demo.flac" "$@" "$root/clips"
number=0
while read -r sentence; do
    number=$((number + 1))
    espeak-ng -v en-us -w "$root/clips/spoken-$number.wav" "$sentence"
done << 'SENTENCES'
the weather will be fine in the morning and it will rain in the evening
please turn off the light in the kitchen and open the window
he went to the station to meet his brother who came home from the war
there are twenty four hours in a day and seven days in a week
SENTENCES
clips=("$root"/clips/*)
inside=("${clips[@]#"$root"}")

echo "Listening here and there"
OMP_NUM_THREADS=1 "$python" "$here/scripts/arm/listen.py" "$here/models/en-small" "${clips[@]}" \
    > "$folder/here.json"
rm -rf "$root/root/.cache"
heard $pi4 first # the start that unpacks the search graph
for cpu in $pi4 $newest; do
    heard $cpu $cpu "${inside[@]}"
done
heard $pi4 bare "${inside[@]}" --bare

echo "Counting instructions"
gcc -O2 -Wall -Wextra -shared -fPIC -o "$root/count.so" "$here/scripts/arm/count.c"
emulator=$(command -v qemu-aarch64)
cp "$emulator" "$root"
ldd "$emulator" | grep -o '/[^ ]*' | xargs cp --dereference --parents --target-directory "$root"
demo=/clips/demo.flac
for way in compiled uncompiled bare; do
    flag=(); [[ $way == compiled ]] || flag=("--$way")
    counted "$way-1" $demo "${flag[@]}"
    counted "$way-3" $demo $demo $demo "${flag[@]}"
done

"$python" "$here/scripts/arm/report.py" "$folder"
