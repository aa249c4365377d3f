#!/usr/bin/env bash
# From nothing to pictures: installs packages, builds, makes a data set of generated cracks, trains
# the system and an independent judge, evaluates, explains. Everything lands in demo/. Run again, it
# skips what is done and goes on where it was stopped. Root or sudo is needed for the packages alone.
set -euo pipefail
cd "$(dirname "$0")/.."

bash scripts/setup.sh
cmake --preset release -DFLIPSIDE_TESTS=OFF -DFLIPSIDE_BENCH=OFF >/dev/null
cmake --build --preset release --target flipside_cli
flipside=build/release/flipside
out=demo
data=$out/cracks

# Trains into the run folder $1, or goes on with it; the other arguments are train's.
train() {
  local run=$1
  shift
  if [ -e "$run" ]; then
    "$flipside" train --resume "$run"
  else
    "$flipside" train "$data" --out "$run" "$@"
  fi
}

mkdir -p "$out"
"$flipside" synth cracks "$data" --count 6000 --size 64 --seed 1
"$flipside" data check "$data"
train "$out/run" --config configs/demo.toml
train "$out/judge" --config configs/judge.toml
"$flipside" evaluate "$out/run" "$data" --judge "$out/judge" | tee "$out/evaluation.txt"
"$flipside" explain "$out/run" "$data/test" --out "$out/explained"

echo
echo "Done. Look at:"
echo "  $out/explained/contact_sheet.png   every kind of result at a glance"
echo "  $out/explained/crack/              counterfactual, heat map, mask and overlay per image"
echo "  $out/run/samples/                  how the training went"
echo "  $out/evaluation.txt                the table above"
