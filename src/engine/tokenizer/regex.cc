#include "engine/tokenizer/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <fmt/format.h>
#include <pcre2.h>

#include <string>

#include "engine/tokenizer/regex_dialect.h"
#include "steelyard/base/check.h"

namespace steelyard {
namespace {

constexpr size_t kMaxPatternBytes = 64 << 10;
constexpr uint32_t kMaxMatchSteps = 10'000'000;
constexpr uint32_t kMaxHeapKiB = 64 << 10;
constexpr size_t kMinJitStackBytes = 32 << 10;
constexpr size_t kMaxJitStackBytes = 4 << 20;

PCRE2_SPTR AsPcre(std::string_view text) {
  // PCRE2 takes no null pointer, which an empty view may hold.
  return reinterpret_cast<PCRE2_SPTR>(text.data() != nullptr ? text.data() : "");
}

std::string ErrorText(int code) {
  PCRE2_UCHAR buffer[256];
  const int length = pcre2_get_error_message(code, buffer, sizeof(buffer));
  return length < 0 ? fmt::format("error {}", code) : reinterpret_cast<const char*>(buffer);
}

size_t CharacterBytes(unsigned char lead) {
  return lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
}

}  // namespace

RegexScratch::RegexScratch()
    : context_(pcre2_match_context_create(nullptr)),
      data_(pcre2_match_data_create(1, nullptr)),
      stack_(pcre2_jit_stack_create(kMinJitStackBytes, kMaxJitStackBytes, nullptr)) {
  STEELYARD_CHECK(context_ != nullptr && data_ != nullptr);
  pcre2_set_match_limit(context_.get(), kMaxMatchSteps);
  pcre2_set_heap_limit(context_.get(), kMaxHeapKiB);
  if (stack_ != nullptr) {  // null where PCRE2 was built without its compiler
    pcre2_jit_stack_assign(context_.get(), nullptr, stack_.get());
  }
}

void RegexScratch::Free::operator()(pcre2_real_match_context_8* context) const {
  pcre2_match_context_free(context);
}
void RegexScratch::Free::operator()(pcre2_real_match_data_8* data) const {
  pcre2_match_data_free(data);
}
void RegexScratch::Free::operator()(pcre2_real_jit_stack_8* stack) const {
  pcre2_jit_stack_free(stack);
}
void Regex::Free::operator()(pcre2_real_code_8* code) const { pcre2_code_free(code); }

Result<Regex> Regex::Compile(std::string_view pattern, Kind kind) {
  if (pattern.size() > kMaxPatternBytes) {
    return InvalidArgument(fmt::format("a pattern of {} bytes is longer than the {} allowed",
                                       pattern.size(), kMaxPatternBytes));
  }
  std::string translated(pattern);
  if (kind == Kind::kPattern) {
    STEELYARD_ASSIGN_OR_RETURN(translated, ToPcre2Pattern(pattern));
  }
  const uint32_t options =
      kind == Kind::kLiteral ? PCRE2_UTF | PCRE2_LITERAL : PCRE2_UTF | PCRE2_UCP;
  int error = 0;
  size_t place = 0;
  pcre2_code* code =
      pcre2_compile(AsPcre(translated), translated.size(), options, &error, &place, nullptr);
  if (code == nullptr) {
    return InvalidArgument(fmt::format("bad pattern: {}", ErrorText(error)));
  }
  Regex regex(code);
  // A speed-up only: where it is not possible, pcre2_match() interprets.
  (void)pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);
  return regex;
}

Result<std::vector<TextRange>> Regex::FindAll(std::string_view text, RegexScratch* scratch) const {
  std::vector<TextRange> matches;
  size_t from = 0;
  while (from <= text.size()) {
    const int found = pcre2_match(code_.get(), AsPcre(text), text.size(), from, PCRE2_NO_UTF_CHECK,
                                  scratch->data_.get(), scratch->context_.get());
    if (found == PCRE2_ERROR_NOMATCH) {
      break;
    }
    if (found < 0) {
      return InvalidArgument(fmt::format("a pattern cannot be matched: {}", ErrorText(found)));
    }
    const size_t* ends = pcre2_get_ovector_pointer(scratch->data_.get());
    const TextRange range{ends[0], ends[1]};
    if (range.begin == range.end && !matches.empty() && matches.back().end == range.begin) {
      from += from < text.size() ? CharacterBytes(static_cast<unsigned char>(text[from])) : 1;
      continue;
    }
    matches.push_back(range);
    from = range.end;
  }
  return matches;
}

}  // namespace steelyard
