#pragma once

#include <CLI/CLI.hpp>

namespace flipside {

/// Adds `synth KIND OUT --count N --size S --seed X`, which writes a generated data set.
void add_synth_command(CLI::App& app);

}  // namespace flipside
