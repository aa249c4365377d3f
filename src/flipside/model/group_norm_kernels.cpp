#include "flipside/model/group_norm_kernels.h"

#include "flipside/model/lanes.h"

namespace flipside::kernels {
namespace {

template <typename Value>
struct Moments {
  const Block<Value>& block;
  float *mean, *squares;

  template <int V>
  FLIPSIDE_INLINE void tile(int64_t c) const {
    const Value* end = block.x + block.pixels * block.channels + c;
    Lanes average[V] = {}, sum[V] = {};
    for (const Value* x = block.x + c; x != end; x += block.channels)
      for (int v = 0; v < V; ++v) average[v] += load(x + v * kLanes);
    for (int v = 0; v < V; ++v) average[v] /= static_cast<float>(block.pixels);
    for (const Value* x = block.x + c; x != end; x += block.channels)
      for (int v = 0; v < V; ++v) {
        const Lanes deviation = load(x + v * kLanes) - average[v];
        sum[v] += deviation * deviation;
      }
    for (int v = 0; v < V; ++v) {
      store(mean + c + v * kLanes, average[v]);
      store(squares + c + v * kLanes, sum[v]);
    }
  }
};

/// One tile's share of an `Affine`, in registers.
template <int V>
struct AffineTile {
  Lanes center[V], scale[V], bias[V];
  float slope;

  FLIPSIDE_INLINE AffineTile(const Affine& affine, int64_t c) : slope(affine.slope) {
    for (int v = 0; v < V; ++v) {
      center[v] = load(affine.center + c + v * kLanes);
      scale[v] = load(affine.scale + c + v * kLanes);
      bias[v] = load(affine.bias + c + v * kLanes);
    }
  }
};

template <typename Value>
struct NormaliseAct {
  const Block<Value>& block;
  const Affine& affine;
  Value* y;

  template <int V>
  FLIPSIDE_INLINE void tile(int64_t c) const {
    const AffineTile<V> a(affine, c);
    for (int64_t p = 0; p < block.pixels; ++p)
      for (int v = 0; v < V; ++v) {
        const int64_t i = p * block.channels + c + v * kLanes;
        const Lanes t = (load(block.x + i) - a.center[v]) * a.scale[v] + a.bias[v];
        store(y + i, t > 0 ? t : t * a.slope);
      }
  }
};

template <typename Value>
struct GradientSums {
  const Block<Value>& block;
  const Affine& affine;
  const Value* dy;
  float *sum, *centered_sum;

  template <int V>
  FLIPSIDE_INLINE void tile(int64_t c) const {
    const AffineTile<V> a(affine, c);
    Lanes plain[V] = {}, centered[V] = {};
    for (int64_t p = 0; p < block.pixels; ++p)
      for (int v = 0; v < V; ++v) {
        const int64_t i = p * block.channels + c + v * kLanes;
        const Lanes deviation = load(block.x + i) - a.center[v];
        const Lanes t = deviation * a.scale[v] + a.bias[v];
        const Lanes g = t > 0 ? load(dy + i) : load(dy + i) * a.slope;
        plain[v] += g;
        centered[v] += g * deviation;
      }
    for (int v = 0; v < V; ++v) {
      store(sum + c + v * kLanes, plain[v]);
      store(centered_sum + c + v * kLanes, centered[v]);
    }
  }
};

template <typename Value>
struct InputGradientKernel {
  const Block<Value>& block;
  const Affine& affine;
  const InputGradient& terms;
  const Value* dy;
  Value* dx;

  template <int V>
  FLIPSIDE_INLINE void tile(int64_t c) const {
    const AffineTile<V> a(affine, c);
    Lanes slope[V], tilt[V], shift[V];
    for (int v = 0; v < V; ++v) {
      slope[v] = load(terms.slope + c + v * kLanes);
      tilt[v] = load(terms.tilt + c + v * kLanes);
      shift[v] = load(terms.shift + c + v * kLanes);
    }
    for (int64_t p = 0; p < block.pixels; ++p)
      for (int v = 0; v < V; ++v) {
        const int64_t i = p * block.channels + c + v * kLanes;
        const Lanes deviation = load(block.x + i) - a.center[v];
        const Lanes t = deviation * a.scale[v] + a.bias[v];
        const Lanes g = t > 0 ? load(dy + i) : load(dy + i) * a.slope;
        store(dx + i, g * slope[v] + deviation * tilt[v] + shift[v]);
      }
  }
};

}  // namespace

FLIPSIDE_CLONES void channel_moments(const Block<float>& block, float* mean, float* squares) {
  for_tiles(Moments<float>{block, mean, squares}, block.channels);
}
FLIPSIDE_CLONES void channel_moments(const Block<BFloatBits>& block, float* mean, float* squares) {
  for_tiles(Moments<BFloatBits>{block, mean, squares}, block.channels);
}

FLIPSIDE_CLONES void normalise_act(const Block<float>& block, const Affine& affine, float* y) {
  for_tiles(NormaliseAct<float>{block, affine, y}, block.channels);
}
FLIPSIDE_CLONES void normalise_act(const Block<BFloatBits>& block, const Affine& affine,
                                   BFloatBits* y) {
  for_tiles(NormaliseAct<BFloatBits>{block, affine, y}, block.channels);
}

FLIPSIDE_CLONES void gradient_sums(const Block<float>& block, const Affine& affine, const float* dy,
                                   float* sum, float* centered_sum) {
  for_tiles(GradientSums<float>{block, affine, dy, sum, centered_sum}, block.channels);
}
FLIPSIDE_CLONES void gradient_sums(const Block<BFloatBits>& block, const Affine& affine,
                                   const BFloatBits* dy, float* sum, float* centered_sum) {
  for_tiles(GradientSums<BFloatBits>{block, affine, dy, sum, centered_sum}, block.channels);
}

FLIPSIDE_CLONES void input_gradient(const Block<float>& block, const Affine& affine,
                                    const InputGradient& terms, const float* dy, float* dx) {
  for_tiles(InputGradientKernel<float>{block, affine, terms, dy, dx}, block.channels);
}
FLIPSIDE_CLONES void input_gradient(const Block<BFloatBits>& block, const Affine& affine,
                                    const InputGradient& terms, const BFloatBits* dy,
                                    BFloatBits* dx) {
  for_tiles(InputGradientKernel<BFloatBits>{block, affine, terms, dy, dx}, block.channels);
}

}  // namespace flipside::kernels
