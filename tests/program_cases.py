#!/usr/bin/env python3
"""sextant run: right cases of every op on this driver, its outputs as files, and results that are wrong on purpose."""

import itertools
import os
import struct
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "support"))
from program import (DEVICE, Folder, attention_case, codes, count, decode, encode, expect, expect_exit, finish, floats,
                     integers, unpack_floats)

folder = Folder()


def run_case(what, tensors, *options, **metadata):
    return expect_exit(0, what, "run", folder.file(encode(tensors, metadata)), "--check", *DEVICE, *options)


# SwiftShader compiles each of them anew, for seconds: there every third is run.
turns = itertools.cycle([True, False, False] if os.environ.get("SEXTANT_TEST_DRIVER") == "swiftshader" else [True])


def checks(what, tensors, *options, **metadata):
    if next(turns):
        run_case(what, tensors, *options, **metadata)


def ones(shape, value):
    """A tensor that is the same everywhere."""
    number = count(shape)
    return "F32", shape, struct.pack(f"<{number}f", *[value] * number)


# ── Every op and its options ──
for kind in ["rms", "layer", "l2"]:
    checks(f"norm {kind}", {"x": floats([7, 48])}, op="norm", kind=kind, eps="1e-6")
checks("norm of one row", {"x": floats([33])}, op="norm")
checks("norm of no rows", {"x": floats([0, 33])}, op="norm")
checks("norm with all it takes",
       {"x": floats([2, 3, 4, 16], 1, "F16"), "weight": floats([16], 2, "BF16"), "bias": floats([3, 1, 1], 3),
        "residual": floats([2, 3, 4, 16], 4)},
       op="norm", eps="1e-5", offset="1", out_type="bf16", layout="3")
checks("norm in place", {"x": floats([7, 48], 1, "BF16")}, op="norm", in_place="1")
for pairing in ["half", "interleaved"]:
    checks(f"rope {pairing}", {"x": floats([5, 2, 16]), "positions": integers([0, 1, -7, 1000000, 3])},
           op="rope", pairing=pairing)
checks("rope with all it takes",
       {"x": floats([2, 3, 2, 20]), "positions": integers(range(6), [2, 3]),
        "freq_factors": ("F32", [6], struct.pack("<6f", 1, 2, 1, 4, 1, 8))},
       op="rope", rotary_dim="12", rotary_offset="4", base="1e6", freq_scale="0.25", ext_factor="1", attn_factor="1.1",
       beta_fast="32", beta_slow="1", original_context="4096", inverse="true", layout="5")
for multi, sections in [("mrope", "4,2,2"), ("imrope", "[4, 2, 2]"), ("vision", "4, 4")]:
    planes = len(sections.split(","))
    checks(f"rope {multi}", {"x": floats([5, 2, 16]), "positions": integers(range(5 * planes), [planes, 5])},
           op="rope", multi=multi, sections=sections)
sides = {"q": floats([3, 4, 16], 1), "k": floats([3, 2, 16], 2), "positions": integers([5, 6, 7])}
for norm in ["rms", "layer", "l2", "none"]:
    checks(f"qk_norm_rope {norm}", {**sides, "q_weight": floats([16], 3), "k_weight": floats([2, 1], 4)},
           op="qk_norm_rope", norm=norm, eps="1e-6")
for scaling, more, options in [
        ("ntk", {}, {"factor": "4"}), ("dynamic_ntk", {}, {"factor": "2", "length": "9000", "original_context": "4096"}),
        ("llama3", {}, {"factor": "8", "low_freq_factor": "1", "high_freq_factor": "4", "original_context": "8192"}),
        ("longrope", {"short_factors": ones([8], 1.5), "long_factors": ones([8], 30)},
         {"length": "5000", "original_context": "4096", "max_context": "131072"})]:
    for op, tensors in [("rope", {"x": floats([5, 2, 16]), "positions": integers(range(5))}), ("qk_norm_rope", sides),
                        ("attention", attention_case(d=16, positions=integers(range(5)))),
                        ("kv_shift", {"k": floats([5, 2, 16]), "deltas": integers([0, 1, -9, 0, 7])})]:
        checks(f"{op} scaled by {scaling}", {**tensors, **more}, op=op, scaling=scaling, pairing="half", **options)

# ── Caches ──
wide = {"q": floats([4, 4, 64], 1), "k": floats([4, 2, 64], 2), "positions": integers([5, 6, 7, 8]),
        "q_weight": floats([64], 3), "k_weight": floats([64], 4)}
checks("kv_write",
       {"k": floats([4, 2, 8], 1), "v": floats([4, 2, 12], 2, "BF16"), "slots": integers([5, -1, 0, 99])},
       op="kv_write", kv_type="f16", rows="7")
checks("kv_write of values alone", {"v": floats([4, 2, 8], 1)}, op="kv_write", first_row="3")
for k_type, v_type in [("f32", "q8_0"), ("q4_0", "f16"), ("fp8_e4m3", "bf16"), ("q8_0", "q4_0")]:
    both = {"k": floats([4, 2, 64], 5), "v": floats([4, 2, 32], 6)}
    scaled = {"k_scale": ones([2], 0.25)} if k_type == "fp8_e4m3" else {}
    checks(f"kv_write to {k_type} and {v_type}", {**both, **scaled, "slots": integers([3, 3, -1, 0])},
           op="kv_write", k_type=k_type, v_type=v_type, layout="2")
    checks(f"kv_write to pages of {k_type} and {v_type}", {**both, **scaled, "block_table": integers([2, -1, 0])},
           op="kv_write", k_type=k_type, v_type=v_type, page_size="3", first_row="1", page_count="5")
    checks(f"qk_norm_rope into {k_type} and {v_type}", {**wide, **scaled, "v": both["v"]},
           op="qk_norm_rope", eps="1e-6", k_type=k_type, v_type=v_type, rows="6", first_row="2")
    checks(f"qk_norm_rope into pages of {k_type} and {v_type}",
           {**wide, **scaled, "v": both["v"], "slots": integers([4, 0, 9, -1]), "block_table": integers([1, 0])},
           op="qk_norm_rope", k_type=k_type, v_type=v_type, page_size="3", normalise_v="true")
    checks(f"kv_shift of {k_type}", {"k": both["k"], **scaled, "deltas": integers([0, -3, 1000000, 0])},
           op="kv_shift", k_type=k_type, pairing="interleaved", rotary_dim="32")
    checks(f"kv_copy of {k_type} and {v_type}", {**both, "from": integers([2, 3, -1, 9]), "to": integers([0, 1, 1, 1])},
           op="kv_copy", k_type=k_type, v_type=v_type)
checks("qk_norm_rope without a rotation", {name: wide[name] for name in ["q", "k"]}, op="qk_norm_rope", pairing="none")
checks("qk_norm_rope of q alone, to codes", {name: wide[name] for name in ["q", "positions"]},
       op="qk_norm_rope", out_type="q8_0")
checks("qk_norm_rope of v alone", {"v": floats([4, 2, 64])}, op="qk_norm_rope", normalise_v="true", v_type="f16")
checks("kv_copy of pages to another cache",
       {"k": floats([3, 2, 2, 8], 1), "k_to": floats([5, 2, 2, 8], 2), "from": integers([2, 0]), "to": integers([4, 1])},
       op="kv_copy", pages="true", kv_type="bf16")

# Codes are bytes in a file, and numbers beside them; both are taken again, as what is expected and as a cache.
path, out = folder.file(encode({"k": floats([3, 2, 64])}, {"op": "kv_write", "kv_type": "q8_0"})), folder.name("kv.safetensors")
result = expect_exit(0, "kv_write -o", "run", path, "-o", out, "--check", *DEVICE)
expect("bit for bit" in result.stdout, "a cache that was written is checked to the bit", result)
stored, _ = decode(folder.read("kv.safetensors"))
expect({name: entry[:2] for name, entry in stored.items()} ==
       {"k_cache": ("U8", [3, 2, 68]), "k_cache_f32": ("F32", [3, 2, 64])}, "a cache has names, types and shapes")
checks("what a cache has is what is expected", {"k": floats([3, 2, 64]), **stored}, op="kv_write", kv_type="q8_0")
checks("a cache's bytes are turned", {"k": stored["k_cache"], "deltas": integers([1, 0, -1])}, op="kv_shift", k_type="q8_0")
checks("a cache's bytes are copied", {"k": stored["k_cache"], "from": integers([2]), "to": integers([0])},
       op="kv_copy", k_type="q8_0")
wrong = bytearray(stored["k_cache"][2])
wrong[40] ^= 0x40
path = folder.file(encode({"k": floats([3, 2, 64]), "k_cache": ("U8", [3, 2, 68], bytes(wrong))},
                          {"op": "kv_write", "kv_type": "q8_0"}))
result = expect_exit(1, "a cache with a wrong byte", "run", path, "--check", *DEVICE)
expect("FAIL" in result.stdout, "a cache with a wrong byte: says FAIL", result)

checks("attention", attention_case(), op="attention")
checks("attention with rows that see nothing", attention_case(tq=9, tk=4), op="attention", causal="true", scale="0.3")
checks("attention on another width of v", attention_case(dv=20), op="attention", out_type="f16", layout="9")
checks("attention on no keys", attention_case(tk=0), op="attention")
checks("attention of no queries", attention_case(tq=0), op="attention")
checks("attention on a q8_0 cache", attention_case(tq=3, tk=70, d=32, dv=64),
       op="attention", kv_type="q8_0", layout="4")
for what, more, options in [
        ("a window", {}, {"window_left": "2", "window_right": "1"}), ("a softcap", {}, {"softcap": "20"}),
        ("sinks", {"sinks": floats([4])}, {}), ("ALiBi", {"alibi_slopes": floats([4])}, {}),
        ("a bias", {"bias": floats([4, 5, 5], dtype="F16")}, {})]:
    checks(f"attention with {what}", attention_case(**more), op="attention", **options)
checks("attention on a batch",
       {"q": floats([2, 3, 4, 8]), "k": floats([2, 6, 2, 8]), "v": floats([2, 6, 2, 8]),
        "positions": integers(range(12), [2, 6])},
       op="attention", pairing="half", causal="true")

# ── Attention over sequences, pages, masks, codes ──
BATCH = {"q": floats([3, 2, 4, 8], 1), "k": floats([3, 40, 2, 8], 2), "v": floats([3, 40, 2, 12], 3)}
PAGES = {"q": BATCH["q"], "k": floats([7, 16, 2, 8], 2), "v": floats([7, 16, 2, 12], 3),
         "block_table": integers([4, 0, 6, 1, -1, 2, 5, 3, 99], [3, 3])}
RAGGED = {"q": floats([9, 4, 8], 1), "cu_seqlens_q": integers([1, 4, 4, 8])}
LENGTHS = {"kv_lengths": integers([40, 0, 7])}
keep = bytes(i % 3 != 0 for i in range(3 * 2 * 40))
words = [0x5a5a5a5a, -2, 0x7ffffff0, 3]
for what, tensors in [
        ("lengths", {**BATCH, **LENGTHS}), ("pages", {**PAGES, **LENGTHS}),
        ("one table for all", {**PAGES, **LENGTHS, "block_table": integers([4, 0, 6])}),
        ("ragged queries", {**BATCH, **RAGGED}), ("ragged queries, lengths", {**BATCH, **RAGGED, **LENGTHS}),
        ("ragged queries, pages", {**PAGES, **RAGGED, **LENGTHS}),
        ("ragged queries and keys", {**RAGGED, "k": floats([60, 2, 8], 2), "v": floats([60, 2, 12], 3),
                                     "cu_seqlens_k": integers([0, 33, 50, 60])}),
        ("a mask of bytes", {**BATCH, "mask": ("U8", [3, 1, 2, 40], keep)}),
        ("a mask of bytes for all", {**BATCH, "mask": ("U8", [2, 40], keep[:80])}),
        ("a mask of words", {**BATCH, "mask": integers(words, [2, 2])})]:
    checks(f"attention on {what}", tensors, op="attention")
    checks(f"attention on {what}, with options", tensors,
           op="attention", causal="true", window_left="9", split_keys="256", out_type="bf16", layout="11", lse="false")
checks("attention of the first queries of each sequence", {**BATCH, **RAGGED}, op="attention", max_q_tokens="2")
checks("attention on a bias as long as the longest", {**BATCH, **RAGGED, "bias": floats([4, 4, 40], 4)}, op="attention")
checks("attention with heads first", BATCH, op="attention", heads_first="true")
checks("attention with a bound", BATCH, op="attention", logit_bound="30", causal="true")
for what, tensors, options, says in [
        ("a broken promise", BATCH, {"logit_bound": "0.01"}, "fault     a logit"),
        ("a page that is not there", {**PAGES, **LENGTHS, "kv_lengths": integers([40, 0, 40])}, {}, "fault     a length"),
        ("nothing wrong", {**BATCH, **LENGTHS}, {"logit_bound": "30"}, None)]:
    result = run_case(f"attention on {what}", tensors, op="attention", **options)
    expect(says in result.stdout if says else "fault" not in result.stdout, f"{what} is told", result)
checks("attention on heads of 576 channels", attention_case(d=576, dv=512, hk=1), op="attention")
checks("attention on values in keys", {name: attention_case(d=576, hk=1)[name] for name in "qk"},
       op="attention", v_dim="512")
checks("attention on values in pages of keys",
       {"q": floats([3, 2, 4, 64], 1), "k": codes("q8_0", [7, 16, 1, 64], 2), **LENGTHS,
        "block_table": PAGES["block_table"]}, op="attention", k_type="q8_0", v_dim="32", layout="3")
for k_type, v_type in [("q8_0", "q4_0"), ("q4_0", "fp8_e4m3"), ("fp8_e4m3", "q8_0"), ("bf16", "q4_0"), ("f32", "f16")]:
    scales = {"k_scale": ones([2], 0.5)} if k_type == "fp8_e4m3" else {}
    scales.update({"v_scale": ones([1], 1.5)} if v_type == "fp8_e4m3" else {})
    written = attention_case(tq=3, tk=70, d=32, dv=64, **scales)
    checks(f"attention on {k_type} and {v_type}, written first", written,
           op="attention", k_type=k_type, v_type=v_type, layout="4")
    given = {"k": codes(k_type, [70, 2, 32], 2)} if "_" in k_type else {}
    given.update({"v": codes(v_type, [70, 2, 64], 3)} if "_" in v_type else {})
    checks(f"attention on {k_type} and {v_type} as bytes", {**written, **given},
           op="attention", k_type=k_type, v_type=v_type)
checks("attention on pages that are written first", {**PAGES, **LENGTHS, "k_scale": ones([2], 0.5)},
       op="attention", k_type="fp8_e4m3", v_type="f16")

# Joined halves are the whole.
whole, halves = attention_case(tk=10, dv=12), []
for first, end in [(0, 6), (6, 10)]:
    half = {name: (t[0], [end - first] + t[1][1:], t[2][first * len(t[2]) // 10:end * len(t[2]) // 10])
            for name, t in whole.items() if name != "q"}
    path, out = folder.file(encode({"q": whole["q"], **half}, {"op": "attention"})), folder.name("half.safetensors")
    expect_exit(0, "attention over half of the keys", "run", path, "-o", out, "--check", *DEVICE)
    halves.append(decode(folder.read("half.safetensors"))[0])
path = folder.file(encode(whole, {"op": "attention"}))
expect_exit(0, "attention over all keys", "run", path, "-o", folder.name("whole.safetensors"), *DEVICE)
all_keys, _ = decode(folder.read("whole.safetensors"))
sides = {f"{name}_{side}": half[name] for side, half in zip("ab", halves) for name in ["o", "lse"]}
for options in [{}, {"in_place": "true"}, {"layout": "5"}, {"heads_first": "true"}]:
    checks(f"attention_merge {options}", {**sides, **all_keys}, op="attention_merge", **options)
nothing = struct.pack("<20f", *[float("-inf")] * 20)
checks("attention_merge with a side that saw nothing",
       {**sides, "lse_b": ("F32", [5, 4], nothing), "o_b": ones([5, 4, 12], float("nan"))},
       op="attention_merge", out_type="f16", lse="false")

# Queries fewer than keys take the last positions.
turned = attention_case(tq=3, tk=7, positions=integers(range(10, 17)), q_weight=floats([8], 5), k_weight=floats([8], 6))
wide = attention_case(tq=3, tk=7, d=32, dv=32, positions=integers(range(10, 17)))
checks("pipeline into q8_0", wide, op="attention", pairing="half", norm="rms", eps="1e-6", kv_type="q8_0")
for kv_type in ["f32", "f16", "bf16"]:
    checks(f"pipeline into {kv_type}", turned,
           op="attention", pairing="interleaved", norm="rms", eps="1e-6", kv_type=kv_type)
checks("pipeline without a norm", turned, op="attention", pairing="half", norm="none")
checks("pipeline without a rotation", turned, op="attention", norm="l2")

# ── Outputs as a file, which then is what is expected ──
tensors, metadata = attention_case(tq=4, tk=6, hq=4), {"op": "attention", "causal": "true"}
path, out = folder.file(encode(tensors, metadata)), folder.name("out.safetensors")
result = expect_exit(0, "run -o", "run", path, "-o", out, *DEVICE)
for word in ["device ", "kernel ", "time ", "GFLOP/s", "GB/s"]:
    expect(word in result.stdout, f"run prints {word}", result)
outputs, _ = decode(folder.read("out.safetensors"))
expect({name: entry[:2] for name, entry in outputs.items()} == {"o": ("F32", [4, 4, 8]), "lse": ("F32", [4, 4])},
       "outputs have names, types and shapes")
expect([name for name in os.listdir(folder.path) if name.endswith(".tmp")] == [], "no temporary file is left")
expected = folder.file(encode({**tensors, **outputs}, metadata))
expect_exit(0, "what was written is what is expected", "run", expected, "--check", *DEVICE)
path = folder.file(encode(tensors, metadata))
expect_exit(0, "--set adds and overrides",
            "run", path, "--set", "out_type=f16", "--set", "causal=false", "-o", out, *DEVICE)
changed, _ = decode(folder.read("out.safetensors"))
expect(changed["o"][0] == "F16" and changed["o"][2] != outputs["o"][2], "the output has the type that was set")
batched = {name: (tensor[0], [1] + tensor[1], tensor[2]) for name, tensor in tensors.items()}
expect_exit(0, "a batch of one", "run", folder.file(encode(batched, metadata)), "-o", out, *DEVICE)
expect(decode(folder.read("out.safetensors"))[0]["o"] == ("F32", [1, 4, 4, 8], outputs["o"][2]),
       "a batch dim stays, and changes no bit")

# ── Wrong expectations must be noticed ──


def tampered(name, index, factor):
    dtype, shape, content = outputs[name]
    values = list(unpack_floats((dtype, shape, content)))
    values[index] = values[index] * factor
    return {**tensors, **outputs, name: (dtype, shape, struct.pack(f"<{len(values)}f", *values))}


for what, wrong in [
        ("one o off by 0.1 %", tampered("o", 17, 1.001)), ("one lse off by 0.1 %", tampered("lse", 3, 1.001)),
        ("a NaN in o", tampered("o", 0, float("nan"))), ("an infinity in lse", tampered("lse", 0, float("inf")))]:
    path = folder.file(encode(wrong, metadata))
    result = expect_exit(1, what, "run", path, "--check", *DEVICE)
    expect("FAIL" in result.stdout, f"{what}: says FAIL", result)
    expect_exit(0, f"{what}: nobody asked", "run", path, *DEVICE)

finish()
