# One test binary; unit tests lie beside the code as x_test.cpp, the whole path in tests/e2e. Each file
# has a namespace of its own name, so that several can be compiled together as one.
find_package(GTest REQUIRED)
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
# Compiles CUDA's words by macros that no other file may see.
set_source_files_properties(src/flipside/model/group_norm_gpu_kernels_test.cpp
                            PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON)
target_include_directories(flipside_tests PRIVATE ${CMAKE_CURRENT_SOURCE_DIR}/tests)
target_link_libraries(flipside_tests PRIVATE flipside GTest::gmock GTest::gtest_main
                      nlohmann_json::nlohmann_json CLI11::CLI11 ${flipside_spdlog} flipside_warnings)
target_precompile_headers(flipside_tests REUSE_FROM flipside)
target_compile_definitions(flipside_tests PRIVATE FLIPSIDE_PROGRAM="$<TARGET_FILE:flipside_cli>")
add_dependencies(flipside_tests flipside_cli)

# One process per file of tests, for a process that loads libtorch takes a second or two to start,
# several times as long as most tests run. The last entry runs what the files' names do not tell.
set(all_suites "")
foreach(source IN LISTS test_sources)
  file(STRINGS ${source} lines REGEX "^TEST(_F|_P)?\\(")
  set(suites "")
  foreach(line IN LISTS lines)
    string(REGEX REPLACE "^TEST_P\\(([A-Za-z0-9_]+).*" "*/\\1.*" suite "${line}")
    string(REGEX REPLACE "^TEST(_F)?\\(([A-Za-z0-9_]+).*" "\\2.*" suite "${suite}")
    list(APPEND suites ${suite})
  endforeach()
  list(REMOVE_DUPLICATES suites)
  list(APPEND all_suites ${suites})
  list(JOIN suites ":" filter)
  file(RELATIVE_PATH name ${CMAKE_CURRENT_SOURCE_DIR} ${source})
  string(REGEX REPLACE "^(src/flipside|tests)/|_test\\.cpp$" "" name ${name})
  add_test(NAME ${name} COMMAND flipside_tests --gtest_filter=${filter})
  list(APPEND test_names ${name})
  if(name MATCHES "^e2e/")
    set_tests_properties(${name} PROPERTIES COST 1)  # the longest: they go first
  endif()
endforeach()
list(JOIN all_suites ":" filter)
add_test(NAME others COMMAND flipside_tests --gtest_filter=-${filter})
# Two threads each, that sleep while they wait: of many processes with a thread per processor most wait
# for one another, and spinning they would hold the processors that the others need.
set_tests_properties(${test_names} others PROPERTIES TIMEOUT 1800
                     ENVIRONMENT "ASAN_OPTIONS=detect_leaks=0;OMP_NUM_THREADS=2;OMP_WAIT_POLICY=passive")
