// The vocabulary of tokenizer.json: which id each token has.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "engine/checkpoint/json_field.h"
#include "steelyard/base/status.h"

namespace steelyard {

/// Ids of tokens are below this; sixteen times the largest vocabulary in use, so that a lying file
/// cannot ask for much memory.
inline constexpr int32_t kMaxTokenIds = 1 << 22;

struct StringHash {
  using is_transparent = void;
  size_t operator()(std::string_view text) const { return std::hash<std::string_view>()(text); }
};

/// Never changes after Parse(). Move only: it points into itself.
class Vocabulary {
 public:
  /// `field` is an object from tokens to ids. Fails naming the token: an id that is no integer in
  /// [0, kMaxTokenIds) or that another token has. Ids may leave holes.
  static Result<Vocabulary> Parse(const JsonField& field);

  Vocabulary(Vocabulary&&) = default;
  Vocabulary& operator=(Vocabulary&&) = default;

  std::optional<int32_t> Find(std::string_view token) const;

  /// Null where no token has the id.
  const std::string* TokenOf(int32_t id) const;

  /// One more than the largest id.
  int32_t num_ids() const { return static_cast<int32_t>(tokens_.size()); }

 private:
  Vocabulary() = default;

  std::unordered_map<std::string, int32_t, StringHash, std::equal_to<>> ids_;
  std::vector<const std::string*> tokens_;  // by id, into the keys of ids_; null for a hole
};

}  // namespace steelyard
