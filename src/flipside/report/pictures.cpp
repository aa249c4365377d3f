#include "flipside/report/pictures.h"

#include <algorithm>
#include <cmath>
#include <opencv2/imgproc.hpp>
#include <sstream>

#include "flipside/core/error.h"

namespace flipside {
namespace {

const cv::Scalar kMark(255, 0, 170);  // magenta: rare on concrete, metal and fruit
constexpr double kTint = 0.3;         // opacity of the mask's inside
constexpr double kFontScale = 0.4;    // of a font 22 pixels high: legible in a 128 pixel cell
constexpr int kFont = cv::FONT_HERSHEY_SIMPLEX;
constexpr int kLineHeight = 18;  // pixels
constexpr int kGap = 4;          // pixels between cells

/// Black through red and yellow to white: each third of the range fills one channel.
cv::Mat heat_colours() {
  cv::Mat table(1, 256, CV_8UC3);
  for (int i = 0; i < 256; ++i) {
    const int ramp = 3 * i;
    table.at<cv::Vec3b>(i) = {cv::saturate_cast<uint8_t>(ramp),
                              cv::saturate_cast<uint8_t>(ramp - 255),
                              cv::saturate_cast<uint8_t>(ramp - 510)};
  }
  return table;
}

int text_width(const std::string& text) {
  int baseline = 0;
  return cv::getTextSize(text, kFont, kFontScale, 1, &baseline).width;
}

/// Cuts the middle out until the text is at most `width` pixels wide: a file's name tells at both
/// ends.
std::string fit_text(const std::string& text, int width) {
  std::string fitting = text;
  for (size_t kept = text.size(); text_width(fitting) > width && kept > 0;) {
    --kept;
    fitting = text.substr(0, kept / 2) + ".." + text.substr(text.size() - (kept - kept / 2));
  }
  return fitting;
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

void draw_text(cv::Mat& canvas, const std::string& text, int x, int y, int width) {
  cv::putText(canvas, fit_text(text, width), {x, y + kLineHeight - 5}, kFont, kFontScale,
              cv::Scalar(0, 0, 0), 1, cv::LINE_AA);
}

/// Draws the image as large as fits into a square cell, aspect ratio kept, centred.
void draw_cell(cv::Mat& canvas, const cv::Mat& image, int x, int y, int cell) {
  if (image.empty()) return;
  const double scale = static_cast<double>(cell) / std::max(image.cols, image.rows);
  const cv::Size size(std::max(1, static_cast<int>(std::lround(image.cols * scale))),
                      std::max(1, static_cast<int>(std::lround(image.rows * scale))));
  cv::Mat resized;
  cv::resize(image, resized, size, 0, 0, scale < 1 ? cv::INTER_AREA : cv::INTER_LINEAR);
  const cv::Point corner(x + (cell - size.width) / 2, y + (cell - size.height) / 2);
  resized.copyTo(canvas(cv::Rect(corner, size)));
}

}  // namespace

cv::Mat heatmap(const cv::Mat& saliency) {
  if (saliency.type() != CV_32FC1)
    fail(ErrorCode::kArgument, "heatmap: saliency must be one channel of float32 (CV_32FC1)");
  static const cv::Mat table = heat_colours();
  cv::Mat levels, colours;
  saliency.convertTo(levels, CV_8U, 255 / kHeatScale);
  cv::cvtColor(levels, levels, cv::COLOR_GRAY2RGB);
  cv::LUT(levels, table, colours);
  return colours;
}

cv::Mat heatmap(const Tensor& saliency) {
  if (saliency.dim() != 3 || saliency.size(0) != 1)
    fail(ErrorCode::kArgument, "heatmap: saliency must be [1,H,W]");
  const Tensor values = saliency.detach().to(torch::kCPU, torch::kFloat32).contiguous();
  return heatmap(cv::Mat(static_cast<int>(values.size(1)), static_cast<int>(values.size(2)),
                         CV_32FC1, values.data_ptr<float>()));
}

cv::Mat overlay(const cv::Mat& image, const cv::Mat& mask) {
  if (image.type() != CV_8UC3 || mask.type() != CV_8UC1 || image.size() != mask.size())
    fail(ErrorCode::kArgument,
         "overlay: image must be CV_8UC3 and mask CV_8UC1 of the same size; got {}x{} and {}x{}",
         image.cols, image.rows, mask.cols, mask.rows);
  cv::Mat tinted, grown, result = image.clone();
  cv::addWeighted(image, 1 - kTint, cv::Mat(image.size(), CV_8UC3, kMark), kTint, 0, tinted);
  tinted.copyTo(result, mask);
  // The outline lies outside of the mask, so that it hides nothing of the defect.
  const int thickness = std::max(1, std::min(image.cols, image.rows) / 200);
  cv::dilate(
      mask, grown,
      cv::getStructuringElement(cv::MORPH_ELLIPSE, cv::Size(2 * thickness + 1, 2 * thickness + 1)));
  result.setTo(kMark, grown & ~mask);
  return result;
}

cv::Mat picture_grid(const std::vector<std::vector<cv::Mat>>& rows,
                     const std::vector<std::string>& captions,
                     const std::vector<std::string>& row_labels, int cell) {
  if (cell < 1) fail(ErrorCode::kArgument, "picture_grid: cell = {}: must be > 0", cell);
  size_t columns = captions.size();
  for (const auto& row : rows) columns = std::max(columns, row.size());
  int label_width = 0;
  for (const auto& label : row_labels)
    for (const auto& line : lines_of(label))
      label_width = std::max(label_width, text_width(line) + kGap);
  label_width = std::min(label_width, 2 * cell);
  const int top = captions.empty() ? kGap : kLineHeight;
  const int left = label_width + kGap, pitch = cell + kGap;
  cv::Mat canvas(top + pitch * static_cast<int>(rows.size()),
                 left + pitch * static_cast<int>(columns), CV_8UC3, cv::Scalar::all(255));
  for (size_t column = 0; column < captions.size(); ++column)
    draw_text(canvas, captions[column], left + pitch * static_cast<int>(column), 0, cell);
  for (size_t r = 0; r < rows.size(); ++r) {
    const int y = top + pitch * static_cast<int>(r);
    const auto lines = r < row_labels.size() ? lines_of(row_labels[r]) : std::vector<std::string>{};
    const int first = y + (cell - kLineHeight * static_cast<int>(lines.size())) / 2;
    for (size_t i = 0; i < lines.size(); ++i)
      draw_text(canvas, lines[i], kGap, first + kLineHeight * static_cast<int>(i),
                label_width - kGap);
    for (size_t column = 0; column < rows[r].size(); ++column)
      draw_cell(canvas, rows[r][column], left + pitch * static_cast<int>(column), y, cell);
  }
  return canvas;
}

}  // namespace flipside
