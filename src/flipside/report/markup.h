#pragma once

#include <string>
#include <vector>

namespace flipside {

/// The text with the five characters that mean something in markup replaced: fit for HTML, SVG and
/// attributes in double quotes.
std::string escaped(const std::string& text);

/// Builds markup piece by piece; every element that is opened must be closed. Texts are escaped
/// here, attributes (`class="wide"`) stand as they are given.
class HtmlWriter {
 public:
  HtmlWriter& open(const std::string& name, const std::string& attributes = "");
  /// Closes the element opened last.
  HtmlWriter& close();
  HtmlWriter& text(const std::string& text);
  /// A whole element with a text.
  HtmlWriter& element(const std::string& name, const std::string& text,
                      const std::string& attributes = "");
  /// What is markup already.
  HtmlWriter& raw(const std::string& markup);
  /// Rows of texts. The first cell of each row is a head, and so is the first row unless
  /// `has_head` is false. A table wider than its place scrolls.
  HtmlWriter& table(const std::vector<std::vector<std::string>>& rows, bool has_head = true);
  /// All that was written. Throws `Error(kArgument)` when an element is still open.
  const std::string& str() const;

 private:
  std::string markup_;
  std::vector<std::string> open_;
};

/// A whole page in English: head with `title` and the style sheet `style`, and `body`.
std::string html_page(const std::string& title, const std::string& style, const std::string& body);

}  // namespace flipside
