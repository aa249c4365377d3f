#!/usr/bin/env bash
# Installs what is missing, builds with AddressSanitizer and UndefinedBehaviorSanitizer, runs every
# test. Run again, it builds only what changed. Root or sudo is needed for the packages alone.
set -euo pipefail
cd "$(dirname "$0")/.."

bash scripts/setup.sh
cmake --preset ci
cmake --build --preset ci
bash scripts/check_rooms.sh
ctest --test-dir build/ci --output-on-failure -j "$(nproc)"
