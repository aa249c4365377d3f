#include "flipside/eval/model_folder.h"

#include <fmt/ranges.h>

#include "flipside/core/error.h"

namespace flipside {

ImageFolder scan_for_model(const fs::path& root, const Model& model) {
  DataConfig data = model.config.data;
  data.reference_class.clear();  // the model's is taken once its classes are known to be there
  ImageFolder folder = scan_image_folder(root, data);
  require_model_classes(folder, model);
  folder.reference_class = model.reference_class;
  folder.reference_reason = "as the model was trained";
  return folder;
}

void require_model_classes(const ImageFolder& folder, const Model& model) {
  if (folder.class_names != model.class_names)
    fail(ErrorCode::kData, "{}: has the classes {}, but the model was trained on {}; use its data",
         folder.root.string(), fmt::join(folder.class_names, ", "),
         fmt::join(model.class_names, ", "));
}

}  // namespace flipside
