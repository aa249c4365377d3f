#include "flipside/explain/tiling.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "flipside/core/error.h"
#include "flipside/data/image_io.h"

namespace flipside {
namespace {

constexpr double kPi = 3.14159265358979323846;
constexpr double kNearTraining = 1.5;  // times the longest training side: still stretched whole
constexpr int kOverlapShare = 4;       // windows share at least a quarter of their side

/// First pixels of the windows along one axis, evenly spread from border to border.
std::vector<int> positions(int length, int side, int overlap) {
  const int count = 1 + (length - side + side - overlap - 1) / (side - overlap);
  std::vector<int> result;
  for (int i = 0; i < count; ++i)
    result.push_back(count == 1 ? 0
                                : static_cast<int>(std::lround(static_cast<double>(length - side) *
                                                               i / (count - 1))));
  return result;
}

/// Rises by sin^2 over the first `overlap` pixels; never 0, so that some window holds each pixel.
double rise(int pixel, int overlap) {
  if (pixel >= overlap) return 1;
  const double sine = std::sin(kPi / 2 * (pixel + 0.5) / overlap);
  return sine * sine;
}

/// Weights along one axis, by window: they rise and fall over what two neighbours share and are
/// divided by their sum.
std::vector<std::vector<float>> axis_weights(const std::vector<int>& starts, int length, int side) {
  std::vector<std::vector<double>> raw(starts.size(), std::vector<double>(side, 1.0));
  std::vector<double> sum(length);
  for (size_t i = 0; i < starts.size(); ++i) {
    const int before = i == 0 ? 0 : starts[i - 1] + side - starts[i];
    const int after = i + 1 == starts.size() ? 0 : starts[i] + side - starts[i + 1];
    for (int p = 0; p < side; ++p) {
      raw[i][p] = rise(p, before) * rise(side - 1 - p, after);
      sum[starts[i] + p] += raw[i][p];
    }
  }
  std::vector<std::vector<float>> weights(starts.size(), std::vector<float>(side));
  for (size_t i = 0; i < starts.size(); ++i)
    for (int p = 0; p < side; ++p)
      weights[i][p] = static_cast<float>(raw[i][p] / sum[starts[i] + p]);
  return weights;
}

/// Adds a window's values to a map: CV_32F with any number of channels.
void add_weighted(const Tensor& values, const std::vector<float>& weights, cv::Mat target) {
  const int channels = target.channels();
  const float* from = values.data_ptr<float>();
  const float* weight = weights.data();
  for (int y = 0; y < target.rows; ++y) {
    auto* to = target.ptr<float>(y);
    for (int x = 0; x < target.cols; ++x, ++weight)
      for (int c = 0; c < channels; ++c) *to++ += *weight * *from++;
  }
}

/// [C,H,W] -> contiguous [H,W,C].
Tensor pixels_of(const Tensor& map) { return map.permute({1, 2, 0}).contiguous(); }

/// Row `row` of an explanation as an explanation of one image.
Explanation row_of(const Explanation& all, int64_t row) {
  const auto take = [row](const Tensor& tensor) { return tensor.narrow(0, row, 1).clone(); };
  Explanation one;
  one.probs = take(all.probs);
  one.fakeness = take(all.fakeness);
  one.predicted = take(all.predicted);
  one.head_probs = take(all.head_probs);
  one.target = take(all.target);
  one.counterfactual = take(all.counterfactual);
  one.counterfactual_probs = take(all.counterfactual_probs);
  one.counterfactual_fakeness = take(all.counterfactual_fakeness);
  if (all.doubt.defined()) one.doubt = take(all.doubt);
  one.saliency = take(all.saliency);
  one.mask = take(all.mask);
  return one;
}

/// Defects before good parts, then by the probability of any defect.
double badness(const Tensor& probs, int64_t reference) {
  const bool is_defect = probs.argmax().item<int64_t>() != reference;
  return (is_defect ? 1 : 0) + 1 - probs[reference].item<double>();
}

/// The image as the networks see it, continued where it is smaller than a window.
struct Canvas {
  cv::Mat pixels;
  cv::Rect inside;  ///< where the image lies
};

Canvas make_canvas(const cv::Mat& image, double scale, int side) {
  const cv::Size size(std::max(1, static_cast<int>(std::lround(image.cols * scale))),
                      std::max(1, static_cast<int>(std::lround(image.rows * scale))));
  const cv::Mat seen = size == image.size() ? image : resize_image(image, size);
  const int more_x = std::max(0, side - size.width), more_y = std::max(0, side - size.height);
  Canvas canvas{seen, cv::Rect(more_x / 2, more_y / 2, size.width, size.height)};
  if (more_x > 0 || more_y > 0)
    cv::copyMakeBorder(seen, canvas.pixels, more_y / 2, more_y - more_y / 2, more_x / 2,
                       more_x - more_x / 2, cv::BORDER_REFLECT_101);
  return canvas;
}

/// Collects the windows' answers and maps of one image.
class Collector {
 public:
  Collector(const Explainer& explainer, const Canvas& canvas, const TileGrid& grid)
      : explainer_(explainer), canvas_(canvas), grid_(grid) {
    result_.predicted.resize(grid.tiles().size());
    clear_maps();
  }

  /// Explains windows `first`.. of `count` towards `target`, and adds their maps and answers.
  void explain(size_t first, size_t count, int64_t target, Effort effort) {
    const Tensor images = windows(first, count);
    const Explanation answers = ask(images, target, effort);
    for (size_t i = 0; i < count; ++i)
      add(first + i, images[static_cast<int64_t>(i)], answers, static_cast<int64_t>(i));
  }

  /// Forgets all maps and what became of the other windows, and changes the worst one to `target`.
  void change_only_worst(int64_t target) {
    clear_maps();
    explain(result_.worst, 1, target, Effort::kAll);
  }

  /// The worst window's answer with all that takes effort; the maps stay.
  void complete_verdict(int64_t target) {
    if (result_.predicted[result_.worst] == explainer_.model().reference_class)
      result_.verdict = ask(windows(result_.worst, 1), target, Effort::kAll);
  }

  const Tensor& worst_probs() const { return result_.verdict.probs; }

  /// The maps without what was continued beyond the image.
  WindowedExplanation finish() {
    result_.verdict.counterfactual_probs = changed_probs_;
    result_.verdict.counterfactual_fakeness = changed_fakeness_;
    result_.seen = canvas_.pixels(canvas_.inside);
    cv::Mat sum;
    result_.seen.convertTo(sum, CV_32F, 1.0 / 255);
    sum += change_(canvas_.inside);
    sum.convertTo(result_.counterfactual, CV_8U, 255.0);
    change_.release();
    result_.saliency = result_.saliency(canvas_.inside).clone();
    result_.evidence = result_.evidence(canvas_.inside).clone();
    for (const auto& tile : grid_.tiles())
      result_.windows.push_back((tile & canvas_.inside) - canvas_.inside.tl());
    return std::move(result_);
  }

 private:
  /// [count,3,side,side]
  Tensor windows(size_t first, size_t count) const {
    std::vector<Tensor> inputs;
    for (size_t i = first; i < first + count; ++i)
      inputs.push_back(to_tensor(canvas_.pixels(grid_.tiles()[i])));
    return torch::stack(inputs).contiguous(kChannelsLast);
  }

  Explanation ask(const Tensor& images, int64_t target, Effort effort) const {
    return explainer_.explain(images, torch::full({images.size(0)}, target, torch::kInt64), effort);
  }

  void clear_maps() {
    const cv::Size size = canvas_.pixels.size();
    change_ = cv::Mat::zeros(size, CV_32FC3);
    result_.saliency = cv::Mat::zeros(size, CV_32FC1);
    result_.evidence = cv::Mat::zeros(size, CV_32FC1);
    worst_ = worst_changed_ = -1;
  }

  void add(size_t tile, const Tensor& image, const Explanation& answers, int64_t row) {
    const int64_t reference = explainer_.model().reference_class;
    const auto weights = grid_.weights(tile);
    const cv::Rect where = grid_.tiles()[tile];
    add_weighted(pixels_of(answers.counterfactual[row] - image), weights, change_(where));
    add_weighted(pixels_of(answers.saliency[row]), weights, result_.saliency(where));
    result_.predicted[tile] = answers.predicted[row].item<int64_t>();
    if (result_.predicted[tile] != reference) {
      const Tensor evidence = explainer_.on_common_scale(answers.saliency.narrow(0, row, 1),
                                                         answers.predicted.narrow(0, row, 1));
      add_weighted(pixels_of(evidence[0]), weights, result_.evidence(where));
    }
    const double bad = badness(answers.probs[row], reference);
    if (bad > worst_) {
      worst_ = bad;
      result_.worst = tile;
      result_.verdict = row_of(answers, row);
    }
    const double bad_changed = badness(answers.counterfactual_probs[row], reference);
    if (bad_changed > worst_changed_) {
      worst_changed_ = bad_changed;
      changed_probs_ = answers.counterfactual_probs.narrow(0, row, 1).clone();
      changed_fakeness_ = answers.counterfactual_fakeness.narrow(0, row, 1).clone();
    }
  }

  const Explainer& explainer_;
  const Canvas& canvas_;
  const TileGrid& grid_;
  WindowedExplanation result_;
  cv::Mat change_;  ///< CV_32FC3 in [-1,1]
  double worst_ = -1, worst_changed_ = -1;
  Tensor changed_probs_, changed_fakeness_;
};

int checked_side(const Explainer& explainer, int64_t side) {
  const Model& model = explainer.model();
  const size_t levels = std::max(model.config.model.generator_widths.size(),
                                 model.config.model.discriminator_widths.size());
  const int64_t stride = int64_t{1} << (levels - 1);
  const int64_t chosen = side == 0 ? model.config.data.size : side;
  if (chosen < stride || chosen % stride != 0 || chosen > kMaxImageSide)
    fail(ErrorCode::kArgument,
         "windows of {} pixels: must be a multiple of {}, {} at most; 0 takes "
         "the training size, {}",
         side, stride, kMaxImageSide, model.config.data.size);
  return static_cast<int>(chosen);
}

}  // namespace

TileGrid::TileGrid(cv::Size image, int side, int overlap) : side_(side) {
  if (side < 1 || side > image.width || side > image.height || overlap < 0 || overlap > side / 2)
    fail(ErrorCode::kArgument,
         "windows of {} pixels overlapping by {} on an image of {}x{}: they must fit into it and "
         "overlap by half at most",
         side, overlap, image.width, image.height);
  const auto columns = positions(image.width, side, overlap);
  const auto rows = positions(image.height, side, overlap);
  columns_ = columns.size();
  weights_x_ = axis_weights(columns, image.width, side);
  weights_y_ = axis_weights(rows, image.height, side);
  for (int y : rows)
    for (int x : columns) tiles_.emplace_back(x, y, side, side);
}

std::vector<float> TileGrid::weights(size_t tile) const {
  const auto& along = weights_x_.at(tile % columns_);
  const auto& down = weights_y_.at(tile / columns_);
  std::vector<float> weights;
  weights.reserve(static_cast<size_t>(side_) * side_);
  for (float y : down)
    for (float x : along) weights.push_back(y * x);
  return weights;
}

std::optional<double> window_scale(const Model& model, cv::Size image, const Scaling& scaling) {
  if (scaling.mode == Scaling::Mode::kFit) return std::nullopt;
  const int longest = std::max(image.width, image.height);
  const bool fixed = scaling.mode == Scaling::Mode::kScale;
  const double known = model.native_sides.largest;
  const double near =
      kNearTraining * (known > 0 ? known : static_cast<double>(model.config.data.size));
  if (!fixed && longest <= near) return std::nullopt;
  const double scale = fixed ? scaling.factor : model.training_scale();
  if (!(scale > 0) || !std::isfinite(scale))
    fail(ErrorCode::kArgument, "scale = {}: must be > 0", scale);
  if (longest * scale > kMaxImageSide)
    fail(ErrorCode::kArgument,
         "scale = {}: an image of {}x{} would measure more than {} pixels; choose a smaller scale",
         scale, image.width, image.height, kMaxImageSide);
  return scale;
}

int64_t WindowedExplanation::class_of(const cv::Rect2d& box, int64_t reference_class) const {
  std::map<int64_t, double> shared;
  for (size_t i = 0; i < windows.size(); ++i)
    if (predicted[i] != reference_class)
      shared[predicted[i]] += (cv::Rect2d(windows[i]) & box).area();
  int64_t best = verdict.predicted.item<int64_t>();
  double most = 0;
  for (const auto& [label, area] : shared)
    if (area > most) {
      most = area;
      best = label;
    }
  return best;
}

WindowedExplanation explain_in_windows(const Explainer& explainer, const cv::Mat& image,
                                       double scale, const WindowOptions& options) {
  TORCH_CHECK(image.type() == CV_8UC3 && !image.empty(), "an image must be CV_8UC3");
  const int side = checked_side(explainer, options.side);
  const Canvas canvas = make_canvas(image, scale, side);
  const TileGrid grid(canvas.pixels.size(), side, side / kOverlapShare);
  const int64_t reference = explainer.model().reference_class;
  Collector collector(explainer, canvas, grid);
  const size_t count = grid.tiles().size();
  const auto batch = static_cast<size_t>(std::max<int64_t>(1, options.batch));
  for (size_t first = 0; first < count; first += batch)
    collector.explain(first, std::min(batch, count - first), reference, Effort::kDefects);
  int64_t target = options.target;
  if (target < 0) target = explainer.default_targets(collector.worst_probs()).item<int64_t>();
  if (target == reference)
    collector.complete_verdict(target);
  else
    collector.change_only_worst(target);
  WindowedExplanation result = collector.finish();
  result.scale = scale;
  result.mask_options = explainer.mask_options();
  result.mask_options.min_area *=
      static_cast<double>(side) * side / static_cast<double>(result.seen.total());
  return result;
}

}  // namespace flipside
