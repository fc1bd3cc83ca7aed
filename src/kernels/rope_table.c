#include "kernels/rope_table.h"

#include "core/rope.h"

#include <assert.h>
#include <math.h>
#include <string.h>

uint32_t sxt_rope_rotary_units(const sxt_rope_params *rope) {
    return (rope->rotary_dim + SXT_UNIT_CHANNELS - 1) / SXT_UNIT_CHANNELS;
}

uint32_t sxt_rope_other_units(const sxt_rope_params *rope, uint32_t channels) {
    return (channels - rope->rotary_dim + SXT_UNIT_CHANNELS - 1) / SXT_UNIT_CHANNELS;
}

bool sxt_rope_quads(const sxt_rope_params *rope, uint32_t channels) {
    return rope->rotary_dim % 8 == 0 && rope->rotary_offset % 4 == 0 && channels % 4 == 0;
}

sxt_result sxt_rope_bind_positions(const sxt_caps *caps, const sxt_tensor *positions, sxt_dispatch *dispatch,
                                   sxt_positions *out_positions) {
    // [plane, batch, 1, token]
    out_positions->plane = positions->shape[0] > 1 ? (uint32_t)positions->strides[0] : 0;
    out_positions->batch = positions->shape[1] > 1 ? (uint32_t)positions->strides[1] : 0;
    return sxt_plan_bind(caps, positions, false, dispatch, &out_positions->base);
}

// FNV-1a from two starting points: 128 bits, so that different factors never meet in practice.
static uint64_t hash(uint64_t value, const void *data, size_t bytes) {
    const uint8_t *byte = data;
    for (size_t i = 0; i < bytes; i++)
        value = (value ^ byte[i]) * UINT64_C(0x100000001b3);
    return value;
}

static void append(sxt_table *table, const void *data, uint32_t bytes) {
    assert(table->key_bytes + bytes <= SXT_MAX_TABLE_KEY);
    memcpy(table->key + table->key_bytes, data, bytes);
    table->key_bytes += bytes;
}

void sxt_rope_table_plan(const sxt_rope_params *rope, float eps, float offset, sxt_table *out_table) {
    uint32_t units = sxt_rope_rotary_units(rope);
    *out_table =
        (sxt_table){.bytes = (uint32_t)(sizeof(struct sxt_rope_header) + units * sizeof(struct sxt_rope_unit))};

    const uint32_t words[] = {
        rope->rotary_dim,        rope->rotary_offset,         rope->original_context, (uint32_t)rope->multi,
        rope->sections[0],       rope->sections[1],           rope->sections[2],      rope->sections[3],
        rope->inverse ? 1u : 0u, rope->freq_factors ? 1u : 0u};
    const float scalars[] = {
        rope->base, rope->freq_scale, rope->ext_factor, rope->attn_factor, rope->beta_fast, rope->beta_slow, eps,
        offset};
    append(out_table, "rope", 4);
    append(out_table, words, sizeof words);
    append(out_table, scalars, sizeof scalars);
    if (rope->freq_factors) {
        size_t bytes = rope->rotary_dim / 2 * sizeof *rope->freq_factors;
        const uint64_t hashes[] = {hash(UINT64_C(0xcbf29ce484222325), rope->freq_factors, bytes),
                                   hash(UINT64_C(0x6c62272e07bb0142), rope->freq_factors, bytes)};
        append(out_table, hashes, sizeof hashes);
    }
}

// Turns per position without whole turns, as 64-bit fixed point; negative ones wrap to their complement.
static uint64_t turns_of(double radians) {
    const long double turn = 6.283185307179586476925286766559L;
    long double turns = (long double)radians / turn;
    turns -= floorl(turns);
    long double scaled = roundl(ldexpl(turns, 64));
    return scaled >= ldexpl(1, 64) ? 0 : (uint64_t)scaled;
}

void sxt_rope_table_fill(const sxt_rope_params *rope, float eps, float offset, void *out_data) {
    struct sxt_rope_header header = {
        .rotary_dim = rope->rotary_dim,
        .rotary_offset = rope->rotary_offset,
        .magnitude = (float)sxt_rope_magnitude(rope),
        .eps = eps,
        .offset = offset,
    };
    memcpy(out_data, &header, sizeof header);
    uint8_t *out_unit = (uint8_t *)out_data + sizeof header;
    for (uint32_t first = 0; first < rope->rotary_dim / 2; first += SXT_UNIT_PAIRS) {
        struct sxt_rope_unit unit = {0};
        for (uint32_t i = 0; i < SXT_UNIT_PAIRS && first + i < rope->rotary_dim / 2; i++) {
            uint64_t turns = turns_of(sxt_rope_frequency(rope, first + i));
            unit.lo[i] = (uint32_t)turns;
            unit.hi[i] = (uint32_t)(turns >> 32);
            unit.axis[i] = sxt_rope_axis(rope, first + i);
        }
        memcpy(out_unit, &unit, sizeof unit);
        out_unit += sizeof unit;
    }
}
