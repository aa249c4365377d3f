#include "flipside/report/defect_table.h"

#include <fmt/format.h>

namespace flipside {
namespace {

constexpr int kDigits = 6;  // significant: a millionth of a length is beyond any photograph

double measured(double value) { return std::stod(fmt::format("{:.{}g}", value, kDigits)); }

std::string quoted(const std::string& text) {
  if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
  std::string result = "\"";
  for (char c : text) {
    if (c == '"') result += '"';
    result += c;
  }
  return result + '"';
}

}  // namespace

std::vector<std::pair<std::string, double>> named_measures(const Region& region,
                                                           double mm_per_pixel) {
  const Box& box = region.box;
  std::vector<std::pair<std::string, double>> measures{
      {"area_px", static_cast<double>(box.area)},     {"x_px", static_cast<double>(box.x)},
      {"y_px", static_cast<double>(box.y)},           {"width_px", static_cast<double>(box.width)},
      {"height_px", static_cast<double>(box.height)}, {"length_px", measured(region.length)},
      {"mean_width_px", measured(region.mean_width)}, {"max_width_px", measured(region.max_width)}};
  if (!(mm_per_pixel > 0)) return measures;
  const auto area = static_cast<double>(box.area);
  measures.emplace_back("area_mm2", measured(area * mm_per_pixel * mm_per_pixel));
  measures.emplace_back("length_mm", measured(region.length * mm_per_pixel));
  measures.emplace_back("mean_width_mm", measured(region.mean_width * mm_per_pixel));
  measures.emplace_back("max_width_mm", measured(region.max_width * mm_per_pixel));
  return measures;
}

std::string defect_table_header(double mm_per_pixel) {
  std::string line = "file,number,class";
  for (const auto& [name, value] : named_measures({}, mm_per_pixel)) line += "," + name;
  return line + "\n";
}

std::string defect_table_rows(const std::string& file, const std::vector<std::string>& class_names,
                              const std::vector<Defect>& defects, double mm_per_pixel) {
  std::string lines;
  for (size_t i = 0; i < defects.size(); ++i) {
    lines += fmt::format("{},{},{}", quoted(file), i + 1, quoted(class_names.at(defects[i].label)));
    for (const auto& [name, value] : named_measures(defects[i].region, mm_per_pixel))
      lines += fmt::format(",{}", value);
    lines += "\n";
  }
  return lines;
}

}  // namespace flipside
