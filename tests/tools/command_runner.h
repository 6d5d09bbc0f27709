// Runs the built command in a folder of its own and keeps what it said.
#pragma once

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/json.h"

namespace steelyard {

struct CommandResult {
  int exit_code = -1;  // -1: ended by a signal
  std::string out;
  std::string err;

  /// Without the newline that ends it.
  std::string last_error_line() const {
    std::string text = err.substr(0, err.find_last_not_of('\n') + 1);
    return text.substr(text.rfind('\n') + 1);
  }
};

/// A scratch folder in which the command runs; "{model}" in an argument is the bundled model.
class CommandTest : public testing::Test {
 protected:
  CommandTest() {
    std::string name = (std::filesystem::temp_directory_path() / "steelyard_tools_XXXXXX").string();
    folder_ = mkdtemp(name.data());
  }
  ~CommandTest() override { std::filesystem::remove_all(folder_); }

  std::filesystem::path Path(const std::string& name) const { return folder_ / name; }

  void Write(const std::string& name, const std::string& contents) const {
    ASSERT_TRUE(WriteFileAtomically(Path(name), contents).ok()) << name;
  }

  std::string Read(const std::string& name) const { return ReadFile(Path(name)).value(); }

  /// The first `count` demo requests, each of `new_tokens` tokens.
  void WriteRequests(const std::string& name, int count, int new_tokens) const {
    const std::string all = ReadFile(STEELYARD_SOURCE_DIR "/models/demo_requests.jsonl").value();
    std::string lines;
    size_t begin = 0;
    for (int i = 0; i < count; ++i) {
      const size_t end = all.find('\n', begin);
      Json request = Json::parse(all.substr(begin, end - begin));
      request["max_new_tokens"] = new_tokens;
      lines += request.dump() + "\n";
      begin = end + 1;
    }
    Write(name, lines);
  }

  /// Starts the command with output into files `stdout` and `stderr`.
  pid_t Start(std::vector<std::string> args) const {
    for (std::string& arg : args) {
      if (arg == "{model}") arg = STEELYARD_SOURCE_DIR "/models/qwen3_moe_tiny";
    }
    std::vector<char*> argv = {const_cast<char*>(STEELYARD_BINARY)};
    for (std::string& arg : args) argv.push_back(arg.data());
    argv.push_back(nullptr);
    const pid_t child = fork();
    if (child == 0) {
      const bool ready = chdir(folder_.c_str()) == 0 && std::freopen("stdout", "w", stdout) &&
                         std::freopen("stderr", "w", stderr);
      if (ready) execv(STEELYARD_BINARY, argv.data());
      _exit(127);
    }
    return child;
  }

  CommandResult Finish(pid_t child) const {
    int status = 0;
    EXPECT_EQ(waitpid(child, &status, 0), child);
    return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, Read("stdout"), Read("stderr")};
  }

  CommandResult Run(const std::vector<std::string>& args) const { return Finish(Start(args)); }

  /// The one object on standard output of a command that must succeed.
  OrderedJson RunJson(const std::vector<std::string>& args) const {
    const CommandResult result = Run(args);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    EXPECT_EQ(std::count(result.out.begin(), result.out.end(), '\n'), 1) << result.out;
    return OrderedJson::parse(result.out, nullptr, false);
  }

  std::filesystem::path folder_;
};

inline std::vector<std::string> KeysOf(const OrderedJson& json) {
  std::vector<std::string> keys;
  for (const auto& item : json.items()) keys.push_back(item.key());
  return keys;
}

}  // namespace steelyard
