#include "flipside/data/image_header.h"

#include <cstdlib>
#include <optional>

namespace flipside {
namespace {

constexpr int kOrientationTag = 0x0112;  // TIFF 6.0 and EXIF
constexpr int kWidthTag = 0x0100;
constexpr int kHeightTag = 0x0101;

/// Bytes read as unsigned integers; `good` turns false at the first reading beyond the end.
class HeaderReader {
 public:
  HeaderReader(std::string_view bytes, bool big_endian) : bytes_(bytes), big_endian_(big_endian) {}

  uint64_t number(uint64_t at, int size) {
    if (at > bytes_.size() || bytes_.size() - at < static_cast<uint64_t>(size)) {
      good_ = false;
      return 0;
    }
    uint64_t value = 0;
    for (int i = 0; i < size; ++i)
      value = value << 8 | static_cast<uint8_t>(bytes_[at + (big_endian_ ? i : size - 1 - i)]);
    return value;
  }
  bool good() const { return good_; }

 private:
  std::string_view bytes_;
  bool big_endian_, good_ = true;
};

bool starts_with(std::string_view bytes, std::string_view prefix) {
  return bytes.substr(0, prefix.size()) == prefix;
}

/// A short or long value of the first directory of a TIFF stream, which EXIF is, too.
std::optional<int64_t> tiff_value(std::string_view tiff, int tag) {
  if (!starts_with(tiff, "II") && !starts_with(tiff, "MM")) return {};
  HeaderReader reader(tiff, tiff[0] == 'M');
  const uint64_t directory = reader.number(4, 4);
  const uint64_t entries = reader.number(directory, 2);
  for (uint64_t i = 0; i < entries && reader.good(); ++i) {
    const uint64_t entry = directory + 2 + 12 * i;
    if (reader.number(entry, 2) != static_cast<uint64_t>(tag)) continue;
    const bool is_short = reader.number(entry + 2, 2) == 3;
    const uint64_t value = reader.number(entry + 8, is_short ? 2 : 4);
    if (reader.good()) return static_cast<int64_t>(value);
  }
  return {};
}

int exif_orientation(std::string_view tiff) {
  const int64_t value = tiff_value(tiff, kOrientationTag).value_or(1);
  return value >= 1 && value <= 8 ? static_cast<int>(value) : 1;
}

/// Markers up to the start of scan; in the coded data behind it the end marker FF D9 cannot occur
/// by chance, since every FF there is followed by 00 or a restart marker.
ImageHeader read_jpeg(std::string_view bytes) {
  ImageHeader header{ImageHeader::Format::kJpeg};
  header.complete = false;
  HeaderReader reader(bytes, /*big_endian=*/true);
  uint64_t at = 2;
  while (true) {
    if (reader.number(at, 1) != 0xff) return header;
    const uint64_t marker = reader.number(at + 1, 1);
    if (marker == 0xff) {  // fill byte
      ++at;
      continue;
    }
    const uint64_t length = reader.number(at + 2, 2);
    if (!reader.good() || length < 2) return header;
    const std::string_view segment = bytes.substr(at + 4 <= bytes.size() ? at + 4 : at, length - 2);
    const bool is_frame =
        marker >= 0xc0 && marker <= 0xcf && marker != 0xc4 && marker != 0xc8 && marker != 0xcc;
    if (is_frame) {
      header.height = static_cast<int64_t>(reader.number(at + 5, 2));
      header.width = static_cast<int64_t>(reader.number(at + 7, 2));
    } else if (marker == 0xe1 && starts_with(segment, std::string_view("Exif\0\0", 6))) {
      header.orientation = exif_orientation(segment.substr(6));
    } else if (marker == 0xda) {
      header.complete = bytes.find("\xff\xd9", at + 2 + length) != std::string_view::npos;
      return header;
    }
    at += 2 + length;
  }
}

ImageHeader read_png(std::string_view bytes) {
  ImageHeader header{ImageHeader::Format::kPng};
  HeaderReader reader(bytes, /*big_endian=*/true);
  header.width = static_cast<int64_t>(reader.number(16, 4));
  header.height = static_cast<int64_t>(reader.number(20, 4));
  header.complete = false;
  for (uint64_t at = 8; reader.good();) {
    const uint64_t length = reader.number(at, 4);
    reader.number(at + 8 + length, 4);  // the checksum ends the chunk
    if (!reader.good()) break;
    const std::string_view name = bytes.substr(at + 4, 4);
    if (name == "eXIf") header.orientation = exif_orientation(bytes.substr(at + 8, length));
    if (name == "IEND") {
      header.complete = true;
      break;
    }
    at += 12 + length;
  }
  return header;
}

ImageHeader read_bmp(std::string_view bytes) {
  ImageHeader header{ImageHeader::Format::kBmp};
  HeaderReader reader(bytes, /*big_endian=*/false);
  const bool is_old = reader.number(14, 4) == 12;  // OS/2: 16-bit sides
  header.width = static_cast<int64_t>(reader.number(18, is_old ? 2 : 4));
  const uint64_t height = reader.number(is_old ? 20 : 22, is_old ? 2 : 4);
  // A negative height means that the top row comes first.
  header.height = is_old ? static_cast<int64_t>(height)
                         : std::llabs(static_cast<int64_t>(static_cast<int32_t>(height)));
  const uint64_t bits = reader.number(is_old ? 24 : 28, 2);
  const uint64_t compression = is_old ? 0 : reader.number(30, 4);
  const uint64_t row = (static_cast<uint64_t>(header.width) * bits + 31) / 32 * 4;
  const uint64_t pixels = compression == 0 ? row * static_cast<uint64_t>(header.height) : 0;
  header.complete = reader.good() && reader.number(10, 4) + pixels <= bytes.size();
  return header;
}

ImageHeader read_tiff(std::string_view bytes) {
  ImageHeader header{ImageHeader::Format::kTiff};
  const auto width = tiff_value(bytes, kWidthTag), height = tiff_value(bytes, kHeightTag);
  header.width = width.value_or(0);
  header.height = height.value_or(0);
  header.orientation = exif_orientation(bytes);
  header.complete = width && height;
  return header;
}

/// The sides of a lossy ("VP8 "), lossless ("VP8L") or extended ("VP8X") stream at `at`.
void read_webp_size(std::string_view name, uint64_t at, HeaderReader& reader, ImageHeader& header) {
  if (name == "VP8X") {
    header.width = static_cast<int64_t>(reader.number(at + 4, 3) + 1);
    header.height = static_cast<int64_t>(reader.number(at + 7, 3) + 1);
  } else if (name == "VP8 ") {
    header.width = static_cast<int64_t>(reader.number(at + 6, 2) & 0x3fff);
    header.height = static_cast<int64_t>(reader.number(at + 8, 2) & 0x3fff);
  } else if (name == "VP8L") {
    const uint64_t sides = reader.number(at + 1, 4);
    header.width = static_cast<int64_t>((sides & 0x3fff) + 1);
    header.height = static_cast<int64_t>((sides >> 14 & 0x3fff) + 1);
  }
}

ImageHeader read_webp(std::string_view bytes) {
  ImageHeader header{ImageHeader::Format::kWebp};
  HeaderReader reader(bytes, /*big_endian=*/false);
  const uint64_t end = reader.number(4, 4) + 8;
  header.complete = end <= bytes.size();
  for (uint64_t at = 12; at + 8 <= end && reader.good();) {
    const uint64_t length = reader.number(at + 4, 4);
    if (!reader.good()) break;
    const std::string_view name = bytes.substr(at, 4);
    if (header.width == 0) read_webp_size(name, at + 8, reader, header);
    if (name == "EXIF" && at + 8 <= bytes.size()) {
      std::string_view exif = bytes.substr(at + 8, length);
      if (starts_with(exif, std::string_view("Exif\0\0", 6))) exif.remove_prefix(6);  // as in JPEG
      header.orientation = exif_orientation(exif);
    }
    at += 8 + length + length % 2;
  }
  return header;
}

}  // namespace

ImageHeader read_image_header(std::string_view bytes) {
  if (starts_with(bytes, "\xff\xd8")) return read_jpeg(bytes);
  if (starts_with(bytes, "\x89PNG\r\n\x1a\n")) return read_png(bytes);
  if (starts_with(bytes, "BM")) return read_bmp(bytes);
  if (starts_with(bytes, std::string_view("II*\0", 4)) ||
      starts_with(bytes, std::string_view("MM\0*", 4)))
    return read_tiff(bytes);
  if (starts_with(bytes, "RIFF") && bytes.size() >= 12 && bytes.substr(8, 4) == "WEBP")
    return read_webp(bytes);
  return {};
}

}  // namespace flipside
