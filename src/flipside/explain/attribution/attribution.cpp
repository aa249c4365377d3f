#include "flipside/explain/attribution/attribution.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

#include "flipside/core/error.h"
#include "flipside/explain/attribution/cam.h"
#include "flipside/explain/attribution/gradients.h"
#include "flipside/explain/attribution/occlusion.h"
#include "flipside/explain/attribution/rise.h"

namespace flipside {
namespace {

void check_classes(const Tensor& classes, const Tensor& images, int64_t num_outputs) {
  if (classes.dim() != 1 || classes.size(0) != images.size(0) ||
      classes.scalar_type() != torch::kInt64 || classes.numel() == 0)
    fail(ErrorCode::kArgument, "attribute: classes must be {} numbers of type int64, one per image",
         images.size(0));
  const int64_t low = classes.min().item<int64_t>(), high = classes.max().item<int64_t>();
  if (low < 0 || high >= num_outputs)
    fail(ErrorCode::kArgument, "attribute: class {}: must be in [0,{})", low < 0 ? low : high,
         num_outputs);
}

Tensor finished_map(const Tensor& maps) {
  return maps.detach().to(torch::kCPU, torch::kFloat32).contiguous();
}

/// Of a signed map [N,C,H,W].
AttributionMaps split_by_sign(const Tensor& signed_maps) {
  const Tensor maps = finished_map(signed_maps);
  const Tensor sum = maps.sum(/*dim=*/1, /*keepdim=*/true);
  return {sum.clamp_min(0), sum.neg().clamp_min(0), maps.abs().sum(/*dim=*/1, /*keepdim=*/true)};
}

AttributionMaps cam_maps(AttributionMethod method, const LevelGradient& level, int64_t height,
                         int64_t width) {
  const auto cam = method == AttributionMethod::kGradCam           ? grad_cam
                   : method == AttributionMethod::kGradCamPlusPlus ? grad_cam_pp
                                                                   : layer_cam;
  const auto enlarged = [&](const Tensor& gradients) {
    const Tensor map = cam(level.activations, gradients).clamp_min(0).contiguous();
    return finished_map(torch::upsample_bilinear2d(map, {height, width}, /*align_corners=*/false));
  };
  AttributionMaps maps{enlarged(level.gradients), enlarged(level.gradients.neg()), {}};
  maps.absolute = maps.positive + maps.negative;
  return maps;
}

AttributionMaps occlusion_maps(const Scorer& score, const Tensor& images,
                               const AttributionOptions& options) {
  const auto pixels = [](double length) { return std::max<int64_t>(1, std::lround(length)); };
  const auto side = static_cast<double>(std::min(images.size(2), images.size(3)));
  const int64_t window = pixels(options.window * side);
  const int64_t stride = pixels(options.stride * static_cast<double>(window));
  return split_by_sign(
      occlusion(score, images, baseline_images(images, options.baseline), window, stride));
}

}  // namespace

const std::vector<AttributionMethod>& all_methods() {
  using M = AttributionMethod;
  static const std::vector<M> methods{
      M::kCounterfactual,      M::kGradCam,        M::kGradCamPlusPlus, M::kLayerCam,
      M::kIntegratedGradients, M::kInputXGradient, M::kSmoothGrad,      M::kRise,
      M::kOcclusion,           M::kDarkness};
  return methods;
}

const char* to_string(AttributionMethod method) {
  constexpr const char* kNames[] = {
      "counterfactual",   "grad_cam",    "grad_cam_pp", "layer_cam", "integrated_gradients",
      "input_x_gradient", "smooth_grad", "rise",        "occlusion", "darkness"};
  return kNames[static_cast<int>(method)];
}

AttributionMethod method_named(const std::string& name) {
  std::vector<std::string> names;
  for (const auto method : all_methods()) {
    if (name == to_string(method)) return method;
    names.emplace_back(to_string(method));
  }
  fail(ErrorCode::kUsage, "method \"{}\" does not exist; the methods are: {}", name,
       fmt::join(names, ", "));
}

bool is_attribution(AttributionMethod method) {
  return method != AttributionMethod::kCounterfactual && method != AttributionMethod::kDarkness;
}

const char* to_string(Sign sign) {
  constexpr const char* kNames[] = {"positive", "negative", "absolute"};
  return kNames[static_cast<int>(sign)];
}

Sign sign_named(const std::string& name) {
  for (const Sign sign : {Sign::kPositive, Sign::kNegative, Sign::kAbsolute})
    if (name == to_string(sign)) return sign;
  fail(ErrorCode::kUsage, "sign \"{}\" does not exist; there are positive, negative, absolute",
       name);
}

const Tensor& AttributionMaps::of(Sign sign) const {
  return sign == Sign::kPositive ? positive : sign == Sign::kNegative ? negative : absolute;
}

AttributionMaps attribute(AttributionMethod method, Discriminator network, const Tensor& images,
                          const Tensor& classes, const AttributionOptions& options) {
  check_images(images, network->stride());
  check_classes(classes, images, network->num_outputs());
  const auto device = network->parameters().front().device();
  const Tensor x = images.to(device, torch::kFloat32).contiguous(kChannelsLast);
  const Tensor labels = classes.to(device);
  const Scorer score = class_score(network, labels);
  switch (method) {
    case AttributionMethod::kGradCam:
    case AttributionMethod::kGradCamPlusPlus:
    case AttributionMethod::kLayerCam:
      return cam_maps(method, level_gradient(network, x, labels, options.layer), x.size(2),
                      x.size(3));
    case AttributionMethod::kIntegratedGradients:
      return split_by_sign(
          integrated_gradients(score, x, baseline_images(x, options.baseline), options.steps));
    case AttributionMethod::kInputXGradient:
      return split_by_sign(input_x_gradient(score, x));
    case AttributionMethod::kSmoothGrad:
      return split_by_sign(smooth_grad(score, x, options.noise, options.samples, options.seed));
    case AttributionMethod::kRise:
      return split_by_sign(rise(score, x, baseline_images(x, options.baseline),
                                {options.masks, options.cells, options.keep, options.seed}));
    case AttributionMethod::kOcclusion:
      return occlusion_maps(score, x, options);
    case AttributionMethod::kCounterfactual:
    case AttributionMethod::kDarkness:
      break;
  }
  fail(ErrorCode::kArgument, "attribute: {} explains no score of a network", to_string(method));
}

Tensor relative_map(const Tensor& maps) {
  const Tensor largest = maps.amax({1, 2, 3}, /*keepdim=*/true);
  return torch::where(largest > 0, maps / largest, torch::zeros_like(maps));
}

}  // namespace flipside
