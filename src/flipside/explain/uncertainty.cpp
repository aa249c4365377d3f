#include "flipside/explain/uncertainty.h"

#include <fmt/ranges.h>

#include <algorithm>

#include "flipside/core/error.h"
#include "flipside/explain/explainer.h"
#include "flipside/explain/views.h"

namespace flipside {
namespace {

constexpr const char* kViewsScore = "views";  // the one that needs passes over the image's views
constexpr const char* kAnswerScore = "answer";

Tensor host(const Tensor& tensor) { return tensor.to(torch::kCPU, torch::kFloat64); }

/// 1 - p as the sum of the others: near 1 the difference would lose its digits.
Tensor improbability(const Tensor& probs, const Tensor& classes) {
  return probs.scatter(/*dim=*/1, classes.unsqueeze(1), 0.0).sum(/*dim=*/1);
}

/// How little is left to the other classes: [N] of the answers' probabilities [N,K], on the host.
Tensor doubt_of_answers(const Tensor& probs) {
  return improbability(probs, probs.argmax(/*dim=*/1));
}

/// Scores of class logits [N,K] alone.
void add_class_scores(DoubtScores& scores, std::vector<Tensor>& columns) {
  const Tensor log_probs = scores.logits.log_softmax(/*dim=*/1), probs = log_probs.exp();
  const Tensor sorted = std::get<0>(probs.sort(/*dim=*/1, /*descending=*/true));
  const auto add = [&](const char* name, const Tensor& column) {
    scores.names.push_back(name);
    columns.push_back(column);
  };
  add("max_softmax", doubt_of_answers(probs));
  add("entropy", -(probs * log_probs).nan_to_num(0.0).sum(/*dim=*/1));
  add("margin", 1 - (sorted.select(1, 0) - sorted.select(1, 1)));
  add("energy", -scores.logits.logsumexp(/*dim=*/1));
}

bool has_views(const Model& model) { return views_of(model.config, /*square=*/true).size() > 1; }

void add_column(DoubtScores& scores, const char* name, const Tensor& column) {
  scores.names.push_back(name);
  scores.values = torch::cat({scores.values, column.unsqueeze(1)}, /*dim=*/1);
}

/// How little the views together believe the answer: [N] float64.
Tensor views_score(const Model& model, const Tensor& x, const Tensor& probs) {
  torch::NoGradGuard no_grad;
  return improbability(host(view_probs(model, x)), probs.argmax(/*dim=*/1).cpu());
}

void add_views(DoubtScores& scores, const Model& model, const Tensor& x) {
  if (has_views(model)) add_column(scores, kViewsScore, views_score(model, x, scores.probs));
}

}  // namespace

Tensor DoubtScores::at(const std::string& name) const {
  const auto found = std::find(names.begin(), names.end(), name);
  if (found == names.end())
    fail(ErrorCode::kArgument, "doubt score \"{}\" does not exist; there are {}", name,
         fmt::join(names, ", "));
  return values.select(/*dim=*/1, found - names.begin());
}

DoubtScores answer_scores(const Model& model, const NetworkAnswers& answers) {
  const int64_t num_classes = model.num_classes();
  const Tensor all = host(answers.logits);
  DoubtScores scores;
  scores.logits = all.slice(1, 0, num_classes).contiguous();
  scores.probs = host(answers.probs);
  std::vector<Tensor> columns;
  add_class_scores(scores, columns);
  const auto add = [&](const char* name, const Tensor& column) {
    scores.names.push_back(name);
    columns.push_back(column);
  };
  if (has_views(model)) add(kAnswerScore, doubt_of_answers(scores.probs));
  if (model.config.model.kind == ModelKind::kCounterfactual) {
    const Tensor probs = scores.logits.softmax(/*dim=*/1);
    const Tensor fake = fakeness(all, model.config.model.fake_head);
    add("fakeness", fake);
    add("fake_logit", all.select(1, num_classes));
    add("joint", 1 - probs.amax(/*dim=*/1) * (1 - fake));
    add("disagreement", 0.5 * (probs - host(answers.head_probs)).abs().sum(/*dim=*/1));
  }
  scores.values = torch::stack(columns, /*dim=*/1);
  return scores;
}

DoubtScores answer_scores(const Model& model, const Tensor& images) {
  torch::NoGradGuard no_grad;
  const Tensor x = network_images(model, images);
  DoubtScores scores = answer_scores(model, ask(model, x));
  add_views(scores, model, x);
  return scores;
}

Tensor answer_score(const Model& model, const std::string& name, const Tensor& x,
                    const NetworkAnswers& answers) {
  if (name == kViewsScore) return views_score(model, x, answers.probs);
  // Here also of a model that is asked in one view, as its rule was stored when it was in more.
  if (name == kAnswerScore) return doubt_of_answers(host(answers.probs));
  return answer_scores(model, answers).at(name);
}

Tensor answer_score(const Model& model, const std::string& name, const Tensor& images) {
  torch::NoGradGuard no_grad;
  const Tensor x = network_images(model, images);
  return answer_score(model, name, x, ask(model, x));
}

DoubtScores doubt_scores(const Model& model, const Tensor& images) {
  torch::NoGradGuard no_grad;
  if (model.config.model.kind != ModelKind::kCounterfactual) return answer_scores(model, images);
  const Tensor x = network_images(model, images);
  const NetworkAnswers answers = ask(model, x);
  Generator generator = model.generator;
  const Tensor target = Explainer(model).default_targets(answers.probs);
  const Tensor there = generator->forward(x, target).counterfactual;
  const Tensor back = generator->forward(there, answers.probs.argmax(/*dim=*/1)).counterfactual;
  DoubtScores scores = answer_scores(model, answers);
  add_views(scores, model, x);
  add_column(scores, "cycle_error", host((back - x).abs().flatten(1).mean(/*dim=*/1)));
  return scores;
}

Tensor DoubtCombination::standardise(const Tensor& values) const {
  return (values - mean_) / deviation_;
}

std::optional<DoubtCombination> DoubtCombination::fit(const Tensor& values, const Tensor& wrong) {
  const auto errors = wrong.sum().item<int64_t>();
  if (errors < 2 || wrong.numel() - errors < 2) return std::nullopt;
  constexpr double kRidge = 1.0;  // as if each weight were a draw of deviation 1
  constexpr int kSteps = 50;      // Newton's method needs about ten
  DoubtCombination result;
  result.mean_ = values.mean(/*dim=*/0);
  result.deviation_ = values.std(/*dim=*/0, /*unbiased=*/false).clamp_min(1e-12);
  const int64_t n = values.size(0), s = values.size(1);
  const Tensor x = torch::cat({result.standardise(values), torch::ones({n, 1}, torch::kDouble)}, 1);
  const Tensor y = wrong.to(torch::kDouble);
  Tensor penalty = kRidge * torch::eye(s + 1, torch::kDouble);
  penalty[s][s] = 1e-9;  // the bias is free
  Tensor w = torch::zeros({s + 1}, torch::kDouble);
  for (int step = 0; step < kSteps; ++step) {
    const Tensor p = x.mv(w).sigmoid();
    const Tensor gradient = x.t().mv(p - y) + penalty.mv(w);
    const Tensor curvature = (p * (1 - p)).clamp_min(1e-9).unsqueeze(1);
    const Tensor hessian = x.t().mm(x * curvature) + penalty;
    const Tensor move = torch::linalg_solve(hessian, gradient);
    w = w - move.clamp(-2.0, 2.0);  // bounded: a full step may overshoot where p saturates
    if (move.abs().max().item<double>() < 1e-9) break;
  }
  result.weights_ = w.slice(0, 0, s).clone();
  result.bias_ = w[s].item<double>();
  return result;
}

Tensor DoubtCombination::operator()(const Tensor& values) const {
  return (standardise(values).mv(weights_) + bias_).sigmoid();
}

}  // namespace flipside
