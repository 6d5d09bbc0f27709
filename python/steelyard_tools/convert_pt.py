#!/usr/bin/env python3
"""Makes a `.npy` of loads out of the `.pt` files that SGLang's expert distribution recorder writes.

    convert_pt.py DUMP.pt OUT.npy              mode `stat`: counts of logical experts
    convert_pt.py RANK0.pt RANK1.pt .. OUT.npy  mode `per_pass`: a file per rank, a bin per pass

A `.pt` file is a zip with a pickle, and unpickling can run anything. Nothing is unpickled here: the
few instructions that such a dump consists of are followed by hand, and any other is refused. Needs
nothing but Python's standard library.

In mode `per_pass` slots are turned into experts by the last placement, which is all that the dump
holds: counts are wrong where the placement changed during the recording.
"""

import argparse
import array
import json
import math
import os
import pickletools
import struct
import sys
import tempfile
import zipfile


class Refusal(Exception):
    """A file that is not what it should be: place and rule, in one line."""


# Entries of a storage, as the module array names them. Halves have no name there.
STORAGE_TYPES = {
    "torch DoubleStorage": "d",
    "torch FloatStorage": "f",
    "torch HalfStorage": "e",
    "torch LongStorage": "q",
    "torch IntStorage": "i",
    "torch ShortStorage": "h",
    "torch CharStorage": "b",
    "torch ByteStorage": "B",
}
REBUILD = "torch._utils _rebuild_tensor_v2"
ORDERED_DICT = "collections OrderedDict"


class Global:
    """A name that the pickle mentions; only a name."""

    def __init__(self, name):
        self.name = name


class Tensor:
    """A view of a storage: entries in C order by `values()`."""

    def __init__(self, storage, offset, size, stride):
        whole = [offset, *size, *stride]
        if not all(isinstance(n, int) and n >= 0 for n in whole) or len(size) != len(stride):
            raise Refusal("a tensor of no sensible shape")
        last = offset + sum((n - 1) * s for n, s in zip(size, stride))
        if math.prod(size) > len(storage) or (math.prod(size) > 0 and last >= len(storage)):
            raise Refusal(f"a tensor of {list(size)} does not fit its storage of {len(storage)}")
        self.storage, self.offset, self.shape, self.stride = storage, offset, list(size), stride

    def values(self):
        offsets = [self.offset]
        for count, stride in zip(self.shape, self.stride):
            offsets = [base + i * stride for base in offsets for i in range(count)]
        return [self.storage[at] for at in offsets]


class Dump:
    """The object in a `.pt` file: dictionaries, lists, numbers, texts and tensors."""

    def __init__(self, path):
        try:
            self.zip = zipfile.ZipFile(path)
        except zipfile.BadZipFile:
            raise Refusal("not a zip, as torch has written since version 1.6") from None
        with self.zip:
            roots = [n[: -len("data.pkl")] for n in self.zip.namelist() if n.endswith("/data.pkl")]
            if len(roots) != 1:
                raise Refusal("not one data.pkl in the zip")
            self.root = roots[0]
            self.swapped = False
            if self.root + "byteorder" in self.zip.namelist():
                order = self.read("byteorder")
                if order not in (b"little", b"big"):
                    raise Refusal("byteorder is neither little nor big")
                self.swapped = order.decode() != sys.byteorder
            self.storages = {}
            self.object = self.follow(self.read("data.pkl"))

    def read(self, name):
        try:
            entry = self.zip.getinfo(self.root + name)
        except KeyError:
            raise Refusal(f"no {name} in the zip") from None
        if entry.compress_type != zipfile.ZIP_STORED:
            raise Refusal(f"{name} is compressed, which torch never does")
        try:
            return self.zip.read(entry)
        except (zipfile.BadZipFile, EOFError) as error:
            raise Refusal(f"{name}: {error}") from None

    def storage(self, kind, key, count):
        if kind not in STORAGE_TYPES:
            raise Refusal(f"entries of type {kind}, which are no counts")
        if key not in self.storages:
            code, data = STORAGE_TYPES[kind], self.read("data/" + key)
            size = struct.calcsize(code)
            if len(data) % size != 0 or len(data) // size < count:
                raise Refusal(f"data/{key} has {len(data)} bytes, not {count} entries of {size}")
            order = "=" if not self.swapped else (">" if sys.byteorder == "little" else "<")
            self.storages[key] = struct.unpack(f"{order}{len(data) // size}{code}", data)
        return self.storages[key]

    def persistent(self, value):
        if not (isinstance(value, tuple) and len(value) == 5 and value[0] == "storage"):
            raise Refusal("a reference to something that is no storage")
        _, kind, key, _, count = value
        if not (isinstance(kind, Global) and isinstance(key, str) and isinstance(count, int)):
            raise Refusal("a reference to a storage of no sensible kind")
        return self.storage(kind.name, key, count)

    @staticmethod
    def call(function, args):
        name = function.name if isinstance(function, Global) else "something that is no name"
        if name == ORDERED_DICT and args == ():
            return {}
        if name == REBUILD and isinstance(args, tuple) and len(args) >= 4:
            storage, offset, size, stride = args[:4]
            if isinstance(size, tuple) and isinstance(stride, tuple) and isinstance(storage, tuple):
                return Tensor(storage, offset, size, stride)
        raise Refusal(f"it would call {name}, and is not followed there")

    def follow(self, program):
        """What the pickle stands for, by the instructions that torch.save() uses."""
        stack, marks, memo = [], [], {}

        def since_mark():
            at = marks.pop()
            items = stack[at:]
            del stack[at:]
            return items

        try:
            for opcode, arg, _ in pickletools.genops(program):
                name = opcode.name
                if name == "STOP":
                    return stack.pop()
                if name == "MARK":
                    marks.append(len(stack))
                elif name in ("PROTO", "FRAME"):
                    pass
                elif name in ("BINPUT", "LONG_BINPUT"):
                    memo[arg] = stack[-1]
                elif name == "MEMOIZE":
                    memo[len(memo)] = stack[-1]
                elif name in ("BINGET", "LONG_BINGET"):
                    stack.append(memo[arg])
                elif name in ("BINUNICODE", "SHORT_BINUNICODE", "BINFLOAT"):
                    stack.append(arg)
                elif name in ("BININT", "BININT1", "BININT2", "LONG1"):
                    stack.append(arg)
                elif name in ("NONE", "NEWTRUE", "NEWFALSE"):
                    stack.append({"NONE": None, "NEWTRUE": True, "NEWFALSE": False}[name])
                elif name == "GLOBAL":
                    stack.append(Global(arg))
                elif name in ("EMPTY_DICT", "EMPTY_LIST", "EMPTY_TUPLE"):
                    stack.append({"EMPTY_DICT": {}, "EMPTY_LIST": [], "EMPTY_TUPLE": ()}[name])
                elif name == "TUPLE":
                    stack.append(tuple(since_mark()))
                elif name in ("TUPLE1", "TUPLE2", "TUPLE3"):
                    count = int(name[-1])
                    stack[-count:] = [tuple(stack[-count:])]
                elif name == "APPEND":
                    item = stack.pop()
                    stack[-1].append(item)
                elif name == "APPENDS":
                    items = since_mark()
                    stack[-1].extend(items)
                elif name == "SETITEM":
                    key, value = stack[-2:]
                    del stack[-2:]
                    stack[-1][key] = value
                elif name == "SETITEMS":
                    items = since_mark()
                    stack[-1].update(zip(items[::2], items[1::2]))
                elif name == "BINPERSID":
                    stack.append(self.persistent(stack.pop()))
                elif name == "REDUCE":
                    args = stack.pop()
                    stack.append(self.call(stack.pop(), args))
                else:
                    raise Refusal(f"the pickle has a {name}, which no dump of counts needs")
        except (IndexError, KeyError, AttributeError, TypeError, ValueError) as error:
            raise Refusal(f"the pickle is damaged: {error}") from None
        raise Refusal("the pickle has no end")


def check_counts(values, name):
    for at, value in enumerate(values):
        if not math.isfinite(value) or value < 0:
            raise Refusal(f"{name}: entry {at} is {value}, which is no count")


def tensor_of(table, key, extents):
    value = table.get(key) if isinstance(table, dict) else None
    if not isinstance(value, Tensor) or len(value.shape) not in extents:
        raise Refusal(f"{key} is not a tensor of {' or '.join(map(str, extents))} extents")
    return value


def loads_of_stat(dump):
    counts = tensor_of(dump, "logical_count", (2, 3))
    values = counts.values()
    check_counts(values, "logical_count")
    return counts.shape, values


class Passes:
    """Counts of slots by forward pass, of one rank's file after the other."""

    def __init__(self):
        self.ranks = {}  # pass: the ranks that were counted
        self.counts = {}  # pass: counts of slots, summed over ranks
        self.shape = None  # [layers, slots]
        self.experts = None  # of each slot

    def add(self, dump):
        where = tensor_of(dump, "last_physical_to_logical_map", (2,))
        experts = where.values()
        if self.shape is None:
            self.shape, self.experts = where.shape, experts
            check_counts(experts, "last_physical_to_logical_map")
        elif (self.shape, self.experts) != (where.shape, experts):
            raise Refusal("last_physical_to_logical_map is another than in the first file")
        if not isinstance(dump["records"], list) or not dump["records"]:
            raise Refusal("records is not a list of passes")
        for at, record in enumerate(dump["records"]):
            try:
                self.add_record(record)
            except Refusal as refusal:
                raise Refusal(f"records[{at}]: {refusal}") from None

    def add_record(self, record):
        counts = tensor_of(record, "global_physical_count", (2,))
        number, rank = record.get("forward_pass_id"), record.get("rank")
        if not isinstance(number, int) or not isinstance(rank, int):
            raise Refusal("no forward_pass_id or rank")
        if counts.shape != self.shape:
            raise Refusal(f"counts of {counts.shape}, but the placement is {self.shape}")
        if rank in self.ranks.setdefault(number, set()):
            raise Refusal(f"pass {number} of rank {rank} for the second time")
        values = counts.values()
        check_counts(values, "global_physical_count")
        self.ranks[number].add(rank)
        before = self.counts.get(number, [0] * len(values))
        self.counts[number] = [a + b for a, b in zip(before, values)]

    def loads(self):
        numbers = sorted(self.counts)
        for number in numbers:
            if self.ranks[number] != self.ranks[numbers[0]]:
                raise Refusal(
                    f"pass {number} has ranks {sorted(self.ranks[number])}, but pass {numbers[0]} "
                    f"{sorted(self.ranks[numbers[0]])}"
                )
        num_layers, num_slots = self.shape
        num_experts = max(self.experts) + 1
        loads = [0] * (len(numbers) * num_layers * num_experts)
        for row, number in enumerate(numbers):
            for at, count in enumerate(self.counts[number]):
                layer = row * num_layers + at // num_slots
                loads[layer * num_experts + self.experts[at]] += count
        return [len(numbers), num_layers, num_experts], loads


def loads_of(paths):
    """Shape and values of the loads in all of `paths`."""
    passes = Passes()
    for path in paths:
        try:
            dump = Dump(path).object
            if isinstance(dump, dict) and "logical_count" in dump:
                if len(paths) > 1:
                    raise Refusal("counts of all ranks, which stand alone")
                return loads_of_stat(dump)
            if not isinstance(dump, dict) or "records" not in dump:
                raise Refusal("neither logical_count nor records, as SGLang's recorder writes")
            passes.add(dump)
        except Refusal as refusal:
            raise Refusal(f"{path}: {refusal}") from None
    return passes.loads()


def write_npy(path, shape, values):
    whole = all(isinstance(value, int) for value in values)
    header = json.dumps("<i8" if whole else "<f8").replace('"', "'")
    text = f"{{'descr': {header}, 'fortran_order': False, 'shape': ({', '.join(map(str, shape))}), }}"
    text += " " * (-(len(text) + 11) % 64) + "\n"
    data = array.array("q" if whole else "d", values)
    if sys.byteorder == "big":
        data.byteswap()
    handle, temporary = tempfile.mkstemp(dir=os.path.dirname(path) or ".", prefix=".convert_pt")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode())
            file.write(data.tobytes())
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("dumps", nargs="+", metavar="DUMP.pt")
    parser.add_argument("out", metavar="OUT.npy")
    args = parser.parse_args()
    if not args.out.endswith(".npy"):
        parser.error(f"{args.out}: the last file is the one to write, and ends in .npy")
    try:
        shape, values = loads_of(args.dumps)
        write_npy(args.out, shape, values)
    except (Refusal, OSError, OverflowError) as failure:
        print(f"convert_pt.py: {failure}".replace("\n", " "), file=sys.stderr)
        return 1
    print(f"{args.out}: {' x '.join(map(str, shape))} counts", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
