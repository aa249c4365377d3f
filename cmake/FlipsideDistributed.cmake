# Training in several processes needs libtorch's c10d, whose headers want Gloo's (Debian:
# libgloo-dev) and, on a GPU, NCCL's. Without them everything else is built all the same.
include(CheckCXXSourceCompiles)
find_path(GLOO_INCLUDE_DIR gloo/rendezvous/store.h)
find_path(NCCL_INCLUDE_DIR nccl.h HINTS ENV NCCL_INCLUDE_DIR PATHS ${CUDAToolkit_INCLUDE_DIRS})
mark_as_advanced(GLOO_INCLUDE_DIR NCCL_INCLUDE_DIR)

# By files, not by libtorch's targets: those of a PyTorch with CUDA name others (protobuf's) that are
# not there in the small project of such a check, and configuring ends with an error.
foreach(target torch_cpu c10 torch_cuda c10_cuda)
  if(TARGET ${target})
    get_target_property(file ${target} LOCATION)
    list(APPEND CMAKE_REQUIRED_LIBRARIES ${file})
  endif()
endforeach()
set(CMAKE_REQUIRED_FLAGS "${TORCH_CXX_FLAGS}")
if(GLOO_INCLUDE_DIR)
  set(CMAKE_REQUIRED_INCLUDES ${TORCH_INCLUDE_DIRS} ${GLOO_INCLUDE_DIR})
  check_cxx_source_compiles("
    #ifndef USE_C10D_GLOO
    #define USE_C10D_GLOO
    #endif
    #include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
    int main() { return c10d::ProcessGroupGloo::createDefaultDevice() == nullptr; }"
    FLIPSIDE_HAS_GLOO)
endif()
if(FLIPSIDE_HAS_GLOO AND TARGET torch_cuda AND NCCL_INCLUDE_DIR)
  set(CMAKE_REQUIRED_INCLUDES ${TORCH_INCLUDE_DIRS} ${CUDAToolkit_INCLUDE_DIRS} ${GLOO_INCLUDE_DIR}
                              ${NCCL_INCLUDE_DIR})
  check_cxx_source_compiles("
    #ifndef USE_C10D_NCCL
    #define USE_C10D_NCCL
    #endif
    #include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>
    int main() { c10d::ProcessGroupNCCL::Options::create()->timeout = std::chrono::seconds(1); }"
    FLIPSIDE_HAS_NCCL)
endif()
unset(CMAKE_REQUIRED_LIBRARIES)
unset(CMAKE_REQUIRED_FLAGS)
unset(CMAKE_REQUIRED_INCLUDES)

if(NOT FLIPSIDE_HAS_GLOO)
  message(STATUS "flipside: training in one process only; libgloo-dev is missing, or libtorch has "
                 "no Gloo")
endif()
set(distributed_source src/flipside/core/c10d.cpp)
# Its headers bring too many names for a file that others share.
set_source_files_properties(${distributed_source} PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON)
foreach(part GLOO NCCL)
  if(FLIPSIDE_HAS_${part})
    set_property(SOURCE ${distributed_source} APPEND PROPERTY COMPILE_DEFINITIONS FLIPSIDE_${part})
    if(NOT ${part}_INCLUDE_DIR IN_LIST CMAKE_CXX_IMPLICIT_INCLUDE_DIRECTORIES)
      set_property(SOURCE ${distributed_source} APPEND PROPERTY INCLUDE_DIRECTORIES
                   ${${part}_INCLUDE_DIR})
    endif()
  endif()
endforeach()
