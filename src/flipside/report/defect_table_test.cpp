#include "flipside/report/defect_table.h"

#include <gtest/gtest.h>

namespace flipside::defect_table_test {
namespace {

Defect example_defect() {
  Defect defect;
  defect.label = 1;
  defect.region.box = {10, 20, 30, 4, 77};
  defect.region.length = 31.25;
  defect.region.mean_width = 2.4640001;
  defect.region.max_width = 4;
  return defect;
}

TEST(DefectTable, HasOneLinePerDefectAndUnitsInItsNames) {
  EXPECT_EQ(defect_table_header(0),
            "file,number,class,area_px,x_px,y_px,width_px,height_px,length_px,mean_width_px,"
            "max_width_px\n");
  EXPECT_EQ(defect_table_rows("a.png", {"good", "crack"}, {example_defect(), example_defect()}, 0),
            "a.png,1,crack,77,10,20,30,4,31.25,2.464,4\n"
            "a.png,2,crack,77,10,20,30,4,31.25,2.464,4\n");
  EXPECT_EQ(defect_table_rows("a.png", {"good", "crack"}, {}, 0), "");
}

TEST(DefectTable, AddsMillimetres) {
  EXPECT_EQ(defect_table_header(0.5),
            "file,number,class,area_px,x_px,y_px,width_px,height_px,length_px,mean_width_px,"
            "max_width_px,area_mm2,length_mm,mean_width_mm,max_width_mm\n");
  EXPECT_EQ(defect_table_rows("a.png", {"good", "crack"}, {example_defect()}, 0.5),
            "a.png,1,crack,77,10,20,30,4,31.25,2.464,4,19.25,15.625,1.232,2\n");
  EXPECT_EQ(defect_table_rows("a.png", {"good", "crack"}, {example_defect()}, 1e-5),
            "a.png,1,crack,77,10,20,30,4,31.25,2.464,4,7.7e-09,0.0003125,2.464e-05,4e-05\n");
}

TEST(DefectTable, QuotesWhatWouldBreakALine) {
  EXPECT_EQ(
      defect_table_rows("a, \"b\".png", {"good", "crack"}, {example_defect()}, 0).substr(0, 25),
      "\"a, \"\"b\"\".png\",1,crack,77");
}

}  // namespace
}  // namespace flipside::defect_table_test
