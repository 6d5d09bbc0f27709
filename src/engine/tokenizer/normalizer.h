// The normalizer part of tokenizer.json: nothing at all, or Unicode's canonical composition (NFC).
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "engine/checkpoint/json_field.h"
#include "steelyard/base/status.h"

namespace steelyard {

class Normalizer {
 public:
  /// `field` is nothing for null. Fails naming the place: any normalizer but NFC and Sequences of
  /// it.
  static Result<Normalizer> Parse(const std::optional<JsonField>& field);

  /// Fails only where memory does. Requires: `text` is UTF-8.
  Result<std::string> Apply(std::string_view text) const;

 private:
  bool nfc_ = false;
};

}  // namespace steelyard
