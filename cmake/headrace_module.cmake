# headrace_module(NAME SOURCES ... TESTS ... DEPS ... LIBS ...)
#
# Declares module NAME as the static library headrace_NAME. DEPS are the other modules it may include (public: a
# header may mention them), LIBS foreign libraries (private: no header may mention them). Each TESTS file `x_test.cc`
# becomes part of one test program NAME_test, registered with ctest.
#
# headrace_fuzz(NAME SOURCE ... DEPS ...) makes a libFuzzer program when HEADRACE_FUZZ is on (clang).

add_library(headrace_flags INTERFACE)
target_compile_options(headrace_flags INTERFACE -Wall -Wextra -Wshadow -Wnon-virtual-dtor -Wno-missing-field-initializers)
# -iquote: "sys/random.h" is ours, <sys/random.h> the system's.
target_compile_options(headrace_flags INTERFACE "SHELL:-iquote ${CMAKE_SOURCE_DIR}/src")
target_include_directories(headrace_flags INTERFACE ${CMAKE_SOURCE_DIR}/include)
if(HEADRACE_FAILPOINTS)
  target_compile_definitions(headrace_flags INTERFACE HR_FAILPOINTS=1)
endif()
if(HEADRACE_SANITIZE STREQUAL "address")
  set(_san -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer)
elseif(HEADRACE_SANITIZE STREQUAL "thread")
  set(_san -fsanitize=thread -fno-omit-frame-pointer)
endif()
if(_san)
  target_compile_options(headrace_flags INTERFACE ${_san} -g)
  target_link_options(headrace_flags INTERFACE ${_san})
endif()

find_package(Threads REQUIRED)
find_package(PkgConfig REQUIRED)
if(HEADRACE_TESTS)
  find_package(GTest REQUIRED)
  enable_testing()
endif()

# A foreign library found by pkg-config, as the imported target PkgConfig::<PREFIX>.
function(headrace_pkg prefix)
  pkg_check_modules(${prefix} REQUIRED IMPORTED_TARGET GLOBAL ${ARGN})
endfunction()

function(headrace_module name)
  cmake_parse_arguments(arg "" "" "SOURCES;TESTS;DEPS;LIBS;TEST_LIBS" ${ARGN})
  add_library(headrace_${name} STATIC ${arg_SOURCES})
  target_link_libraries(headrace_${name} PUBLIC headrace_flags)
  foreach(dep ${arg_DEPS})
    target_link_libraries(headrace_${name} PUBLIC headrace_${dep})
  endforeach()
  target_link_libraries(headrace_${name} PRIVATE ${arg_LIBS})
  if(HEADRACE_TESTS AND arg_TESTS)
    add_executable(${name}_test ${arg_TESTS})
    target_link_libraries(${name}_test PRIVATE headrace_${name} ${arg_TEST_LIBS} GTest::gtest_main Threads::Threads)
    target_compile_definitions(${name}_test PRIVATE HR_SOURCE_DIR="${CMAKE_SOURCE_DIR}")
    add_test(NAME ${name} COMMAND ${name}_test)
    set_tests_properties(${name} PROPERTIES TIMEOUT 600)
  endif()
endfunction()

function(headrace_fuzz name)
  cmake_parse_arguments(arg "" "" "SOURCES;DEPS" ${ARGN})
  if(HEADRACE_FUZZ)
    add_executable(fuzz_${name} ${arg_SOURCES})
    foreach(dep ${arg_DEPS})
      target_link_libraries(fuzz_${name} PRIVATE headrace_${dep})
    endforeach()
    target_link_options(fuzz_${name} PRIVATE -fsanitize=fuzzer)
  endif()
endfunction()
