#include "flipside/core/safetensors.h"

#include <zlib.h>

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>

#include "flipside/core/error.h"
#include "flipside/core/file.h"

namespace flipside {
namespace {

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "tensors are stored as they stand");

using nlohmann::json;

constexpr size_t kLengthBytes = 8;            // of the header's length, at the start of the file
constexpr uint64_t kMaxHeader = 100'000'000;  // bytes; the limit of the reference implementation
constexpr size_t kMaxDims = 64;               // libtorch's own limit
constexpr char kMetadataKey[] = "__metadata__";
constexpr char kCrcKey[] = "crc32";
// How the key stands in a header of ours. Inside a JSON string its quotes would be escaped, so it
// occurs only once.
constexpr std::string_view kCrcPrefix = "\"crc32\":\"";
constexpr std::string_view kCrcZero = "00000000";

struct Dtype {
  std::string_view name;
  at::ScalarType type;
};
constexpr Dtype kDtypes[] = {{"F64", at::kDouble},    {"F32", at::kFloat}, {"F16", at::kHalf},
                             {"BF16", at::kBFloat16}, {"I64", at::kLong},  {"I32", at::kInt},
                             {"U8", at::kByte},       {"BOOL", at::kBool}};

std::string dtype_name(const std::string& tensor, at::ScalarType type) {
  for (const auto& dtype : kDtypes)
    if (dtype.type == type) return std::string(dtype.name);
  fail(ErrorCode::kArgument, "tensor {}: dtype {} has no place in a safetensors file; convert it",
       tensor, at::toString(type));
}

std::string_view bytes_of(const Tensor& tensor) {
  return {static_cast<const char*>(tensor.data_ptr()), tensor.nbytes()};
}

uint32_t crc_of(uint32_t crc, std::string_view bytes) {
  if (bytes.empty()) return crc;  // zlib starts afresh for a null pointer
  return static_cast<uint32_t>(
      crc32_z(crc, reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size()));
}

std::string length_prefix(uint64_t length) {
  std::string bytes(kLengthBytes, '\0');
  std::memcpy(bytes.data(), &length, kLengthBytes);
  return bytes;
}

using NamedTensor = std::pair<std::string, Tensor>;

/// Row-major tensors in file order: wide elements first, so that each tensor is aligned.
std::vector<NamedTensor> file_order(const std::map<std::string, Tensor>& tensors) {
  std::vector<NamedTensor> ordered;
  for (const auto& [name, tensor] : tensors)
    ordered.emplace_back(name, tensor.detach().cpu().contiguous());
  std::stable_sort(ordered.begin(), ordered.end(), [](const auto& a, const auto& b) {
    return a.second.element_size() > b.second.element_size();
  });
  return ordered;
}

/// Length and JSON, padded with spaces so that the tensors begin at a multiple of 8 bytes.
std::string make_header(const std::vector<NamedTensor>& tensors,
                        const std::map<std::string, std::string>& metadata) {
  json header;
  header[kMetadataKey] = metadata;
  header[kMetadataKey][kCrcKey] = kCrcZero;
  size_t offset = 0;
  for (const auto& [name, tensor] : tensors) {
    const size_t end = offset + tensor.nbytes();
    header[name] = {{"dtype", dtype_name(name, tensor.scalar_type())},
                    {"shape", tensor.sizes().vec()},
                    {"data_offsets", {offset, end}}};
    offset = end;
  }
  std::string text = header.dump();
  text.append((8 - text.size() % 8) % 8, ' ');
  return length_prefix(text.size()) + text;
}

/// A tensor's place in the file, as the header states it.
struct Entry {
  std::string name;
  at::ScalarType type;
  std::vector<int64_t> shape;
  uint64_t begin, end;  // bytes, from the end of the header
};

/// Reads one file; every refusal names it.
class SafetensorsReader {
 public:
  explicit SafetensorsReader(const fs::path& path) : path_(path) {
    try {
      bytes_ = read_file(path);
    } catch (const Error& error) {
      fail(ErrorCode::kCheckpoint, "{}", error.what());
    }
  }
  SafetensorsFile read();

 private:
  template <typename... Args>
  [[noreturn]] void refuse(fmt::format_string<Args...> format, Args&&... args) const {
    fail(ErrorCode::kCheckpoint, "{}: {}; restore the file from a copy or make it again",
         path_.string(), fmt::format(format, std::forward<Args>(args)...));
  }
  json parse_header();
  std::map<std::string, std::string> parse_metadata(const json& value) const;
  Entry parse_entry(const std::string& name, const json& value) const;
  std::vector<int64_t> parse_shape(const std::string& name, const json& value) const;
  void check_crc(const std::string& stored) const;
  void check_layout(std::vector<Entry>& entries) const;
  Tensor make_tensor(const Entry& entry) const;

  fs::path path_;
  std::string bytes_;
  std::string_view header_, data_;
};

json SafetensorsReader::parse_header() {
  if (bytes_.size() < kLengthBytes)
    refuse("truncated: {} bytes, a safetensors file has 8 or more", bytes_.size());
  uint64_t length = 0;
  std::memcpy(&length, bytes_.data(), kLengthBytes);
  if (length > kMaxHeader)
    refuse("header of {} bytes: at most {} are allowed; not a safetensors file?", length,
           kMaxHeader);
  if (length > bytes_.size() - kLengthBytes)
    refuse("truncated: header of {} bytes in a file of {}", length, bytes_.size());
  header_ = std::string_view(bytes_).substr(kLengthBytes, length);
  data_ = std::string_view(bytes_).substr(kLengthBytes + length);

  std::vector<std::set<std::string>> open_objects;
  const auto refuse_duplicates = [&](int, json::parse_event_t event, json& parsed) {
    if (event == json::parse_event_t::object_start) open_objects.emplace_back();
    if (event == json::parse_event_t::object_end) open_objects.pop_back();
    if (event == json::parse_event_t::key && !open_objects.back().insert(parsed).second)
      refuse("header names {} twice", parsed.dump());
    return true;
  };
  try {
    json header = json::parse(header_, refuse_duplicates);
    if (!header.is_object()) refuse("header is no JSON object");
    return header;
  } catch (const json::exception& error) {
    refuse("header is no JSON: {}", error.what());
  }
}

std::map<std::string, std::string> SafetensorsReader::parse_metadata(const json& value) const {
  if (!value.is_object()) refuse("__metadata__ is no JSON object");
  std::map<std::string, std::string> metadata;
  for (const auto& [key, text] : value.items()) {
    if (!text.is_string()) refuse("metadata {} is no string", key);
    metadata[key] = text;
  }
  return metadata;
}

std::vector<int64_t> SafetensorsReader::parse_shape(const std::string& name,
                                                    const json& value) const {
  if (!value.is_array() || value.size() > kMaxDims)
    refuse("tensor {}: shape {} is no list of at most {} sizes", name, value.dump(), kMaxDims);
  std::vector<int64_t> shape;
  // An upper bound of every stride, so that no later arithmetic on them overflows.
  int64_t product = 16;
  for (const auto& size : value) {
    if (!size.is_number_unsigned() ||
        size.get<uint64_t>() > static_cast<uint64_t>(std::numeric_limits<int64_t>::max()) ||
        __builtin_mul_overflow(product, std::max<int64_t>(1, size.get<int64_t>()), &product))
      refuse("tensor {}: shape {} is out of range", name, value.dump());
    shape.push_back(size);
  }
  return shape;
}

Entry SafetensorsReader::parse_entry(const std::string& name, const json& value) const {
  if (!value.is_object() || value.size() != 3 || !value.contains("dtype") ||
      !value.contains("shape") || !value.contains("data_offsets"))
    refuse("tensor {}: must have dtype, shape and data_offsets, has {}", name, value.dump());
  const auto* dtype = std::find_if(std::begin(kDtypes), std::end(kDtypes),
                                   [&](const Dtype& d) { return value["dtype"] == d.name; });
  if (dtype == std::end(kDtypes))
    refuse("tensor {}: dtype {} is not known", name, value["dtype"].dump());
  const json& offsets = value["data_offsets"];
  if (!offsets.is_array() || offsets.size() != 2 || !offsets[0].is_number_unsigned() ||
      !offsets[1].is_number_unsigned())
    refuse("tensor {}: data_offsets {} are no pair of offsets", name, offsets.dump());
  Entry entry{name, dtype->type, parse_shape(name, value["shape"]), offsets[0], offsets[1]};
  uint64_t bytes = at::elementSize(entry.type);
  for (const int64_t size : entry.shape) bytes *= static_cast<uint64_t>(size);
  if (entry.begin > entry.end || entry.end > data_.size())
    refuse("truncated: tensor {} is at bytes {} to {} of {}", name, entry.begin, entry.end,
           data_.size());
  if (entry.end - entry.begin != bytes)
    refuse("tensor {}: shape {} takes {} bytes, but {} are given", name, value["shape"].dump(),
           bytes, entry.end - entry.begin);
  return entry;
}

void SafetensorsReader::check_layout(std::vector<Entry>& entries) const {
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return std::tie(a.begin, a.end) < std::tie(b.begin, b.end);
  });
  uint64_t expected = 0;
  for (const auto& entry : entries) {
    if (entry.begin != expected)
      refuse("tensor {} begins at byte {}, expected {}: overlap or hole", entry.name, entry.begin,
             expected);
    expected = entry.end;
  }
  if (expected != data_.size()) refuse("{} bytes behind the last tensor", data_.size() - expected);
}

void SafetensorsReader::check_crc(const std::string& stored) const {
  const size_t found = header_.find(kCrcPrefix);
  const size_t place = kLengthBytes + found + kCrcPrefix.size();
  if (found == std::string_view::npos || stored.size() != kCrcZero.size() ||
      bytes_.compare(place, stored.size(), stored) != 0)
    refuse("checksum {} is malformed", json(stored).dump());
  const std::string_view whole(bytes_);
  uint32_t crc = crc_of(0, whole.substr(0, place));
  crc = crc_of(crc, kCrcZero);
  crc = crc_of(crc, whole.substr(place + kCrcZero.size()));
  const std::string computed = fmt::format("{:08x}", crc);
  if (stored != computed) refuse("corrupt: checksum {}, stored {}", computed, stored);
}

Tensor SafetensorsReader::make_tensor(const Entry& entry) const {
  Tensor tensor = torch::empty(entry.shape, entry.type);
  const std::string_view bytes = data_.substr(entry.begin, entry.end - entry.begin);
  if (entry.type == at::kBool &&
      std::any_of(bytes.begin(), bytes.end(), [](char c) { return c != 0 && c != 1; }))
    refuse("tensor {}: truth values must be 0 or 1", entry.name);
  if (!bytes.empty()) std::memcpy(tensor.data_ptr(), bytes.data(), bytes.size());
  return tensor;
}

SafetensorsFile SafetensorsReader::read() {
  const json header = parse_header();
  SafetensorsFile file;
  std::vector<Entry> entries;
  for (const auto& [name, value] : header.items()) {
    if (name == kMetadataKey)
      file.metadata = parse_metadata(value);
    else
      entries.push_back(parse_entry(name, value));
  }
  if (const auto crc = file.metadata.find(kCrcKey); crc != file.metadata.end())
    check_crc(crc->second);
  check_layout(entries);
  for (const auto& entry : entries) file.tensors[entry.name] = make_tensor(entry);
  return file;
}

}  // namespace

void write_safetensors(const fs::path& path, const SafetensorsFile& file) {
  const auto tensors = file_order(file.tensors);
  std::string header;
  try {
    header = make_header(tensors, file.metadata);
  } catch (const json::exception& error) {
    fail(ErrorCode::kArgument, "{}: names and metadata must be UTF-8: {}", path.string(),
         error.what());
  }
  std::vector<std::string_view> pieces{header};
  uint32_t crc = crc_of(0, header);
  for (const auto& [name, tensor] : tensors) {
    pieces.push_back(bytes_of(tensor));
    crc = crc_of(crc, pieces.back());
  }
  header.replace(header.find(kCrcPrefix) + kCrcPrefix.size(), kCrcZero.size(),
                 fmt::format("{:08x}", crc));
  atomic_write(path, pieces);
}

SafetensorsFile read_safetensors(const fs::path& path) { return SafetensorsReader(path).read(); }

}  // namespace flipside
