#pragma once

#include <cstdint>

namespace flipside {

/// FNV-1a, 64 bit (Fowler, Noll and Vo): quick, the same everywhere, and no secret.
class Hash {
 public:
  void mix(uint64_t value) { value_ = (value_ ^ value) * 0x100000001b3ULL; }
  uint64_t value() const { return value_; }

 private:
  uint64_t value_ = 0xcbf29ce484222325ULL;
};

}  // namespace flipside
