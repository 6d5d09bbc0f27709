#include "engine/tokenizer/bpe.h"

#include <fmt/format.h>

#include <queue>
#include <utility>

#include "engine/tokenizer/byte_alphabet.h"
#include "engine/tokenizer/word_cache.h"

namespace steelyard {
namespace {

constexpr int32_t kMergedAway = -1;
constexpr size_t kMaxWordBytes = size_t{1} << 30;  // so that places fit an int32_t

uint64_t PairKey(int32_t left, int32_t right) {
  return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
}

// A pair that could be merged when it was queued: the symbol at `at` and the one after it.
struct Candidate {
  int32_t rank;
  int32_t at;

  // A priority queue gives its largest first, and the first to merge is the lowest rank, then the
  // leftmost.
  bool operator<(const Candidate& other) const {
    return rank != other.rank ? rank > other.rank : at > other.at;
  }
};

// Settings that would change what is encoded; each may be absent or have the value that means "not
// used".
Status CheckSettings(const JsonField& model) {
  for (const char* key : {"dropout", "unk_token"}) {
    STEELYARD_ASSIGN_OR_RETURN(const auto setting, model.Optional(key));
    if (setting.has_value()) {
      return setting->Error("must be null; it is not supported");
    }
  }
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    STEELYARD_ASSIGN_OR_RETURN(const auto setting, model.Optional(key));
    if (setting.has_value() && setting->value() != "") {
      return setting->Error("must be null or empty; it is not supported");
    }
  }
  STEELYARD_ASSIGN_OR_RETURN(const auto fallback, model.Optional("byte_fallback"));
  if (fallback.has_value()) {
    STEELYARD_ASSIGN_OR_RETURN(const bool set, fallback->Boolean());
    if (set) {
      return fallback->Error("true is not supported");
    }
  }
  return Status::Ok();
}

// ["a", "b"], or in older files "a b".
Result<std::pair<std::string, std::string>> ParsePair(const JsonField& field) {
  if (field.value().is_string()) {
    STEELYARD_ASSIGN_OR_RETURN(const std::string text, field.String());
    const size_t space = text.find(' ');
    if (space == std::string::npos || text.find(' ', space + 1) != std::string::npos) {
      return field.Error(fmt::format("{} is not two tokens with a space between", Quoted(text)));
    }
    return std::pair(text.substr(0, space), text.substr(space + 1));
  }
  STEELYARD_ASSIGN_OR_RETURN(const std::vector<JsonField> parts, field.Items());
  if (parts.size() != 2) {
    return field.Error(fmt::format("must be two tokens, but has {} entries", parts.size()));
  }
  STEELYARD_ASSIGN_OR_RETURN(std::string left, parts[0].String());
  STEELYARD_ASSIGN_OR_RETURN(std::string right, parts[1].String());
  return std::pair(std::move(left), std::move(right));
}

Result<int32_t> Require(const JsonField& merge, const Vocabulary& vocabulary,
                        const std::string& token) {
  const std::optional<int32_t> id = vocabulary.Find(token);
  if (!id.has_value()) {
    return merge.Error(fmt::format("{} is not in the vocabulary", Quoted(token)));
  }
  return *id;
}

}  // namespace

Bpe::Bpe(Vocabulary vocabulary)
    : vocabulary_(std::move(vocabulary)), cache_(std::make_unique<WordCache>()) {
  for (size_t byte = 0; byte < byte_ids_.size(); ++byte) {
    byte_ids_[byte] =
        vocabulary_.Find(CharacterOfByte(static_cast<unsigned char>(byte))).value_or(-1);
  }
}

Bpe::Bpe(Bpe&&) noexcept = default;
Bpe& Bpe::operator=(Bpe&&) noexcept = default;
Bpe::~Bpe() = default;

Result<Bpe> Bpe::Parse(const JsonField& field) {
  STEELYARD_ASSIGN_OR_RETURN(const JsonField type, field.Member("type"));
  STEELYARD_ASSIGN_OR_RETURN(const std::string name, type.String());
  if (name != "BPE") {
    return type.Error(fmt::format("{} is not supported; supported: BPE", Quoted(name)));
  }
  STEELYARD_RETURN_IF_ERROR(CheckSettings(field));
  STEELYARD_ASSIGN_OR_RETURN(const JsonField vocab, field.Member("vocab"));
  STEELYARD_ASSIGN_OR_RETURN(Vocabulary vocabulary, Vocabulary::Parse(vocab));
  Bpe bpe(std::move(vocabulary));
  STEELYARD_ASSIGN_OR_RETURN(const JsonField merges, field.Member("merges"));
  STEELYARD_RETURN_IF_ERROR(bpe.AddMerges(merges));
  STEELYARD_ASSIGN_OR_RETURN(const auto ignore_merges, field.Optional("ignore_merges"));
  if (ignore_merges.has_value()) {
    STEELYARD_ASSIGN_OR_RETURN(const bool set, ignore_merges->Boolean());
    if (set) {
      bpe.IndexWords();
    }
  }
  return bpe;
}

Status Bpe::AddMerges(const JsonField& field) {
  STEELYARD_ASSIGN_OR_RETURN(const std::vector<JsonField> items, field.Items());
  merges_.reserve(items.size());
  for (size_t rank = 0; rank < items.size(); ++rank) {
    STEELYARD_ASSIGN_OR_RETURN(const auto pair, ParsePair(items[rank]));
    STEELYARD_ASSIGN_OR_RETURN(const int32_t left, Require(items[rank], vocabulary_, pair.first));
    STEELYARD_ASSIGN_OR_RETURN(const int32_t right, Require(items[rank], vocabulary_, pair.second));
    STEELYARD_ASSIGN_OR_RETURN(const int32_t id,
                               Require(items[rank], vocabulary_, pair.first + pair.second));
    // Of equal rules the last counts, as in Hugging Face tokenizers.
    merges_[PairKey(left, right)] = {static_cast<int32_t>(rank), id};
  }
  return Status::Ok();
}

void Bpe::IndexWords() {
  for (int32_t id = 0; id < vocabulary_.num_ids(); ++id) {
    const std::string* token = vocabulary_.TokenOf(id);
    if (token == nullptr) {
      continue;
    }
    if (std::optional<std::string> bytes = BytesOfToken(*token); bytes.has_value()) {
      whole_words_.emplace(*std::move(bytes), id);
    }
  }
}

const Bpe::Merge* Bpe::FindMerge(int32_t left, int32_t right) const {
  const auto found = merges_.find(PairKey(left, right));
  return found == merges_.end() ? nullptr : &found->second;
}

const Bpe::Merge* Bpe::MergeAt(const std::vector<Symbol>& symbols, int32_t at) const {
  if (at < 0) {
    return nullptr;
  }
  const Symbol& left = symbols[static_cast<size_t>(at)];
  if (left.id == kMergedAway || left.next < 0) {
    return nullptr;
  }
  return FindMerge(left.id, symbols[static_cast<size_t>(left.next)].id);
}

Result<std::vector<Bpe::Symbol>> Bpe::SymbolsOf(std::string_view word) const {
  if (word.size() > kMaxWordBytes) {
    return InvalidArgument(fmt::format("a word of {} bytes is too long", word.size()));
  }
  const auto size = static_cast<int32_t>(word.size());
  std::vector<Symbol> symbols(word.size());
  for (int32_t i = 0; i < size; ++i) {
    const auto byte = static_cast<unsigned char>(word[static_cast<size_t>(i)]);
    if (byte_ids_[byte] < 0) {
      return InvalidArgument(
          fmt::format("the tokenizer's vocabulary has no token for byte 0x{:02X}", byte));
    }
    symbols[static_cast<size_t>(i)] = {byte_ids_[byte], i - 1, i + 1 < size ? i + 1 : -1};
  }
  return symbols;
}

Result<std::vector<int32_t>> Bpe::EncodeUncached(std::string_view word) const {
  STEELYARD_ASSIGN_OR_RETURN(std::vector<Symbol> symbols, SymbolsOf(word));
  std::priority_queue<Candidate> queue;
  const auto push = [&](int32_t at) {
    if (const Merge* merge = MergeAt(symbols, at); merge != nullptr) {
      queue.push({merge->rank, at});
    }
  };
  for (int32_t i = 0; i < static_cast<int32_t>(symbols.size()); ++i) {
    push(i);
  }
  while (!queue.empty()) {
    const Candidate candidate = queue.top();
    queue.pop();
    const Merge* merge = MergeAt(symbols, candidate.at);
    if (merge == nullptr || merge->rank != candidate.rank) {
      continue;  // one of the pair has changed since
    }
    Symbol& left = symbols[static_cast<size_t>(candidate.at)];
    Symbol& right = symbols[static_cast<size_t>(left.next)];
    left.id = merge->id;
    left.next = right.next;
    right.id = kMergedAway;
    if (left.next >= 0) {
      symbols[static_cast<size_t>(left.next)].prev = candidate.at;
    }
    push(left.prev);
    push(candidate.at);
  }
  std::vector<int32_t> ids;
  for (int32_t i = 0; i >= 0 && !symbols.empty(); i = symbols[static_cast<size_t>(i)].next) {
    ids.push_back(symbols[static_cast<size_t>(i)].id);
  }
  return ids;
}

Status Bpe::Encode(std::string_view word, std::vector<int32_t>* ids) const {
  if (!whole_words_.empty()) {
    if (const auto found = whole_words_.find(word); found != whole_words_.end()) {
      ids->push_back(found->second);
      return Status::Ok();
    }
  }
  if (cache_->Find(word, ids)) {
    return Status::Ok();
  }
  STEELYARD_ASSIGN_OR_RETURN(const std::vector<int32_t> merged, EncodeUncached(word));
  cache_->Insert(word, merged);
  ids->insert(ids->end(), merged.begin(), merged.end());
  return Status::Ok();
}

}  // namespace steelyard
