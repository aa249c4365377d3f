#!/usr/bin/env bash
# Formats every C++ file of the project in place (needs clang-format, Debian's package of that name).
set -euo pipefail
cd "$(dirname "$0")/.."
git ls-files -co --exclude-standard '*.cpp' '*.h' '*.cu' | xargs clang-format -i
