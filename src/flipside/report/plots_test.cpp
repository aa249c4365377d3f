#include "flipside/report/plots.h"

#include <gtest/gtest.h>

#include <cmath>

#include "flipside/core/error.h"
#include "support/html_check.h"

namespace flipside::plots_test {
namespace {

int count(const std::string& text, const std::string& part) {
  int found = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++found;
  return found;
}

TEST(PlotSvg, DrawsCurvesBandsAndLegend) {
  Plot plot{"A & B", "eps", "accuracy", 0, 1, {}};
  plot.curves.push_back({"first", {0, 1, 2}, {1, 0.5, 0}, {0.9, 0.4, 0}, {1, 0.6, 0.1}});
  plot.curves.push_back({"<second>", {0, 2}, {0.5, std::nan("")}, {}, {}});
  const std::string svg = plot_svg(plot);
  EXPECT_EQ(svg.rfind("<svg", 0), 0u);
  EXPECT_NE(svg.find("</svg>"), std::string::npos);
  EXPECT_NE(svg.find("A &amp; B"), std::string::npos);
  EXPECT_NE(svg.find("&lt;second&gt;"), std::string::npos);
  EXPECT_EQ(count(svg, "fill-opacity"), 1);  // one band
  EXPECT_EQ(count(svg, "stroke-width=\"1.8\""), 2);
  EXPECT_EQ(svg.find("nan"), std::string::npos);
  // The first curve runs from the top left to the bottom right corner of the axes.
  EXPECT_NE(svg.find("M60.0 36.0L255.0 192.0L450.0 348.0"), std::string::npos) << svg;
}

TEST(PlotFigure, StandsInsideAPage) {
  Plot plot{"A & B", "step", "", 0, 1, {}};
  plot.curves.push_back({"first", {0, 1}, {1, 0}, {}, {}});
  const std::string alone = plot_figure(plot);
  EXPECT_EQ(markup_problem(alone), "");
  EXPECT_EQ(alone.find("xmlns"), std::string::npos);
  EXPECT_EQ(alone.find("figcaption"), std::string::npos);  // one curve needs no legend
  EXPECT_NE(alone.find("M50.0 32.0L348.0 186.0"), std::string::npos) << alone;
  plot.curves.push_back({"<second>", {0, 1}, {0, 1}, {}, {}});
  const std::string both = plot_figure(plot);
  EXPECT_EQ(markup_problem(both), "");
  EXPECT_EQ(count(both, "class=\"key\""), 2);
  EXPECT_NE(both.find("&lt;second&gt;"), std::string::npos);
}

TEST(PlotSvg, HasRoomForLongNamesAndDashesForManyCurves) {
  Plot plot{"", "", "", 0, 1, {}};
  for (int i = 0; i < 9; ++i) plot.curves.push_back({"c", {0, 1}, {0, 1}, {}, {}});
  const std::string narrow = plot_svg(plot);
  EXPECT_NE(narrow.find("width=\"640\""), std::string::npos);
  EXPECT_EQ(count(narrow, "stroke-dasharray"), 2);  // the ninth curve and its key
  plot.curves[0].name = std::string(40, 'm');
  EXPECT_EQ(plot_svg(plot).find("width=\"640\""), std::string::npos);
}

TEST(PlotSvg, TakesEmptyAndConstantData) {
  EXPECT_NE(plot_svg({"", "", "", 0, 1, {}}).find("</svg>"), std::string::npos);
  EXPECT_EQ(plot_svg({"", "", "", 0, 0, {{"point", {3}, {0}, {}, {}}}}).find("inf"),
            std::string::npos);
}

TEST(PlotSvg, RefusesListsOfDifferentLength) {
  EXPECT_THROW(plot_svg({"", "", "", 0, 1, {{"a", {1, 2}, {1}, {}, {}}}}), Error);
  EXPECT_THROW(plot_svg({"", "", "", 0, 1, {{"a", {1}, {1}, {1}, {}}}}), Error);
}

}  // namespace
}  // namespace flipside::plots_test
