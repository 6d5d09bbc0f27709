# steelyard_layer(NAME SOURCES ... [DEPENDS layer ...] [LIBRARIES target ...] [TESTS x_test.cc ...])
#
# One static library steelyard_NAME for a folder of src/, and one test program NAME_test for the tests that stand beside the
# sources. DEPENDS names other folders, which must come earlier in the list of CMakeLists.txt; tests/layers checks the includes.
include(GoogleTest)

function(steelyard_test name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LIBRARIES;LABELS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE ${ARG_LIBRARIES} GTest::gmock GTest::gtest_main)
  target_compile_definitions(${name} PRIVATE STEELYARD_SOURCE_DIR="${CMAKE_SOURCE_DIR}")
  gtest_discover_tests(${name} DISCOVERY_MODE PRE_TEST DISCOVERY_TIMEOUT 60 PROPERTIES LABELS "${ARG_LABELS}" TIMEOUT 600)
endfunction()

function(steelyard_layer name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPENDS;LIBRARIES;TESTS" ${ARGN})
  add_library(steelyard_${name} STATIC ${ARG_SOURCES})
  target_include_directories(steelyard_${name} PUBLIC ${CMAKE_SOURCE_DIR}/include ${CMAKE_SOURCE_DIR}/src)
  list(TRANSFORM ARG_DEPENDS PREPEND steelyard_)
  target_link_libraries(steelyard_${name} PUBLIC ${ARG_DEPENDS} ${ARG_LIBRARIES})
  if(ARG_TESTS)
    steelyard_test(${name}_test SOURCES ${ARG_TESTS} LIBRARIES steelyard_${name} LABELS ${name})
  endif()
endfunction()
