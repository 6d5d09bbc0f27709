// Patterns of tokenizer.json files are written for Oniguruma; this turns them into the same
// patterns for PCRE2.
//
// The two agree on most of what tokenizers use. Where they do not, the pattern is rewritten or
// refused: a pattern that means something else would cut text in other places without anybody
// noticing.
#pragma once

#include <string>
#include <string_view>

#include "steelyard/base/status.h"

namespace steelyard {

/// Fails with kInvalidArgument naming the part that is refused: escapes other than \s \S \d \D \p
/// \P \n \r \t \f \a \e \x and escaped punctuation; groups other than (...), (?:...), (?i:...),
/// (?>...) and the four look-arounds; ^ and $; classes in classes; {n,m}+.
Result<std::string> ToPcre2Pattern(std::string_view oniguruma);

}  // namespace steelyard
