"""Shared by the tests of the program: running it, and making safetensors files, right ones and wrong ones."""

import json
import os
import random
import struct
import subprocess
import sys
import tempfile

PROGRAM = sys.argv[1]
# Where on_driver.sh wants the reference, it is asked for by name.
DEVICE = ["--device", os.environ["SEXTANT_TEST_DEVICE"]] if os.environ.get("SEXTANT_TEST_DEVICE") else []
SIZES = {"F32": 4, "F16": 2, "BF16": 2, "I32": 4, "U8": 1, "F64": 8}

failures = []


def run(*arguments, env=None, timeout=300):
    return subprocess.run(
        [PROGRAM, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=timeout,
        env={**os.environ, **(env or {})}, encoding="utf-8", errors="replace", check=False)


def expect(condition, what, result=None):
    """Notes a failure and goes on."""
    if condition:
        return
    print("FAIL", what)
    if result is not None:
        print(f"  exit {result.returncode}\n  stdout: {result.stdout[-1500:]}\n  stderr: {result.stderr[-1500:]}")
    failures.append(what)


def expect_exit(code, what, *arguments, **options):
    result = run(*arguments, **options)
    expect(result.returncode == code, f"{what}: exit {code}", result)
    return result


def expect_refused(what, *arguments, code=2, says="", **options):
    """One clear line on stderr, nothing on stdout."""
    result = run(*arguments, **options)
    lines = result.stderr.splitlines()
    expect(result.returncode == code, f"{what}: exit {code}", result)
    expect(len(lines) == 1 and lines[0].startswith("sextant: "), f"{what}: one line on stderr", result)
    expect(result.stdout == "", f"{what}: nothing on stdout", result)
    expect(says in result.stderr, f"{what}: the line has '{says}'", result)
    return result


def finish():
    print(f"{len(failures)} failures")
    sys.exit(1 if failures else 0)


def count(shape):
    product = 1
    for size in shape:
        product *= size
    return product


def encode(tensors, metadata, header_edit=None):
    """tensors: name -> (dtype, shape, bytes). header_edit changes the header before it is written."""
    header, data = {"__metadata__": metadata}, b""
    for name, (dtype, shape, content) in tensors.items():
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [len(data), len(data) + len(content)]}
        data += content
    if header_edit:
        header_edit(header)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def decode(content):
    """The inverse: (tensors, metadata)."""
    (length,) = struct.unpack("<Q", content[:8])
    header, data = json.loads(content[8:8 + length]), content[8 + length:]
    metadata = header.pop("__metadata__", {})
    tensors = {name: (one["dtype"], one["shape"], data[slice(*one["data_offsets"])]) for name, one in header.items()}
    return tensors, metadata


def floats(shape, seed=0, dtype="F32", size=1.0):
    """Normally distributed values, as a tensor for encode()."""
    source = random.Random(f"{seed} {shape}")
    values = [source.gauss(0, size) for _ in range(count(shape))]
    if dtype == "F32":
        return dtype, shape, struct.pack(f"<{len(values)}f", *values)
    if dtype == "F16":
        return dtype, shape, struct.pack(f"<{len(values)}e", *values)
    halves = [struct.unpack("<I", struct.pack("<f", value))[0] >> 16 for value in values]
    return "BF16", shape, struct.pack(f"<{len(halves)}H", *halves)


def integers(values, shape=None):
    return "I32", shape or [len(values)], struct.pack(f"<{len(values)}i", *values)


def unpack_floats(tensor):
    """The values of an F32 tensor."""
    return struct.unpack(f"<{len(tensor[2]) // 4}f", tensor[2])


def codes(kind, shape, seed=0):
    """Any bytes that are finite numbers as q8_0, q4_0 or fp8_e4m3, of `shape` values."""
    source = random.Random(f"{seed} {shape} {kind}")
    block, code_bytes = {"q8_0": (32, 32), "q4_0": (32, 16), "fp8_e4m3": (1, 1)}[kind]
    parts = []
    for _ in range(count(shape) // block):
        if block > 1:
            parts.append(struct.pack("<e", source.uniform(0.005, 0.02)))
        # fp8 up to 1: sign, then exponent and mantissa below 0x38
        parts.append(bytes(source.choice([0, 128]) + source.randrange(0x38) if block == 1 else source.randrange(256)
                           for _ in range(code_bytes)))
    content = b"".join(parts)
    return "U8", [*shape[:-1], len(content) * shape[-1] // count(shape)], content


def attention_case(tq=5, tk=5, hq=4, hk=2, d=8, dv=8, **more):
    """Tensors of a small attention case."""
    return {"q": floats([tq, hq, d], 1), "k": floats([tk, hk, d], 2), "v": floats([tk, hk, dv], 3), **more}


class Folder:
    """A temporary folder with files made on the spot."""

    def __init__(self):
        self.temporary = tempfile.TemporaryDirectory(prefix="sextant-test-")
        self.path = self.temporary.name

    def name(self, name):
        return os.path.join(self.path, name)

    def file(self, content, name="case.safetensors"):
        with open(self.name(name), "wb") as out:
            out.write(content)
        return self.name(name)

    def read(self, name):
        with open(self.name(name), "rb") as source:
            return source.read()
