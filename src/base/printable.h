// Text from outside, made fit for an error message.
#pragma once

#include <string>
#include <string_view>

namespace steelyard {

/// `text` on one line of printable ASCII, '?' for every other byte, and in the middle shortened to
/// about 240 bytes.
std::string Printable(std::string_view text);

}  // namespace steelyard
