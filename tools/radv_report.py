#!/usr/bin/env python3
"""radv_report.py FOLDER OUT CHIP…: one small file from FOLDER/CHIP.json and CHIP-baseline.json, which
`sextant shaders --json` wrote.

CHIP.products has the number of instructions for matrix products in each kernel for matrix units. Forms that come to
the same kernel on every chip share a row."""

import json
import os
import sys

# Of the report, and by the program's name for it.
COLUMNS = {"vgprs": "registers", "sgprs": "scalar_registers", "spills": "spills", "scratch": "scratch_bytes",
           "lds": "shared_bytes", "code": "code_size", "waves": "occupancy"}

folder, out, chips = sys.argv[1], sys.argv[2], sys.argv[3:]


def read(name):
    with open(os.path.join(folder, f"{name}.json"), encoding="utf-8") as source:
        return json.load(source)


def summarise(results):
    return {"variants": len(results),
            "with_spills": sum(row["spills"] > 0 or row["scratch_bytes"] > 0 for row in results),
            "most_vgprs": max(row["registers"] for row in results),
            "least_waves": min(row["occupancy"] for row in results)}


summary, rows = {}, {}
for chip in chips:
    report = read(chip)
    driver = report["device"]["driver"]
    summary[chip] = {**summarise(report["results"]), "baseline": summarise(read(f"{chip}-baseline")["results"])}
    for row in report["results"]:
        name = row["name"] + (f"#{row['dispatch']}" if row["dispatch"] else "")
        rows.setdefault(name, {"shader": row["shader"], "kernel": []})
        rows[name][chip] = [row[column] for column in COLUMNS.values()]
        rows[name]["kernel"].append((chip, row["driver"]["Hash"], row["driver"]["Code size"]))

products = {}
for chip in chips:
    with open(os.path.join(folder, f"{chip}.products"), encoding="utf-8") as source:
        for line in source:
            name, count = line.split()
            products.setdefault(name, {})[chip] = int(count)

# ACO's own hash of the code, on every chip.
kernels = {}
for name, row in rows.items():
    kernels.setdefault((row["shader"], *row["kernel"]), []).append(name)

lines = []
for names in kernels.values():
    row = rows[names[0]]
    figures = {chip: row[chip] for chip in chips if chip in row}
    lines.append(json.dumps({"variant": names[0], "shader": row["shader"], **figures,
                             **({"matrix_products": products[names[0]]} if names[0] in products else {}),
                             **({"also": names[1:]} if names[1:] else {})}, separators=(",", ":")))
chip_lines = [f"{json.dumps(chip)}: {json.dumps(summary[chip])}" for chip in chips]
with open(out, "w", encoding="utf-8") as target:
    target.write(f'{{\n "driver": {json.dumps(driver)},\n "chips": {{\n  ' + ",\n  ".join(chip_lines) + "\n },\n"
                 f' "columns": {json.dumps(list(COLUMNS))},\n "kernels": [\n  ' + ",\n  ".join(lines) + "\n ]\n}\n")
print(f"{out}: {len(rows)} variants in {len(lines)} kernels")
