#include "flipside/report/explain_files.h"

#include <ATen/Parallel.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <fstream>
#include <future>
#include <map>
#include <set>

#include "flipside/core/error.h"
#include "flipside/core/file.h"
#include "flipside/core/log.h"
#include "flipside/data/dataset.h"
#include "flipside/data/image_io.h"
#include "flipside/report/explained_image.h"
#include "flipside/report/pictures.h"

namespace flipside {
namespace {

constexpr int64_t kMaxBatchPixels = 32'000'000;  // decoded at once: about 100 MB
constexpr int64_t kSheetRows = 32;
constexpr int kThumbnail = 128;  // pixels
constexpr std::array<const char*, 4> kEndings{".counterfactual.png", ".heatmap.png", ".mask.png",
                                              ".overlay.png"};

bool is_own_picture(const fs::path& path, const fs::path& out) {
  const fs::path below = fs::weakly_canonical(path).lexically_relative(fs::weakly_canonical(out));
  if (below.empty() || *below.begin() == "..") return false;
  const std::string name = below.string();
  return name == "contact_sheet.png" ||
         std::any_of(kEndings.begin(), kEndings.end(), [&](const std::string& ending) {
           return name.size() > ending.size() &&
                  name.compare(name.size() - ending.size(), ending.size(), ending) == 0;
         });
}

void check_names(const std::vector<ImageFile>& files, const fs::path& out) {
  std::map<fs::path, fs::path> owners;
  for (const auto& file : files) {
    const auto [other, is_new] = owners.emplace(file.name, file.path);
    if (!is_new)
      fail(ErrorCode::kUsage,
           "{} and {} would both be written to {}.*: explain them into different folders",
           other->second.string(), file.path.string(), (out / file.name).string());
  }
}

/// A decoded image, or why there is none.
struct Decoded {
  const ImageFile* file = nullptr;
  cv::Mat image;
  std::string error;
};

Decoded decode(const ImageFile& file) {
  try {
    return {&file, read_image(file.path), ""};
  } catch (const std::exception& error) {  // of memory and of OpenCV too: the next image may do
    return {&file, cv::Mat(), error.what()};
  }
}

/// Decodes images one batch ahead of the caller, in a thread of its own.
class Reader {
 public:
  Reader(const std::vector<ImageFile>& files, int64_t batch)
      : files_(files), batch_(static_cast<size_t>(batch)) {
    start();
  }
  /// The next images; none when all were given.
  std::vector<Decoded> next() {
    auto images = pending_.get();
    position_ += images.size();
    start();
    return images;
  }

 private:
  void start() {
    pending_ = std::async(std::launch::async, [this, position = position_] {
      std::vector<Decoded> images;
      int64_t pixels = 0;
      while (position + images.size() < files_.size() && images.size() < batch_ &&
             pixels < kMaxBatchPixels) {
        images.push_back(decode(files_[position + images.size()]));
        pixels += static_cast<int64_t>(images.back().image.total());
      }
      return images;
    });
  }

  const std::vector<ImageFile>& files_;
  size_t batch_, position_ = 0;
  std::future<std::vector<Decoded>> pending_;
};

/// `results.jsonl`, under another name until it is complete.
class ResultsFile {
 public:
  explicit ResultsFile(const fs::path& out)
      : path_(out / "results.jsonl"),
        temporary_(path_.string() + ".tmp" + std::to_string(getpid())),
        stream_(temporary_, std::ios::binary) {
    check();
  }
  ~ResultsFile() {
    std::error_code ignored;
    fs::remove(temporary_, ignored);  // gone already once committed
  }
  void add(const std::string& line) {
    stream_ << line << '\n';
    check();
  }
  void commit() {
    stream_.close();
    check();
    std::error_code error;
    fs::rename(temporary_, path_, error);
    if (error)
      fail(ErrorCode::kIo, "{}: could not be written: {}", path_.string(), error.message());
  }

 private:
  void check() {
    if (!stream_)
      fail(ErrorCode::kIo, "{}: could not be written; free space or choose another folder",
           path_.string());
  }
  fs::path path_, temporary_;
  std::ofstream stream_;
};

/// A few images, evenly chosen among all, as rows of small pictures.
class ContactSheet {
 public:
  explicit ContactSheet(int64_t total) : total_(total), shown_(std::min(total, kSheetRows)) {}
  /// Whether image number `index` is one of those shown.
  bool shows(int64_t index) const {
    return (index + 1) * shown_ / total_ > index * shown_ / total_;
  }
  void add(const std::string& label, const std::vector<cv::Mat>& pictures) {
    rows_.push_back(pictures);
    labels_.push_back(label);
  }
  void write(const fs::path& path) const {
    if (rows_.empty()) return;
    write_image(path, picture_grid(rows_,
                                   {fmt::format("{} of {} images", rows_.size(), total_),
                                    "counterfactual", "change", "defect"},
                                   labels_, kThumbnail));
  }

 private:
  int64_t total_, shown_;
  std::vector<std::vector<cv::Mat>> rows_;
  std::vector<std::string> labels_;
};

cv::Mat thumbnail(const cv::Mat& image) {
  const double scale = static_cast<double>(kThumbnail) / std::max(image.cols, image.rows);
  if (scale >= 1) return image.clone();
  return resize_image(image,
                      cv::Size(std::max(1, static_cast<int>(std::lround(image.cols * scale))),
                               std::max(1, static_cast<int>(std::lround(image.rows * scale)))));
}

/// What remains of an image once its pictures are written.
struct Outcome {
  std::string line, label;
  std::vector<cv::Mat> thumbnails;  ///< of images on the contact sheet
};

Outcome write_pictures(const Explainer& explainer, const Explanation& explanation, int64_t row,
                       const Decoded& decoded, const fs::path& out, bool on_sheet) {
  const ExplainedImage drawn = draw_explanation(explainer, explanation, row, decoded.image);
  const std::array<const cv::Mat*, 4> pictures{&drawn.counterfactual, &drawn.heatmap, &drawn.mask,
                                               &drawn.overlay};
  for (size_t i = 0; i < pictures.size(); ++i)
    write_image(out / (decoded.file->name.string() + kEndings[i]), *pictures[i]);
  const Model& model = explainer.model();
  const int64_t predicted = explanation.predicted[row].item<int64_t>();
  Outcome outcome;
  outcome.line = explanation_json(decoded.file->path.string(), model, explanation, row, drawn);
  if (!on_sheet) return outcome;
  outcome.label =
      fmt::format("{} {:.2f}  {}", model.class_names[predicted],
                  explanation.probs[row][predicted].item<double>(), decoded.file->name.string());
  for (const auto* picture :
       {&decoded.image, &drawn.counterfactual, &drawn.heatmap, &drawn.overlay})
    outcome.thumbnails.push_back(thumbnail(*picture));
  return outcome;
}

Explanation explain_batch(const Explainer& explainer, const std::vector<Decoded>& images,
                          int64_t target) {
  std::vector<Tensor> inputs;
  for (const auto& decoded : images) inputs.push_back(network_input(explainer, decoded.image));
  const auto count = static_cast<int64_t>(inputs.size());
  return explainer.explain(torch::stack(inputs),
                           target < 0 ? Tensor() : torch::full({count}, target, torch::kInt64));
}

}  // namespace

std::vector<ImageFile> list_images(const std::vector<fs::path>& arguments, const fs::path& out) {
  std::vector<ImageFile> files;
  std::set<fs::path> seen;
  std::map<fs::path, int> uses;  // of a name without its ending
  for (const auto& argument : arguments)
    for (const auto& path : find_images(argument)) {
      if (is_own_picture(path, out) || !seen.insert(fs::absolute(path).lexically_normal()).second)
        continue;
      files.push_back(
          {path, fs::is_directory(argument) ? path.lexically_relative(argument) : path.filename()});
      ++uses[fs::path(files.back().name).replace_extension()];
    }
  if (files.empty())
    fail(ErrorCode::kUsage,
         "no image to explain; give image files, or folders that hold .jpg, .png, .bmp, .tif or "
         ".webp files");
  for (auto& file : files) {
    const fs::path without_ending = fs::path(file.name).replace_extension();
    if (uses[without_ending] == 1) file.name = without_ending;
  }
  check_names(files, out);
  return files;
}

int64_t explain_files(const Explainer& explainer, const std::vector<ImageFile>& files,
                      const fs::path& out, const ExplainFilesOptions& options) {
  make_folder(out);
  ResultsFile results(out);
  ContactSheet sheet(static_cast<int64_t>(files.size()));
  Progress progress("explain", static_cast<int64_t>(files.size()), "img");
  Reader reader(files, options.batch);
  int64_t unreadable = 0;
  for (auto images = reader.next(); !images.empty(); images = reader.next()) {
    const auto read = static_cast<int64_t>(images.size());
    for (const auto& decoded : images)
      if (decoded.image.empty()) warn("skipped: {}", decoded.error);
    images.erase(std::remove_if(images.begin(), images.end(),
                                [](const Decoded& decoded) { return decoded.image.empty(); }),
                 images.end());
    unreadable += read - static_cast<int64_t>(images.size());
    if (!images.empty()) {
      const Explanation explanation = explain_batch(explainer, images, options.target);
      std::vector<Outcome> outcomes(images.size());
      at::parallel_for(0, static_cast<int64_t>(images.size()), 1, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i)
          outcomes[i] = write_pictures(explainer, explanation, i, images[i], out,
                                       sheet.shows(images[i].file - files.data()));
      });
      for (auto& outcome : outcomes) {
        results.add(outcome.line);
        if (!outcome.thumbnails.empty()) sheet.add(outcome.label, outcome.thumbnails);
      }
    }
    progress.advance(read);
  }
  progress.finish();
  sheet.write(out / "contact_sheet.png");
  results.commit();
  return unreadable;
}

}  // namespace flipside
