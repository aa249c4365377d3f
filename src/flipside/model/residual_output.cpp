#include <ATen/Parallel.h>
#include <ATen/record_function.h>

#include "flipside/core/device.h"
#include "flipside/model/blocks.h"
#include "flipside/model/composed_gradients.h"
#include "flipside/model/residual_kernels.h"

namespace flipside {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::tensor_list;

constexpr int64_t kChangedAtOnce = 4096;  // that a thread takes: some 20 us of work

/// `work(begin, count)` in parallel over pixels.
template <typename Work>
void for_pixels(const Tensor& attention, Work work) {
  at::parallel_for(0, attention.numel(), kChangedAtOnce,
                   [&](int64_t begin, int64_t end) { work(begin, end - begin); });
}

/// All tensors channels_last float32.
class AddAttendedChange : public torch::autograd::Function<AddAttendedChange> {
 public:
  static tensor_list forward(AutogradContext* context, const Tensor& image, const Tensor& raw) {
    RECORD_FUNCTION("flipside::add_attended_change", std::vector<c10::IValue>{});
    context->save_for_backward({image, raw});
    Tensor result = at::empty(image.sizes(), image.options(), kChannelsLast);
    Tensor attention = at::empty({image.size(0), 1, image.size(2), image.size(3)}, image.options());
    const float *x = image.data_ptr<float>(), *r = raw.data_ptr<float>();
    float *y = result.data_ptr<float>(), *a = attention.data_ptr<float>();
    for_pixels(attention, [=](int64_t begin, int64_t count) {
      kernels::add_change(x + 3 * begin, r + 4 * begin, count, y + 3 * begin, a + begin);
    });
    return {result, attention};
  }

  static tensor_list backward(AutogradContext* context, const tensor_list& outputs) {
    const auto saved = context->get_saved_variables();
    const Tensor &image = saved[0], &raw = saved[1];
    if (at::GradMode::is_enabled())
      return composed_gradients({image, raw}, outputs, [&]() -> tensor_list {
        const auto [result, attention] = add_attended_change_composed(image, raw);
        return {result, attention};
      });
    // An output that nothing was computed from has a gradient of zeros.
    const Tensor dresult = outputs[0].contiguous(kChannelsLast);
    const Tensor dattention = outputs[1].contiguous();
    Tensor draw = at::empty(raw.sizes(), raw.options(), kChannelsLast), dimage;
    if (image.requires_grad()) dimage = at::empty(image.sizes(), image.options(), kChannelsLast);
    const float *x = image.data_ptr<float>(), *r = raw.data_ptr<float>();
    const float *dy = dresult.data_ptr<float>(), *da = dattention.data_ptr<float>();
    float* dr = draw.data_ptr<float>();
    float* dx = dimage.defined() ? dimage.data_ptr<float>() : nullptr;
    for_pixels(dattention, [=](int64_t begin, int64_t count) {
      kernels::change_gradient(x + 3 * begin, r + 4 * begin, dy + 3 * begin, da + begin, count,
                               dr + 4 * begin, dx == nullptr ? nullptr : dx + 3 * begin);
    });
    return {dimage, draw};
  }
};

}  // namespace

std::pair<Tensor, Tensor> add_attended_change_composed(const Tensor& image, const Tensor& raw) {
  const Tensor attention = torch::sigmoid(raw.narrow(/*dim=*/1, 3, 1));
  const Tensor change = attention * torch::tanh(raw.narrow(/*dim=*/1, 0, 3));
  return {torch::clamp(image + change, 0, 1).contiguous(kChannelsLast), attention};
}

std::pair<Tensor, Tensor> add_attended_change(const Tensor& image, const Tensor& raw) {
  TORCH_CHECK(raw.size(1) == 4 && image.size(1) == 3, "add_attended_change: 3 and 4 channels");
  const auto plain = [](const Tensor& t) {
    return takes_fused_nodes(t.device()) && t.scalar_type() == at::kFloat;
  };
  const bool known = plain(image) && plain(raw) && raw.size(0) == image.size(0) &&
                     raw.size(2) == image.size(2) && raw.size(3) == image.size(3);
  if (!known) return add_attended_change_composed(image, raw);
  const tensor_list both =
      AddAttendedChange::apply(image.contiguous(kChannelsLast), raw.contiguous(kChannelsLast));
  return {both[0], both[1]};
}

}  // namespace flipside
