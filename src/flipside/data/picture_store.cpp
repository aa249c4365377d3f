#include "flipside/data/picture_store.h"

#include <memory>
#include <opencv2/core/utility.hpp>

#include "flipside/core/error.h"
#include "flipside/core/log.h"
#include "flipside/data/image_io.h"
#include "flipside/data/parallel.h"

namespace flipside {
namespace {

constexpr int64_t kBytesPerMegabyte = 1 << 20;
constexpr size_t kManyImages = 1000;  // from here on reading takes seconds: show a bar

}  // namespace

PictureStore::PictureStore(const ImageFolder& folder, Split split, const DataConfig& config)
    : records_(folder.split(split)),
      size_(static_cast<int>(config.size)),
      pictures_(records_.size()),
      native_sizes_(records_.size()) {
  if (records_.empty())
    fail(ErrorCode::kData,
         "{}: the {} split has no images; add a folder {}/<class>/ or choose "
         "another split",
         folder.root.string(), to_string(split), to_string(split));
  // OpenCV's own threads would take the processors from libtorch's.
  cv::setNumThreads(1);
  // Which pictures are kept follows from their order alone, not from which is read first.
  int64_t left = config.cache_mb * kBytesPerMegabyte;
  std::vector<char> keep(records_.size());
  for (size_t i = 0; i < records_.size() && left > 0; ++i) {
    left -= config.size * config.size * (records_[i].mask.empty() ? 3 : 4);
    keep[i] = left >= 0;
  }
  std::vector<std::string> problems(records_.size());
  std::unique_ptr<Progress> bar;
  if (records_.size() >= kManyImages)
    bar = std::make_unique<Progress>(fmt::format("reading {}", to_string(split)),
                                     static_cast<int64_t>(records_.size()), "img");
  for_each_index(
      static_cast<int64_t>(records_.size()),
      [&](int64_t i) {
        try {
          cv::Size native_size;
          Picture picture = decode(records_[i], &native_size);
          native_sizes_[i] = native_size;
          if (keep[i]) pictures_[i] = picture;
        } catch (const Error& error) {
          problems[i] = error.what();
        }
      },
      [&](int64_t) {
        if (bar) bar->advance(1);
      });
  bar.reset();
  for (size_t i = 0; i < problems.size(); ++i) {
    if (problems[i].empty())
      readable_.push_back(static_cast<int64_t>(i));
    else
      warn("{}; skipped", problems[i]);
  }
  if (readable_.empty())
    fail(ErrorCode::kData,
         "{}: no readable image among the {} of the {} split; run `flipside data "
         "check`",
         folder.root.string(), records_.size(), to_string(split));
}

Picture PictureStore::picture(int64_t index) const {
  const Picture& kept = pictures_.at(index);
  return kept.image.empty() ? decode(records_.at(index)) : kept;
}

Picture PictureStore::decode(const ImageRecord& record, cv::Size* native_size) const {
  const cv::Size size(size_, size_);
  const cv::Mat image = read_image(record.image);
  if (native_size != nullptr) *native_size = image.size();
  Picture picture{resize_image(image, size), {}};
  if (!record.mask.empty()) picture.mask = resize_mask(read_mask(record.mask, image.size()), size);
  return picture;
}

}  // namespace flipside
