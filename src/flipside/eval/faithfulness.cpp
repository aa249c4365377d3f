#include "flipside/eval/faithfulness.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "flipside/core/error.h"

namespace flipside {
namespace {

double share(int64_t part, int64_t whole) {
  return whole == 0 ? std::numeric_limits<double>::quiet_NaN()
                    : static_cast<double>(part) / static_cast<double>(whole);
}

/// Each pixel's place in the order of falling saliency, equal ones in reading order: [N,1,H,W].
Tensor saliency_ranks(const Tensor& saliency) {
  const Tensor flat = saliency.flatten(/*start_dim=*/1);
  const Tensor order = std::get<1>(torch::sort(flat, /*stable=*/true, /*dim=*/1,
                                               /*descending=*/true));
  const Tensor places = torch::arange(flat.size(1), torch::kInt64).expand_as(order);
  return torch::empty_like(order).scatter_(/*dim=*/1, order, places).view(saliency.sizes());
}

/// Ranks 1..M of M values, ties sharing the mean of theirs.
std::vector<double> mean_ranks(const Tensor& map) {
  const Tensor flat = map.detach().to(torch::kCPU, torch::kDouble).contiguous().flatten();
  if (flat.isnan().any().item<bool>())
    fail(ErrorCode::kArgument, "rank correlation: a map has NaN; maps must be numbers");
  const double* values = flat.data_ptr<double>();
  std::vector<size_t> order(flat.numel());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return values[a] < values[b]; });
  std::vector<double> ranks(order.size());
  for (size_t begin = 0, end; begin < order.size(); begin = end) {
    for (end = begin; end < order.size() && values[order[end]] == values[order[begin]];) ++end;
    for (size_t i = begin; i < end; ++i)
      ranks[order[i]] = 0.5 * static_cast<double>(begin + end + 1);
  }
  return ranks;
}

/// The layer that a tensor of the network belongs to, or "" for those that the map never meets.
std::string layer_of(const std::string& tensor, bool of_generator) {
  // "generator.decoder.up0.merge..." -> "decoder.up0"; "discriminator.down1.conv..." -> "down1".
  const std::string prefix = of_generator ? "generator." : "discriminator.";
  if (tensor.compare(0, prefix.size(), prefix) != 0) return "";
  const std::string name = tensor.substr(prefix.size());
  if (!of_generator) return name.substr(0, name.find('.'));
  if (name.compare(0, 5, "head.") == 0) return "";
  return name.substr(0, name.find('.', name.find('.') + 1));
}

/// Layers from the input to the output, as the networks registered them.
std::vector<std::string> layers_in_order(const Model& model, bool of_generator) {
  std::vector<std::string> layers;
  const auto visit = [&](const torch::nn::Module& network, const std::string& prefix) {
    for (const auto& item : network.named_parameters()) {
      const std::string layer = layer_of(prefix + item.key(), of_generator);
      if (!layer.empty() && std::find(layers.begin(), layers.end(), layer) == layers.end())
        layers.push_back(layer);
    }
  };
  if (of_generator)
    visit(*model.generator, "generator.");
  else
    visit(*model.discriminator, "discriminator.");
  return layers;
}

double mean_correlation(const Tensor& a, const Tensor& b) {
  double sum = 0;
  for (int64_t n = 0; n < a.size(0); ++n) sum += rank_correlation(a[n], b[n]);
  return sum / static_cast<double>(a.size(0));
}

}  // namespace

Tensor take_over(const Tensor& image, const Tensor& replacement, const Tensor& mask) {
  return torch::where(mask > 0.5, replacement, image);
}

void FaithfulnessMeter::add(const Cases& cases) {
  const torch::NoGradGuard no_grad;
  if (cases.images.size(0) == 0) return;
  const Tensor before = probabilities_(cases.images);
  const Tensor after = probabilities_(cases.counterfactuals);
  add_swaps(cases, before, after);
  if (steps_ > 0) add_curve(cases, before, after);
}

void FaithfulnessMeter::add_swaps(const Cases& cases, const Tensor& before, const Tensor& after) {
  const auto is_target = [&](const Tensor& probs) {
    return probs.argmax(/*dim=*/1) == cases.targets;
  };
  const auto count = [](const Tensor& flags) { return flags.sum().item<int64_t>(); };
  const Tensor counted = is_target(before).logical_not();
  const Tensor flipped = counted & is_target(after);
  const auto deleted_by = [&](const Tensor& masks) {
    return is_target(probabilities_(take_over(cases.images, cases.counterfactuals, masks)));
  };
  const Tensor wide = torch::max_pool2d(cases.masks, /*kernel_size=*/2 * kMaskMargin + 1,
                                        /*stride=*/1, /*padding=*/kMaskMargin);
  const Tensor inserted =
      is_target(probabilities_(take_over(cases.counterfactuals, cases.images, cases.masks)))
          .logical_not();
  images_ += count(counted);
  deleted_ += count(counted & deleted_by(cases.masks));
  deleted_wide_ += count(counted & deleted_by(wide));
  flipped_ += count(flipped);
  inserted_ += count(flipped & inserted);
}

void FaithfulnessMeter::add_curve(const Cases& cases, const Tensor& before, const Tensor& after) {
  const auto difference = [&](const Tensor& probs) {
    const Tensor gap = probs.gather(/*dim=*/1, cases.targets.unsqueeze(1)) -
                       probs.gather(/*dim=*/1, cases.labels.unsqueeze(1));
    return gap.sum().item<double>();
  };
  const Tensor ranks = saliency_ranks(cases.saliency);
  const int64_t pixels = cases.saliency.size(2) * cases.saliency.size(3);
  // Trapezoidal rule: the two ends count half.
  double sum = 0.5 * (difference(before) + difference(after));
  for (int64_t step = 1; step < steps_; ++step) {
    const Tensor taken = ranks < (pixels * step + steps_ / 2) / steps_;
    sum += difference(
        probabilities_(take_over(cases.images, cases.counterfactuals, taken.to(torch::kFloat32))));
  }
  cout_sum_ += sum / static_cast<double>(steps_);
  cout_images_ += cases.images.size(0);
}

FaithfulnessScores FaithfulnessMeter::scores() const {
  FaithfulnessScores scores;
  scores.images = images_;
  scores.deletion = share(deleted_, images_);
  scores.deletion_wide = share(deleted_wide_, images_);
  scores.flipped = flipped_;
  scores.insertion = share(inserted_, flipped_);
  scores.cout_images = cout_images_;
  scores.cout = cout_images_ == 0 ? std::numeric_limits<double>::quiet_NaN()
                                  : cout_sum_ / static_cast<double>(cout_images_);
  return scores;
}

double rank_correlation(const Tensor& a, const Tensor& b) {
  if (a.numel() != b.numel() || a.numel() == 0)
    fail(ErrorCode::kArgument, "rank_correlation: both maps must have the same pixels");
  const auto x = mean_ranks(a), y = mean_ranks(b);
  const double mean = 0.5 * static_cast<double>(x.size() + 1);
  double xy = 0, xx = 0, yy = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    xy += (x[i] - mean) * (y[i] - mean);
    xx += (x[i] - mean) * (x[i] - mean);
    yy += (y[i] - mean) * (y[i] - mean);
  }
  return xx == 0 || yy == 0 ? 0.0 : xy / std::sqrt(xx * yy);
}

std::vector<RandomisedLayer> randomisation_test(const Model& model, bool of_generator,
                                                const std::function<Tensor(const Model&)>& map,
                                                uint64_t seed) {
  const torch::NoGradGuard no_grad;
  // The initial weights of another seed; networks are shared pointers, so the copy is a new model.
  Config config = model.config;
  config.train.seed = model.config.train.seed ^ (seed + 0x9e3779b9);
  Model drawn = make_model(config, model.class_names, model.reference_class);
  Model copy = make_model(config, model.class_names, model.reference_class);
  copy.thresholds = model.thresholds;
  copy.to(model.device());
  copy.eval();
  const TensorMap trained = model_tensors(model), fresh = model_tensors(drawn);
  TensorMap weights = model_tensors(copy);
  for (auto& [name, tensor] : weights) tensor.copy_(trained.at(name));

  const Tensor original = map(copy);
  std::vector<std::string> layers = layers_in_order(copy, of_generator);
  std::reverse(layers.begin(), layers.end());
  std::vector<RandomisedLayer> results;
  for (const auto& layer : layers) {
    for (auto& [name, tensor] : weights)
      if (layer_of(name, of_generator) == layer) tensor.copy_(fresh.at(name));
    results.push_back({layer, mean_correlation(original, map(copy))});
  }
  return results;
}

}  // namespace flipside
