#include "flipside/report/explain_files.h"

#include <ATen/Parallel.h>
#include <algorithm>
#include <array>
#include <cmath>
#include <future>
#include <map>
#include <set>

#include "flipside/core/error.h"
#include "flipside/core/file.h"
#include "flipside/core/log.h"
#include "flipside/core/stop_signals.h"
#include "flipside/data/dataset.h"
#include "flipside/data/image_io.h"
#include "flipside/report/defect_table.h"
#include "flipside/report/explained_image.h"
#include "flipside/report/pictures.h"

namespace flipside {
namespace {

constexpr int64_t kSheetRows = 32;
constexpr int kThumbnail = 128;  // pixels
constexpr std::array<const char*, 4> kEndings{".counterfactual.png", ".heatmap.png", ".mask.png",
                                              ".overlay.png"};

bool is_own_picture(const fs::path& path, const fs::path& out) {
  const fs::path below = fs::weakly_canonical(path).lexically_relative(fs::weakly_canonical(out));
  if (below.empty() || *below.begin() == "..") return false;
  const std::string name = below.string();
  return (name.rfind("contact_sheet.", 0) == 0 && below.extension() == ".png") ||
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
class PictureReader {
 public:
  PictureReader(const std::vector<ImageFile>& files, int64_t batch)
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

/// A few images as rows of small pictures: first those whose answer is doubtful, then others,
/// evenly chosen among all.
class ContactSheet {
 public:
  explicit ContactSheet(int64_t total) : total_(total), shown_(std::min(total, kSheetRows)) {}
  /// Whether image number `index` may find a place.
  bool wants(int64_t index, bool certain) const {
    if (!certain) return static_cast<int64_t>(doubtful_.size()) < kSheetRows;
    return is_among(shown_, index, total_);
  }
  void add(const std::string& label, const std::vector<cv::Mat>& pictures, bool certain) {
    (certain ? others_ : doubtful_).push_back({label, pictures});
  }
  void write(const fs::path& path) const {
    std::vector<std::vector<cv::Mat>> pictures;
    std::vector<std::string> labels;
    const auto show = [&](const Row& row) {
      labels.push_back(row.label);
      pictures.push_back(row.pictures);
    };
    for (const auto& row : doubtful_)
      if (static_cast<int64_t>(labels.size()) < shown_) show(row);
    const auto places = shown_ - static_cast<int64_t>(labels.size());
    const auto left = static_cast<int64_t>(others_.size());
    for (int64_t i = 0; i < left; ++i)
      if (is_among(std::min(places, left), i, left)) show(others_[i]);
    if (labels.empty()) return;
    write_image(path,
                picture_grid(pictures,
                             {fmt::format("{} of {} images", labels.size(), total_),
                              "counterfactual", "change", "defect"},
                             labels, kThumbnail),
                Durability::kQuick);
  }

 private:
  struct Row {
    std::string label;
    std::vector<cv::Mat> pictures;
  };
  /// Whether `index` is one of `count` that are evenly chosen among `total`.
  static bool is_among(int64_t count, int64_t index, int64_t total) {
    return (index + 1) * count / total > index * count / total;
  }

  int64_t total_, shown_;
  std::vector<Row> doubtful_, others_;
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
  std::string line, table_rows, label;
  bool certain = true;
  std::vector<cv::Mat> thumbnails;  ///< of images on the contact sheet
};

/// What every image of one call has in common.
struct Job {
  const Explainer& explainer;
  const fs::path& out;
  const ExplainFilesOptions& options;
  const ContactSheet& sheet;
  const ImageFile* first_file;
};

Outcome write_pictures(const Job& job, const Explanation& explanation, int64_t row,
                       const ExplainedImage& drawn, const Decoded& decoded) {
  const std::array<const cv::Mat*, 4> pictures{&drawn.counterfactual, &drawn.heatmap, &drawn.mask,
                                               &drawn.overlay};
  at::parallel_for(0, 4, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      write_image(job.out / (decoded.file->name.string() + kEndings[i]), *pictures[i],
                  Durability::kQuick);
  });
  const Model& model = job.explainer.model();
  const int64_t predicted = explanation.predicted[row].item<int64_t>();
  const double mm_per_pixel = job.options.mm_per_pixel;
  const std::string file = decoded.file->path.string();
  Outcome outcome;
  outcome.line = explanation_json(file, model, explanation, row, drawn, mm_per_pixel);
  outcome.table_rows = defect_table_rows(file, model.class_names, drawn.defects, mm_per_pixel);
  outcome.certain = is_certain(model, explanation, row);
  if (!job.sheet.wants(decoded.file - job.first_file, outcome.certain)) return outcome;
  outcome.label = fmt::format(
      "{}\n{} {:.2f}{}", decoded.file->name.string(), model.class_names[predicted],
      explanation.probs[row][predicted].item<double>(), outcome.certain ? "" : "\nlook yourself");
  for (const auto* picture :
       {&decoded.image, &drawn.counterfactual, &drawn.heatmap, &drawn.overlay})
    outcome.thumbnails.push_back(thumbnail(*picture));
  return outcome;
}

Explanation explain_batch(const Explainer& explainer, const std::vector<const Decoded*>& images,
                          int64_t target) {
  std::vector<Tensor> inputs;
  for (const auto* decoded : images) inputs.push_back(network_input(explainer, decoded->image));
  const auto count = static_cast<int64_t>(inputs.size());
  return explainer.explain(torch::stack(inputs),
                           target < 0 ? Tensor() : torch::full({count}, target, torch::kInt64));
}

/// Images stretched to the training size, together; outcomes by their place in `images`.
void explain_stretched(const Job& job, const std::vector<Decoded>& images,
                       const std::vector<size_t>& places, std::vector<Outcome>& outcomes) {
  if (places.empty()) return;
  std::vector<const Decoded*> chosen;
  for (size_t place : places) chosen.push_back(&images[place]);
  const Explanation explanation = explain_batch(job.explainer, chosen, job.options.target);
  at::parallel_for(0, static_cast<int64_t>(places.size()), 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const ExplainedImage drawn =
          draw_explanation(job.explainer, explanation, i, chosen[i]->image);
      outcomes[places[i]] = write_pictures(job, explanation, i, drawn, *chosen[i]);
    }
  });
}

/// One image in windows: alone, since its maps take memory.
Outcome explain_windowed(const Job& job, const Decoded& decoded, double scale) {
  const WindowOptions options{job.options.window, job.options.batch, job.options.target};
  const WindowedExplanation explanation =
      explain_in_windows(job.explainer, decoded.image, scale, options);
  const ExplainedImage drawn =
      draw_explanation(explanation, job.explainer.model().reference_class, decoded.image);
  return write_pictures(job, explanation.verdict, 0, drawn, decoded);
}

/// Explains decoded images, each as its size asks for.
std::vector<Outcome> explain_images(const Job& job, const std::vector<Decoded>& images) {
  const Model& model = job.explainer.model();
  std::vector<Outcome> outcomes(images.size());
  std::vector<size_t> stretched;
  for (size_t i = 0; i < images.size(); ++i) {
    const auto scale = window_scale(model, images[i].image.size(), job.options.scaling);
    if (scale)
      outcomes[i] = explain_windowed(job, images[i], *scale);
    else
      stretched.push_back(i);
  }
  explain_stretched(job, images, stretched, outcomes);
  return outcomes;
}

void warn_of_unknown_scale(const Model& model, const ExplainFilesOptions& options) {
  if (options.scaling.mode == Scaling::Mode::kAuto && model.native_sides.median == 0)
    warn(
        "this checkpoint does not say how large its training images were: images much larger than "
        "{} pixels are explained in windows, pixel for pixel; --scale fit stretches them whole",
        model.config.data.size);
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

std::vector<ImageFile> files_of(const Shard& shard, const std::vector<ImageFile>& files) {
  std::vector<ImageFile> chosen;
  for (size_t i = 0; i < files.size(); ++i)
    if (shard.has(static_cast<int64_t>(i))) chosen.push_back(files[i]);
  return chosen;
}

ExplainedFiles explain_files(const Explainer& explainer, const std::vector<ImageFile>& files,
                             const fs::path& out, const ExplainFilesOptions& options) {
  make_folder(out);
  AtomicFile results(out / shard_file("results", ".jsonl", options.shard));
  AtomicFile table(out / shard_file("defects", ".csv", options.shard));
  table.write(defect_table_header(options.mm_per_pixel));
  ContactSheet sheet(static_cast<int64_t>(files.size()));
  const Job job{explainer, out, options, sheet, files.data()};
  warn_of_unknown_scale(explainer.model(), options);
  Progress progress("explain", static_cast<int64_t>(files.size()), "img");
  PictureReader reader(files, options.batch);
  ExplainedFiles counts;
  const StopSignals signals;
  for (auto images = reader.next(); !images.empty(); images = reader.next()) {
    const auto read = static_cast<int64_t>(images.size());
    for (const auto& decoded : images)
      if (decoded.image.empty()) warn("skipped: {}", decoded.error);
    images.erase(std::remove_if(images.begin(), images.end(),
                                [](const Decoded& decoded) { return decoded.image.empty(); }),
                 images.end());
    counts.unreadable += read - static_cast<int64_t>(images.size());
    for (auto& outcome : explain_images(job, images)) {
      results.write(outcome.line + "\n");
      table.write(outcome.table_rows);
      counts.doubtful += !outcome.certain;
      if (!outcome.thumbnails.empty())
        sheet.add(outcome.label, outcome.thumbnails, outcome.certain);
    }
    counts.seen += read;
    progress.advance(read);
    if (signals.requested()) break;
  }
  if (counts.seen == static_cast<int64_t>(files.size())) progress.finish();
  sheet.write(out / shard_file("contact_sheet", ".png", options.shard));
  table.commit();
  results.commit();
  return counts;
}

}  // namespace flipside
