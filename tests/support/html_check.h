#pragma once

#include <opencv2/imgcodecs.hpp>
#include <opencv2/imgproc.hpp>
#include <set>
#include <string>
#include <vector>

namespace flipside {

/// The first tag that is not closed, or closed without being open; "" for sound markup.
inline std::string markup_problem(const std::string& html) {
  static const std::set<std::string> kVoid{"img", "meta", "br", "hr", "!DOCTYPE"};
  std::vector<std::string> open;
  for (size_t at = html.find('<'); at != std::string::npos; at = html.find('<', at + 1)) {
    const size_t end = html.find('>', at);
    if (end == std::string::npos) return "no end: " + html.substr(at, 40);
    const std::string tag = html.substr(at + 1, end - at - 1);
    const bool closes = tag[0] == '/';
    const size_t name_at = closes ? 1 : 0;
    const std::string name = tag.substr(name_at, tag.find_first_of(" /\n", name_at) - name_at);
    if (closes) {
      if (open.empty() || open.back() != name) return "closed without being open: " + name;
      open.pop_back();
    } else if (kVoid.count(name) == 0 && tag.back() != '/') {
      open.push_back(name);
    }
  }
  return open.empty() ? "" : "never closed: " + open.back();
}

/// Values of an attribute in double quotes, in the order of the page.
inline std::vector<std::string> attribute_values(const std::string& html, const std::string& name) {
  std::vector<std::string> values;
  const std::string start = " " + name + "=\"";
  for (size_t at = html.find(start); at != std::string::npos; at = html.find(start, at + 1)) {
    const size_t from = at + start.size();
    values.push_back(html.substr(from, html.find('"', from) - from));
  }
  return values;
}

/// The picture behind "data:image/...;base64,...": RGB or one channel; empty where it is none.
inline cv::Mat decoded_data_uri(const std::string& uri) {
  const size_t comma = uri.find(";base64,");
  if (uri.rfind("data:image/", 0) != 0 || comma == std::string::npos) return {};
  static const std::string kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::vector<uint8_t> bytes;
  uint32_t bits = 0;
  int count = 0;
  for (size_t i = comma + 8; i < uri.size() && uri[i] != '='; ++i) {
    bits = bits << 6 | static_cast<uint32_t>(kDigits.find(uri[i]));
    count += 6;
    if (count < 8) continue;
    count -= 8;
    bytes.push_back(static_cast<uint8_t>(bits >> count));
  }
  cv::Mat image = cv::imdecode(bytes, cv::IMREAD_UNCHANGED);
  if (image.channels() == 3) cv::cvtColor(image, image, cv::COLOR_BGR2RGB);
  return image;
}

}  // namespace flipside
