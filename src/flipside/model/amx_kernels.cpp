#include "flipside/model/amx_kernels.h"

#include <algorithm>
#include <cstring>

#include "flipside/model/native_bfloat16.h"
// Before the vectors; processors that multiply tiles have what it asks for.

#include "flipside/model/lanes.h"

#if defined(FLIPSIDE_NATIVE_BFLOAT16) && defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>

namespace flipside::kernels {
namespace {

// A tile is sixteen rows of sixteen words at most: sums, or pairs of bfloat16. Of the eight
// registers four hold sums, which are independent of each other, so that the next product need not
// wait for the last, two what comes from the right, and one what meets it from the left.
constexpr int64_t kSide = 16;
static_assert(kPanel == kSide);
constexpr int kSums = 4, kRight = 4, kLeft = 6;
constexpr int64_t kDeepest = 128;  // of the pairs that are turned at once

// As the intrinsics, which take no constants of templates, and let the compiler move what is
// written to memory past what tiles read there.
template <int kRegister>
inline void load_tile(const void* from, int64_t row) {
  asm volatile("tileloadd (%0,%1,1), %%tmm%c2" ::"r"(from), "r"(row * 4), "i"(kRegister)
               : "memory");
}
template <int kRegister>
inline void store_tile(void* to, int64_t row) {
  asm volatile("tilestored %%tmm%c2, (%0,%1,1)" ::"r"(to), "r"(row * 4), "i"(kRegister) : "memory");
}
template <int kRegister>
inline void clear_tile() {
  asm volatile("tilezero %%tmm%c0" ::"i"(kRegister));
}
template <int kSum, int kFirst, int kSecond>
inline void add_product() {
  asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(kSum), "i"(kFirst), "i"(kSecond));
}

/// The sizes of all registers, while it lives: sums of `rows` rows over `depth` pairs.
class TileSizes {
 public:
  TileSizes(int64_t rows, int64_t depth) {
    for (int i = 0; i < kSums; ++i) set(i, rows, kSide);
    for (int i = kRight; i < kLeft; ++i) set(i, depth, kSide);
    set(kLeft, rows, depth);
    asm volatile("ldtilecfg %0" ::"m"(sizes_));
  }
  ~TileSizes() { asm volatile("tilerelease"); }
  TileSizes(const TileSizes&) = delete;
  TileSizes& operator=(const TileSizes&) = delete;

 private:
  void set(int tile, int64_t rows, int64_t words) {
    sizes_.rows[tile] = static_cast<uint8_t>(rows);
    sizes_.row_bytes[tile] = static_cast<uint16_t>(4 * words);
  }

  struct {  // as the processor reads it
    uint8_t palette = 1, start_row = 0, reserved[14] = {};
    uint16_t row_bytes[16] = {};
    uint8_t rows[16] = {};
  } sizes_;
};

/// A part of a product that tiles of one size make up: their sides, and how many there are along
/// the depth.
struct Part {
  int64_t rows, depth, count;
};

/// Products of the same sizes that one sum takes, and how far their factors lie apart: the lines of
/// a convolution's kernel.
struct Lines {
  int64_t count = 1, left = 0, right = 0;
};

/// Blocks of as many rows, and how far they lie apart.
struct Blocks {
  int64_t count = 1, left = 0, sum = 0;
};

/// `work(i)` for the constants below `kCount`, in their order.
template <int kCount, typename Work>
FLIPSIDE_INLINE void for_constants(const Work& work) {
  if constexpr (kCount > 0) {
    for_constants<kCount - 1>(work);
    work(std::integral_constant<int, kCount - 1>());
  }
}

/// `kBlocks` blocks of rows of the sum and `kPanels` panels from `right` on, held in registers over
/// the whole depth.
template <int kBlocks, int kPanels>
void multiply_block(const Part& part, const Lines& lines, const Blocks& blocks,
                    const LeftOf<Pair>& left, const RightOf<Pair>& right, const Sum& sum,
                    bool adds) {
  static_assert(kBlocks * kPanels <= kSums);
  const auto for_sums = [&](const auto& work) FLIPSIDE_INLINED {
    for_constants<kBlocks>([&](auto block) FLIPSIDE_INLINED {
      for_constants<kPanels>([&](auto panel) FLIPSIDE_INLINED {
        work(std::integral_constant<int, block * kPanels + panel>(),
             sum.data + block * blocks.sum + panel * kPanel);
      });
    });
  };
  if (adds)
    for_sums([&](auto i, float* at) FLIPSIDE_INLINED { load_tile<i>(at, sum.row); });
  else
    for_sums([&](auto i, float*) FLIPSIDE_INLINED { clear_tile<i>(); });
  const auto add = [&](const Pair* rows, const Pair* cols) FLIPSIDE_INLINED {
    if constexpr (kBlocks == 1) {
      load_tile<kLeft>(rows, left.row);
      for_constants<kPanels>([&](auto panel) FLIPSIDE_INLINED {
        load_tile<kRight + panel % 2>(cols + panel * right.panel, right.depth);
        add_product<panel, kLeft, kRight + panel % 2>();
      });
    } else {
      for_constants<kPanels>([&](auto panel) FLIPSIDE_INLINED {
        load_tile<kRight + panel>(cols + panel * right.panel, right.depth);
      });
      for_constants<kBlocks>([&](auto block) FLIPSIDE_INLINED {
        load_tile<kLeft>(rows + block * blocks.left, left.row);
        for_constants<kPanels>([&](auto panel) FLIPSIDE_INLINED {
          add_product<block * kPanels + panel, kLeft, kRight + panel>();
        });
      });
    }
  };
  for (int64_t line = 0; line < lines.count; ++line) {
    const Pair *rows = left.data + line * lines.left, *cols = right.data + line * lines.right;
    for (int64_t i = 0; i < part.count; ++i)
      add(rows + i * part.depth, cols + i * part.depth * right.depth);
  }
  for_sums([&](auto i, float* at) FLIPSIDE_INLINED { store_tile<i>(at, sum.row); });
}

/// All blocks of `kPanels` panels, as many at once as there are registers for.
template <int kPanels>
void multiply_panels(const Part& part, const Lines& lines, Blocks blocks, LeftOf<Pair> left,
                     const RightOf<Pair>& right, Sum sum, bool adds) {
  const auto multiply = [&](auto count) {
    for (; blocks.count >= count; blocks.count -= count) {
      multiply_block<count, kPanels>(part, lines, blocks, left, right, sum, adds);
      left.data += count * blocks.left;
      sum.data += count * blocks.sum;
    }
  };
  if constexpr (kPanels == 1) multiply(std::integral_constant<int, 4>());
  if constexpr (kPanels <= 2) multiply(std::integral_constant<int, 2>());
  multiply(std::integral_constant<int, 1>());
}

/// All panels of all blocks; neighbours along the depth lie side by side.
void multiply_blocks(const Part& part, const Lines& lines, const Blocks& blocks, int64_t cols,
                     const LeftOf<Pair>& left, RightOf<Pair> right, Sum sum, bool adds) {
  int64_t panels = cols / kPanel;
  const auto multiply = [&](auto most) {
    for (; panels >= most; panels -= most) {
      multiply_panels<most>(part, lines, blocks, left, right, sum, adds);
      right.data += most * right.panel;
      sum.data += most * kPanel;
    }
  };
  // Two panels meet two blocks; a block that is alone meets four panels.
  if (blocks.count == 1) multiply(std::integral_constant<int, 4>());
  if (blocks.count == 1) multiply(std::integral_constant<int, 3>());
  multiply(std::integral_constant<int, 2>());
  multiply(std::integral_constant<int, 1>());
}

/// One step of turning a square over: of rows `kStep` apart the upper one's right half becomes the
/// lower one's left half, and the other way, in each square of twice `kStep` rows.
template <int kStep>
FLIPSIDE_INLINE void exchange(WideWords (&rows)[kSide]) {
  WideWords upper, lower;  // which of both rows' words go where
  for (uint32_t i = 0; i < kSide; ++i) {
    upper[i] = i & kStep ? kSide + i - kStep : i;
    lower[i] = i & kStep ? kSide + i : i + kStep;
  }
  for (int i = 0; i < kSide; ++i) {
    if (i & kStep) continue;
    const WideWords first = rows[i], second = rows[i + kStep];
    rows[i] = __builtin_shuffle(first, second, upper);
    rows[i + kStep] = __builtin_shuffle(first, second, lower);
  }
}

/// Rows of a whole square of `left`, kDeepest words apart, from its columns.
FLIPSIDE_INLINE void turn_square(const LeftOf<Pair>& left, Pair* rows) {
  WideWords square[kSide];
  for (int64_t k = 0; k < kSide; ++k)
    std::memcpy(&square[k], left.data + k * left.depth, sizeof square[k]);
  exchange<8>(square);
  exchange<4>(square);
  exchange<2>(square);
  exchange<1>(square);
  for (int64_t r = 0; r < kSide; ++r)
    std::memcpy(rows + r * kDeepest, &square[r], sizeof square[r]);
}

/// Up to sixteen rows of `left`, whose columns lie side by side, in `rows`.
LeftOf<Pair> turned(const LeftOf<Pair>& left, int64_t count, int64_t depth, Pair* rows) {
  for (int64_t k = 0; k < depth; k += kSide) {
    const LeftOf<Pair> from{left.data + k * left.depth, 1, left.depth};
    if (count == kSide && depth - k >= kSide) {
      turn_square(from, rows + k);
      continue;
    }
    for (int64_t i = 0; i < std::min(kSide, depth - k); ++i)
      for (int64_t r = 0; r < count; ++r)
        rows[r * kDeepest + k + i] = from.data[i * from.depth + r];
  }
  return {rows, kDeepest, 1};
}

/// `work(begin, side, count)` for the parts of a length that tiles of one side make up: one part
/// where it divides evenly, else one of whole tiles and what is left.
template <typename Work>
void for_parts(int64_t length, const Work& work) {
  const int64_t count = (length + kSide - 1) / kSide, whole = length / kSide;
  if (length % count == 0) return work(0, length / count, count);
  work(0, kSide, whole);
  work(whole * kSide, length - whole * kSide, 1);
}

/// Tiles are large, so that each process has to ask the system for them.
bool asks_for_tiles() {
  constexpr int kRequest = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  return syscall(SYS_arch_prctl, kRequest, kTileData) == 0;
}

void multiply_depth(const Shape& shape, const LeftOf<Pair>& left, const RightOf<Pair>& right,
                    const Sum& sum, bool adds, const Points& points) {
  alignas(64) Pair rows_of_left[kSide * kDeepest];
  const bool turns = left.depth != 1;
  for_parts(shape.depth, [&](int64_t deep, int64_t depth, int64_t depths) {
    for_parts(shape.rows, [&](int64_t begin, int64_t rows, int64_t blocks) {
      const TileSizes sizes(rows, depth);
      const Part part{rows, depth, depths};
      const int64_t at_once = turns ? 1 : blocks;  // turned rows have room for one block
      for (int64_t point = 0; point < points.count; ++point)
        for (int64_t row = begin; row < begin + rows * blocks; row += rows * at_once) {
          LeftOf<Pair> of_rows = left;
          of_rows.data += point * points.left + row * left.row + deep * left.depth;
          if (turns) of_rows = turned(of_rows, rows, depth * depths, rows_of_left);
          multiply_blocks(
              part, {}, {at_once, rows * left.row, rows * sum.row}, shape.cols, of_rows,
              {right.data + point * points.right + deep * right.depth, right.panel, right.depth},
              {sum.data + point * points.sum + row * sum.row, sum.row}, adds || deep > 0);
        }
    });
  });
}

}  // namespace

bool has_amx() {
  static const bool has = __builtin_cpu_supports("amx-bf16") && asks_for_tiles();
  return has;
}

void multiply_by_amx(const Shape& shape, const LeftOf<Pair>& left, const RightOf<Pair>& right,
                     const Sum& sum, bool adds, const Points& points) {
  const int64_t deepest = left.depth == 1 ? shape.depth : kDeepest;
  for (int64_t deep = 0; deep < shape.depth; deep += deepest)
    multiply_depth({shape.rows, std::min(deepest, shape.depth - deep), shape.cols},
                   {left.data + deep * left.depth, left.row, left.depth},
                   {right.data + deep * right.depth, right.panel, right.depth}, sum,
                   adds || deep > 0, points);
}

void convolve_by_amx(const ConvRows& conv, const Pair* in, const Pair* panels, float* sums) {
  const int64_t panel = conv.lines * conv.depth * kPanel;
  for_parts(conv.depth, [&](int64_t deep, int64_t depth, int64_t depths) {
    for_parts(conv.pixels, [&](int64_t begin, int64_t pixels, int64_t blocks) {
      const TileSizes sizes(pixels, depth);
      const auto multiply = [&](int64_t row, const Blocks& of_rows) {
        multiply_blocks({pixels, depth, depths}, {conv.lines, conv.line, conv.depth * kPanel},
                        of_rows, conv.cols,
                        {in + row * conv.row + begin * conv.pixel + deep, conv.pixel, 1},
                        {panels + deep * kPanel, panel, kPanel},
                        {sums + (row * conv.pixels + begin) * conv.cols, conv.cols},
                        /*adds=*/deep > 0);
      };
      if (blocks == 1) return multiply(0, {conv.rows, conv.row, conv.pixels * conv.cols});
      for (int64_t row = 0; row < conv.rows; ++row)
        multiply(row, {blocks, pixels * conv.pixel, pixels * conv.cols});
    });
  });
}

}  // namespace flipside::kernels

#else

namespace flipside::kernels {

bool has_amx() { return false; }

void multiply_by_amx(const Shape&, const LeftOf<Pair>&, const RightOf<Pair>&, const Sum&, bool,
                     const Points&) {}

void convolve_by_amx(const ConvRows&, const Pair*, const Pair*, float*) {}

}  // namespace flipside::kernels

#endif
