#pragma once

#include "flipside/data/dataset.h"
#include "flipside/data/picture.h"

namespace flipside {

// Image files as tensors: what training and evaluation need of them, whatever library decodes.

/// Whether this program reads and writes image files. A build without OpenCV does not: it works on
/// packed data sets, and what follows throws `Error(kUsage)` there.
bool handles_image_files();

/// A record's image and mask, stretched to side x side. `native_size`, where it is given, becomes
/// the size of the image file. Throws `Error(kImage)`, also for a mask of another size.
Picture read_picture(const ImageRecord& record, int64_t side, ImageSize* native_size = nullptr);

/// An image file stretched to side x side: uint8 [side,side,3]. Throws `Error(kImage)`.
Tensor read_square(const fs::path& image, int64_t side);

/// Images [N,3,H,W] in [0,1] as they come back from JPEG files of `quality` (1 to 100).
Tensor through_jpeg(const Tensor& images, int quality);

}  // namespace flipside
