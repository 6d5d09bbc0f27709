#include "base/printable.h"

#include <gtest/gtest.h>

namespace steelyard {
namespace {

TEST(Printable, KeepsWhatCanBePrintedOnALine) {
  EXPECT_EQ(Printable(""), "");
  EXPECT_EQ(Printable(" a ~"), " a ~");
  EXPECT_EQ(Printable({"a\n\t\0\x7F\xC2\x85z", 8}), "a??????z");
}

TEST(Printable, ShortensInTheMiddle) {
  const std::string most = std::string(120, 'a') + std::string(120, 'b');
  EXPECT_EQ(Printable(most), most);
  EXPECT_EQ(Printable(std::string(120, 'a') + "x" + std::string(120, 'b')),
            std::string(120, 'a') + " ... " + std::string(120, 'b'));
}

}  // namespace
}  // namespace steelyard
