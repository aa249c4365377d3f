#include "flipside/report/html.h"

#include <algorithm>
#include <opencv2/imgcodecs.hpp>
#include <opencv2/imgproc.hpp>

#include "flipside/core/error.h"

namespace flipside {
namespace {

constexpr int kJpegQuality = 88;  // of 100: no visible blocks at the sizes shown

std::string start_tag(const std::string& name, const std::string& attributes) {
  return "<" + name + (attributes.empty() ? "" : " " + attributes) + ">";
}

std::string table_row(const std::vector<std::string>& cells, bool is_head) {
  HtmlWriter row;
  row.open("tr");
  for (size_t i = 0; i < cells.size(); ++i) {
    const char* scope = is_head ? "scope=\"col\"" : i == 0 ? "scope=\"row\"" : "";
    row.element(is_head || i == 0 ? "th" : "td", cells[i], scope);
  }
  return row.close().str() + "\n";
}

}  // namespace

std::string base64(const std::string& bytes) {
  static const char* const kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  text.reserve((bytes.size() + 2) / 3 * 4);
  for (size_t i = 0; i < bytes.size(); i += 3) {
    const size_t count = std::min<size_t>(3, bytes.size() - i);
    uint32_t bits = 0;
    for (size_t k = 0; k < 3; ++k)
      bits = bits << 8 | (k < count ? static_cast<uint8_t>(bytes[i + k]) : 0u);
    for (size_t k = 0; k < 4; ++k) text += k <= count ? kDigits[bits >> (18 - 6 * k) & 63] : '=';
  }
  return text;
}

std::string data_uri(const cv::Mat& image, PictureCode code) {
  if (image.empty() || (image.type() != CV_8UC3 && image.type() != CV_8UC1))
    fail(ErrorCode::kArgument, "data_uri: the picture must be CV_8UC3 or CV_8UC1 and not empty");
  cv::Mat stored;
  if (image.channels() == 3)
    cv::cvtColor(image, stored, cv::COLOR_RGB2BGR);
  else
    stored = image;
  std::vector<uint8_t> bytes;
  const bool is_png = code == PictureCode::kPng;
  if (is_png)
    cv::imencode(".png", stored, bytes, {cv::IMWRITE_PNG_COMPRESSION, 9});
  else
    cv::imencode(".jpg", stored, bytes, {cv::IMWRITE_JPEG_QUALITY, kJpegQuality});
  return std::string("data:image/") + (is_png ? "png" : "jpeg") + ";base64," +
         base64({bytes.begin(), bytes.end()});
}

HtmlWriter& HtmlWriter::open(const std::string& name, const std::string& attributes) {
  open_.push_back(name);
  return raw(start_tag(name, attributes));
}

HtmlWriter& HtmlWriter::close() {
  if (open_.empty()) fail(ErrorCode::kArgument, "HtmlWriter: nothing is open to be closed");
  const std::string name = open_.back();
  open_.pop_back();
  return raw("</" + name + ">");
}

HtmlWriter& HtmlWriter::text(const std::string& text) { return raw(escaped(text)); }

HtmlWriter& HtmlWriter::element(const std::string& name, const std::string& text,
                                const std::string& attributes) {
  return open(name, attributes).text(text).close();
}

HtmlWriter& HtmlWriter::raw(const std::string& markup) {
  markup_ += markup;
  return *this;
}

HtmlWriter& HtmlWriter::picture(const cv::Mat& image, PictureCode code,
                                const std::string& alternative) {
  return raw(fmt::format("<img width=\"{}\" height=\"{}\" alt=\"{}\" src=\"{}\">", image.cols,
                         image.rows, escaped(alternative), data_uri(image, code)));
}

HtmlWriter& HtmlWriter::table(const std::vector<std::vector<std::string>>& rows, bool has_head) {
  open("div", "class=\"wide\"").open("table");
  for (size_t i = 0; i < rows.size(); ++i) raw(table_row(rows[i], has_head && i == 0));
  return close().close().raw("\n");
}

const std::string& HtmlWriter::str() const {
  if (!open_.empty())
    fail(ErrorCode::kArgument, "HtmlWriter: the element {} is still open", open_.back());
  return markup_;
}

std::string html_page(const std::string& title, const std::string& style, const std::string& body) {
  return "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
         "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>" +
         escaped(title) + "</title>\n<style>\n" + style + "</style>\n</head>\n<body>\n" + body +
         "</body>\n</html>\n";
}

}  // namespace flipside
