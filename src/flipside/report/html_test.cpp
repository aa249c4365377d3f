#include "flipside/report/html.h"

#include <gtest/gtest.h>

#include <opencv2/imgcodecs.hpp>

#include "flipside/core/error.h"
#include "support/html_check.h"

namespace flipside::html_test {
namespace {

TEST(Escaped, ReplacesWhatMeansSomethingInMarkup) {
  EXPECT_EQ(escaped("<a href=\"x\">R&D's</a>"),
            "&lt;a href=&quot;x&quot;&gt;R&amp;D&#39;s&lt;/a&gt;");
  EXPECT_EQ(escaped("Riß"), "Riß");
}

TEST(Base64, AgreesWithTheExamplesOfItsStandard) {
  const char* const expected[] = {"", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"};
  for (size_t n = 0; n <= 6; ++n)
    EXPECT_EQ(base64(std::string("foobar").substr(0, n)), expected[n]);
  EXPECT_EQ(base64("\xff\xfe\xfd"), "//79");
}

TEST(DataUri, HoldsThePicture) {
  cv::Mat image(5, 7, CV_8UC3);
  cv::randu(image, 0, 255);
  const cv::Mat before = image.clone();
  EXPECT_EQ(cv::norm(decoded_data_uri(data_uri(image, PictureCode::kPng)), image, cv::NORM_INF), 0);
  EXPECT_EQ(cv::norm(before, image, cv::NORM_INF), 0);
  const cv::Mat grey(16, 8, CV_8UC1, cv::Scalar(77));
  const std::string jpeg = data_uri(grey, PictureCode::kJpeg);
  EXPECT_EQ(jpeg.rfind("data:image/jpeg;base64,", 0), 0u);
  EXPECT_EQ(decoded_data_uri(jpeg).size(), grey.size());
  EXPECT_THROW(data_uri({}, PictureCode::kPng), Error);
  EXPECT_THROW(data_uri(cv::Mat(2, 2, CV_32FC1), PictureCode::kPng), Error);
}

TEST(HtmlWriter, WritesElementsTablesAndPictures) {
  HtmlWriter html;
  html.open("main").element("p", "1 < 2", "class=\"note\"");
  html.table({{"", "a & b"}, {"row", "1"}});
  html.raw(picture_element(cv::Mat(3, 4, CV_8UC1, cv::Scalar(0)), PictureCode::kPng, "a \"mask\""));
  EXPECT_THROW(html.str(), Error);  // main is open
  html.close();
  EXPECT_THROW(html.close(), Error);
  const std::string& markup = html.str();
  EXPECT_NE(markup.find("<p class=\"note\">1 &lt; 2</p>"), std::string::npos);
  EXPECT_NE(markup.find("<th scope=\"col\">a &amp; b</th>"), std::string::npos);
  EXPECT_NE(markup.find("<th scope=\"row\">row</th><td>1</td>"), std::string::npos);
  EXPECT_NE(markup.find("width=\"4\" height=\"3\" alt=\"a &quot;mask&quot;\""), std::string::npos);
  EXPECT_EQ(markup_problem(html_page("t < u", "p { color: red }\n", markup)), "");
  EXPECT_NE(markup_problem("<p><b>x</p></b>"), "");
}

}  // namespace
}  // namespace flipside::html_test
