// The requests of a run: a JSONL file, one request a line, checked whole before anything is served.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "engine/tokenizer/tokenizer.h"
#include "steelyard/base/status.h"

namespace steelyard {

struct Request {
  std::string id;                  // unique in the file; fit to be a file name: not empty, no '/'
  std::vector<int32_t> input_ids;  // what to prefill, at least one; a prompt's includes the BOS
  int64_t max_new_tokens = 0;      // at least 1; fits the context together with input_ids
  bool ignore_eos = false;         // only max_new_tokens ends it
};

/// What the model, and the run, can take; all at least 1.
struct RequestLimits {
  int64_t vocab_size = 0;          // token ids are below it
  int64_t max_context = 0;         // most tokens of a request, prompt and new ones together
  size_t max_id_bytes = SIZE_MAX;  // less where files are named after requests
};

/// Reads all requests, in the order of the file. Blank lines are skipped; keys that are not known
/// are ignored, and so is "seed"; optional keys may be null. Fails naming file, line and rule for
/// the first bad line, or file and rule when there is no request.
Result<std::vector<Request>> ReadRequests(const std::filesystem::path& path,
                                          const Tokenizer& tokenizer, const RequestLimits& limits);

/// The same for text already read; `source` names it in messages.
Result<std::vector<Request>> ParseRequests(std::string_view text, const std::string& source,
                                           const Tokenizer& tokenizer, const RequestLimits& limits);

}  // namespace steelyard
