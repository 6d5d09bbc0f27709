// The post_processor part of tokenizer.json: tokens put before and after those of a text, a BOS for
// example.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "engine/checkpoint/json_field.h"
#include "steelyard/base/status.h"

namespace steelyard {

struct PostProcessor {
  std::vector<int32_t> prefix;
  std::vector<int32_t> suffix;

  /// `field` is nothing for null. ByteLevel adds nothing; of a TemplateProcessing the form for a
  /// single text counts; the parts of a Sequence wrap each other in order. Fails naming the place:
  /// any other kind, a template that does not hold the text exactly once or names a special token
  /// that it does not define.
  static Result<PostProcessor> Parse(const std::optional<JsonField>& field);
};

}  // namespace steelyard
