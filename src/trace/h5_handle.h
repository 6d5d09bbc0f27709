// What our use of HDF5's C library stands on: one lock, silence, and handles that close themselves.
//
// Debian's HDF5 is not thread-safe, and its state is one per process: everything that calls it
// holds an H5Session.
#pragma once

#include <hdf5.h>

#include <mutex>
#include <string>
#include <string_view>
#include <utility>

#include "steelyard/base/status.h"

namespace steelyard {

/// While it lives, this thread alone of ours is inside HDF5, and HDF5 prints nothing. Not
/// recursive.
class H5Session {
 public:
  H5Session();
  ~H5Session();
  H5Session(const H5Session&) = delete;
  H5Session& operator=(const H5Session&) = delete;

 private:
  std::lock_guard<std::mutex> lock_;
  H5E_auto2_t printer_ = nullptr;  // of whoever else uses HDF5 in this process
  void* printer_data_ = nullptr;
};

/// Any HDF5 identifier. Move only; created, assigned and destroyed inside a session.
class H5Handle {
 public:
  H5Handle() = default;
  explicit H5Handle(hid_t id) : id_(id) {}
  H5Handle(H5Handle&& other) noexcept : id_(std::exchange(other.id_, H5I_INVALID_HID)) {}
  H5Handle& operator=(H5Handle&& other) noexcept;
  ~H5Handle() { Close(); }

  bool ok() const { return id_ >= 0; }
  hid_t get() const { return id_; }
  /// Negative when HDF5 could not close it; it is forgotten then, too.
  herr_t Close();

 private:
  hid_t id_ = H5I_INVALID_HID;
};

/// "cannot `what`: " and why the last HDF5 call failed, on one line: what the system said, where it
/// said anything.
Status H5Error(std::string_view what);

}  // namespace steelyard
