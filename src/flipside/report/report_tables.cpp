#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "flipside/eval/flaws.h"
#include "flipside/eval/text_table.h"
#include "flipside/report/report_parts.h"

namespace flipside {
namespace {

using Rows = std::vector<std::vector<std::string>>;
using Figure = std::optional<double>;

Figure defined(double value) { return std::isnan(value) ? Figure() : value; }

Figure iou(const std::optional<MaskScores>& scores) {
  return scores ? defined(scores->iou) : Figure();
}

/// The masks that a model gives by itself: label-free, or a segmenter's.
const std::optional<MaskScores>& own_masks(const Results& results) {
  return results.label_free ? results.label_free : results.fixed;
}

/// Named figures in the order of the page; empty where a run has none.
using NamedFigures = std::vector<std::pair<std::string, Figure>>;

NamedFigures compared_figures(const Results& r) {
  const auto& masks = own_masks(r);
  NamedFigures figures{{"images", static_cast<double>(r.images)},
                       {"accuracy", defined(r.accuracy)},
                       {"mask IoU, label-free threshold", iou(r.label_free)},
                       {"mask IoU, segmenter at 0.5", iou(r.fixed)},
                       {"mask IoU, threshold tuned on masks", iou(r.tuned)},
                       {"mask F1, 2 px tolerance", masks ? defined(masks->tolerant_f1) : Figure()},
                       {"pixel average precision", r.pixel_average_precision},
                       {"IoU of the trivial darkness map", r.darkness_iou}};
  for (const auto& flip : r.flips) {
    const std::string way = r.class_names[flip.from] + " → " + r.class_names[flip.to];
    figures.emplace_back(way + ", flipped for the model", flip.by_discriminator);
    figures.emplace_back(way + ", flipped for the judge", flip.by_judge);
  }
  figures.emplace_back("error to the true counterfactual, inside", r.error_inside);
  figures.emplace_back("error to the true counterfactual, outside", r.error_outside);
  return figures;
}

std::string shown(const std::string& name, const Figure& figure) {
  return name == "images" && figure ? fmt::format("{:.0f}", *figure) : number(figure);
}

void write_tiles(HtmlWriter& html, const Results& results) {
  NamedFigures tiles{{"accuracy", defined(results.accuracy)}};
  if (own_masks(results)) {
    tiles.emplace_back("mask IoU", own_masks(results)->iou);
    tiles.emplace_back("F1, 2 px tolerance", own_masks(results)->tolerant_f1);
  }
  for (const auto& flip : results.flips)
    tiles.emplace_back(
        results.class_names[flip.from] + " → " + results.class_names[flip.to] + " flipped",
        flip.by_discriminator);
  html.open("div", "class=\"tiles\"");
  for (const auto& [name, value] : tiles) {
    if (!value) continue;
    html.open("div").element("b", number(value)).element("span", name).close();
  }
  html.close().raw("\n");
}

/// A table with its heading, to stand beside others.
void write_block(HtmlWriter& html, const std::string& heading, const Rows& rows,
                 bool has_head = true) {
  html.open("div").element("h4", heading).table(rows, has_head).close();
}

/// True classes in rows; the darker a cell, the larger its share of the row.
void write_confusion(HtmlWriter& html, const Results& results) {
  html.open("div").element("h4", "Confusion").open("div", "class=\"wide\"").open("table");
  html.open("tr").element("th", "true \\ predicted", "scope=\"col\"");
  for (const auto& name : results.class_names) html.element("th", name, "scope=\"col\"");
  html.close();
  for (size_t k = 0; k < results.confusion.size(); ++k) {
    double sum = 0;
    for (int64_t count : results.confusion[k]) sum += static_cast<double>(count);
    html.open("tr").element("th", results.class_names[k], "scope=\"row\"");
    for (size_t j = 0; j < results.confusion[k].size(); ++j) {
      const double share = sum > 0 ? static_cast<double>(results.confusion[k][j]) / sum : 0;
      html.element("td", std::to_string(results.confusion[k][j]),
                   fmt::format("style=\"background:rgba({},{:.2f})\"",
                               j == k ? "0,114,178" : "213,94,0", 0.45 * share));
    }
    html.close();
  }
  html.close().close().close();
}

void write_classes(HtmlWriter& html, const Results& results) {
  Rows rows{{"accuracy", number(results.accuracy)},
            {"balanced accuracy", number(results.balanced_accuracy)},
            {"macro F1", number(results.macro_f1)},
            {"AUROC, defect or not", number(results.auroc)}};
  if (!std::isnan(results.head_accuracy))
    rows.push_back({"accuracy of the generator's head", number(results.head_accuracy)});
  if (results.judge_accuracy)
    rows.push_back({"accuracy of the judge", number(results.judge_accuracy)});
  write_block(html, "Classes", rows, /*has_head=*/false);
  write_confusion(html, results);
}

void write_flips(HtmlWriter& html, const Results& results) {
  const bool judged = results.flips.front().by_judge.has_value();
  Rows rows{{"from → to", "images", "model", "“fake” allowed"}};
  if (judged) rows[0].push_back("judge");
  for (const auto& flip : results.flips) {
    rows.push_back({results.class_names[flip.from] + " → " + results.class_names[flip.to],
                    std::to_string(flip.images), number(flip.by_discriminator),
                    number(flip.by_discriminator_strict)});
    if (judged) rows.back().push_back(number(flip.by_judge));
  }
  write_block(html, "Counterfactuals taken for their target class", rows);
}

void write_masks(HtmlWriter& html, const Results& results) {
  Rows rows{{"threshold"}, {"its value"},          {"IoU"},       {"IoU per image"},
            {"F1"},        {"F1, 2 px tolerance"}, {"precision"}, {"recall"}};
  const auto add = [&](const char* name, const std::optional<MaskScores>& s) {
    if (!s) return;
    rows[0].push_back(name);
    const double values[] = {s->threshold,   s->iou,       s->mean_iou, s->f1,
                             s->tolerant_f1, s->precision, s->recall};
    for (size_t i = 0; i < std::size(values); ++i) rows[i + 1].push_back(number(values[i]));
  };
  add("label-free", results.label_free);
  add("fixed", results.fixed);
  add("tuned on masks", results.tuned);
  write_block(html, fmt::format("Masks of {} defect images", results.mask_images), rows);
  Rows others{{"pixel average precision", number(results.pixel_average_precision)}};
  if (results.darkness_iou)
    others.push_back({"IoU of the trivial darkness map", number(results.darkness_iou)});
  if (results.error_inside) {
    others.push_back({"error to the true counterfactual, inside", number(results.error_inside)});
    others.push_back({"the same outside of the defect", number(results.error_outside)});
  }
  write_block(html, "Maps", others, /*has_head=*/false);
}

void write_faithfulness(HtmlWriter& html, const Results& results) {
  Rows rows{{"by", "deletion", "2 px wider", "insertion", "COUT"}};
  const auto add = [&](const std::string& name, const std::optional<FaithfulnessScores>& s) {
    if (s)
      rows.push_back({name, number(s->deletion), number(s->deletion_wide), number(s->insertion),
                      number(s->cout)});
  };
  add("the model", results.faithfulness);
  add("the judge", results.judge_faithfulness);
  const std::string by = results.judge_faithfulness ? "the judge" : "the model";
  add(by + ", true masks", results.true_mask_faithfulness);
  add(by + ", true masks and counterfactuals", results.exact_faithfulness);
  write_block(html, "Is the prediction turned by the mask alone?", rows);
}

void write_flaws(HtmlWriter& html, const Results& results) {
  const auto flaws = find_flaws(results);
  html.element("h3", "Before you rely on it");
  if (flaws.empty()) html.element("p", "These figures give nothing to warn of.");
  for (const auto& flaw : flaws) {
    html.open("p").element("b", fmt::format("{}:", to_string(flaw.severity))).text(" " + flaw.what);
    html.text(". Remedy: " + flaw.remedy + ".").close();
  }
}

/// How masks were judged, for the reader who was not there.
std::string mask_rule(const Results& results) {
  if (results.fixed)
    return "Masks are judged as the segmenter gives them, at probability 0.5 and at the threshold "
           "of best IoU on the validation masks.";
  std::string text =
      "Masks are judged given the true label: a defect image is turned into the class " +
      results.class_names.at(results.reference_class) +
      " even where the classifier errs, so that finding and classifying are told apart. Both "
      "thresholds were chosen on the validation split: the label-free one from the labels alone "
      "(Otsu), the tuned one from its masks.";
  if (results.split == Split::kVal)
    text += " This page shows that very split: its mask scores flatter.";
  return text;
}

}  // namespace

void write_comparison(HtmlWriter& html, const std::vector<std::string>& names,
                      const std::vector<Results>& results) {
  Rows rows{{"figure"}};
  for (size_t run = 0; run < results.size(); ++run) {
    rows[0].push_back(names[run]);
    for (const auto& [name, figure] : compared_figures(results[run])) {
      const std::string& wanted = name;
      auto row = std::find_if(rows.begin() + 1, rows.end(),
                              [&](const auto& cells) { return cells[0] == wanted; });
      if (row == rows.end()) {
        rows.emplace_back(results.size() + 1, "-");
        rows.back()[0] = name;
        row = rows.end() - 1;
      }
      (*row)[run + 1] = shown(name, figure);
    }
  }
  const auto is_empty = [](const std::vector<std::string>& cells) {
    return std::all_of(cells.begin() + 1, cells.end(), [](const auto& c) { return c == "-"; });
  };
  rows.erase(std::remove_if(rows.begin() + 1, rows.end(), is_empty), rows.end());
  html.open("section").element("h2", "Side by side").table(rows).close().raw("\n");
}

void write_figures(HtmlWriter& html, const Results& results) {
  html.element("h3", "Figures");
  write_tiles(html, results);
  html.open("div", "class=\"blocks\"");
  if (!results.confusion.empty()) write_classes(html, results);
  if (!results.flips.empty()) write_flips(html, results);
  if (results.mask_images > 0) write_masks(html, results);
  if (results.faithfulness && results.faithfulness->cout_images > 0)
    write_faithfulness(html, results);
  html.close().raw("\n");
  if (results.mask_images > 0) html.element("p", mask_rule(results), "class=\"note\"");
  write_flaws(html, results);
}

}  // namespace flipside
