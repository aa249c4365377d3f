#include "flipside/data/picture_store.h"

#include "flipside/core/error.h"
#include "flipside/core/log.h"
#include "flipside/data/pack.h"
#include "flipside/data/parallel.h"
#include "flipside/data/picture_files.h"

namespace flipside {
namespace {

constexpr int64_t kBytesPerMegabyte = 1 << 20;
constexpr size_t kManyImages = 1000;  // from here on reading takes seconds: show a bar

}  // namespace

PictureStore::PictureStore(const ImageFolder& folder, Split split, const DataConfig& config)
    : records_(folder.split(split)),
      pack_(folder.pack),
      size_(config.size),
      pictures_(records_.size()),
      native_sizes_(records_.size()) {
  if (records_.empty())
    fail(ErrorCode::kData,
         "{}: the {} split has no images; add a folder {}/<class>/ or choose "
         "another split",
         folder.root.string(), to_string(split), to_string(split));
  if (pack_) {
    require_size(folder, size_);
    take_packed();
  } else {
    decode_all(config.cache_mb, fmt::format("reading {}", to_string(split)));
  }
  if (readable_.empty())
    fail(ErrorCode::kData,
         "{}: no readable image among the {} of the {} split; run `flipside data "
         "check`",
         folder.root.string(), records_.size(), to_string(split));
}

void PictureStore::take_packed() {
  for (size_t i = 0; i < records_.size(); ++i) {
    pictures_[i] = pack_->picture(records_[i].packed);
    native_sizes_[i] = pack_->native_size(records_[i].packed);
    readable_.push_back(static_cast<int64_t>(i));
  }
}

void PictureStore::decode_all(int64_t cache_mb, const std::string& title) {
  // Which pictures are kept follows from their order alone, not from which is read first.
  int64_t left = cache_mb * kBytesPerMegabyte;
  std::vector<char> keep(records_.size());
  for (size_t i = 0; i < records_.size() && left > 0; ++i) {
    left -= size_ * size_ * (records_[i].mask.empty() ? 3 : 4);
    keep[i] = left >= 0;
  }
  std::vector<std::string> problems(records_.size());
  Progress bar(records_.size() >= kManyImages ? title : "", static_cast<int64_t>(records_.size()),
               "img");
  for_each_index(
      static_cast<int64_t>(records_.size()),
      [&](int64_t i) {
        try {
          ImageSize native_size;
          const Picture picture = read_picture(records_[i], size_, &native_size);
          native_sizes_[i] = native_size;
          if (keep[i]) pictures_[i] = picture;
        } catch (const Error& error) {
          if (error.code() == ErrorCode::kUsage) throw;  // no image file can be read at all
          problems[i] = error.what();
        }
      },
      [&](int64_t) { bar.advance(1); });
  bar.finish();
  for (size_t i = 0; i < problems.size(); ++i) {
    if (problems[i].empty())
      readable_.push_back(static_cast<int64_t>(i));
    else
      warn("{}; skipped", problems[i]);
  }
}

Picture PictureStore::picture(int64_t index) const {
  const Picture& kept = pictures_.at(index);
  return kept.image.defined() ? kept : read_picture(records_.at(index), size_);
}

Tensor PictureStore::counterfactual(int64_t index) const {
  const ImageRecord& record = records_.at(index);
  if (record.counterfactual.empty()) return {};
  return pack_ ? pack_->counterfactual(record.packed) : read_square(record.counterfactual, size_);
}

}  // namespace flipside
