#pragma once

#include <type_traits>

#include "flipside/core/torch.h"
#include "flipside/model/winograd_kernels.h"

namespace flipside {

// What `winograd_conv` sees at the points: tiles of images and of their gradients, and weights.

/// Sizes of one call. A kernel of 4x4 taps and stride 2 is one of 2x2 taps and stride 1 on images
/// of half the size, with the four pixels of each square as channels: its phases.
struct WinogradSizes {
  int64_t n, channels, height, width;  // of x
  int64_t out, out_height, out_width;
  int64_t stride, taps, points;  // along an axis
  int64_t tiles_y, tiles_x;      // of an image

  /// `x` [N,C,H,W], `weight` [O,C,3,3] or [O,C,4,4].
  WinogradSizes(const Tensor& x, const Tensor& weight);

  int64_t phases() const { return stride * stride; }
  int64_t depth() const { return phases() * channels; }  // channels of all phases
  int64_t side() const { return stride * taps; }         // of the kernel
  int64_t all_points() const { return points * points; }
  int64_t tiles() const { return tiles_y * tiles_x; }  // of an image
  int64_t image() const { return height * width * channels; }
  int64_t out_image() const { return out_height * out_width * out; }
  /// Tiles that a thread takes at once, `packed` of them in one element.
  int64_t tiles_at_once(int64_t packed) const;
};

/// Numbers that images come in (`BFloatBits` are those of at::kBFloat16), and what of them is
/// multiplied at once: a float, or a pair.
template <typename Number>
using WinogradElement = std::conditional_t<std::is_same_v<Number, float>, float, kernels::Pair>;
template <typename Number>
constexpr int64_t kPacked = sizeof(WinogradElement<Number>) / sizeof(Number);

/// The numbers of a tensor of that type.
template <typename Number>
Number* numbers_of(const Tensor& tensor) {
  if constexpr (std::is_same_v<Number, float>)
    return tensor.data_ptr<float>();
  else
    return reinterpret_cast<Number*>(tensor.data_ptr<at::BFloat16>());
}

/// Tiles that a thread takes at once, at all points, in its `scratch`. Images are channels_last;
/// tiles are counted through all images of the batch. At each point there are rows,
/// [tiles,channels], and columns, where what is packed into one element is a channel of
/// neighbouring tiles.
template <typename Number>
class WinogradTiles {
 public:
  using Element = WinogradElement<Number>;
  explicit WinogradTiles(const WinogradSizes& sizes);

  // What was read, by element, and sums to be written, which take its place in the input.
  const Element* input(int64_t point) const { return elements(input_sums(point)); }
  const Element* output_rows(int64_t point) const { return elements(output_sums(point)); }
  const Element* output_columns(int64_t point) const { return output_rows(point) + columns_; }
  int64_t input_step() const { return input_step_; }  // from point to point, in elements
  int64_t output_step() const { return output_step_; }
  float* input_sums(int64_t point) const { return input_ + point * input_step_; }
  float* output_sums(int64_t point) const { return output_ + point * output_step_; }

  // Of `count` tiles (tiles_at_once at most) from `first` on.
  void read_input_rows(const Number* x, int64_t first, int64_t count) const;
  void read_input_columns(const Number* x, int64_t first, int64_t count) const;
  void read_output(const Number* dy, int64_t first, int64_t count) const;
  void write_output(Number* y, int64_t first, int64_t count) const;
  /// `dx` begins with the image `first_image`; the tiles of an image come in their order.
  void write_input(float* dx, int64_t first_image, int64_t first, int64_t count) const;

 private:
  template <typename Work>
  void for_inputs(int64_t first, int64_t count, int64_t step, const Work& work) const;
  template <typename Work>
  void for_outputs(int64_t first, int64_t count, const Work& work) const;

  static Number* numbers(float* buffer) { return reinterpret_cast<Number*>(buffer); }
  static Element* elements(float* buffer) { return reinterpret_cast<Element*>(buffer); }

  const WinogradSizes& s_;
  int64_t input_step_, output_step_;  // from point to point, in words
  int64_t columns_;                   // from an output's rows to its columns, in elements
  float *input_, *output_;            // words
};

/// Weights at all points as panels of the output's channels, of type `weight`'s or bfloat16:
/// [points^2, out/16, depth, 16], where what is packed into one element are neighbours in depth.
Tensor weights_to_output(const WinogradSizes& s, const Tensor& weight, at::ScalarType type);
/// The transposed ones as panels of the input's: [points^2, depth/16, out, 16].
Tensor weights_to_input(const WinogradSizes& s, const Tensor& weight, at::ScalarType type);
/// `dtaps` [out,side,side,channels], the weights' gradient, from that at all points,
/// [points^2, out, depth].
void points_to_weights(const WinogradSizes& s, const float* dpoints, float* dtaps);

}  // namespace flipside
