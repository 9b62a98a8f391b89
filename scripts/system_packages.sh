#!/usr/bin/env bash
# Installs the system packages of the tests: a sound system to play into the microphone of, a
# pronouncer, a counter of instructions, what KenLM is built with, a browser, and npm for what runs in
# it. Says what to install where it may not.
set -euo pipefail

packages=(
    pulseaudio pulseaudio-utils libportaudio2 libasound2-plugins espeak-ng valgrind
    cmake g++ zlib1g-dev libbz2-dev liblzma-dev
    libboost-program-options-dev libboost-system-dev libboost-thread-dev libboost-test-dev
)
command -v chromium > /dev/null || packages+=(chromium)
command -v npm > /dev/null || packages+=(nodejs npm) # those of nodejs.org are as good

if ! command -v apt-get > /dev/null; then
    echo "no apt-get here; the tests need what Debian calls: ${packages[*]}" >&2
    exit 0
fi
missing=()
for package in "${packages[@]}"; do
    status=$(dpkg-query -W -f '${Status}' "$package" 2> /dev/null || true)
    [[ $status == "install ok installed" ]] || missing+=("$package")
done
((${#missing[@]})) || exit 0

as_root=()
if ((EUID)); then
    as_root=(sudo -n)
    if ! sudo -n true 2> /dev/null; then
        echo "the tests need system packages: sudo apt-get install ${missing[*]}" >&2
        exit 1
    fi
fi
echo "installing ${missing[*]}"
"${as_root[@]}" apt-get update -qq
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "${missing[@]}" > /dev/null
