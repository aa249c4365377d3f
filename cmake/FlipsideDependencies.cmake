# Everything comes from the system (find_package only); nothing is downloaded.
find_package(Torch REQUIRED)
find_package(OpenCV REQUIRED COMPONENTS core imgproc imgcodecs)
find_package(fmt REQUIRED)
find_package(spdlog REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(CLI11 REQUIRED)
find_package(ZLIB REQUIRED)
find_package(Threads REQUIRED)
# at::parallel_for lies in libtorch's headers and runs in one thread where OpenMP is not compiled in.
find_package(OpenMP REQUIRED COMPONENTS CXX)

# OpenCV's imported targets pull in debug-only flags on some systems; one interface hides that.
add_library(flipside_opencv INTERFACE)
target_link_libraries(flipside_opencv INTERFACE opencv_core opencv_imgproc opencv_imgcodecs)
target_include_directories(flipside_opencv SYSTEM INTERFACE ${OpenCV_INCLUDE_DIRS})
