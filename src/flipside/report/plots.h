#pragma once

#include <string>
#include <vector>

namespace flipside {

/// One line of a plot. `low` and `high` (both empty, or as long as `x`) are drawn as a band.
/// Points with a NaN are left out.
struct Curve {
  std::string name;
  std::vector<double> x, y, low, high;
};

/// A line plot; the x axis spans the curves' values, the y axis `y_low` to `y_high`.
struct Plot {
  std::string title, x_label, y_label;
  double y_low = 0, y_high = 1;
  std::vector<Curve> curves;
};

/// The plot as an SVG document of its own, 640 by 400 (wider for long names), with axes, bands and
/// legend; colours that stay apart for colour-blind readers (Okabe and Ito 2008). Throws
/// `Error(kArgument)` when a curve's lists differ in length.
std::string plot_svg(const Plot& plot);

/// The same for a place inside an HTML page: a <figure> with an SVG of 360 by 230 that grows and
/// shrinks with its place, and the legend (of two curves or more) below it as text.
std::string plot_figure(const Plot& plot);

}  // namespace flipside
