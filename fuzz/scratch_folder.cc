#include "fuzz/scratch_folder.h"

#include <stdlib.h>

#include <fstream>
#include <system_error>

#include "steelyard/base/check.h"

namespace steelyard {

namespace fs = std::filesystem;

ScratchFolder::ScratchFolder() {
  std::string name = (fs::temp_directory_path() / "steelyard_fuzz_XXXXXX").string();
  STEELYARD_CHECK(::mkdtemp(name.data()) != nullptr);
  path_ = name;
}

ScratchFolder::~ScratchFolder() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

fs::path ScratchFolder::Write(std::string_view name, std::string_view bytes) const {
  fs::path path = PathOf(name);
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  file.close();
  STEELYARD_CHECK(file.good());
  return path;
}

}  // namespace steelyard
