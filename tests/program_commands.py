#!/usr/bin/env python3
"""The program's other commands: help, exit codes, devices, verify, bench, demo; verify must notice a wrong kernel."""

import json
import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "support"))
from program import DEVICE, Folder, expect, expect_exit, expect_refused, finish, run

WRONG = sys.argv[2]  # a library that makes attention wrong when it is preloaded; "" where that cannot be
COMMANDS = ["demo", "devices", "run", "verify", "bench", "tune", "shaders"]
BENCH_NAMES = """rms_norm.f32.4096x512 rms_norm.f32.1024x4096 l2_norm.f32.128x16384 norm.layer.adaln.f32.3072x512
    norm.rms.residual.f16.4096x512 norm.rms.f32.65536x32 rope.half.f32.128x32x512 rope.interleaved.f32.128x32x512
    rope.yarn.half.f16.128x32x512 rope.mrope.f32.128x32x512 rope.partial64.f32.128x32x512 qk_norm_rope_kv.qwen3-8b.t512
    qk_norm_rope_kv.qwen3-8b.t1 qk_norm_rope_kv.qwen3-8b.t512.q8 qk_norm_rope_kv.qwen3-8b.t512.fp8
    qk_norm_rope_kv.qwen3-8b.t512.paged qk_norm_rope.flux.t512 kv_write.f16.8x128x512 kv_shift.f16.8x128x4096
    kv_shift.q8.8x128x4096 kv_copy.f16.8x128x1024 attn.qwen3-0.6b.prefill512 attn.qwen3-0.6b.prefill1k
    attn.qwen3-0.6b.prefill1k.bounded attn.llama3-8b.chunk128@2k attn.flux.full1k attn.vit-l.full577
    attn.gemma3-4b.prefill256 attn.qwen3-8b.decode@4k attn.qwen3-8b.decode@4k.bounded attn.qwen3-8b.decode@32k
    attn.qwen3-8b.decode@4k.q8 attn.gptoss.decode@4k.d64 attn.qwen3-0.6b.prefill512.mask
    attn.qwen3-0.6b.prefill1k.b4.ragged attn.qwen3-8b.decode@4k.paged attn.qwen3-8b.decode@4k.b8.mixed
    attn.qwen3-8b.tree64@4k attn.deepseek-v3.decode@4k.mla""".split()
GPU_NAMES = """attn.qwen3-8b.prefill4k attn.qwen3-8b.prefill4k.bounded attn.qwen3-8b.prefill32k
    attn.qwen3-8b.chunk512@32k attn.qwen3-8b.decode@8k attn.qwen3-8b.decode@128k attn.qwen3-8b.decode@128k.bounded attn.qwen3-8b.decode@128k.paged
    attn.qwen3-8b.decode@32k.b16.mixed attn.deepseek-v3.decode@8k.b8.mla attn.llama3-8b.decode.b32@4k
    attn.gemma3-12b.prefill8k attn.gemma3-12b.prefill8k.window1024 attn.gptoss.prefill4k attn.flux.full4608
    attn.sdxl.full4096 attn.vit.full5776 qk_norm_rope.flux.t4608 rms_norm.f16.4096x4096""".split()
FAMILIES = ["norm", "rope", "qk_norm_rope", "kv_write", "kv_shift", "kv_copy", "attention", "attention_merge",
            "pipeline"]

folder = Folder()
on_reference = bool(DEVICE)
quick = bool(os.environ.get("SEXTANT_TEST_QUICK")) or os.environ.get("SEXTANT_TEST_DRIVER") != "lavapipe"

# ── Help and bad usage ──
whole = expect_exit(0, "--help", "--help")
for command in COMMANDS:
    expect(f"  {command} " in whole.stdout, f"--help names {command}", whole)
    result = expect_exit(0, f"{command} --help", command, "--help")
    for option in ["--device", "--disable", "-q, --quiet", "-v, --verbose", "-h, --help", "Exit status"]:
        expect(option in result.stdout, f"{command} --help has {option}", result)
    expect(max(map(len, result.stdout.splitlines())) <= 132, f"{command} --help fits a terminal", result)
    expect_refused(f"{command} with an unknown option", command, "--nosuch", says="--nosuch")
    expect_refused(f"{command} with half an option", command, "--device", says="--device")
    if command != "run":
        expect_refused(f"{command} with an operand", command, "operand", says="operand")
expect_refused("no command", says="--help")
expect_refused("an unknown command", "attend", says="attend")
for arguments in [
        ["verify", "--cases", "0"], ["verify", "--cases", "many"], ["verify", "--seed", "-1"],
        ["verify", "--filter", "nosuch"], ["verify", "--dump", "/dev/null/x"], ["verify", "--all"],
        ["verify", "--forms", "0"], ["verify", "--forms", "x"], ["bench", "--filter", "nosuch"],
        ["bench", "--min-time", "nan"], ["bench", "--min-time", "-1"], ["bench", "--json", folder.path, *DEVICE],
        ["bench", "--html", "/nonexistent/x", *DEVICE], ["shaders", "--filter", "nosuch"], ["tune"],
        ["tune", "--cache", folder.name("none"), "--filter", "nosuch"],
        ["tune", "--cache", folder.name("none"), "--device", "reference"]]:
    expect_refused(" ".join(arguments), *arguments)

# ── Devices that are not there ──
for command in ["demo", "verify", "bench", "shaders"]:
    if not on_reference:
        expect_refused(f"{command} on a device that nobody has", command, "--device", "voodoo 3dfx", code=3)
        expect_refused(f"{command} without an unknown capability", command, "--disable", "teleport", says="teleport")
    nothing = {"VK_DRIVER_FILES": "/nonexistent", "VK_ICD_FILENAMES": "/nonexistent"}
    expect_refused(f"{command} without a driver", command, code=3, says="install", env=nothing)

# ── devices ──
table = expect_exit(0, "devices", "devices")
listed = json.loads(expect_exit(0, "devices --json", "devices", "--json").stdout)["devices"]
expect(listed[-1]["kind"] == "reference", "the reference is last", table)
expect(all(entry["name"] in table.stdout for entry in listed), "both forms list all devices", table)
for entry in listed:
    named = not entry["usable"] or (entry["attention_prefill"] and entry["attention_decode"])
    expect(named, f"{entry['name']}: the path of attention is named")
if len(listed) > 1:
    less = json.loads(run("devices", "--json", "--disable", "fp16,storage16").stdout)["devices"][0]["caps"]
    expect(not {"fp16", "storage16"} & set(less["capabilities"]), "--disable takes capabilities away")

# ── verify ──
cases = 3 if quick else 10
result = expect_exit(0, "verify", "verify", "--cases", cases, "--seed", 3, *DEVICE)
expect(re.search(r"^seed +3$", result.stdout, re.M), "verify prints its seed", result)
lines = re.findall(rf"^(\S+) +(ok|part) +{cases} cases(.*)$", result.stdout, re.M)
expect([line[0] for line in lines] == FAMILIES, "verify has a line for each family", result)
for family, verdict, rest in lines:
    expect((verdict == "part") == ("without a kernel" in rest), f"{family}: what has no kernel is not ok", result)
without = sum(map(int, re.findall(r", (\d+) without a kernel", result.stdout)))
reasons = sum(map(int, re.findall(r"^ +no kernel for (\d+): \S", result.stdout, re.M)))
expect(without == reasons, "verify tells why there is no kernel", result)
expect(without == 0 or not on_reference, "the reference does everything", result)
expect(("all ok" in result.stdout) == (without == 0), "verify sums up", result)
again = run("verify", "--cases", cases, "--seed", 3, *DEVICE)
expect(again.stdout == result.stdout, "verify: the same seed gives the same errors to the last digit", again)
if WRONG and not on_reference:
    wrong, dump = {"LD_PRELOAD": WRONG}, folder.name("dump")
    # Of this seed: a scale that is off by a thousandth does not show where logits are small and o is f16.
    result = expect_exit(1, "verify of a wrong kernel",
                         "verify", "--filter", "pipeline", "--cases", 4, "--seed", 2, "--dump", dump, *DEVICE, env=wrong)
    expect("FAIL" in result.stdout, "verify of a wrong kernel says so", result)
    dumped = sorted(os.listdir(dump))
    expect(len(dumped) == 4, f"verify dumps each failing case: {dumped}")
    for name in dumped:
        expect_exit(1, f"replay of {name}", "run", os.path.join(dump, name), "--check", *DEVICE, env=wrong)
        expect_exit(0, f"replay of {name} with the right kernel", "run", os.path.join(dump, name), "--check", *DEVICE)

# ── bench ──
names = expect_exit(0, "bench --list", "bench", "--list").stdout.splitlines()
listed = [*BENCH_NAMES, *[f"{name} (GPU only)" for name in GPU_NAMES]]
expect(names == listed, f"bench --list differs by {set(listed) ^ set(names)}")
wanted = "t1" if quick else ""
files = ["--json", folder.name("b.json"), "--html", folder.name("b.html")]
expect_exit(0, "bench", "bench", "--filter", wanted, "--min-time", "0", *files, *DEVICE, timeout=900)
report = json.loads(folder.read("b.json"))
expect("name" in report["device"], "bench --json names the device")
expect([entry["name"] for entry in report["results"]] == [name for name in BENCH_NAMES if wanted in name],
       "bench --json has every standard case")
for entry in report["results"]:
    fields = {"name", "median_us", "min_us", "runs", "flops", "bytes", "variant"}
    expect(fields <= set(entry), f"{entry['name']}: all fields")
    expect("not_run" not in entry, f"{entry['name']} was run: {entry.get('not_run')}")
    if "not_run" not in entry:
        expect(0 < entry["min_us"] <= entry["median_us"] and entry["runs"] >= 3, f"{entry['name']}: sensible times")
        expect(entry["bytes"] > 0 and entry["variant"], f"{entry['name']}: bytes and variant")
        expect((entry["name"].endswith(".bounded")) == ("bound_gain" in entry), f"{entry['name']}: gain of a bound")
page = folder.read("b.html").decode()
expect(report["results"][0]["name"] in page, "bench --html has the results")
expect("http" not in page and "<script" not in page, "bench --html stands alone")
expect([name for name in os.listdir(folder.path) if name.endswith(".tmp")] == [], "no temporary file is left")

# ── tune ──
if not on_reference and not quick:
    tuned = folder.name("tuned")
    result = expect_exit(0, "tune", "tune", "--cache", tuned, "--filter", "gptoss.decode")
    row = result.stdout.splitlines()[-1].split()
    expect(row[0] == "attn.gptoss.decode@4k.d64" and int(row[4]) > 1 and int(row[5]) == 0, "tune tries several", result)
    expect(os.path.getsize(tuned) > 72, "tune keeps what it found")
    result = expect_exit(0, "bench --cache", "bench", "--cache", tuned, "--filter", "gptoss.decode", "--min-time", "0",
                         "--json", folder.name("b.json"))
    variant = json.load(open(folder.name("b.json"), encoding="utf-8"))["results"][0]["variant"]
    expect(variant == " ".join(row[6:]), f"bench takes what tune found: {variant}", result)

# ── shaders ──
if on_reference:
    expect_refused("shaders of the reference", "shaders", *DEVICE, says="nothing to compile")
else:
    result = expect_exit(0, "shaders", "shaders", "--filter", "kv_write.f32", "--json", folder.name("s.json"))
    expect_refused("shaders into no folder", "shaders", "--json", "/nonexistent/x", says="--json")
    compiled = json.loads(folder.read("s.json"))
    rows = compiled["results"]
    expect(result.stdout.splitlines()[-1] == f"{len(rows)} variants, 0 with spills", "shaders counts its rows", result)
    expect(len(rows) >= 4 and all(row["name"] in result.stdout and row["variant"] for row in rows),
           "shaders: table and JSON have the same rows", result)
    expect(all(row["op"] == "kv_write" for row in rows) and "name" in compiled["device"], "shaders --json: op and device")

# ── demo ──
if not quick:
    result = expect_exit(0, "demo", "demo", *DEVICE)
    moved = re.search(r"norm, then RoPE +logits move by (\S+) of", result.stdout)
    swapped = re.search(r"RoPE, then norm +logits move by (\S+) %", result.stdout)
    expect(moved and float(moved[1]) < 1e-5, "demo: norm before RoPE, and a shift of positions moves nothing", result)
    expect(swapped and float(swapped[1]) > 1, "demo: the other order moves logits", result)
    expect("FAIL" not in result.stdout, "demo is right", result)

finish()
