#!/usr/bin/env python3
"""Checks that dependencies between the folders of the project go one way.

A folder of src/ is a layer, or is cut into layers of its own, in the order of its
add_subdirectory() lines. A layer may include only itself and those before it, and its
CMakeLists.txt must say so in DEPENDS. Public headers include only public headers. tools/, tests/
and bench/ may use everything.

    check_layers.py [PROJECT_FOLDER]      prints one line for each offence; exit 1 if there is one
"""

import pathlib
import re
import sys

FOLDERS = (
    "base load placement plan comm migrate balance engine trace sim observe".split()
)
INCLUDE = re.compile(r'^\s*#\s*include\s*(?:"([^"]+)"|<(steelyard/[^>]+)>)')
SUBFOLDER = re.compile(r"^\s*add_subdirectory\s*\(\s*(\w+)", re.MULTILINE)
DECLARATION = re.compile(r"\bsteelyard_layer\s*\(\s*(\w+)([^)]*)\)")
TARGET = re.compile(r"\bsteelyard_(\w+)")
KEYWORDS = {"SOURCES", "DEPENDS", "LIBRARIES", "TESTS"}


def layer_of_target(name):
    """'engine_tokenizer' is the layer engine/tokenizer."""
    folder, _, rest = name.partition("_")
    return f"{folder}/{rest}" if rest and folder in FOLDERS else name


def depends_of(arguments):
    """The names after DEPENDS in the arguments of steelyard_layer()."""
    depends, inside = [], False
    for word in arguments.split():
        if word in KEYWORDS:
            inside = word == "DEPENDS"
        elif inside:
            depends.append(word)
    return depends


class Checker:
    def __init__(self, root):
        self.root = root
        self.offences = []
        # All layers; a folder that is cut stands before its parts and owns its public headers.
        self.order = []
        # Declared layer -> the layers that it depends on, directly or not, itself included.
        self.reached = {}

    def report(self, path, rule):
        self.offences.append(f"{path.relative_to(self.root)}{rule}")

    def cmake_text(self, folder):
        path = self.root / "src" / folder / "CMakeLists.txt"
        return re.sub(r"#.*", "", path.read_text()) if path.is_file() else ""

    def find_order(self):
        for folder in FOLDERS:
            self.order.append(folder)
            parts = SUBFOLDER.findall(self.cmake_text(folder))
            self.order += [f"{folder}/{part}" for part in parts]

    def may_use(self, layer, other):
        return self.order.index(other) <= self.order.index(layer)

    def check_cmake(self):
        for path in sorted((self.root / "src").glob("**/CMakeLists.txt")):
            layer = path.parent.relative_to(self.root / "src").as_posix()
            if layer not in self.order:
                self.report(path, f": {layer} has no place in the order of layers")
        for layer in self.order:
            text = self.cmake_text(layer)
            path = self.root / "src" / layer / "CMakeLists.txt"
            used = {layer_of_target(name) for name in TARGET.findall(text)} & set(self.order)
            for name, arguments in DECLARATION.findall(text):
                if layer_of_target(name) != layer:
                    self.report(path, f": declares {name} in the folder of {layer}")
                used |= {layer_of_target(name) for name in depends_of(arguments)}
                self.reached[layer] = {layer}
            for other in sorted(used):
                if other not in self.order:
                    self.report(path, f": depends on {other}, which is no layer")
                elif not self.may_use(layer, other):
                    self.report(path, f": {layer} depends on {other}, which comes after it")
                elif layer in self.reached:
                    self.reached[layer] |= self.reached.get(other, {other})

    def layer_of_file(self, folders):
        """The layer of a file in these folders of src/, None when they lead to none."""
        for layer in ("/".join(folders[:2]), folders[0]):
            if layer in self.order:
                return layer
        return None

    def check_include(self, where, layer, public, name):
        parts = name.split("/")
        if len(parts) < 2 or name.startswith("."):
            return f'{where}: "{name}" must be written from the top, as "{layer}/..."'
        is_public = parts[0] == "steelyard"
        if not is_public and not (self.root / "src" / parts[0]).is_dir():
            return None  # not of this project
        other = self.layer_of_file(parts[1:2] if is_public else parts[:-1])
        if other is None:
            return f'{where}: "{name}" is of no layer'
        if not self.may_use(layer, other):
            return f'{where}: {layer} includes "{name}", but {other} comes after it'
        if public and not is_public:
            return f'{where}: a public header includes "{name}", which is private'
        # The head of a folder that is cut declares no target; whoever includes its headers reaches
        # what they need.
        is_head = layer.split("/")[0] == other
        known = not is_head and layer in self.reached and other in self.reached
        if known and other not in self.reached[layer]:
            return f'{where}: {layer} includes "{name}", but does not depend on {other}'
        return None

    def check_file(self, path, layer, public):
        for number, line in enumerate(path.read_text().splitlines(), start=1):
            match = INCLUDE.match(line)
            if match:
                where = f"{path.relative_to(self.root)}:{number}"
                name = match.group(1) or match.group(2)
                offence = self.check_include(where, layer, public, name)
                self.offences += [offence] if offence else []

    def check_files(self):
        num_files = 0
        tops = ((self.root / "include" / "steelyard", True), (self.root / "src", False))
        for top, public in tops:
            for path in sorted(top.glob("**/*")):
                if path.suffix not in (".h", ".cc"):
                    continue
                num_files += 1
                layer = self.layer_of_file(path.relative_to(top).parts[:-1] or ("",))
                if layer is None:
                    self.report(path, ": its folder has no place in the order of layers")
                    continue
                self.check_file(path, layer, public)
        if num_files == 0:
            self.offences.append(f"{self.root}: there is no source to check")


def main(arguments):
    checker = Checker(pathlib.Path(arguments[1] if len(arguments) > 1 else ".").resolve())
    checker.find_order()
    checker.check_cmake()
    checker.check_files()
    for offence in checker.offences:
        print(offence)
    return 1 if checker.offences else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
