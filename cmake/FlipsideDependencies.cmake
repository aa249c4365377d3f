# Everything comes from the system (find_package only); nothing is downloaded.
find_package(Torch REQUIRED)
if(TARGET torch_cuda)
  add_compile_definitions(FLIPSIDE_CUDA)
endif()
find_package(fmt REQUIRED)
find_package(spdlog REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(CLI11 REQUIRED)
find_package(ZLIB REQUIRED)
find_package(Threads REQUIRED)
# at::parallel_for lies in libtorch's headers and runs in one thread where OpenMP is not compiled in.
find_package(OpenMP REQUIRED COMPONENTS CXX)

set(flipside_fmt fmt::fmt)
set(flipside_spdlog spdlog::spdlog)
find_path(FLIPSIDE_TORCH_FMT fmt/base.h PATHS ${TORCH_INCLUDE_DIRS} NO_DEFAULT_PATH)
find_path(FLIPSIDE_SYSTEM_FMT fmt/format.h)
mark_as_advanced(FLIPSIDE_TORCH_FMT FLIPSIDE_SYSTEM_FMT)
if(FLIPSIDE_TORCH_FMT)
  # This libtorch lays its own fmt among its headers, which would hide the system's, for which spdlog
  # was made. A folder with nothing else in it can come first.
  file(MAKE_DIRECTORY ${CMAKE_BINARY_DIR}/system_fmt)
  file(CREATE_LINK ${FLIPSIDE_SYSTEM_FMT}/fmt ${CMAKE_BINARY_DIR}/system_fmt/fmt SYMBOLIC)
  include_directories(BEFORE SYSTEM ${CMAKE_BINARY_DIR}/system_fmt)
endif()
if(TORCH_CXX_FLAGS MATCHES "CXX11_ABI=0")
  # This libtorch names std::string otherwise than the system's libraries do: no C++ library of the
  # system can be linked with it, only headers can be used.
  set(old_abi TRUE)
  if(FLIPSIDE_OPENCV)
    message(FATAL_ERROR "This libtorch has the old C++ ABI, with which the system's OpenCV cannot be "
                        "linked: take a libtorch with the new one, or -DFLIPSIDE_OPENCV=OFF")
  endif()
endif()
if(old_abi OR FLIPSIDE_TORCH_FMT)  # there, users of the library see libtorch's fmt
  set(flipside_fmt fmt::fmt-header-only)
  set(flipside_spdlog spdlog::spdlog_header_only)
endif()

if(FLIPSIDE_OPENCV)
  find_package(OpenCV REQUIRED COMPONENTS core imgproc imgcodecs)
  # OpenCV's imported targets pull in debug-only flags on some systems; one interface hides that.
  add_library(flipside_opencv INTERFACE)
  target_link_libraries(flipside_opencv INTERFACE opencv_core opencv_imgproc opencv_imgcodecs)
  target_include_directories(flipside_opencv SYSTEM INTERFACE ${OpenCV_INCLUDE_DIRS})
  set(flipside_opencv flipside_opencv)
endif()
