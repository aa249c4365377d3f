// In place of picture_files.cpp where FLIPSIDE_OPENCV is off.
#include "flipside/core/error.h"
#include "flipside/data/picture_files.h"

namespace flipside {
namespace {

[[noreturn]] void refuse(const fs::path& path) {
  fail(ErrorCode::kUsage,
       "{}: this flipside was built without OpenCV and reads no image files: give it a packed data "
       "set, made by another build with: flipside data pack DIR FILE.safetensors",
       path.string());
}

}  // namespace

bool handles_image_files() { return false; }

Picture read_picture(const ImageRecord& record, int64_t, ImageSize*) { refuse(record.image); }

Tensor read_square(const fs::path& image, int64_t) { refuse(image); }

Tensor through_jpeg(const Tensor&, int) { refuse("JPEG"); }

}  // namespace flipside
