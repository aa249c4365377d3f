#include "flipside/model/winograd_kernels.h"

#include "flipside/model/winograd_loops.h"

namespace flipside::kernels {
namespace {

struct Float32 {
  using Element = float;
  template <typename Width>
  using Register = typename Width::Floats;

  template <typename Width>
  static FLIPSIDE_INLINE Register<Width> plus_product(Register<Width> sum, float left,
                                                      Register<Width> right) {
    return sum + left * right;
  }
};

}  // namespace

FLIPSIDE_CLONES void to_points(Seen seen, int64_t taps, const Square& square, const float* values,
                               float* points) {
  to_points_by(seen, taps, square, values, points);
}

FLIPSIDE_CLONES void from_points(Seen seen, int64_t taps, const Square& square, const float* points,
                                 float* values) {
  from_points_by(seen, taps, square, points, values);
}

FLIPSIDE_CLONES void multiply(const Shape& shape, const Left& left, const Right& right,
                              const Sum& sum, bool adds, const Points& points) {
  multiply_at<Float32>(shape, left, right, sum, adds, points);
}

bool has_winograd_vectors() { return has_registers_of_eight(); }

}  // namespace flipside::kernels
