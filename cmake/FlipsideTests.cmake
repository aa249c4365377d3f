# One test binary; unit tests lie beside the code as x_test.cpp, the whole path in tests/e2e.
find_package(GTest REQUIRED)
include(GoogleTest)
if(NOT FLIPSIDE_HAS_GLOO)
  foreach(source IN LISTS test_sources)
    file(STRINGS ${source} group REGEX "support/group\\.h")
    if(group)
      message(STATUS "flipside: left out with it: ${source}")
      list(REMOVE_ITEM test_sources ${source})
    endif()
  endforeach()
endif()
add_executable(flipside_tests ${test_sources})
# Tests name their small helpers alike (linear, kSide); together in one file these would collide.
set_target_properties(flipside_tests PROPERTIES UNITY_BUILD OFF)
target_include_directories(flipside_tests PRIVATE ${CMAKE_CURRENT_SOURCE_DIR}/tests)
target_link_libraries(flipside_tests PRIVATE flipside GTest::gmock GTest::gtest_main
                      nlohmann_json::nlohmann_json CLI11::CLI11 ${flipside_spdlog} flipside_warnings)
target_precompile_headers(flipside_tests REUSE_FROM flipside)
target_compile_definitions(flipside_tests PRIVATE FLIPSIDE_PROGRAM="$<TARGET_FILE:flipside_cli>")
add_dependencies(flipside_tests flipside_cli)
gtest_discover_tests(flipside_tests DISCOVERY_TIMEOUT 120
  PROPERTIES TIMEOUT 900 ENVIRONMENT "ASAN_OPTIONS=detect_leaks=0")
