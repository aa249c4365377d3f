#include "flipside/report/markup.h"

#include "flipside/core/error.h"

namespace flipside {
namespace {

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
      case '\'':
        result += "&#39;";
        break;
      default:
        result += c;
    }
  return result;
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
