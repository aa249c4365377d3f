// The library in a few lines: explain_one_image RUN IMAGE MASK.png OVERLAY.png
#include <flipside/core/error.h>
#include <flipside/data/image_io.h>
#include <flipside/report/explained_image.h>

#include <cstdio>

int main(int argc, char** argv) {
  if (argc != 5) {
    std::fprintf(stderr, "usage: explain_one_image RUN IMAGE MASK.png OVERLAY.png\n");
    return 2;
  }
  try {
    const flipside::Explainer explainer(flipside::load_model(argv[1]));
    const cv::Mat image = flipside::read_image(argv[2]);
    const torch::Tensor input = flipside::network_input(explainer, image).unsqueeze(0);
    const flipside::Explanation explanation = explainer.explain(input);
    const auto drawn = flipside::draw_explanation(explainer, explanation, /*row=*/0, image);
    flipside::write_image(argv[3], drawn.mask);
    flipside::write_image(argv[4], drawn.overlay);
    const auto predicted = explanation.predicted[0].item<int64_t>();
    std::printf("%s, p = %.3f, fakeness %.3f, %.2f %% of the image is defect\n",
                explainer.model().class_names[predicted].c_str(),
                explanation.probs[0][predicted].item<double>(),
                explanation.fakeness[0].item<double>(), 100 * drawn.mask_area);
    return 0;
  } catch (const flipside::Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return error.exit_code();
  }
}
