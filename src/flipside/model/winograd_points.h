#pragma once

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
  int64_t tiles_at_once() const;
};

/// Tiles that a thread takes at once, at all points: [points^2, tiles, channels] of the input and
/// of the output. Images are channels_last; tiles are counted through all images of the batch.
class WinogradTiles {
 public:
  explicit WinogradTiles(const WinogradSizes& sizes);

  float* input(int64_t point) const { return input_.data_ptr<float>() + point * input_step_; }
  float* output(int64_t point) const { return output_.data_ptr<float>() + point * output_step_; }

  // Of `count` tiles (tiles_at_once() at most) from `first` on.
  void read_input(const float* x, int64_t first, int64_t count) const;
  void add_to_input(float* dx, int64_t first, int64_t count) const;
  void read_output(const float* dy, int64_t first, int64_t count) const;
  void write_output(float* y, int64_t first, int64_t count) const;

 private:
  template <typename Work>
  void for_inputs(int64_t first, int64_t count, const Work& work) const;
  template <typename Work>
  void for_outputs(int64_t first, int64_t count, const Work& work) const;

  const WinogradSizes& s_;
  int64_t input_step_, output_step_;  // from point to point, in floats
  Tensor input_, output_;
};

/// Weights at all points as panels of the output's channels: [points^2, out/16, depth, 16].
Tensor weights_to_output(const WinogradSizes& s, const Tensor& weight);
/// The transposed ones as panels of the input's: [points^2, depth/16, out, 16].
Tensor weights_to_input(const WinogradSizes& s, const Tensor& weight);
/// `dtaps` [out,side,side,channels], the weights' gradient, from that at all points,
/// [points^2, out, depth].
void points_to_weights(const WinogradSizes& s, const float* dpoints, float* dtaps);

}  // namespace flipside
