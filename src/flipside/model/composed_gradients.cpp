#include "flipside/model/composed_gradients.h"

namespace flipside {

using torch::autograd::tensor_list;

tensor_list composed_gradients(const tensor_list& inputs, const tensor_list& doutputs,
                               const std::function<tensor_list()>& composed) {
  tensor_list wanted, gradients(inputs.size());
  for (const auto& input : inputs)
    if (input.requires_grad()) wanted.push_back(input);
  const auto found = torch::autograd::grad(composed(), wanted, doutputs, /*retain_graph=*/true,
                                           /*create_graph=*/true);
  auto next = found.begin();
  for (size_t i = 0; i < inputs.size(); ++i)
    if (inputs[i].requires_grad()) gradients[i] = *next++;
  return gradients;
}

}  // namespace flipside
