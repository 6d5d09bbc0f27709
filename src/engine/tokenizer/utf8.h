// UTF-8: is it, and text out of bytes that may not be.
#pragma once

#include <string>
#include <string_view>

namespace steelyard {

/// Well-formed as the Unicode standard's table 3-7 says: no overlong form, no surrogate, nothing
/// above U+10FFFF.
bool IsUtf8(std::string_view bytes);

/// `bytes` with U+FFFD for each maximal part of a sequence that is not well-formed: what Python's
/// decode(errors="replace") and Rust's from_utf8_lossy give.
std::string ToUtf8Lossy(std::string_view bytes);

}  // namespace steelyard
