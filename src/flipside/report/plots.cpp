#include "flipside/report/plots.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "flipside/core/error.h"
#include "flipside/core/numbers.h"
#include "flipside/report/markup.h"

namespace flipside {
namespace {

/// Size and margins in pixels.
struct PlotLayout {
  double width, height, left, right, top, bottom;
};
constexpr PlotLayout kDocument{640, 400, 60, 190, 36, 52};  // legend right
constexpr PlotLayout kFigure{360, 230, 50, 12, 32, 44};     // legend below, outside
constexpr int kTicks = 5;
const char* const kColours[] = {"#0072B2", "#D55E00", "#009E73", "#CC79A7",
                                "#E69F00", "#56B4E9", "#000000", "#8C8C00"};

/// From values to pixels.
struct Scale {
  PlotLayout in;
  double x_low, x_high, y_low, y_high;
  double right() const { return in.width - in.right; }
  double bottom() const { return in.height - in.bottom; }
  double x(double value) const {
    return in.left + (value - x_low) / (x_high - x_low) * (right() - in.left);
  }
  double y(double value) const {
    const double share = (std::clamp(value, y_low, y_high) - y_low) / (y_high - y_low);
    return bottom() - share * (bottom() - in.top);
  }
};

/// The x axis spans the curves; a span of nothing is widened.
Scale make_scale(const Plot& plot, const PlotLayout& layout) {
  Scale scale{layout, kInfinity, -kInfinity, plot.y_low, plot.y_high};
  for (const auto& curve : plot.curves)
    for (double x : curve.x) {
      if (!std::isfinite(x)) continue;
      scale.x_low = std::min(scale.x_low, x);
      scale.x_high = std::max(scale.x_high, x);
    }
  if (!(scale.x_high >= scale.x_low)) scale.x_low = scale.x_high = 0;
  if (scale.x_high == scale.x_low) scale.x_high += 1;
  if (!(scale.y_high > scale.y_low)) scale.y_high = scale.y_low + 1;
  return scale;
}

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
    values.push_back(i * step + 0.0);  // never "-0"
  return values;
}

std::string text_at(double x, double y, const std::string& text, const std::string& anchor,
                    const std::string& more = "") {
  return fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\"{}>{}</text>\n", x, y,
                     anchor, more, escaped(text));
}

std::string axes(const Plot& plot, const Scale& scale) {
  const double left = scale.in.left, top = scale.in.top;
  const double bottom = scale.bottom(), right = scale.right();
  std::string svg;
  for (double value : ticks(scale.y_low, scale.y_high)) {
    svg +=
        fmt::format("<path d=\"M{} {:.1f}H{}\" stroke=\"#ddd\"/>\n", left, scale.y(value), right);
    svg += text_at(left - 6, scale.y(value) + 4, fmt::format("{:.4g}", value), "end");
  }
  for (double value : ticks(scale.x_low, scale.x_high)) {
    svg += fmt::format("<path d=\"M{:.1f} {}v5\" stroke=\"#333\"/>\n", scale.x(value), bottom);
    svg += text_at(scale.x(value), bottom + 18, fmt::format("{:.4g}", value), "middle");
  }
  svg += fmt::format("<path d=\"M{} {}V{}H{}\" fill=\"none\" stroke=\"#333\"/>\n", left, top,
                     bottom, right);
  const double middle = (top + bottom) / 2;
  svg += text_at((left + right) / 2, bottom + 38, plot.x_label, "middle");
  if (!plot.y_label.empty())
    svg += text_at(16, middle, plot.y_label, "middle",
                   fmt::format(" transform=\"rotate(-90 16 {:.1f})\"", middle));
  svg += text_at(left, top - 14, plot.title, "start", " font-weight=\"bold\"");
  return svg;
}

void check_curve(const Curve& curve) {
  if (curve.y.size() != curve.x.size() || curve.low.size() != curve.high.size() ||
      (!curve.low.empty() && curve.low.size() != curve.x.size()))
    fail(ErrorCode::kArgument, "plot: curve \"{}\" has lists of different lengths", curve.name);
}

std::string curve_svg(const Curve& curve, const Scale& scale, const std::string& colour,
                      const std::string& dashes) {
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
  return svg + fmt::format("<path d=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"1.8\"{}/>\n",
                           line, colour, dashes);
}

const char* colour_of(size_t curve) { return kColours[curve % std::size(kColours)]; }

/// An attribute; the ninth curve and those after it have the first ones' colours and are dashed.
const char* dashes_of(size_t curve) {
  return curve < std::size(kColours) ? "" : " stroke-dasharray=\"6 3\"";
}

/// White ground, axes and curves.
std::string drawing(const Plot& plot, const Scale& scale) {
  std::string svg = fmt::format("<rect width=\"{}\" height=\"{}\" fill=\"white\"/>\n",
                                scale.in.width, scale.in.height) +
                    axes(plot, scale);
  for (size_t i = 0; i < plot.curves.size(); ++i) {
    check_curve(plot.curves[i]);
    svg += curve_svg(plot.curves[i], scale, colour_of(i), dashes_of(i));
  }
  return svg;
}

/// The document's layout, wider where a curve's name needs it.
PlotLayout with_room_for_legend(const Plot& plot) {
  constexpr double kBesideNames = 40, kLetter = 6.6;  // in pixels, of the font below
  PlotLayout layout = kDocument;
  for (const auto& curve : plot.curves)
    layout.right =
        std::max(layout.right, kBesideNames + kLetter * static_cast<double>(curve.name.size()));
  layout.width += layout.right - kDocument.right;
  return layout;
}

}  // namespace

std::string plot_svg(const Plot& plot) {
  const Scale scale = make_scale(plot, with_room_for_legend(plot));
  std::string svg = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0}\" height=\"{1}\" viewBox=\"0 0 {0} "
      "{1}\" font-family=\"sans-serif\" font-size=\"12\">\n",
      scale.in.width, scale.in.height);
  svg += drawing(plot, scale);
  for (size_t i = 0; i < plot.curves.size(); ++i) {
    const double y = scale.in.top + 10 + 18 * static_cast<double>(i), x = scale.right() + 12;
    svg += fmt::format("<path d=\"M{} {}h18\" stroke=\"{}\" stroke-width=\"3\"{}/>\n", x, y,
                       colour_of(i), dashes_of(i));
    svg += text_at(x + 24, y + 4, plot.curves[i].name, "start");
  }
  return svg + "</svg>\n";
}

std::string plot_figure(const Plot& plot) {
  const Scale scale = make_scale(plot, kFigure);
  HtmlWriter html;
  html.open("figure", "class=\"plot\"");
  html.open("svg", fmt::format("viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"{}\" "
                               "font-family=\"sans-serif\" font-size=\"12\"",
                               scale.in.width, scale.in.height, escaped(plot.title)));
  html.raw("\n" + drawing(plot, scale)).close();
  if (plot.curves.size() > 1) {
    html.open("figcaption");
    for (size_t i = 0; i < plot.curves.size(); ++i) {
      html.open("span", "class=\"key\"");
      html.element("i", "", fmt::format("style=\"background:{}\"", colour_of(i)));
      html.text(plot.curves[i].name).close().raw(" ");
    }
    html.close();
  }
  return html.close().str() + "\n";
}

}  // namespace flipside
