#include "flipside/report/plots.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "flipside/core/error.h"

namespace flipside {
namespace {

constexpr double kWidth = 640, kHeight = 400;                        // pixels
constexpr double kLeft = 60, kRight = 190, kTop = 36, kBottom = 52;  // margins; legend right
constexpr int kTicks = 5;
const char* const kColours[] = {"#0072B2", "#D55E00", "#009E73", "#CC79A7",
                                "#E69F00", "#56B4E9", "#000000", "#8C8C00"};

std::string escaped(const std::string& text) {
  std::string result;
  for (char c : text) switch (c) {
      case '&':
        result += "&amp;";
        break;
      case '<':
        result += "&lt;";
        break;
      case '>':
        result += "&gt;";
        break;
      case '"':
        result += "&quot;";
        break;
      default:
        result += c;
    }
  return result;
}

/// From values to pixels.
struct Scale {
  double x_low, x_high, y_low, y_high;
  double x(double value) const {
    return kLeft + (value - x_low) / (x_high - x_low) * (kWidth - kLeft - kRight);
  }
  double y(double value) const {
    const double share = (std::clamp(value, y_low, y_high) - y_low) / (y_high - y_low);
    return kHeight - kBottom - share * (kHeight - kTop - kBottom);
  }
};

/// The step between ticks: 1, 2 or 5 times a power of ten, for about `kTicks` of them.
double tick_step(double range) {
  const double raw = range / kTicks, power = std::pow(10.0, std::floor(std::log10(raw)));
  for (double factor : {1.0, 2.0, 5.0})
    if (raw <= factor * power * 1.0001) return factor * power;
  return 10 * power;
}

std::vector<double> ticks(double low, double high) {
  const double step = tick_step(high - low);
  std::vector<double> values;
  for (double i = std::ceil(low / step - 1e-9); i * step <= high + 1e-9 * step; ++i)
    values.push_back(i * step);
  return values;
}

std::string text_at(double x, double y, const std::string& text, const std::string& anchor,
                    const std::string& more = "") {
  return fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\"{}>{}</text>\n", x, y,
                     anchor, more, escaped(text));
}

std::string axes(const Plot& plot, const Scale& scale) {
  const double bottom = kHeight - kBottom, right = kWidth - kRight;
  std::string svg;
  for (double value : ticks(scale.y_low, scale.y_high)) {
    svg +=
        fmt::format("<path d=\"M{} {:.1f}H{}\" stroke=\"#ddd\"/>\n", kLeft, scale.y(value), right);
    svg += text_at(kLeft - 6, scale.y(value) + 4, fmt::format("{:.4g}", value), "end");
  }
  for (double value : ticks(scale.x_low, scale.x_high)) {
    svg += fmt::format("<path d=\"M{:.1f} {}v5\" stroke=\"#333\"/>\n", scale.x(value), bottom);
    svg += text_at(scale.x(value), bottom + 18, fmt::format("{:.4g}", value), "middle");
  }
  svg += fmt::format("<path d=\"M{} {}V{}H{}\" fill=\"none\" stroke=\"#333\"/>\n", kLeft, kTop,
                     bottom, right);
  svg += text_at((kLeft + right) / 2, kHeight - 14, plot.x_label, "middle");
  svg += text_at(16, (kTop + bottom) / 2, plot.y_label, "middle",
                 fmt::format(" transform=\"rotate(-90 16 {:.1f})\"", (kTop + bottom) / 2));
  svg += text_at(kLeft, 22, plot.title, "start", " font-weight=\"bold\"");
  return svg;
}

void check_curve(const Curve& curve) {
  if (curve.y.size() != curve.x.size() || curve.low.size() != curve.high.size() ||
      (!curve.low.empty() && curve.low.size() != curve.x.size()))
    fail(ErrorCode::kArgument, "plot: curve \"{}\" has lists of different lengths", curve.name);
}

std::string curve_svg(const Curve& curve, const Scale& scale, const std::string& colour) {
  std::string line, above, below;
  const bool has_band = !curve.low.empty();
  for (size_t i = 0; i < curve.x.size(); ++i) {
    if (!std::isfinite(curve.x[i]) || !std::isfinite(curve.y[i])) continue;
    const double x = scale.x(curve.x[i]);
    line += fmt::format("{}{:.1f} {:.1f}", line.empty() ? "M" : "L", x, scale.y(curve.y[i]));
    if (!has_band || !std::isfinite(curve.low[i]) || !std::isfinite(curve.high[i])) continue;
    above += fmt::format("{}{:.1f} {:.1f}", above.empty() ? "M" : "L", x, scale.y(curve.high[i]));
    below = fmt::format("L{:.1f} {:.1f}", x, scale.y(curve.low[i])) + below;
  }
  std::string svg;
  if (!above.empty())
    svg += fmt::format("<path d=\"{}{}Z\" fill=\"{}\" fill-opacity=\"0.12\"/>\n", above, below,
                       colour);
  return svg + fmt::format("<path d=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"1.8\"/>\n",
                           line, colour);
}

}  // namespace

std::string plot_svg(const Plot& plot) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  Scale scale{kInfinity, -kInfinity, plot.y_low, plot.y_high};
  for (const auto& curve : plot.curves) {
    check_curve(curve);
    for (double x : curve.x) {
      if (!std::isfinite(x)) continue;
      scale.x_low = std::min(scale.x_low, x);
      scale.x_high = std::max(scale.x_high, x);
    }
  }
  if (!(scale.x_high >= scale.x_low)) scale.x_low = scale.x_high = 0;
  if (scale.x_high == scale.x_low) scale.x_high += 1;
  if (!(scale.y_high > scale.y_low)) scale.y_high = scale.y_low + 1;
  std::string svg = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0}\" height=\"{1}\" viewBox=\"0 0 {0} "
      "{1}\" font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"{0}\" height=\"{1}\" "
      "fill=\"white\"/>\n",
      kWidth, kHeight);
  svg += axes(plot, scale);
  for (size_t i = 0; i < plot.curves.size(); ++i) {
    const std::string colour = kColours[i % std::size(kColours)];
    svg += curve_svg(plot.curves[i], scale, colour);
    const double y = kTop + 10 + 18 * static_cast<double>(i), x = kWidth - kRight + 12;
    svg += fmt::format("<path d=\"M{} {}h18\" stroke=\"{}\" stroke-width=\"3\"/>\n", x, y, colour);
    svg += text_at(x + 24, y + 4, plot.curves[i].name, "start");
  }
  return svg + "</svg>\n";
}

}  // namespace flipside
