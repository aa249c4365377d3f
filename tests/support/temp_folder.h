#pragma once

#include <stdlib.h>

#include <filesystem>
#include <stdexcept>
#include <string>
#include <string_view>

#include "flipside/core/error.h"
#include "flipside/core/file.h"
#ifdef FLIPSIDE_OPENCV
#include "flipside/data/image_io.h"
#endif

namespace flipside {

/// A folder of a test's own, removed with all that is in it.
class TempFolder {
 public:
  TempFolder() {
    std::string name = (fs::temp_directory_path() / "flipside_test_XXXXXX").string();
    if (mkdtemp(name.data()) == nullptr) throw std::runtime_error("no temporary folder");
    path_ = name;
  }
  ~TempFolder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;

  const fs::path& path() const { return path_; }
  fs::path operator/(const fs::path& name) const { return path_ / name; }
  /// Writes bytes to a file of the folder and gives its path.
  fs::path write(const fs::path& name, std::string_view bytes) const {
    atomic_write(path_ / name, bytes);
    return path_ / name;
  }
#ifdef FLIPSIDE_OPENCV
  /// Writes a one-colour RGB image.
  fs::path write_image(const fs::path& name, cv::Scalar colour, cv::Size size = {8, 8}) const {
    flipside::write_image(path_ / name, cv::Mat(size, CV_8UC3, colour));
    return path_ / name;
  }
#endif

 private:
  fs::path path_;
};

/// The message of the `Error` that `call` throws, checked to be of `code`; "" when none comes.
template <typename Call>
std::string message_of(ErrorCode code, const Call& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.code() == code ? error.what() : std::string("wrong code: ") + error.what();
  }
  return "";
}

}  // namespace flipside
