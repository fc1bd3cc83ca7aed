#!/usr/bin/env python3
"""sextant run: every wrong, lying or absurd case file gets exit 2, one clear line, and writes nothing."""

import os
import random
import struct
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "support"))
from program import Folder, attention_case, encode, expect, expect_refused, finish, floats, integers, run

folder = Folder()
REFERENCE = ["--device", "reference"]
ATTENTION = {"op": "attention", "causal": "true"}


def refused(what, content, *options, says=""):
    out = folder.name("out.safetensors")
    expect_refused(what, "run", folder.file(content), "-o", out, *REFERENCE, *options, says=says)
    expect(not os.path.exists(out), f"{what}: nothing written")


def refused_header(what, edit, says="", tensors=None, metadata=None):
    refused(what, encode(tensors or attention_case(), metadata or ATTENTION, edit), says=says)


def refused_meta(what, says, tensors=None, **metadata):
    refused(what, encode(tensors or attention_case(), {**ATTENTION, **metadata}), says=says)


good = encode(attention_case(), ATTENTION)
accepted = run("run", folder.file(good), "--check", *REFERENCE)
expect(accepted.returncode == 0, "the case that all the wrong ones are made from is right", accepted)

# ── Not a file, or not this kind of file ──
for what, path in [("no such file", folder.name("absent")), ("a directory", folder.path)]:
    expect_refused(what, "run", path, *REFERENCE)
os.mkfifo(folder.name("pipe"))
expect_refused("a pipe", "run", folder.name("pipe"), *REFERENCE, says="regular")
expect_refused("a device", "run", "/dev/zero", *REFERENCE, says="regular")
refused("zero bytes", b"")
refused("seven bytes", good[:7])
for what, length in [("2^63", 2**63), ("2^64 - 1", 2**64 - 1), ("one more than there is", len(good) - 7), ("zero", 0)]:
    refused(f"header length {what}", struct.pack("<Q", length) + good[8:])
with open(folder.name("sparse"), "wb") as sparse:
    sparse.write(struct.pack("<Q", 200_000_000) + b"{")
    sparse.truncate(200_000_100)
expect_refused("a header of 200 MB", "run", folder.name("sparse"), *REFERENCE, says="limit")
for step in range(60):
    refused(f"truncated at {step}/60", good[:len(good) * step // 60])
refused("bytes after the last tensor", good + b"\0", says="belong to no tensor")


def raw_header(text):
    return struct.pack("<Q", len(text)) + text


for what, text in [
    ("empty header object", b"{}"), ("array for a header", b"[]"), ("header that is no JSON", b"{hello}"),
    ("text after the header", b"{} x"), ("unfinished header", b'{"q": {'), ("invalid UTF-8", b'{"\xff": 1}'),
    ("NUL in a name", b'{"a\\u0000b": {}}'), ("deep nesting", b'{"a":' + b"[" * 100000 + b"]" * 100000 + b"}"),
    ("deep nesting of objects", b'{"a":' * 50000 + b"1" + b"}" * 50000),
    ("duplicate metadata", b'{"__metadata__": {"op": "norm"}, "__metadata__": {"op": "rope"}}'),
    ("duplicate keys", b'{"__metadata__": {"op": "norm", "op": "rope"}}'),
    ("a huge number", b'{"q": {"shape": [1e999]}}'),
    ("metadata that is an array", b'{"__metadata__": []}'),
    ("metadata that is no string", b'{"__metadata__": {"op": 1}}'),
    ("a tensor that is a number", b'{"q": 1}'),
    ("line breaks in a name", b'{"__metadata__": {"op": "norm"}, '
                              b'"x\\n\\u001b[31my": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}}'),
]:
    refused(what, raw_header(text))

# ── Tensors that lie ──


def change(tensor, key, value):
    return lambda header: header[tensor].__setitem__(key, value)


def offsets_of(tensor, move_begin, move_end):
    def edit(header):
        begin, end = header[tensor]["data_offsets"]
        header[tensor]["data_offsets"] = [begin + move_begin, end + move_end]
    return edit


refused_header("overlapping tensors", offsets_of("k", -4, -4), "overlap")
refused_header("a tensor on top of another", lambda h: h["v"].update(data_offsets=h["k"]["data_offsets"]), "overlap")
refused_header("an end past the file", offsets_of("v", 4, 4), "follow the header")
refused_header("bytes that are not shape times dtype", offsets_of("v", 0, -4), "span")
refused_header("offsets the wrong way round", lambda h: h["q"]["data_offsets"].reverse(), "data_offsets")
for what, offsets in [
        ("negative", [-4, 636]), ("of three numbers", [0, 1, 2]), ("of text", ["0", "640"]),
        ("of fractions", [0.0, 640.0]), ("near 2^63", [2**63 - 641, 2**63 - 1]), ("past 2^64", [2**64, 2**64 + 640]),
        ("missing", None)]:
    refused_header(f"data_offsets {what}", change("q", "data_offsets", offsets))
for what, shape in [
        ("negative", [-5, 4, 8]), ("a product past 64 bits", [2**32, 2**32, 2**32]),
        ("a product that wraps to its size", [2**62 + 5, 4, 8]), ("huge with a zero", [0, 2**62, 2**62]),
        ("nine dims", [1] * 9), ("fractions", [5.0, 4, 8]), ("text", "5,4,8"), ("one dim", [160])]:
    refused_header(f"shape {what}", change("q", "shape", shape))
for dtype in ["F64", "f32", "", 7, None]:
    refused_header(f"dtype {dtype}", change("q", "dtype", dtype))
refused_header("an unknown field", change("q", "more", 1))
refused_header("a missing field", lambda header: header["q"].pop("dtype"))

# ── Cases that make no sense ──
refused("no op", encode(attention_case(), {}), says="'op'")
refused_meta("an unknown op", "'op'", op="attentionn")
refused_meta("an unknown key", "casual", casual="true")
for key, values in {
    "scale": ["nan", "NaN", "inf", "-inf", "1e999", "0x10", "1,5", "1.0f", "", " 1", "1 "],
    "causal": ["yes", "TRUE", "2", ""], "window_left": ["-2", "1.5", "9999999999"], "softcap": ["nan"],
    "logit_bound": ["nan", "inf", "x"], "split_keys": ["-1", "1.5"], "v_dim": ["-1", "x"], "lse": ["maybe"],
    "max_q_tokens": ["-1", "x"], "max_k_tokens": ["4294967296"], "heads_first": ["2"], "k_type": ["i8"],
    "v_type": ["q4"],
    "kv_type": ["f64", "q8_0"], "norm": ["RMS", ""], "pairing": ["neox"], "rotary_dim": ["-2", "4294967296", "2.0"],
    "sections": ["1,2,3,4,5", "a", "1,", ",", "[1,2", "1,2]", "1 2"],
    "layout": ["-1"], "multi": ["yes"], "inverse": ["maybe"], "eps": ["nan", "-1e-6"], "base": ["nan"],
}.items():
    for value in values:
        refused_meta(f"{key} = '{value}'", f"'{key}'", **{key: value})
for name in "qkv":
    tensors = attention_case()
    del tensors[name]
    refused_meta(f"no tensor {name}", f"'{name}'", tensors)
refused_meta("a tensor nobody asked for", "'masks'", attention_case(masks=floats([5, 5])))
refused_meta("d = 3", "", attention_case(d=3))
refused_meta("d = 580", "", attention_case(d=580))
refused_meta("query heads no multiple of key heads", "", attention_case(hq=5))
refused_meta("v of other tokens", "'v'", attention_case(v=floats([4, 2, 8])))
refused_meta("k of another width", "'k'", attention_case(k=floats([5, 2, 12])))
refused_meta("batches that differ", "'k'",
             {"q": floats([2, 5, 4, 8]), "k": floats([1, 5, 2, 8]), "v": floats([1, 5, 2, 8])})
refused_meta("q of two dims", "'q'", attention_case(q=floats([5, 32])))
refused_meta("integers for q", "'q'", attention_case(q=integers([0] * 160, [5, 4, 8])))
refused_meta("bytes for q", "'q'", attention_case(q=("U8", [5, 4, 8], bytes(160))))

# ── Sequences, pages, masks and codes that make no sense ──
WITH_LENGTHS = {"kv_lengths": integers([5])}
PAGES = {"k": floats([2, 5, 2, 8], 2), "v": floats([2, 5, 2, 8], 3), "block_table": integers([1])}
RAGGED = {"cu_seqlens_q": integers([0, 5])}
for what, says, tensors, metadata in [
        ("a logit_bound below 0", "logit_bound", {}, {"logit_bound": "-1"}),
        ("split_keys of 100", "split_keys", {}, {"split_keys": "100"}),
        ("lengths of another batch", "kv_lengths", {"kv_lengths": integers([5, 5])}, {}),
        ("lengths of two dims", "kv_lengths", {"kv_lengths": integers([5], [1, 1])}, {}),
        ("float lengths", "kv_lengths", {"kv_lengths": floats([1])}, {}),
        ("lengths and offsets of keys", "kv_lengths", {**WITH_LENGTHS, **RAGGED, "cu_seqlens_k": integers([0, 5])}, {}),
        ("pages without lengths", "kv_lengths", PAGES, {}),
        ("a table without pages", "'k'", {**WITH_LENGTHS, "block_table": integers([0])}, {}),
        ("a table of another batch", "block_table",
         {**WITH_LENGTHS, **PAGES, "block_table": integers([0, 1], [2, 1])}, {}),
        ("a table of three dims", "block_table",
         {**WITH_LENGTHS, **PAGES, "block_table": integers([0], [1, 1, 1])}, {}),
        ("pages and offsets of keys", "block_table",
         {**WITH_LENGTHS, **PAGES, **RAGGED, "cu_seqlens_k": integers([0, 5])}, {}),
        ("offsets of keys alone", "cu_seqlens_q", {"cu_seqlens_k": integers([0, 5])}, {}),
        ("no offsets", "cu_seqlens_q", {"cu_seqlens_q": integers([])}, {}),
        ("offsets of two dims", "cu_seqlens_q", {"cu_seqlens_q": integers([0, 5], [1, 2])}, {}),
        ("offsets that differ in number", "cu_seqlens_k", {**RAGGED, "cu_seqlens_k": integers([0, 2, 5])}, {}),
        ("offsets and a batch", "q", {"q": floats([2, 5, 4, 8]), **RAGGED}, {}),
        ("max_q_tokens of nothing", "max_q_tokens", {}, {"max_q_tokens": "3"}),
        ("max_k_tokens of nothing", "max_k_tokens", RAGGED, {"max_k_tokens": "3"}),
        ("max_q_tokens above all", "max_q_tokens", RAGGED, {"max_q_tokens": "6"}),
        ("max_k_tokens above all", "max_k_tokens", {**RAGGED, "cu_seqlens_k": integers([0, 5])}, {"max_k_tokens": "6"}),
        ("a float mask", "mask", {"mask": floats([5, 5])}, {}),
        ("a mask of bytes that is too short", "mask", {"mask": ("U8", [5, 4], bytes(20))}, {}),
        ("a mask of words that is too long", "mask", {"mask": integers([0] * 10, [5, 2])}, {}),
        ("a mask of one dim", "mask", {"mask": ("U8", [5], bytes(5))}, {}),
        ("a mask of other heads", "mask", {"mask": ("U8", [3, 5, 5], bytes(75))}, {}),
        ("a bias of other keys", "bias", {"bias": floats([5, 6])}, {}),
        ("a bias longer than the longest", "bias", {**RAGGED, "bias": floats([5, 5])}, {"max_q_tokens": "4"}),
        ("bytes of no type", "k_type", {"k": ("U8", [5, 2, 8], bytes(80))}, {}),
        ("bytes that are no blocks", "'k'", {"k": ("U8", [5, 2, 8], bytes(80))}, {"k_type": "q8_0"}),
        ("bytes that are rotated", "'k'",
         {"k": ("U8", [5, 2, 8], bytes(80)), "positions": integers(range(5))},
         {"k_type": "fp8_e4m3", "pairing": "half"}),
        ("blocks of other channels", "v_type", {}, {"v_type": "q4_0"}),
        ("a scale of f32", "k_scale", {"k_scale": floats([2])}, {}),
        ("scales of other heads", "v_scale", {"v_scale": floats([4])}, {"v_type": "fp8_e4m3"}),
        ("values that are in keys, and are not", "v_dim", {}, {"v_dim": "4"}),
        ("pages that are rotated", "pairing", {**WITH_LENGTHS, "positions": integers(range(5))}, {"pairing": "half"}),
        ("an lse that nobody wants", "lse", {"lse": floats([5, 4])}, {"lse": "false"})]:
    refused_meta(what, says, attention_case(**tensors), **metadata)
MLA = {name: attention_case(d=64)[name] for name in "qk"}
accepted = run("run", folder.file(encode(MLA, {**ATTENTION, "v_dim": "32"})), "--check", *REFERENCE)
expect(accepted.returncode == 0, "values in keys, of which wrong ones are made, are right", accepted)
for what, says, tensors, metadata in [
        ("no v at all", "'v'", {}, {}), ("more values than keys", "v_dim", {}, {"v_dim": "68"}),
        ("values in half a block", "v_dim", {}, {"v_dim": "16", "k_type": "q8_0"}),
        ("values in keys with a type", "v_type", {}, {"v_dim": "32", "v_type": "f16"}),
        ("values in keys with a scale", "v_scale", {"v_scale": floats([2])}, {"v_dim": "32", "v_type": "fp8_e4m3"})]:
    refused_meta(what, says, {**MLA, **tensors}, **metadata)

MERGE = {"o_a": floats([5, 4, 8], 1), "lse_a": floats([5, 4], 2),
         "o_b": floats([5, 4, 8], 3), "lse_b": floats([5, 4], 4)}
for name in MERGE:
    refused(f"attention_merge without {name}", encode({k: v for k, v in MERGE.items() if k != name},
                                                      {"op": "attention_merge"}), says=f"'{name}'")
for what, says, tensors, metadata in [
        ("sides that differ", "o_b", {"o_b": floats([5, 4, 9])}, {}),
        ("logarithms of other heads", "lse_b", {"lse_b": floats([5, 3])}, {}),
        ("logarithms of three dims", "lse_a", {"lse_a": floats([5, 4, 1])}, {}),
        ("half logarithms", "lse_a", {"lse_a": floats([5, 4], 2, "F16")}, {}),
        ("another type in place", "out_type", {}, {"in_place": "true", "out_type": "f16"}),
        ("a key of attention", "causal", {}, {"causal": "true"})]:
    refused(f"attention_merge: {what}", encode({**MERGE, **tensors}, {"op": "attention_merge", **metadata}), says=says)

refused_meta("rotation without positions", "positions", pairing="half")
refused_meta("float positions", "positions", attention_case(positions=floats([5])), pairing="half")
refused_meta("too few positions", "positions", attention_case(positions=integers([0, 1])), pairing="half")
refused_meta("more queries than positions", "'q'", attention_case(tq=9, positions=integers(range(5))), pairing="half")
refused_meta("gains without a norm", "norm", attention_case(q_weight=floats([8])))
refused_meta("a gain of the wrong width", "q_weight", attention_case(q_weight=floats([7])), norm="rms")
refused_meta("an expected o of another shape", "'o'", attention_case(o=floats([5, 4, 7])))
refused_meta("sinks of the wrong length", "sinks", attention_case(sinks=floats([2])))
turned = attention_case(positions=integers(range(5)))
for key, value in [("rotary_dim", "3"), ("rotary_dim", "64"), ("rotary_offset", "8"), ("base", "-1"),
                   ("freq_scale", "-1"), ("ext_factor", "1"), ("multi", "mrope")]:
    refused_meta(f"{key} = {value}", "", turned, pairing="half", **{key: value})
refused_meta("frequency factors of the wrong length", "freq_factors",
             {**turned, "freq_factors": floats([3])}, pairing="half")
refused_meta("a negative frequency factor", "",
             {**turned, "freq_factors": ("F32", [4], struct.pack("<4f", 1, -1, 1, 1))}, pairing="half")
# ── Caches, shifts, copies and scalings that make no sense ──
KV = {"k": floats([3, 2, 64]), "v": floats([3, 2, 32])}
FUSED = {"q": floats([3, 4, 64]), **KV, "positions": integers([0, 1, 2])}
SHIFT = {"k": floats([3, 2, 64]), "deltas": integers([1, 0, -1])}
COPY = {"k": floats([3, 2, 64]), "from": integers([2]), "to": integers([0])}
CASES = {"kv_write": KV, "qk_norm_rope": FUSED, "kv_shift": SHIFT, "kv_copy": COPY}
for op, tensors in CASES.items():
    accepted = run("run", folder.file(encode(tensors, {"op": op})), "--check", *REFERENCE)
    expect(accepted.returncode == 0, f"the {op} that wrong ones are made from is right", accepted)


def refused_op(what, says, op, change=None, drop=None, **metadata):
    tensors = {**CASES[op], **(change or {})}
    tensors.pop(drop, None)
    refused(f"{op}: {what}", encode(tensors, {"op": op, **metadata}), says=says)


for rows in ["429496729", "4294967295"]:
    refused(f"a cache of {rows} rows", encode({"k": floats([1, 2, 4])}, {"op": "kv_write", "rows": rows}), says="rows")
refused("a slot far away", encode({"k": floats([1, 2, 4]), "slots": integers([2147483647])}, {"op": "kv_write"}))
for op in ["kv_write", "qk_norm_rope"]:
    for key, values in {"k_type": ["i32", "", "fp8"], "v_type": ["Q4_0"], "kv_type": ["u8"], "rows": ["-1", "1.5"],
                        "page_size": ["-1", "x"], "first_row": ["-1", "4294967296"]}.items():
        for value in values:
            refused_op(f"{key} = '{value}'", f"'{key}'", op, **{key: value})
    refused_op("fewer rows than tokens", "first_row", op, rows="2")
    refused_op("tokens past the last row", "first_row", op, rows="3", first_row="1")
    refused_op("a block_table without a page_size", "page_size", op, {"block_table": integers([0])})
    refused_op("a page_size without a block_table", "block_table", op, page_size="4")
    refused_op("pages and rows", "rows", op, {"block_table": integers([0])}, page_size="4", rows="4")
    refused_op("more pages than memory", "rows", op, {"block_table": integers([2147483647])}, page_size="256")
    refused_op("a page_size near 2^32", "rows", op, {"block_table": integers([0])}, page_size="4294967295")
    refused_op("too few pages", "first_row", op, {"block_table": integers([0])}, page_size="2")
    refused_op("a block_table of three dims", "block_table", op, {"block_table": integers([0], [1, 1, 1])}, page_size="4")
    refused_op("block tables of another batch", "block_table", op, {"block_table": integers([0, 1], [2, 1])},
               page_size="4")
    refused_op("slots of other tokens", "slots", op, {"slots": integers([0, 1])})
    refused_op("slots that are numbers", "slots", op, {"slots": floats([3])})
    refused_op("slots and a first row", "first_row", op, {"slots": integers([0, 1, 2])}, first_row="1")
    refused_op("blocks of other channels", "k_type", op, {"k": floats([3, 2, 48]), "q": floats([3, 2, 48])}
               if op == "qk_norm_rope" else {"k": floats([3, 2, 48])}, k_type="q4_0")
    refused_op("a scale of f16", "k_scale", op, {"k_scale": floats([2])}, k_type="f16")
    refused_op("scales of other heads", "k_scale", op, {"k_scale": floats([3])}, k_type="fp8_e4m3")
    refused_op("v of other heads", "'v'", op, {"v": floats([3, 1, 32])})
    refused_op("an expected cache of another shape", "k_cache", op, {"k_cache": floats([3, 2, 63])})
    refused_op("an expected cache of bytes", "k_cache", op, {"k_cache": ("U8", [3, 2, 64], bytes(384))}, k_type="f16")
    refused_op("an expected cache of too few bytes", "k_cache", op, {"k_cache": ("U8", [3, 2, 64], bytes(384))},
               k_type="q8_0")
refused("kv_write: nothing", encode({"slots": integers([0])}, {"op": "kv_write"}), says="'k'")
refused("qk_norm_rope: nothing", encode({"positions": integers([0])}, {"op": "qk_norm_rope"}), says="'q'")
refused_op("no positions", "positions", "qk_norm_rope", drop="positions")
refused_op("positions without a rotation", "positions", "qk_norm_rope", pairing="none")
refused_op("a gain for what is not there", "q_weight", "qk_norm_rope", {"q_weight": floats([64])}, "q")
refused_op("normalised values without a norm", "normalise_v", "qk_norm_rope", normalise_v="true", norm="none")
refused_op("k of other tokens", "'k'", "qk_norm_rope", {"k": floats([2, 2, 64])})
refused_op("v of other tokens", "'v'", "qk_norm_rope", {"v": floats([2, 2, 64])})
refused_op("codes of other channels", "out_type", "qk_norm_rope",
           {"q": floats([3, 4, 48]), "k": floats([3, 2, 48])}, out_type="q8_0")
refused("rope: pairing = none", encode({"x": floats([3, 2, 8]), "positions": integers([0, 1, 2])},
                                       {"op": "rope", "pairing": "none"}), says="'pairing'")
refused_op("no deltas", "deltas", "kv_shift", drop="deltas")
refused_op("deltas of other rows", "deltas", "kv_shift", {"deltas": integers([1, 2])})
refused_op("float deltas", "deltas", "kv_shift", {"deltas": floats([3])})
refused_op("a key of values", "v_type", "kv_shift", v_type="f16")
refused_op("rows that are no blocks", "'k'", "kv_shift", {"k": ("U8", [3, 2, 33], bytes(198))}, k_type="q8_0")
refused_op("bytes of no type", "k_type", "kv_shift", {"k": ("U8", [3, 2, 34], bytes(204))})
refused_op("a flat k", "'k'", "kv_shift", {"k": floats([3, 128])})
refused_op("a scale and a flat k", "'k'", "kv_shift", {"k": floats([3]), "k_scale": floats([1])}, k_type="fp8_e4m3")
for name in ["k", "from", "to"]:
    refused_op(f"no {name}", f"'{name}'", "kv_copy", drop=name)
refused_op("more from than to", "'to'", "kv_copy", {"from": integers([0, 1])})
refused_op("moves of two dims", "'from'", "kv_copy", {"from": integers([0], [1, 1]), "to": integers([0], [1, 1])})
refused_op("a target of other channels", "k_to", "kv_copy", {"k_to": floats([3, 2, 32])})
refused_op("a target of another type", "k_to", "kv_copy", {"k_to": floats([3, 2, 64], dtype="F16")})
refused_op("a target for values alone", "'v'", "kv_copy", {"v_to": floats([3, 2, 64])})
refused_op("a target for keys alone", "v_to", "kv_copy", {"v": floats([3, 2, 64]), "k_to": floats([3, 2, 64])})
refused_op("pages of other rows", "k_to", "kv_copy", {"k_to": floats([4, 2, 64])}, pages="true")
FACTORS = {"short_factors": floats([32], 1), "long_factors": floats([32], 2)}
LLAMA3 = {"scaling": "llama3", "factor": "8", "low_freq_factor": "1", "high_freq_factor": "4",
          "original_context": "8192"}
LONGROPE = {"scaling": "longrope", "length": "9", "original_context": "8", "max_context": "64"}
for op in ["qk_norm_rope", "kv_shift"]:
    refused_op("scaling = yarn", "'scaling'", op, scaling="yarn")
    for key in ["factor", "original_context"]:
        refused_op(f"llama3 without {key}", "llama3", op, **{**LLAMA3, key: "0"})
    refused_op("llama3 upside down", "llama3", op, **{**LLAMA3, "low_freq_factor": "5"})
    refused_op("llama3 and factors", "freq_factors", op, {"freq_factors": floats([32])}, **LLAMA3)
    refused_op("ntk without a factor", "ntk", op, scaling="ntk")
    refused_op("ntk of one pair", "ntk", op, scaling="ntk", factor="2", rotary_dim="2")
    refused_op("ntk past the head", "rotary_dim", op, scaling="ntk", factor="2", rotary_dim="128")
    refused_op("ntk far past the head", "rotary", op, scaling="ntk", factor="2", rotary_offset="4294967295")
    refused_op("dynamic_ntk without a context", "dynamic_ntk", op, scaling="dynamic_ntk", factor="2", length="9")
    refused_op("longrope without factors", "short_factors", op, **LONGROPE)
    refused_op("longrope with half its factors", "long_factors", op, {"short_factors": floats([32], 1)}, **LONGROPE)
    refused_op("longrope with negative factors", "", op, FACTORS, **LONGROPE)
    refused_op("longrope's factors without it", "'scaling'", op, FACTORS)
    refused_op("longrope's factors of the wrong length", "short_factors", op,
               {"short_factors": floats([31]), "long_factors": floats([32])}, **LONGROPE)

# ── The command line ──
for setting in ["scale", "=1", "scale=nan", "nosuch=1", "op=nosuch", "x" * 70 + "=1"]:
    refused(f"--set {setting}", good, "--set", setting)
expect_refused("no operand", "run")
expect_refused("two operands", "run", "a", "b")

# ── Whatever else: bytes changed at random ──
source = random.Random(5)
print("random changes: seed 5")
for i in range(400):
    broken = bytearray(good)
    for _ in range(source.choice([1, 1, 2, 8])):
        telling = [0, *b'",09:[]{}', 255, source.randrange(256)]
        broken[source.randrange(len(good) // 3)] = source.choice(telling)
    result = run("run", folder.file(bytes(broken)), *REFERENCE)
    quiet = result.returncode == 0 or (result.returncode == 2 and len(result.stderr.splitlines()) == 1)
    if not quiet:
        print("  bytes:", bytes(broken[:400]))
    expect(quiet, f"random change {i}: accepted, or refused in one line", result)

finish()
