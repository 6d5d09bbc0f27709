#include "engine/requests/requests.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <unordered_set>
#include <utility>

#include "base/file.h"
#include "base/json.h"
#include "engine/checkpoint/json_field.h"

namespace steelyard {
namespace {

Result<std::string> ReadId(const JsonField& line, size_t max_bytes) {
  STEELYARD_ASSIGN_OR_RETURN(const JsonField field, line.Member("id"));
  STEELYARD_ASSIGN_OR_RETURN(std::string id, field.String());
  if (id.empty()) {
    return field.Error("must not be empty");
  }
  // Files are named after requests.
  if (id.find('/') != std::string::npos || id.find('\0') != std::string::npos) {
    return field.Error(fmt::format("{} holds a '/' or a zero byte", Quoted(id)));
  }
  if (id.size() > max_bytes) {
    return field.Error(fmt::format("{} has {} bytes, but the name of a file has room for {}",
                                   Quoted(id), id.size(), max_bytes));
  }
  return id;
}

Result<std::vector<int32_t>> ReadIds(const JsonField& field, int64_t vocab_size) {
  STEELYARD_ASSIGN_OR_RETURN(const std::vector<JsonField> items, field.Items());
  std::vector<int32_t> ids;
  ids.reserve(items.size());
  for (const JsonField& item : items) {
    STEELYARD_ASSIGN_OR_RETURN(const int64_t id, item.Integer(0, vocab_size - 1));
    ids.push_back(static_cast<int32_t>(id));
  }
  if (ids.empty()) {
    return field.Error("is empty, so there is nothing to prefill");
  }
  return ids;
}

Result<std::vector<int32_t>> EncodePrompt(const JsonField& field, const Tokenizer& tokenizer,
                                          int64_t vocab_size) {
  STEELYARD_ASSIGN_OR_RETURN(const std::string prompt, field.String());
  auto ids = tokenizer.Encode(prompt);
  if (!ids.ok()) {
    return field.Error(ids.status().message());
  }
  if (ids->empty()) {
    return field.Error("has no tokens, so there is nothing to prefill");
  }
  const int32_t largest = *std::max_element(ids->begin(), ids->end());
  if (largest >= vocab_size) {
    return field.Error(
        fmt::format("has token {}, but the model's vocabulary has {} tokens", largest, vocab_size));
  }
  return ids;
}

Result<std::vector<int32_t>> ReadInput(const JsonField& line, const Tokenizer& tokenizer,
                                       int64_t vocab_size) {
  STEELYARD_ASSIGN_OR_RETURN(const std::optional<JsonField> prompt, line.Optional("prompt"));
  STEELYARD_ASSIGN_OR_RETURN(const std::optional<JsonField> ids, line.Optional("input_ids"));
  if (prompt.has_value() == ids.has_value()) {
    return line.Error(prompt.has_value() ? "has both \"prompt\" and \"input_ids\""
                                         : "has neither \"prompt\" nor \"input_ids\"");
  }
  return prompt.has_value() ? EncodePrompt(*prompt, tokenizer, vocab_size)
                            : ReadIds(*ids, vocab_size);
}

Status RefuseSampling(const JsonField& line) {
  for (const std::string_view key : {"temperature", "top_p"}) {
    STEELYARD_ASSIGN_OR_RETURN(const std::optional<JsonField> field, line.Optional(key));
    if (field.has_value()) {
      return Unimplemented(
          line.Error(fmt::format("\"{}\" is not supported yet: decoding is greedy", key))
              .message());
    }
  }
  return Status::Ok();
}

Status ReadLength(const JsonField& line, int64_t max_context, Request* request) {
  STEELYARD_ASSIGN_OR_RETURN(const JsonField field, line.Member("max_new_tokens"));
  STEELYARD_ASSIGN_OR_RETURN(request->max_new_tokens, field.Integer(1, INT64_MAX));
  const auto num_input = static_cast<int64_t>(request->input_ids.size());
  if (num_input > max_context || request->max_new_tokens > max_context - num_input) {
    return line.Error(fmt::format("{} input tokens and {} new ones are more than the context of {}",
                                  num_input, request->max_new_tokens, max_context));
  }
  return Status::Ok();
}

Result<Request> ParseRequest(const JsonField& line, const Tokenizer& tokenizer,
                             const RequestLimits& limits) {
  STEELYARD_RETURN_IF_ERROR(line.RequireObject());
  Request request;
  STEELYARD_ASSIGN_OR_RETURN(request.id, ReadId(line, limits.max_id_bytes));
  STEELYARD_RETURN_IF_ERROR(RefuseSampling(line));
  STEELYARD_ASSIGN_OR_RETURN(request.input_ids, ReadInput(line, tokenizer, limits.vocab_size));
  STEELYARD_RETURN_IF_ERROR(ReadLength(line, limits.max_context, &request));
  STEELYARD_ASSIGN_OR_RETURN(const auto ignore_eos, line.Optional("ignore_eos"));
  if (ignore_eos.has_value()) {
    STEELYARD_ASSIGN_OR_RETURN(request.ignore_eos, ignore_eos->Boolean());
  }
  return request;
}

bool IsBlank(std::string_view line) {
  return line.find_first_not_of(" \t\r") == std::string_view::npos;
}

}  // namespace

Result<std::vector<Request>> ParseRequests(std::string_view text, const std::string& source,
                                           const Tokenizer& tokenizer,
                                           const RequestLimits& limits) {
  std::vector<Request> requests;
  std::unordered_set<std::string> ids;
  for (int64_t number = 1; !text.empty(); ++number) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(line.size() + 1, text.size()));
    if (IsBlank(line)) {
      continue;
    }
    const std::string place = fmt::format("{}: line {}", source, number);
    STEELYARD_ASSIGN_OR_RETURN(const Json json, ParseJson(line, source, number));
    const JsonField root(json, place);
    STEELYARD_ASSIGN_OR_RETURN(Request request, ParseRequest(root, tokenizer, limits));
    if (!ids.insert(request.id).second) {
      return root.ErrorAt("id", fmt::format("{} was used before", Quoted(request.id)));
    }
    requests.push_back(std::move(request));
  }
  if (requests.empty()) {
    return InvalidArgument(fmt::format("{}: holds no request", source));
  }
  return requests;
}

Result<std::vector<Request>> ReadRequests(const std::filesystem::path& path,
                                          const Tokenizer& tokenizer, const RequestLimits& limits) {
  STEELYARD_ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  return ParseRequests(text, path.string(), tokenizer, limits);
}

}  // namespace steelyard
