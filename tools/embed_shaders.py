#!/usr/bin/env python3
"""Writes the table of shaders that the library carries.

    embed_shaders.py header variants.list sxt_shaders.h
    embed_shaders.py source variants.list sxt_shaders.c a.spv b.spv ...

The header needs the list alone, so that C code which names a shader does not wait for shaders to compile. Both keep the
list's order, hence sxt_shaders[SXT_SHADER_X] is variant x.
"""

import os
import re
import struct
import sys

HEADER = """\
// Generated from shaders/variants.list by tools/embed_shaders.py.
#ifndef SXT_SHADERS_H
#define SXT_SHADERS_H

#include <stddef.h>
#include <stdint.h>

typedef enum sxt_shader_id {{
{ids}    SXT_SHADER_COUNT
}} sxt_shader_id;

typedef struct sxt_shader {{
    const char *name;      // the variant's name in the list
    const uint32_t *words; // SPIR-V in the host's byte order
    size_t bytes;
    uint64_t hash; // FNV-1a of the words' bytes, little end first
}} sxt_shader;

extern const sxt_shader sxt_shaders[]; // [SXT_SHADER_COUNT], then one entry of zeros
extern const unsigned sxt_shader_count;

#endif
"""


def names(path):
    found = []
    with open(path, encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            fields = line.split()
            if not fields or fields[0].startswith("#"):
                continue
            if not re.fullmatch(r"[a-z][a-z0-9_]*", fields[0]):
                sys.exit(f"{path}:{number}: '{fields[0]}' is not a name of lower-case letters, digits and underscores")
            if fields[0] in found:
                sys.exit(f"{path}:{number}: '{fields[0]}' is listed twice")
            found.append(fields[0])
    return found


def fnv1a(data):
    value = 0xCBF29CE484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return value


def header(listed):
    return HEADER.format(ids="".join(f"    SXT_SHADER_{name.upper()},\n" for name in listed))


def source(listed, modules):
    by_name = {os.path.basename(path).removesuffix(".spv"): path for path in modules}
    arrays, rows = [], []
    for name in listed:
        with open(by_name[name], "rb") as file:
            data = file.read()
        words = struct.unpack(f"<{len(data) // 4}I", data)
        lines = (", ".join(f"0x{word:08x}" for word in words[i : i + 10]) for i in range(0, len(words), 10))
        arrays.append(f"static const uint32_t {name}[] = {{\n    " + ",\n    ".join(lines) + ",\n};\n")
        rows.append(f'    {{"{name}", {name}, sizeof({name}), UINT64_C(0x{fnv1a(data):016x})}},\n')
    return (
        "// Generated from shaders/ by tools/embed_shaders.py.\n"
        '#include "sxt_shaders.h"\n\n'
        + "\n".join(arrays)
        + "\nconst sxt_shader sxt_shaders[SXT_SHADER_COUNT + 1] = {\n"
        + "".join(rows)
        + "    {NULL, NULL, 0, 0},\n};\n"
        + "const unsigned sxt_shader_count = SXT_SHADER_COUNT;\n"
    )


def main():
    kind, variants, output, *modules = sys.argv[1:]
    text = header(names(variants)) if kind == "header" else source(names(variants), modules)
    with open(output, "w", encoding="utf-8") as file:
        file.write(text)


main()
