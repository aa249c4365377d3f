#include "flipside/model/group_norm_kernels.h"

// Compiled once for any x86-64 and once for AVX2, chosen when the program starts. (The choice runs
// before the sanitizers' own start, so their builds go without.)
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && \
    !defined(__SANITIZE_ADDRESS__)
#define FLIPSIDE_CLONES __attribute__((target_clones("avx2", "default")))
#else
#define FLIPSIDE_CLONES
#endif
#define FLIPSIDE_INLINE __attribute__((always_inline)) inline

namespace flipside::kernels {
namespace {

// Eight floats at any address; GCC and Clang split it where registers are narrower.
typedef float Lanes __attribute__((vector_size(4 * kLanes), aligned(4), may_alias));

FLIPSIDE_INLINE const Lanes& lanes(const float* p) { return *reinterpret_cast<const Lanes*>(p); }
FLIPSIDE_INLINE Lanes& lanes(float* p) { return *reinterpret_cast<Lanes*>(p); }

/// Runs `kernel.tile<V>(c)` over all channels, V * kLanes of them at a time from c on: so many fit
/// the registers together with what a kernel keeps per channel.
template <typename Kernel>
FLIPSIDE_INLINE void for_tiles(const Kernel& kernel, int64_t channels) {
  int64_t c = 0;
  for (; c + 2 * kLanes <= channels; c += 2 * kLanes) kernel.template tile<2>(c);
  for (; c + kLanes <= channels; c += kLanes) kernel.template tile<1>(c);
}

struct Moments {
  const Block& block;
  float *mean, *squares;

  template <int V>
  FLIPSIDE_INLINE void tile(int64_t c) const {
    const float* end = block.x + block.pixels * block.channels + c;
    Lanes average[V] = {}, sum[V] = {};
    for (const float* x = block.x + c; x != end; x += block.channels)
      for (int v = 0; v < V; ++v) average[v] += lanes(x + v * kLanes);
    for (int v = 0; v < V; ++v) average[v] /= static_cast<float>(block.pixels);
    for (const float* x = block.x + c; x != end; x += block.channels)
      for (int v = 0; v < V; ++v) {
        const Lanes deviation = lanes(x + v * kLanes) - average[v];
        sum[v] += deviation * deviation;
      }
    for (int v = 0; v < V; ++v) {
      lanes(mean + c + v * kLanes) = average[v];
      lanes(squares + c + v * kLanes) = sum[v];
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
      center[v] = lanes(affine.center + c + v * kLanes);
      scale[v] = lanes(affine.scale + c + v * kLanes);
      bias[v] = lanes(affine.bias + c + v * kLanes);
    }
  }
};

struct NormaliseAct {
  const Block& block;
  const Affine& affine;
  float* y;

  template <int V>
  FLIPSIDE_INLINE void tile(int64_t c) const {
    const AffineTile<V> a(affine, c);
    for (int64_t p = 0; p < block.pixels; ++p)
      for (int v = 0; v < V; ++v) {
        const int64_t i = p * block.channels + c + v * kLanes;
        const Lanes t = (lanes(block.x + i) - a.center[v]) * a.scale[v] + a.bias[v];
        lanes(y + i) = t > 0 ? t : t * a.slope;
      }
  }
};

struct GradientSums {
  const Block& block;
  const Affine& affine;
  const float* dy;
  float *sum, *centered_sum;

  template <int V>
  FLIPSIDE_INLINE void tile(int64_t c) const {
    const AffineTile<V> a(affine, c);
    Lanes plain[V] = {}, centered[V] = {};
    for (int64_t p = 0; p < block.pixels; ++p)
      for (int v = 0; v < V; ++v) {
        const int64_t i = p * block.channels + c + v * kLanes;
        const Lanes deviation = lanes(block.x + i) - a.center[v];
        const Lanes t = deviation * a.scale[v] + a.bias[v];
        const Lanes g = t > 0 ? lanes(dy + i) : lanes(dy + i) * a.slope;
        plain[v] += g;
        centered[v] += g * deviation;
      }
    for (int v = 0; v < V; ++v) {
      lanes(sum + c + v * kLanes) = plain[v];
      lanes(centered_sum + c + v * kLanes) = centered[v];
    }
  }
};

struct InputGradientKernel {
  const Block& block;
  const Affine& affine;
  const InputGradient& terms;
  const float* dy;
  float* dx;

  template <int V>
  FLIPSIDE_INLINE void tile(int64_t c) const {
    const AffineTile<V> a(affine, c);
    Lanes slope[V], tilt[V], shift[V];
    for (int v = 0; v < V; ++v) {
      slope[v] = lanes(terms.slope + c + v * kLanes);
      tilt[v] = lanes(terms.tilt + c + v * kLanes);
      shift[v] = lanes(terms.shift + c + v * kLanes);
    }
    for (int64_t p = 0; p < block.pixels; ++p)
      for (int v = 0; v < V; ++v) {
        const int64_t i = p * block.channels + c + v * kLanes;
        const Lanes deviation = lanes(block.x + i) - a.center[v];
        const Lanes t = deviation * a.scale[v] + a.bias[v];
        const Lanes g = t > 0 ? lanes(dy + i) : lanes(dy + i) * a.slope;
        lanes(dx + i) = g * slope[v] + deviation * tilt[v] + shift[v];
      }
  }
};

}  // namespace

FLIPSIDE_CLONES void channel_moments(const Block& block, float* mean, float* squares) {
  for_tiles(Moments{block, mean, squares}, block.channels);
}

FLIPSIDE_CLONES void normalise_act(const Block& block, const Affine& affine, float* y) {
  for_tiles(NormaliseAct{block, affine, y}, block.channels);
}

FLIPSIDE_CLONES void gradient_sums(const Block& block, const Affine& affine, const float* dy,
                                   float* sum, float* centered_sum) {
  for_tiles(GradientSums{block, affine, dy, sum, centered_sum}, block.channels);
}

FLIPSIDE_CLONES void input_gradient(const Block& block, const Affine& affine,
                                    const InputGradient& terms, const float* dy, float* dx) {
  for_tiles(InputGradientKernel{block, affine, terms, dy, dx}, block.channels);
}

}  // namespace flipside::kernels
