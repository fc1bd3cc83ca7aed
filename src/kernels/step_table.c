// The table of a step: what is constant for a layer and has no room among the push constants, and RoPE's frequencies.
#include "kernels/step.h"

#include "core/rope.h"

#include <assert.h>
#include <math.h>
#include <string.h>

static bool rotates(const sxt_step *step) {
    return step->rope.pairing != SXT_ROPE_NONE;
}

uint32_t sxt_step_rotary_units(const sxt_step *step) {
    return rotates(step) ? (step->rope.rotary_dim + SXT_UNIT_CHANNELS - 1) / SXT_UNIT_CHANNELS : 0;
}

uint32_t sxt_step_units(const sxt_step *step, uint32_t channels) {
    uint32_t other = channels - (rotates(step) ? step->rope.rotary_dim : 0);
    return sxt_step_rotary_units(step) + (other + SXT_UNIT_CHANNELS - 1) / SXT_UNIT_CHANNELS;
}

static void strides_of(const sxt_tensor *tensor, uint32_t out_strides[3]) {
    for (int dim = 0; dim < 3; dim++)
        out_strides[dim] = sxt_plan_stride(tensor, dim);
}

static struct sxt_step_header header_of(const sxt_step *step) {
    const sxt_tensor *head = sxt_tensor_present(&step->q) ? &step->q : &step->k;
    const sxt_tensor *cache = step->k_cached ? &step->k_out : &step->v_out;
    struct sxt_step_header header = {
        .channels = sxt_tensor_present(head) ? head->shape[SXT_CHANNEL] : 0,
        .v_channels = sxt_tensor_present(&step->v) ? step->v.shape[SXT_CHANNEL] : 0,
        .rotary_dim = rotates(step) ? step->rope.rotary_dim : 0,
        .rotary_offset = rotates(step) ? step->rope.rotary_offset : 0,
        .magnitude = rotates(step) && !step->moved ? (float)sxt_rope_magnitude(&step->rope) : 1.0f,
        .eps = step->eps,
        .offset = step->offset,
        .planes = rotates(step) ? step->positions.shape[0] : 0,
        .k_scale = sxt_plan_stride(&step->k_scale, SXT_HEAD),
        .v_scale = sxt_plan_stride(&step->v_scale, SXT_HEAD),
    };
    strides_of(&step->q_weight, header.q_weight);
    strides_of(&step->k_weight, header.k_weight);
    if (!sxt_step_cached(step)) return header;
    header.cache_rows = cache->shape[SXT_TOKEN];
    if (sxt_tensor_present(&step->block_table)) header.cache_pages = cache->shape[SXT_BATCH];
    return header;
}

// FNV-1a from two starting points: 128 bits, so that different contents never meet in practice.
static uint64_t hash(uint64_t value, const void *data, size_t bytes) {
    const uint8_t *byte = data;
    for (size_t i = 0; i < bytes; i++)
        value = (value ^ byte[i]) * UINT64_C(0x100000001b3);
    return value;
}

typedef struct hashes {
    uint64_t first, second;
} hashes;

static void add(hashes *h, const void *data, size_t bytes) {
    h->first = hash(h->first, data, bytes);
    h->second = hash(h->second, data, bytes);
}

void sxt_step_table_plan(const sxt_step *step, sxt_table *out_table) {
    struct sxt_step_header header = header_of(step);
    const sxt_rope_params *rope = &step->rope;
    *out_table =
        (sxt_table){.bytes = (uint32_t)(sizeof header + sxt_step_rotary_units(step) * sizeof(struct sxt_step_unit))};
    hashes h = {UINT64_C(0xcbf29ce484222325), UINT64_C(0x6c62272e07bb0142)};
    add(&h, &header, sizeof header);
    if (rotates(step)) {
        const uint32_t words[] = {rope->original_context, (uint32_t)rope->multi,     rope->sections[0],
                                  rope->sections[1],      rope->sections[2],         rope->sections[3],
                                  rope->inverse,          rope->freq_factors != NULL};
        const float scalars[] = {rope->base, rope->freq_scale, rope->ext_factor, rope->beta_fast, rope->beta_slow};
        add(&h, words, sizeof words);
        add(&h, scalars, sizeof scalars);
        if (rope->freq_factors) add(&h, rope->freq_factors, rope->rotary_dim / 2 * sizeof *rope->freq_factors);
    }
    static_assert(4 + sizeof h <= SXT_MAX_TABLE_KEY, "a table's key");
    memcpy(out_table->key, "step", 4);
    memcpy(out_table->key + 4, &h, sizeof h);
    out_table->key_bytes = 4 + sizeof h;
}

// Turns per position without whole turns, as 64-bit fixed point; negative ones wrap to their complement.
static uint64_t turns_of(double radians) {
    const long double turn = 6.283185307179586476925286766559L;
    long double turns = (long double)radians / turn;
    turns -= floorl(turns);
    long double scaled = roundl(ldexpl(turns, 64));
    return scaled >= ldexpl(1, 64) ? 0 : (uint64_t)scaled;
}

void sxt_step_table_fill(const sxt_step *step, void *out_data) {
    struct sxt_step_header header = header_of(step);
    memcpy(out_data, &header, sizeof header);
    uint8_t *out_unit = (uint8_t *)out_data + sizeof header;
    for (uint32_t u = 0; u < sxt_step_rotary_units(step); u++) {
        struct sxt_step_unit unit = {0};
        uint32_t first = u * SXT_UNIT_PAIRS, pairs = step->rope.rotary_dim / 2;
        for (uint32_t i = 0; i < SXT_UNIT_PAIRS && first + i < pairs; i++) {
            uint64_t turns = turns_of(sxt_rope_frequency(&step->rope, first + i));
            unit.lo[i] = (uint32_t)turns;
            unit.hi[i] = (uint32_t)(turns >> 32);
            unit.axis[i] = sxt_rope_axis(&step->rope, first + i);
        }
        memcpy(out_unit + u * sizeof unit, &unit, sizeof unit);
    }
}
