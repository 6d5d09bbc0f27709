# What people type. Everything else is CMake: see CMakePresets.json.
JOBS := $(shell nproc)
RELEASE := build/release
BUILD := cmake --build --preset release --parallel $(JOBS)

.DEFAULT_GOAL := help
.PHONY: help setup setup-lint build demo test check-long fuzz bench format lint clean

help:  ## list these targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

setup:  # does nothing when nothing is missing
	@scripts/setup.sh build

setup-lint:
	@scripts/setup.sh lint

$(RELEASE)/build.ninja: CMakeLists.txt CMakePresets.json | setup
	cmake --preset release
	@touch $@

build: $(RELEASE)/build.ninja  ## build everything, in build/release
	$(BUILD)

demo: $(RELEASE)/build.ninja  ## serve a model that drifts, unbalanced and balanced, and compare
	$(BUILD) --target steelyard
	$(RELEASE)/steelyard demo

test: build  ## build and run all tests but the long ones
	ctest --preset release

check-long: build  ## run all tests, with ten times the repetitions, and fuzz for ten minutes each
	STEELYARD_TEST_SCALE=10 ctest --preset long
	$(MAKE) fuzz SECONDS=600

fuzz: SECONDS := 60
fuzz: setup setup-lint  ## fuzz the parsers and the planner, SECONDS=60 for each
	cmake --preset fuzz
	cmake --build --preset fuzz --parallel $(JOBS)
	scripts/fuzz.sh build/fuzz $(SECONDS)

bench: $(RELEASE)/build.ninja  ## build and run every benchmark
	$(BUILD) --target all_benchmarks
	scripts/bench.sh $(RELEASE)

format: setup-lint  ## format every C++ file
	scripts/format.sh

lint: setup-lint $(RELEASE)/build.ninja  ## clang-tidy over the sources that changed
	scripts/lint.sh $(RELEASE)

clean:  ## remove all that was built
	rm -rf build
