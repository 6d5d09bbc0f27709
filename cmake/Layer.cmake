# What the folders' CMakeLists.txt are written in: a layer, a test program, a benchmark.
include(GoogleTest)

# Programs join these as they are declared, so that a build can name all of one kind.
add_custom_target(all_tests)
add_custom_target(all_benchmarks)

# steelyard_test(NAME SOURCES ... [LIBRARIES target ...] [LABEL label] [LONG])
#
# A GoogleTest program whose tests ctest runs one by one under LABEL; tests_LABEL builds the
# programs of a label. LONG gives them the label `long` instead: only `make check-long` runs them.
function(steelyard_test name)
  cmake_parse_arguments(ARG "LONG" "LABEL" "SOURCES;LIBRARIES" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE ${ARG_LIBRARIES} GTest::gmock GTest::gtest_main)
  target_compile_definitions(${name} PRIVATE STEELYARD_SOURCE_DIR="${CMAKE_SOURCE_DIR}")
  # Tests themselves need no speed, and compiling GoogleTest's macros is half of a build.
  if(STEELYARD_SANITIZE)
    target_compile_options(${name} PRIVATE -O0)
  elseif(CMAKE_BUILD_TYPE STREQUAL "Release")
    target_compile_options(${name} PRIVATE -O1)
  endif()
  set(label ${ARG_LABEL})
  if(ARG_LONG)
    set(label long)
  endif()
  gtest_discover_tests(${name} DISCOVERY_MODE PRE_TEST DISCOVERY_TIMEOUT 60
    PROPERTIES LABELS "${label}" TIMEOUT 600)
  add_dependencies(all_tests ${name})
  if(ARG_LABEL)
    if(NOT TARGET tests_${ARG_LABEL})
      add_custom_target(tests_${ARG_LABEL})
    endif()
    add_dependencies(tests_${ARG_LABEL} ${name})
  endif()
endfunction()

# steelyard_layer(NAME SOURCES ... [DEPENDS layer ...] [LIBRARIES target ...] [TESTS x_test.cc ...])
#
# One static library steelyard_NAME for a folder of src/, and one test program NAME_test for the
# tests that stand beside the sources. DEPENDS names other folders, which must come earlier.
function(steelyard_layer name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPENDS;LIBRARIES;TESTS" ${ARGN})
  add_library(steelyard_${name} STATIC ${ARG_SOURCES})
  target_include_directories(steelyard_${name}
    PUBLIC ${CMAKE_SOURCE_DIR}/include ${CMAKE_SOURCE_DIR}/src)
  list(TRANSFORM ARG_DEPENDS PREPEND steelyard_)
  target_link_libraries(steelyard_${name} PUBLIC ${ARG_DEPENDS} ${ARG_LIBRARIES})
  if(ARG_TESTS)
    steelyard_test(${name}_test SOURCES ${ARG_TESTS} LIBRARIES steelyard_${name} LABEL ${name})
  endif()
endfunction()

# steelyard_bench(NAME SOURCES ... [LIBRARIES target ...])
#
# A Google Benchmark program that `make bench` runs; built only when asked for.
function(steelyard_bench name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LIBRARIES" ${ARGN})
  add_executable(${name} EXCLUDE_FROM_ALL ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE ${ARG_LIBRARIES} benchmark::benchmark_main)
  target_compile_definitions(${name} PRIVATE STEELYARD_SOURCE_DIR="${CMAKE_SOURCE_DIR}")
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/benchmarks)
  add_dependencies(all_benchmarks ${name})
endfunction()
