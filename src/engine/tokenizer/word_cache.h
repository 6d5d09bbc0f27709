// Remembers how words were encoded. Text repeats its words, and merging is what costs.
#pragma once

#include <cstdint>
#include <mutex>
#include <shared_mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "engine/tokenizer/vocabulary.h"

namespace steelyard {

/// Safe from any thread. Bounded: long words are not kept, and when it is full nothing more is.
class WordCache {
 public:
  /// Appends the ids of `word` and says true, or says false.
  bool Find(std::string_view word, std::vector<int32_t>* ids) const {
    if (word.size() > kMaxWordBytes) {
      return false;
    }
    const std::shared_lock lock(mutex_);
    const auto found = words_.find(word);
    if (found == words_.end()) {
      return false;
    }
    ids->insert(ids->end(), found->second.begin(), found->second.end());
    return true;
  }

  void Insert(std::string_view word, const std::vector<int32_t>& ids) {
    if (word.size() > kMaxWordBytes) {
      return;
    }
    const std::unique_lock lock(mutex_);
    if (words_.size() < kMaxWords) {
      words_.emplace(word, ids);
    }
  }

 private:
  static constexpr size_t kMaxWordBytes = 64;
  static constexpr size_t kMaxWords = 1 << 16;

  mutable std::shared_mutex mutex_;
  std::unordered_map<std::string, std::vector<int32_t>, StringHash, std::equal_to<>> words_;
};

}  // namespace steelyard
