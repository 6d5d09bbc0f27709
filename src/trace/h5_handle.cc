#include "trace/h5_handle.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>

namespace steelyard {
namespace {

std::mutex& LibraryMutex() {
  static std::mutex mutex;
  return mutex;
}

struct FailureWalk {
  std::string innermost;
  std::string system;
};

// HDF5 puts strerror() into its messages between these.
constexpr std::string_view kSystemBegin = "error message = '";

herr_t LookAt(unsigned, const H5E_error2_t* error, void* data) {
  auto* walk = static_cast<FailureWalk*>(data);
  const std::string_view text = error->desc != nullptr ? error->desc : "";
  if (walk->innermost.empty()) {
    walk->innermost = text;
  }
  const size_t begin = text.find(kSystemBegin);
  if (begin != std::string_view::npos) {
    const std::string_view rest = text.substr(begin + kSystemBegin.size());
    walk->system = rest.substr(0, rest.find('\''));
  }
  return 0;
}

}  // namespace

H5Session::H5Session() : lock_(LibraryMutex()) {
  // What a damaged file left open makes HDF5's own exit handler complain on standard error.
  static const herr_t no_exit_handler = H5dont_atexit();
  (void)no_exit_handler;
  H5Eget_auto2(H5E_DEFAULT, &printer_, &printer_data_);
  H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
}

H5Session::~H5Session() { H5Eset_auto2(H5E_DEFAULT, printer_, printer_data_); }

H5Handle& H5Handle::operator=(H5Handle&& other) noexcept {
  if (this != &other) {
    Close();
    id_ = std::exchange(other.id_, H5I_INVALID_HID);
  }
  return *this;
}

herr_t H5Handle::Close() { return id_ >= 0 ? H5Idec_ref(std::exchange(id_, H5I_INVALID_HID)) : 0; }

Status H5Error(std::string_view what) {
  FailureWalk walk;
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, LookAt, &walk);
  std::string text = !walk.system.empty()      ? walk.system
                     : !walk.innermost.empty() ? walk.innermost
                                               : "HDF5 does not say why";
  std::replace(text.begin(), text.end(), '\n', ' ');
  return FailedPrecondition(fmt::format("cannot {}: {}", what, text));
}

}  // namespace steelyard
