#!/usr/bin/env python3
"""sextant verify: any two options of attention stand together in some case, but for those that exclude each other."""

import itertools
import os
import struct
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "support"))
from program import Folder, attention_case, codes, decode, encode, expect, expect_exit, expect_refused, finish

folder = Folder()
REFERENCE = ["--device", "reference"]
FORMS, CASES = 66, 264

BLOCKS = ["q8_0", "q4_0"]
KV_TYPES = ["f32", "f16", "bf16", "fp8_e4m3", *BLOCKS]
OPTIONS = {
    "mask": ["none", "causal", "left", "both", "causal, left"],
    "bias": ["none", "f32", "f16", "broadcast"],
    "bits": ["none", "full", "broadcast"],
    "softcap": [False, True],
    "alibi": [False, True],
    "sinks": [False, True],
    "lse": [False, True],
    "scale": [False, True],
    "q": ["f32", "f16", "bf16"],
    "o": ["f32", "f16", "bf16"],
    "k": KV_TYPES,
    "v": [*KV_TYPES, "in k"],
    "layout": ["dense", "heads first", "odd"],
    "sequences": ["batch", "lengths", "pages", "cu_q", "cu_q, lengths", "cu_q, pages", "cu_q, cu_k"],
    "group": ["1", "2", "3 to 8", "many"],
    "d": ["64", "128", "256", "576", "of 32", "of 4", "of 4, above 256"],
    "dv": ["d", "of 32", "of 4"],
    "length": ["empty", "one key", "decode", "prefill", "long"],
    "bound": [False, True],
    "split": [False, True],
}
# All that the interface forbids: rows of blocks hold whole blocks.
FORBIDDEN = {frozenset(pair) for block in BLOCKS for pair in [
    (("k", block), ("d", "of 4")), (("k", block), ("d", "of 4, above 256")), (("v", block), ("dv", "of 4"))]}


def numbers(tensor):
    return struct.unpack(f"<{len(tensor[2]) // 4}i", tensor[2])


def mask_of(metadata):
    left, right = "window_left" in metadata, "window_right" in metadata
    kind = "both" if right else "left" if left else ""
    return ", ".join(filter(None, ["causal" if "causal" in metadata else "", kind])) or "none"


def spread_of(tensor, batch, heads, plain):
    """What a tensor [batch|1, heads|1, Tq, Tk] has: `plain`, or that it repeats."""
    if tensor is None:
        return "none"
    repeats = (tensor[1][0] == 1 and batch > 1) or (tensor[1][1] == 1 and heads > 1)
    return "broadcast" if repeats else plain


def sequences_of(tensors):
    keys = "pages" if "block_table" in tensors else "lengths" if "kv_lengths" in tensors else \
        "cu_k" if "cu_seqlens_k" in tensors else ""
    return ", ".join(filter(None, ["cu_q" if "cu_seqlens_q" in tensors else "", keys])) or "batch"


def lengths_of(tensors, batched):
    """Tq and Tk of the longest sequence."""
    def longest(offsets, all_tokens):
        at = [min(max(n, 0), all_tokens) for n in numbers(offsets)]
        return max([end - first for first, end in zip(at, at[1:])] + [0])
    tq, tk = tensors["q"][1][-3], tensors["k"][1][-3]
    if "cu_seqlens_q" in tensors:
        tq = longest(tensors["cu_seqlens_q"], tq)
    if "cu_seqlens_k" in tensors:
        tk = longest(tensors["cu_seqlens_k"], tk)
    if "block_table" in tensors:
        tk *= tensors["block_table"][1][-1]
    if "kv_lengths" in tensors:
        tk = max(min(max(n, 0), tk) for n in numbers(tensors["kv_lengths"]))
    return tq, tk


def class_of_length(tq, tk):
    if tq == 0 or tk == 0:
        return "empty"
    return "one key" if tk == 1 else "long" if tk >= 1000 else "decode" if tq <= 4 else "prefill"


def class_of_dim(d):
    if str(d) in OPTIONS["d"]:
        return str(d)
    return "of 32" if d % 32 == 0 else "of 4" if d <= 256 else "of 4, above 256"


def width_of(tensor, kind):
    block, size = {"q8_0": (32, 34), "q4_0": (32, 18)}.get(kind, (1, 1))
    return tensor[1][-1] // size * block


def options_of(tensors, metadata):
    q, k, v = tensors["q"], tensors["k"], tensors.get("v")
    heads, group = q[1][-2], q[1][-2] // k[1][-2]
    batch = len(numbers(tensors["cu_seqlens_q"])) - 1 if "cu_seqlens_q" in tensors else q[1][0] if len(q[1]) == 4 else 1
    k_type = metadata.get("k_type", k[0].lower())
    v_type = "in k" if v is None else metadata.get("v_type", v[0].lower())
    d, dv = q[1][-1], int(metadata["v_dim"]) if v is None else width_of(v, v_type)
    bias, bits = tensors.get("bias"), tensors.get("mask")
    return {
        "mask": mask_of(metadata),
        "bias": spread_of(bias, batch, heads, bias and bias[0].lower()),
        "bits": spread_of(bits, batch, heads, "full"),
        "softcap": "softcap" in metadata,
        "alibi": "alibi_slopes" in tensors,
        "sinks": "sinks" in tensors,
        "lse": metadata.get("lse") != "false",
        "scale": "scale" in metadata,
        "q": q[0].lower(),
        "o": metadata.get("out_type", "f32"),
        "k": k_type,
        "v": v_type,
        "layout": "odd" if "layout" in metadata else "heads first" if "heads_first" in metadata else "dense",
        "sequences": sequences_of(tensors),
        "group": "1" if group == 1 else "2" if group == 2 else "3 to 8" if group <= 8 else "many",
        "d": class_of_dim(d),
        "dv": "d" if dv == d else "of 32" if dv % 32 == 0 else "of 4",
        "length": class_of_length(*lengths_of(tensors, batch)),
        "bound": "logit_bound" in metadata,
        "split": "split_keys" in metadata,
    }


# ── Each two are there ──
result = expect_exit(0, "verify of all pairs", "verify", "--filter", "attention", "--forms", FORMS, "--cases", CASES,
                     "--dump", folder.name("all"), "--all", *REFERENCE)
expect(", all " in result.stdout and " pairs of options" in result.stdout, "verify says that it has all pairs", result)
found = set()
for name in os.listdir(folder.name("all")):
    if not name.startswith("attention-"):
        continue
    have = options_of(*decode(folder.read(os.path.join("all", name))))
    for option, value in have.items():
        expect(value in OPTIONS[option], f"{name}: {option} is {value}")
    found |= {frozenset(pair) for pair in itertools.combinations(have.items(), 2)}
values = [(option, value) for option, values in OPTIONS.items() for value in values]
wanted = {frozenset([a, b]) for a, b in itertools.combinations(values, 2) if a[0] != b[0]}
missing = wanted - FORBIDDEN - found
expect(not missing, f"pairs that no case has: {sorted(map(sorted, map(lambda p: [str(i) for i in p], missing)))}")
expect(not found & FORBIDDEN, "pairs that cannot be")
print(f"{len(wanted - FORBIDDEN)} pairs of options in {CASES} cases; {len(FORBIDDEN)} that the interface forbids:")
for pair in sorted(", ".join(f"{option} {value}" for option, value in sorted(pair)) for pair in FORBIDDEN):
    print(" ", pair)

# ── What is said to be forbidden is refused ──
for kind in BLOCKS:
    wide = {"of 4": 36, "of 4, above 256": 260}
    for what, d in wide.items():
        path = folder.file(encode(attention_case(d=d, dv=64), {"op": "attention", "k_type": kind}))
        expect_refused(f"keys of {kind} and d {what}", "run", path, *REFERENCE, says="k_type")
    path = folder.file(encode(attention_case(d=64, dv=36), {"op": "attention", "v_type": kind}))
    expect_refused(f"values of {kind} and dv of 4", "run", path, *REFERENCE, says="v_type")
    right = attention_case(d=64, dv=96, k=codes(kind, [5, 2, 64]))
    path = folder.file(encode(right, {"op": "attention", "k_type": kind, "v_type": kind}))
    expect_exit(0, f"keys of {kind} and d of 32", "run", path, "--check", *REFERENCE)

finish()
