#include "engine/checkpoint/json_field.h"

#include <gtest/gtest.h>

#include "base/json.h"

namespace steelyard {
namespace {

const Json& Sample() {
  static const Json json = Json::parse(R"({
    "count": 3, "negative": -1, "huge": 18446744073709551615, "half": 0.5, "whole": 2.0,
    "yes": true, "name": "x", "nothing": null, "list": [1, "two"], "inner": {"deep": []},
    "a\nkey": 1})");
  return json;
}

const JsonField& Root() {
  static const JsonField root(Sample(), "f.json");
  return root;
}

JsonField Field(std::string_view key) { return Root().Member(key).value(); }

TEST(JsonField, ReadsWhatIsThere) {
  EXPECT_EQ(Field("count").Integer(1, 3).value(), 3);
  EXPECT_EQ(Field("whole").Number(0, 2).value(), 2.0);
  EXPECT_EQ(Field("count").Number(0, 10).value(), 3.0);
  EXPECT_TRUE(Field("yes").Boolean().value());
  EXPECT_EQ(Field("name").String().value(), "x");
  EXPECT_EQ(Field("list").Items().value().size(), 2U);
  EXPECT_FALSE(Root().Optional("nothing").value().has_value());
  EXPECT_FALSE(Root().Optional("absent").value().has_value());
  EXPECT_TRUE(Root().Optional("count").value().has_value());
}

TEST(JsonField, EveryComplaintNamesFilePlaceAndRule) {
  struct Row {
    Status status;
    std::string message;
  };
  const Row rows[] = {
      {Root().Member("absent").status(), "f.json: absent: is missing"},
      {Field("count").Integer(4, 9).status(),
       "f.json: count: must be an integer from 4 to 9, but is 3"},
      {Field("negative").Integer(0, 9).status(),
       "f.json: negative: must be an integer from 0 to 9, but is -1"},
      {Field("huge").Integer(0, INT64_MAX).status(),
       "f.json: huge: must be an integer from 0 to 9223372036854775807, but is "
       "18446744073709551615"},
      {Field("whole").Integer(0, 9).status(),
       "f.json: whole: must be an integer from 0 to 9, but is 2.0"},
      {Field("yes").Integer(0, 9).status(),
       "f.json: yes: must be an integer from 0 to 9, but is true"},
      {Field("half").Number(1, 2).status(),
       "f.json: half: must be a number from 1 to 2, but is 0.5"},
      {Field("name").Number(1, 2).status(),
       "f.json: name: must be a number from 1 to 2, but is \"x\""},
      {Field("list").Boolean().status(), "f.json: list: must be true or false, but is an array"},
      {Field("inner").String().status(), "f.json: inner: must be a string, but is an object"},
      {Field("nothing").Items().status(), "f.json: nothing: must be an array, but is null"},
      {Field("count").Member("x").status(), "f.json: count: must be an object, but is 3"},
      {Field("list").Items().value()[1].Integer(0, 1).status(),
       "f.json: list[1]: must be an integer from 0 to 1, but is \"two\""},
      {Field("inner").Member("deep").value().Member("x").status(),
       "f.json: inner.deep: must be an object, but is an array"},
      {Field("a\nkey").String().status(), "f.json: \"a\\nkey\": must be a string, but is 1"},
      {Root().Error("is odd"), "f.json: is odd"},
  };
  for (const Row& row : rows) {
    EXPECT_EQ(row.status.code(), StatusCode::kInvalidArgument);
    EXPECT_EQ(row.status.message(), row.message);
  }
}

TEST(Quoted, KeepsALineShortAndWhole) {
  EXPECT_EQ(Quoted("plain"), "\"plain\"");
  EXPECT_EQ(Quoted("two\nlines \"x\""), "\"two\\nlines \\\"x\\\"\"");
  EXPECT_EQ(Quoted(std::string(100, 'a')), "\"" + std::string(80, 'a') + "...\"");
  const std::string cut_inside_a_character = std::string(79, 'a') + "\xC3\xA9 and more";
  EXPECT_EQ(Quoted(cut_inside_a_character), "\"" + std::string(79, 'a') + "...\"");
  EXPECT_EQ(Quoted("\xFF"), "\"\xEF\xBF\xBD\"");
}

}  // namespace
}  // namespace steelyard
