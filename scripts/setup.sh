#!/usr/bin/env bash
# Installs the Debian packages that flipside builds with. Needs root, or sudo, and only for this.
set -euo pipefail

packages=(
  g++ cmake ninja-build pkg-config ca-certificates
  libtorch-dev libgloo-dev libopenblas0-pthread
  libopencv-dev libcli11-dev nlohmann-json3-dev libspdlog-dev libfmt-dev zlib1g-dev
  libgtest-dev libgmock-dev libbenchmark-dev
)

missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
done
if [ ${#missing[@]} -eq 0 ]; then
  echo "packages: all installed"
  exit 0
fi

as_root=()
if [ "$(id -u)" -ne 0 ]; then
  if ! command -v sudo >/dev/null; then
    echo "setup.sh: these packages are missing: ${missing[*]}" >&2
    echo "Installing them needs root: run this script as root once, or install sudo." >&2
    exit 1
  fi
  echo "packages: installing ${missing[*]} needs root; sudo may ask for a password"
  as_root=(sudo)
fi
"${as_root[@]}" apt-get update -qq
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
  apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
echo "packages: installed ${missing[*]}"
