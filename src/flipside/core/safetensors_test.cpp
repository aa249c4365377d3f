#include "flipside/core/safetensors.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>

#include "flipside/core/error.h"
#include "flipside/core/file.h"

namespace flipside::safetensors_test {
namespace {

class Safetensors : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() / ("flipside_safetensors_" + std::to_string(getpid()));
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  fs::path path() const { return folder_ / "file.safetensors"; }

  /// A file with this header text and so many zero bytes of data.
  void put(const std::string& header, size_t data_bytes) const {
    std::string bytes(8, '\0');
    const uint64_t length = header.size();
    std::memcpy(bytes.data(), &length, 8);
    atomic_write(path(), bytes + header + std::string(data_bytes, '\0'));
  }

  std::string refusal() const {
    try {
      read_safetensors(path());
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kCheckpoint);
      EXPECT_NE(std::string(error.what()).find(path().string()), std::string::npos);
      return error.what();
    }
    return "";
  }

  void expect_refused(const std::string& header, size_t data_bytes, const std::string& words) {
    put(header, data_bytes);
    EXPECT_NE(refusal().find(words), std::string::npos) << header << ": " << refusal();
  }

  fs::path folder_;
};

SafetensorsFile sample() {
  SafetensorsFile file;
  for (const auto type : {at::kDouble, at::kFloat, at::kHalf, at::kBFloat16, at::kLong, at::kInt,
                          at::kByte, at::kBool})
    file.tensors[std::string("tensor ") + at::toString(type)] =
        (torch::arange(15).view({3, 5}) % 7).to(type);
  file.tensors["scalar"] = torch::tensor(2.5);
  file.tensors["empty"] = torch::empty({0, 4});
  file.metadata = {{"name", "quotes \" and \n lines"}, {"other", "\"crc32\":\"00000000\""}};
  return file;
}

TEST_F(Safetensors, ComesBackAsItWent) {
  const SafetensorsFile file = sample();
  write_safetensors(path(), file);
  SafetensorsFile back = read_safetensors(path());
  EXPECT_EQ(back.metadata.erase("crc32"), 1u);
  EXPECT_EQ(back.metadata, file.metadata);
  ASSERT_EQ(back.tensors.size(), file.tensors.size());
  for (const auto& [name, tensor] : file.tensors) {
    EXPECT_EQ(back.tensors[name].scalar_type(), tensor.scalar_type()) << name;
    EXPECT_TRUE(torch::equal(back.tensors[name], tensor)) << name;
  }
}

TEST_F(Safetensors, StoresRowMajorWhateverTheLayout) {
  const Tensor x = torch::arange(24, torch::kFloat).view({1, 2, 3, 4});
  write_safetensors(path(), {{{"x", x.contiguous(at::MemoryFormat::ChannelsLast)}}, {}});
  const std::string bytes = read_file(path());
  float last_of_first_row = 0;
  std::memcpy(&last_of_first_row, bytes.data() + bytes.size() - 21 * sizeof(float), sizeof(float));
  EXPECT_EQ(last_of_first_row, 3.f);
}

// The bytes of the format's own description, written by hand.
TEST_F(Safetensors, ReadsAFileOfOthers) {
  const std::string header = R"({"b":{"dtype":"F32","shape":[2],"data_offsets":[2,10]},)"
                             R"( "a":{"dtype":"U8","shape":[1,2],"data_offsets":[0,2]}}   )";
  std::string bytes = std::string(1, static_cast<char>(header.size())) + std::string(7, '\0');
  bytes += header + "\x05\x07" + std::string("\x00\x00\x80\x3f\x00\x00\x00\xc0", 8);
  atomic_write(path(), bytes);
  auto file = read_safetensors(path());
  EXPECT_TRUE(file.metadata.empty());
  EXPECT_TRUE(torch::equal(file.tensors["a"], torch::tensor({{5, 7}}, torch::kByte)));
  EXPECT_TRUE(torch::equal(file.tensors["b"], torch::tensor({1.f, -2.f})));
}

TEST_F(Safetensors, HeaderIsAlignedAndTensorsHaveNoHoles) {
  write_safetensors(path(), sample());
  const std::string bytes = read_file(path());
  uint64_t length = 0;
  std::memcpy(&length, bytes.data(), 8);
  EXPECT_EQ(length % 8, 0u);
  // 15 elements of 8+4+2+2+8+4+1+1 bytes, and one float.
  EXPECT_EQ(bytes.size(), 8 + length + 15 * 30 + 4);
}

TEST_F(Safetensors, NoByteCanFlipUnseen) {
  write_safetensors(path(), {{{"w", torch::arange(6)}}, {{"key", "value"}}});
  const std::string good = read_file(path());
  for (size_t i = 0; i < good.size(); ++i) {
    std::string bad = good;
    bad[i] = static_cast<char>(bad[i] ^ 0x01);
    atomic_write(path(), bad);
    try {
      // Only a flip in the checksum's own name gives a file: one without a checksum.
      EXPECT_EQ(read_safetensors(path()).metadata.count("crc32"), 0u) << "byte " << i;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kCheckpoint);
    }
  }
}

TEST_F(Safetensors, NoTruncationGoesUnseen) {
  write_safetensors(path(), {{{"w", torch::arange(6)}}, {}});
  const std::string good = read_file(path());
  for (size_t size = 0; size < good.size(); ++size) {
    atomic_write(path(), good.substr(0, size));
    EXPECT_NE(refusal(), "") << size << " bytes";
  }
  atomic_write(path(), good + "x");
  EXPECT_NE(refusal(), "");
}

TEST_F(Safetensors, RefusesWhatTheFormatForbids) {
  const auto entry = [](const std::string& dtype, const std::string& shape,
                        const std::string& offsets) {
    return R"({"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":)" + offsets +
           "}";
  };
  const auto one = [&](const std::string& dtype, const std::string& shape,
                       const std::string& offsets) {
    return R"({"a":)" + entry(dtype, shape, offsets) + "}";
  };
  const auto two = [&](const std::string& first, const std::string& second) {
    return R"({"a":)" + entry("U8", "[2]", first) + R"(,"b":)" + entry("U8", "[2]", second) + "}";
  };
  expect_refused("{", 0, "no JSON");
  expect_refused("[1]", 0, "no JSON object");
  expect_refused(R"({"a":1})", 0, "dtype, shape and data_offsets");
  expect_refused(one("F12", "[1]", "[0,4]"), 4, "dtype \"F12\"");
  expect_refused(one("F32", "[2]", "[0,4]"), 4, "takes 8 bytes");
  expect_refused(one("F32", "[-1]", "[0,4]"), 4, "out of range");
  expect_refused(one("F32", "[4294967296,4294967296]", "[0,4]"), 4, "out of range");
  expect_refused(one("F32", "[0,18446744073709551615]", "[0,0]"), 0, "out of range");
  expect_refused(one("F32", "1", "[0,4]"), 4, "no list");
  expect_refused(one("F32", "[1]", "[4,0]"), 4, "truncated");
  expect_refused(one("F32", "[1]", "[0,4]"), 3, "truncated");
  expect_refused(one("F32", "[1]", "[0,4]"), 5, "1 bytes behind");
  expect_refused(one("F32", "[1]", "[0]"), 4, "no pair");
  expect_refused(two("[0,2]", "[1,3]"), 4, "overlap or hole");
  expect_refused(two("[0,2]", "[3,5]"), 5, "overlap or hole");
  expect_refused(
      R"({"a":)" + entry("U8", "[1]", "[0,1]") + R"(,"a":)" + entry("U8", "[1]", "[0,1]") + "}", 1,
      "\"a\" twice");
  expect_refused(R"({"__metadata__":{"k":1}})", 0, "metadata k");
  expect_refused(R"({"__metadata__":{"crc32":"zz"}})", 0, "malformed");
  atomic_write(path(), std::string(8, '\xff') + "{}");
  EXPECT_NE(refusal().find("at most 100000000"), std::string::npos);
  fs::remove(path());
  EXPECT_NE(refusal(), "");
}

TEST_F(Safetensors, RefusesTruthValuesThatAreNone) {
  atomic_write(path(), "");
  put(R"({"a":{"dtype":"BOOL","shape":[1],"data_offsets":[0,1]}})", 1);
  EXPECT_FALSE(read_safetensors(path()).tensors["a"].item<bool>());
  std::string bytes = read_file(path());
  bytes.back() = 2;
  atomic_write(path(), bytes);
  EXPECT_NE(refusal().find("0 or 1"), std::string::npos);
}

TEST_F(Safetensors, WriterNamesWhatItCannotStore) {
  const auto code = [&](const SafetensorsFile& file, const fs::path& target) {
    try {
      write_safetensors(target, file);
    } catch (const Error& error) {
      return static_cast<int>(error.code());
    }
    return -1;
  };
  const int argument = static_cast<int>(ErrorCode::kArgument);
  EXPECT_EQ(code({{{"c", torch::zeros({1}, torch::kComplexFloat)}}, {}}, path()), argument);
  EXPECT_EQ(code({{}, {{"k", "\xff"}}}, path()), argument);
  EXPECT_EQ(code({}, "/dev/full/x"), static_cast<int>(ErrorCode::kIo));
}

}  // namespace
}  // namespace flipside::safetensors_test
