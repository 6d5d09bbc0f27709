// What is fuzzed. Each target takes any bytes and returns; it ends the process where the library
// breaks a promise, and a sanitizer does where it does worse.
//
// libFuzzer calls them (entry.cc), and the tests replay what it has found (corpus_test.cc).
#pragma once

#include <string_view>

namespace steelyard {

/// `bytes` as a file of every placement format. What is read is also written in every format and
/// read again.
void FuzzPlacement(std::string_view bytes);

/// `bytes` as a `.npy`, `.npz` and JSON file of loads. What is read is also written and read again.
void FuzzLoads(std::string_view bytes);

/// `bytes` as an HDF5 trace.
void FuzzH5(std::string_view bytes);

/// `bytes` as the choices that make a planning problem of a few cycles; what a policy promises is
/// checked for every plan.
void FuzzPlan(std::string_view bytes);

/// `bytes` as a file of options.
void FuzzToml(std::string_view bytes);

}  // namespace steelyard
