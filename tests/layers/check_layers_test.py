"""Shows that scripts/check_layers.py finds each kind of offence, in small trees made for it."""

import pathlib
import subprocess
import sys
import tempfile
import unittest

CHECK = pathlib.Path(__file__).resolve().parents[2] / "scripts" / "check_layers.py"

GOOD = {
    "include/steelyard/base/a.h": "#include <vector>\n",
    "include/steelyard/engine/e.h": '#include "steelyard/base/a.h"\n',
    "src/base/CMakeLists.txt": "steelyard_layer(base SOURCES a.cc LIBRARIES fmt::fmt)\n",
    "src/base/a.cc": '#include "steelyard/base/a.h"\n#include "base/b.h"\n#include <x/y.h>\n',
    "src/base/b.h": '#include "nlohmann/json.hpp"\n',
    "src/plan/CMakeLists.txt": "steelyard_layer(plan\n  SOURCES p.cc\n  DEPENDS base)\n",
    "src/plan/p.cc": '#include "base/b.h"\n',
    "src/engine/CMakeLists.txt": "add_subdirectory(first)\nadd_subdirectory(second)\n",
    "src/engine/first/CMakeLists.txt": "steelyard_layer(engine_first DEPENDS base plan)\n",
    "src/engine/first/f.cc": '#include "steelyard/engine/e.h"\n#include "engine/first/f.h"\n',
    "src/engine/first/f.h": "\n",
    "src/engine/second/CMakeLists.txt": "steelyard_layer(engine_second DEPENDS engine_first)\n",
    "src/engine/second/s.cc": '#include "engine/first/f.h"\n#include "base/b.h"\n',
}


def run(files):
    with tempfile.TemporaryDirectory() as folder:
        for name, text in files.items():
            path = pathlib.Path(folder, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        done = subprocess.run([sys.executable, CHECK, folder], capture_output=True, text=True)
        return done.returncode, done.stdout + done.stderr


class CheckLayers(unittest.TestCase):
    def refused(self, changes, *lines):
        code, output = run({**GOOD, **changes})
        self.assertEqual(output.splitlines(), list(lines))
        self.assertEqual(code, 1)

    def test_a_tree_that_keeps_the_rules_passes(self):
        self.assertEqual(run(GOOD), (0, ""))

    def test_an_upward_include(self):
        self.refused(
            {"src/base/a.cc": '#include "base/b.h"\n#include "plan/p.h"\n'},
            'src/base/a.cc:2: base includes "plan/p.h", but plan comes after it',
        )

    def test_an_upward_include_of_a_public_header_in_angle_brackets(self):
        self.refused(
            {"include/steelyard/base/a.h": "#include <steelyard/engine/e.h>\n"},
            'include/steelyard/base/a.h:1: base includes "steelyard/engine/e.h", '
            "but engine comes after it",
        )

    def test_an_upward_include_in_a_test(self):
        self.refused(
            {"src/plan/p_test.cc": '#  include "steelyard/engine/e.h"\n'},
            'src/plan/p_test.cc:1: plan includes "steelyard/engine/e.h", but engine comes after it',
        )

    def test_an_upward_include_between_the_parts_of_a_folder(self):
        self.refused(
            {"src/engine/first/f.h": '#include "engine/second/s.h"\n'},
            'src/engine/first/f.h:1: engine/first includes "engine/second/s.h", '
            "but engine/second comes after it",
        )

    def test_an_upward_dependency_in_cmake(self):
        self.refused(
            {"src/base/CMakeLists.txt": "steelyard_layer(base SOURCES a.cc DEPENDS plan)\n"},
            "src/base/CMakeLists.txt: base depends on plan, which comes after it",
        )

    def test_an_upward_dependency_in_cmake_written_as_a_target(self):
        self.refused(
            {"src/base/CMakeLists.txt": "target_link_libraries(steelyard_base steelyard_engine_first)\n"},
            "src/base/CMakeLists.txt: base depends on engine/first, which comes after it",
        )

    def test_a_dependency_on_what_is_no_layer(self):
        self.refused(
            {"src/base/CMakeLists.txt": "steelyard_layer(base SOURCES a.cc DEPENDS util)\n"},
            "src/base/CMakeLists.txt: depends on util, which is no layer",
        )

    def test_an_include_that_cmake_does_not_know_of(self):
        self.refused(
            {"src/plan/CMakeLists.txt": "steelyard_layer(plan SOURCES p.cc)\n"},
            'src/plan/p.cc:1: plan includes "base/b.h", but does not depend on base',
        )

    def test_a_public_header_that_includes_a_private_one(self):
        self.refused(
            {"include/steelyard/base/a.h": '#include "base/b.h"\n'},
            'include/steelyard/base/a.h:1: a public header includes "base/b.h", which is private',
        )

    def test_a_path_that_hides_the_layer(self):
        self.refused(
            {"src/base/a.cc": '#include "b.h"\n#include "../plan/p.h"\n'},
            'src/base/a.cc:1: "b.h" must be written from the top, as "base/..."',
            'src/base/a.cc:2: "../plan/p.h" must be written from the top, as "base/..."',
        )

    def test_a_folder_without_a_place_in_the_order(self):
        self.refused(
            {"src/util/u.cc": "\n", "src/util/CMakeLists.txt": "\n"},
            "src/util/CMakeLists.txt: util has no place in the order of layers",
            "src/util/u.cc: its folder has no place in the order of layers",
        )

    def test_a_layer_declared_in_the_folder_of_another(self):
        self.refused(
            {"src/plan/CMakeLists.txt": "steelyard_layer(plan2 SOURCES p.cc DEPENDS base)\n"},
            "src/plan/CMakeLists.txt: declares plan2 in the folder of plan",
        )

    def test_a_tree_without_sources(self):
        code, output = run({"README.md": "\n"})
        self.assertEqual(code, 1)
        self.assertIn("there is no source to check", output)


if __name__ == "__main__":
    unittest.main()
