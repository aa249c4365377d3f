#include "flipside/data/class_names.h"

#include <cctype>
#include <set>

namespace flipside {
namespace {

const std::set<std::string>& good_words() {
  static const std::set<std::string> words{
      "good",     "ok",       "okay",      "intact",     "normal",     "negative",
      "fresh",    "free",     "undamaged", "healthy",    "pass",       "passed",
      "clean",    "perfect",  "flawless",  "sound",      "uncracked",  "unbroken",
      "pristine", "nodefect", "nodefects", "defectfree", "conforming", "compliant"};
  return words;
}

bool is_negation(const std::string& word) {
  return word == "no" || word == "non" || word == "not" || word == "without" || word == "none";
}

}  // namespace

std::vector<std::string> words_of(const std::string& name) {
  std::vector<std::string> words;
  bool in_word = false, after_lower = false;
  for (const unsigned char c : name) {
    const bool is_letter = std::isalpha(c) != 0;
    if (is_letter && (!in_word || (after_lower && std::isupper(c)))) words.emplace_back();
    if (is_letter) words.back() += static_cast<char>(std::tolower(c));
    in_word = is_letter;
    after_lower = is_letter && std::islower(c);
  }
  return words;
}

bool names_good_parts(const std::string& class_name) {
  bool negated = false, good = false;
  for (std::string word : words_of(class_name)) {
    if (word.size() > 4 && word.compare(0, 3, "non") == 0) {  // "noncracked"
      negated = true;
      word.erase(0, 3);
    }
    negated |= is_negation(word);
    good |= good_words().count(word) > 0;
  }
  return negated != good;
}

}  // namespace flipside
