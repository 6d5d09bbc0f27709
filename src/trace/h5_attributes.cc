#include "trace/h5_attributes.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "trace/h5_format.h"
#include "trace/h5_handle.h"

namespace steelyard {
namespace {

// No attribute of ours has more; a damaged file may claim anything.
constexpr hssize_t kMostEntries = 1024;
constexpr size_t kLongestText = 1 << 16;

Status WrongAttribute(const char* name, std::string_view rule) {
  return InvalidArgument(fmt::format("attribute {}: {}", name, rule));
}

// Fixed length: variable-length text lies in a heap, which SWMR does not cover.
Status WriteText(hid_t file, const char* name, const std::vector<std::string>& texts, bool scalar) {
  size_t width = 1;
  for (const std::string& text : texts) {
    width = std::max(width, text.size());
  }
  std::string padded;
  for (const std::string& text : texts) {
    padded += text + std::string(width - text.size(), '\0');
  }
  const H5Handle type(H5Tcopy(H5T_C_S1));
  H5Tset_size(type.get(), width);
  H5Tset_strpad(type.get(), H5T_STR_NULLPAD);
  H5Tset_cset(type.get(), H5T_CSET_UTF8);
  const hsize_t count = texts.size();
  const H5Handle space(scalar ? H5Screate(H5S_SCALAR) : H5Screate_simple(1, &count, nullptr));
  const H5Handle attribute(
      H5Acreate2(file, name, type.get(), space.get(), H5P_DEFAULT, H5P_DEFAULT));
  if (!attribute.ok() || H5Awrite(attribute.get(), type.get(), padded.data()) < 0) {
    return H5Error(fmt::format("write attribute {}", name));
  }
  return Status::Ok();
}

Status WriteNumbers(hid_t file, const char* name, const std::vector<int64_t>& numbers) {
  const hsize_t count = numbers.size();
  const H5Handle space(count == 1 ? H5Screate(H5S_SCALAR) : H5Screate_simple(1, &count, nullptr));
  const H5Handle attribute(
      H5Acreate2(file, name, H5T_STD_I64LE, space.get(), H5P_DEFAULT, H5P_DEFAULT));
  if (!attribute.ok() || H5Awrite(attribute.get(), H5T_NATIVE_INT64, numbers.data()) < 0) {
    return H5Error(fmt::format("write attribute {}", name));
  }
  return Status::Ok();
}

struct OpenAttribute {
  H5Handle id;
  H5Handle type;
  size_t num_entries = 0;
};

// Nothing where there is no such attribute.
Result<std::optional<OpenAttribute>> Open(hid_t file, const char* name, H5T_class_t wanted,
                                          std::string_view wanted_name) {
  const htri_t exists = H5Aexists(file, name);
  if (exists == 0) {
    return std::optional<OpenAttribute>();
  }
  OpenAttribute attribute{H5Handle(exists > 0 ? H5Aopen(file, name, H5P_DEFAULT) : exists), {}, 0};
  if (!attribute.id.ok()) {
    return H5Error(fmt::format("read attribute {}", name));
  }
  attribute.type = H5Handle(H5Aget_type(attribute.id.get()));
  if (H5Tget_class(attribute.type.get()) != wanted) {
    return WrongAttribute(name, fmt::format("is not {}", wanted_name));
  }
  const H5Handle space(H5Aget_space(attribute.id.get()));
  const hssize_t count = H5Sget_simple_extent_npoints(space.get());
  if (count < 1 || count > kMostEntries) {
    return WrongAttribute(name, fmt::format("has {} entries, not 1 to {}", count, kMostEntries));
  }
  attribute.num_entries = static_cast<size_t>(count);
  return std::optional<OpenAttribute>(std::move(attribute));
}

Result<std::vector<std::string>> ReadVariableText(const OpenAttribute& attribute,
                                                  const char* name) {
  const H5Handle type(H5Tcopy(H5T_C_S1));
  H5Tset_size(type.get(), H5T_VARIABLE);
  H5Tset_cset(type.get(), H5Tget_cset(attribute.type.get()));
  std::vector<char*> raw(attribute.num_entries, nullptr);
  if (H5Aread(attribute.id.get(), type.get(), static_cast<void*>(raw.data())) < 0) {
    return H5Error(fmt::format("read attribute {}", name));
  }
  std::vector<std::string> texts;
  for (char* text : raw) {
    texts.emplace_back(text != nullptr ? text : "");
    H5free_memory(text);
  }
  return texts;
}

Result<std::vector<std::string>> ReadFixedText(const OpenAttribute& attribute, const char* name) {
  const size_t width = H5Tget_size(attribute.type.get());
  if (width < 1 || width > kLongestText) {
    return WrongAttribute(name, fmt::format("a text of {} bytes", width));
  }
  std::string raw(width * attribute.num_entries, '\0');
  if (H5Aread(attribute.id.get(), attribute.type.get(), raw.data()) < 0) {
    return H5Error(fmt::format("read attribute {}", name));
  }
  const char padding = H5Tget_strpad(attribute.type.get()) == H5T_STR_SPACEPAD ? ' ' : '\0';
  std::vector<std::string> texts;
  for (size_t i = 0; i < attribute.num_entries; ++i) {
    std::string text = raw.substr(i * width, width);
    text.resize(text.find_last_not_of(padding) + 1);
    text.resize(std::min(text.size(), text.find('\0')));
    texts.push_back(std::move(text));
  }
  return texts;
}

// Empty where there is no such attribute.
Result<std::vector<std::string>> ReadText(hid_t file, const char* name) {
  STEELYARD_ASSIGN_OR_RETURN(const std::optional<OpenAttribute> attribute,
                             Open(file, name, H5T_STRING, "text"));
  if (!attribute.has_value()) {
    return std::vector<std::string>();
  }
  STEELYARD_ASSIGN_OR_RETURN(std::vector<std::string> texts,
                             H5Tis_variable_str(attribute->type.get()) > 0
                                 ? ReadVariableText(*attribute, name)
                                 : ReadFixedText(*attribute, name));
  for (std::string& text : texts) {
    std::replace_if(
        text.begin(), text.end(), [](char c) { return (0 <= c && c < ' ') || c == '\x7f'; }, ' ');
  }
  return texts;
}

// The same for whole numbers that fit an int and are not negative; `count` of them.
Result<std::vector<int>> ReadNumbers(hid_t file, const char* name, size_t count) {
  STEELYARD_ASSIGN_OR_RETURN(const std::optional<OpenAttribute> attribute,
                             Open(file, name, H5T_INTEGER, "a whole number"));
  if (!attribute.has_value()) {
    return std::vector<int>();
  }
  if (attribute->num_entries != count) {
    return WrongAttribute(name, fmt::format("{} entries, not {}", attribute->num_entries, count));
  }
  std::vector<int64_t> raw(count);
  if (H5Aread(attribute->id.get(), H5T_NATIVE_INT64, raw.data()) < 0) {
    return H5Error(fmt::format("read attribute {}", name));
  }
  std::vector<int> numbers;
  for (const int64_t number : raw) {
    if (number < 0 || number > std::numeric_limits<int>::max()) {
      return WrongAttribute(name, fmt::format("{} is out of range", number));
    }
    numbers.push_back(static_cast<int>(number));
  }
  return numbers;
}

Status CheckFormat(hid_t file) {
  STEELYARD_ASSIGN_OR_RETURN(const std::vector<std::string> format, ReadText(file, kH5Format));
  if (!format.empty() && format[0] != kH5FormatName) {
    return WrongAttribute(kH5Format, fmt::format("\"{}\" is not {}", format[0], kH5FormatName));
  }
  STEELYARD_ASSIGN_OR_RETURN(const std::vector<int> version, ReadNumbers(file, kH5Version, 1));
  if (!version.empty() && version[0] != kH5FormatVersion) {
    return WrongAttribute(kH5Version,
                          fmt::format("{}, but only {} is known", version[0], kH5FormatVersion));
  }
  return Status::Ok();
}

}  // namespace

Status WriteOrigin(hid_t file, const TraceOrigin& origin) {
  STEELYARD_RETURN_IF_ERROR(WriteText(file, kH5Format, {std::string(kH5FormatName)}, true));
  STEELYARD_RETURN_IF_ERROR(WriteNumbers(file, kH5Version, {kH5FormatVersion}));
  if (!origin.phase_names.empty()) {
    STEELYARD_RETURN_IF_ERROR(WriteText(file, kH5PhaseNames, origin.phase_names, false));
  }
  if (!origin.model.empty()) {
    STEELYARD_RETURN_IF_ERROR(WriteText(file, kH5Model, {origin.model}, true));
  }
  if (origin.num_ranks > 0) {
    STEELYARD_RETURN_IF_ERROR(WriteNumbers(
        file, kH5Topology, {origin.num_ranks, origin.slots_per_rank, origin.num_nodes}));
  }
  if (origin.top_k > 0) {
    STEELYARD_RETURN_IF_ERROR(WriteNumbers(file, kH5TopK, {origin.top_k}));
  }
  return Status::Ok();
}

Result<TraceOrigin> ReadOrigin(hid_t file, int num_phases) {
  STEELYARD_RETURN_IF_ERROR(CheckFormat(file));
  TraceOrigin origin;
  STEELYARD_ASSIGN_OR_RETURN(origin.phase_names, ReadText(file, kH5PhaseNames));
  if (!origin.phase_names.empty() && origin.phase_names.size() != static_cast<size_t>(num_phases)) {
    return WrongAttribute(kH5PhaseNames, fmt::format("{} names for {} phases",
                                                     origin.phase_names.size(), num_phases));
  }
  STEELYARD_ASSIGN_OR_RETURN(const std::vector<std::string> model, ReadText(file, kH5Model));
  origin.model = model.empty() ? "" : model[0];
  STEELYARD_ASSIGN_OR_RETURN(const std::vector<int> topology, ReadNumbers(file, kH5Topology, 3));
  if (!topology.empty()) {
    origin.num_ranks = topology[0];
    origin.slots_per_rank = topology[1];
    origin.num_nodes = topology[2];
  }
  STEELYARD_ASSIGN_OR_RETURN(const std::vector<int> top_k, ReadNumbers(file, kH5TopK, 1));
  origin.top_k = top_k.empty() ? 0 : top_k[0];
  return origin;
}

}  // namespace steelyard
