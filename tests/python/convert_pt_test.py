"""Shows that convert_pt.py reads SGLang's dumps, and follows no other pickle anywhere."""

import json
import pathlib
import pickle
import struct
import subprocess
import sys
import tempfile
import unittest
import zipfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOOL = ROOT / "python" / "steelyard_tools" / "convert_pt.py"
DATA = ROOT / "tests" / "data" / "loads"
STAT = DATA / "sglang_stat_dump.pt"
PER_PASS = DATA / "sglang_per_pass_dump_rank0.pt"


def read_npy(path):
    data = path.read_bytes()
    (length,) = struct.unpack("<H", data[8:10])
    header = eval(data[10 : 10 + length], {"__builtins__": {}})
    code = {"<i8": "q", "<f8": "d"}[header["descr"]]
    return header["shape"], list(struct.unpack(f"<{(len(data) - 10 - length) // 8}{code}", data[10 + length :]))


def flatten(nested):
    return [n for part in nested for n in flatten(part)] if isinstance(nested, list) else [nested]


def text(value):
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def number(value):
    return b"J" + struct.pack("<i", value)


def tensor(key, size, stride, kind="torch\nIntStorage", offset=0, count=4):
    shape = b"(" + b"".join(map(number, size)) + b"t"
    strides = b"(" + b"".join(map(number, stride)) + b"t"
    storage = b"(" + text("storage") + f"c{kind}\n".encode() + text(key) + text("cpu") + number(count) + b"tQ"
    return (
        b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + number(offset) + shape + strides
        + b"\x89ccollections\nOrderedDict\n)RtR"
    )


def table(**items):
    return b"}(" + b"".join(text(key) + value for key, value in items.items()) + b"u"


class ConvertPt(unittest.TestCase):
    def setUp(self):
        self.scratch = tempfile.TemporaryDirectory()
        self.folder = pathlib.Path(self.scratch.name)
        self.out = self.folder / "out.npy"

    def tearDown(self):
        self.scratch.cleanup()

    def run_tool(self, *dumps):
        command = [sys.executable, str(TOOL), *map(str, dumps), str(self.out)]
        return subprocess.run(command, capture_output=True, text=True, cwd=self.folder)

    def convert(self, *dumps):
        done = self.run_tool(*dumps)
        self.assertEqual(done.returncode, 0, done.stderr)
        return read_npy(self.out)

    def refused(self, rule, *dumps):
        done = self.run_tool(*dumps)
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
        self.assertIn(rule, done.stderr)
        self.assertEqual(done.stdout, "")
        self.assertFalse(self.out.exists())

    def write(self, name, program, storages=(), **entries):
        path = self.folder / name
        with zipfile.ZipFile(path, "w") as file:
            file.writestr("dump/data.pkl", program)
            for key, data in enumerate(storages):
                file.writestr(f"dump/data/{key}", data)
            for key, data in entries.items():
                file.writestr("dump/" + key, data)
        return path

    def write_counts(self, values, code="i", kind="IntStorage", **entries):
        program = b"\x80\x02" + table(logical_count=tensor("0", [2, 2], [2, 1], "torch\n" + kind)) + b"."
        return self.write("d.pt", program, [struct.pack(code, *values)], **entries)

    def write_pass(self, name, *records, placement=(0, 1, 1, 0)):
        """Records are (pass, rank, counts of 2 layers x 2 slots)."""
        storages = [struct.pack("<4q", *placement)]
        listed = b"]("
        for number_of_pass, rank, counts in records:
            listed += table(
                forward_pass_id=number(number_of_pass),
                rank=number(rank),
                global_physical_count=tensor(str(len(storages)), [2, 2], [2, 1]),
            )
            storages.append(struct.pack("<4i", *counts))
        program = table(
            records=listed + b"e",
            last_physical_to_logical_map=tensor("0", [2, 2], [2, 1], "torch\nLongStorage"),
        )
        return self.write(name, b"\x80\x02" + program + b".", storages)

    def test_stat(self):
        expected = json.loads((DATA / "sglang_logical_count_3d.json").read_text())["logical_count"]
        self.assertEqual(self.convert(STAT), ((5, 2, 8), flatten(expected)))

    def test_per_pass(self):
        shape, values = self.convert(PER_PASS)
        self.assertEqual(shape, (2, 2, 8))
        self.assertEqual(values[:8], [310, 300, 1604, 1023, 1200, 1222, 1438, 105])

    def test_passes_of_all_ranks_are_added_up(self):
        first = self.write_pass("0.pt", (9, 0, [1, 2, 3, 4]), (7, 0, [5, 6, 7, 8]))
        second = self.write_pass("1.pt", (7, 1, [50, 60, 70, 80]), (9, 1, [10, 20, 30, 40]))
        # Layer 0 has experts 0, 1 in its slots, layer 1 has 1, 0.
        self.assertEqual(
            self.convert(first, second), ((2, 2, 2), [55, 66, 88, 77, 11, 22, 44, 33])
        )

    def test_floats_other_orders_and_views(self):
        floats = self.write_counts([0.5, 1, 2, 3], "<4f", "FloatStorage")
        self.assertEqual(self.convert(floats), ((2, 2), [0.5, 1.0, 2.0, 3.0]))
        swapped = self.write_counts([1, 2, 3, 4], ">4i", byteorder="big")
        self.assertEqual(self.convert(swapped), ((2, 2), [1, 2, 3, 4]))
        program = b"\x80\x02" + table(logical_count=tensor("0", [2, 2], [1, 2])) + b"."
        turned = self.write("t.pt", program, [struct.pack("<4i", 1, 2, 3, 4)])
        self.assertEqual(self.convert(turned), ((2, 2), [1, 3, 2, 4]))

    def test_nothing_is_ever_called(self):
        mark = self.folder / "mark"
        for evil in (
            b"\x80\x02cos\nsystem\n(" + text(f"touch {mark}") + b"tR.",
            b"\x80\x02" + table(logical_count=b"cbuiltins\neval\n(" + text("1") + b"tR") + b".",
            b"(S'touch mark'\nios\nsystem\n.",
            pickle.dumps(pathlib.PurePosixPath("x"), protocol=2),
            pickle.dumps(pathlib.PurePosixPath("x"), protocol=4),
            b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n)R.",
        ):
            done = self.run_tool(self.write("evil.pt", evil))
            self.assertEqual(done.returncode, 1)
            self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
        self.assertFalse(mark.exists())
        self.refused("it would call os system", self.write("evil.pt", b"\x80\x02cos\nsystem\n)R."))

    def test_counts_that_are_none(self):
        self.refused("logical_count: entry 1 is -2", self.write_counts([1, -2, 3, 4], "<4i"))
        nan = self.write_counts([1, float("nan"), 3, 4], "<4f", "FloatStorage")
        self.refused("logical_count: entry 1 is nan", nan)

    def test_dumps_of_another_form(self):
        self.refused("not a zip", DATA / "sglang_logical_count_2d.json")
        self.refused("No such file", self.folder / "none.pt")
        self.refused("neither logical_count nor records", self.write("d.pt", b"\x80\x02}."))
        self.refused("the pickle is damaged", self.write("d.pt", b"\x80\x02}}u."))
        self.refused("pickle", self.write("d.pt", b"\x80\x02}"))
        self.refused("pickle", self.write("d.pt", b""))
        tall = table(logical_count=tensor("0", [5, 1], [1, 1])) + b"."
        self.refused("does not fit", self.write("d.pt", tall, [bytes(16)]))
        self.refused("has 8 bytes, not 4 entries", self.write("d.pt", tall, [bytes(8)]))
        self.refused("no data/0", self.write("d.pt", tall))
        self.refused("which are no counts", self.write_counts([1, 2, 3, 4], "<4i", "BoolStorage"))
        self.refused("byteorder", self.write_counts([1, 2, 3, 4], "<4i", byteorder="middle"))

    def test_passes_that_do_not_go_together(self):
        one = self.write_pass("0.pt", (7, 0, [1, 2, 3, 4]))
        self.refused("pass 7 of rank 0 for the second time", one, one)
        other = self.write_pass("1.pt", (7, 1, [1, 2, 3, 4]), placement=(1, 0, 0, 1))
        self.refused("another than in the first file", one, other)
        more = self.write_pass("1.pt", (7, 1, [1, 2, 3, 4]), (8, 1, [1, 2, 3, 4]))
        self.refused("pass 8 has ranks [1], but pass 7 [0, 1]", one, more)
        self.refused("which stand alone", STAT, one)
        self.refused("records[0]: global_physical_count: entry 3 is -4",
                     self.write_pass("n.pt", (7, 0, [1, 2, 3, -4])))

    def test_every_cut_and_every_changed_byte_is_refused_or_read(self):
        good = STAT.read_bytes()
        for at in range(0, len(good), 97):
            path = self.folder / "bad.pt"
            changed = good[:at] if at % 2 else good[:at] + bytes([good[at] ^ 0x55]) + good[at + 1 :]
            path.write_bytes(changed)
            done = self.run_tool(path)
            self.assertIn(done.returncode, (0, 1), done.stderr)
            self.assertEqual(done.stderr.count("\n"), 1, done.stderr)

    def test_usage(self):
        done = subprocess.run([sys.executable, str(TOOL), str(STAT), "out.txt"],
                              capture_output=True, text=True)
        self.assertEqual(done.returncode, 2)
        self.assertIn("ends in .npy", done.stderr)


if __name__ == "__main__":
    unittest.main()
