// The interface headers say the same to C and to GLSL: every struct of shaders/interface/ that a SPIR-V module lays
// out in memory has the members and offsets of the C struct, and no block of push constants or params goes unchecked.
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "interface/attention.h"
#include "interface/attention_merge.h"
#include "interface/kv_copy.h"
#include "interface/norm.h"
#include "interface/rate.h"
#include "interface/step.h"
#include "vulkan/plan.h"

typedef struct field {
    const char *type, *member;
    size_t offset;
} field;

#define FIELD(type, member)                                                                                            \
    { #type, #member, offsetof(struct type, member) }

static const field fields[] = {
    FIELD(sxt_view, base),
    FIELD(sxt_view, batch),
    FIELD(sxt_view, token),
    FIELD(sxt_view, head),

    FIELD(sxt_norm_push, x),
    FIELD(sxt_norm_push, y),
    FIELD(sxt_norm_push, weight),
    FIELD(sxt_norm_push, bias),
    FIELD(sxt_norm_push, residual),
    FIELD(sxt_norm_push, residual_out),
    FIELD(sxt_norm_push, rows),
    FIELD(sxt_norm_push, tokens),
    FIELD(sxt_norm_push, heads),
    FIELD(sxt_norm_push, channels),
    FIELD(sxt_norm_push, eps),
    FIELD(sxt_norm_push, offset),

    FIELD(sxt_step_header, channels),
    FIELD(sxt_step_header, v_channels),
    FIELD(sxt_step_header, rotary_dim),
    FIELD(sxt_step_header, rotary_offset),
    FIELD(sxt_step_header, magnitude),
    FIELD(sxt_step_header, eps),
    FIELD(sxt_step_header, offset),
    FIELD(sxt_step_header, planes),
    FIELD(sxt_step_header, q_weight),
    FIELD(sxt_step_header, k_weight),
    FIELD(sxt_step_header, cache_rows),
    FIELD(sxt_step_header, cache_pages),
    FIELD(sxt_step_header, k_scale),
    FIELD(sxt_step_header, v_scale),
    FIELD(sxt_step_header, unused),

    FIELD(sxt_step_unit, lo),
    FIELD(sxt_step_unit, hi),
    FIELD(sxt_step_unit, axis),

    FIELD(sxt_step_push, bases),
    FIELD(sxt_step_push, q),
    FIELD(sxt_step_push, k),
    FIELD(sxt_step_push, v),
    FIELD(sxt_step_push, q_out),
    FIELD(sxt_step_push, k_out),
    FIELD(sxt_step_push, v_out),
    FIELD(sxt_step_push, rows),
    FIELD(sxt_step_push, tokens),
    FIELD(sxt_step_push, positions_plane),
    FIELD(sxt_step_push, positions_batch),
    FIELD(sxt_step_push, slots_batch),
    FIELD(sxt_step_push, first_row),
    FIELD(sxt_step_push, table_pages),
    FIELD(sxt_step_push, table_batch),
    FIELD(sxt_step_push, q_heads),
    FIELD(sxt_step_push, kv_heads),

    FIELD(sxt_rate_push, trips),
    FIELD(sxt_rate_push, factor),
    FIELD(sxt_rate_push, addend),
    FIELD(sxt_rate_push, never),

    FIELD(sxt_kv_copy_push, k_from),
    FIELD(sxt_kv_copy_push, k_to),
    FIELD(sxt_kv_copy_push, v_from),
    FIELD(sxt_kv_copy_push, v_to),
    FIELD(sxt_kv_copy_push, from_base),
    FIELD(sxt_kv_copy_push, to_base),
    FIELD(sxt_kv_copy_push, groups),
    FIELD(sxt_kv_copy_push, k_groups),
    FIELD(sxt_kv_copy_push, move_rows),
    FIELD(sxt_kv_copy_push, from_rows),
    FIELD(sxt_kv_copy_push, to_rows),
    FIELD(sxt_kv_copy_push, from_count),
    FIELD(sxt_kv_copy_push, to_count),
    FIELD(sxt_kv_copy_push, heads),
    FIELD(sxt_kv_copy_push, k_pieces),
    FIELD(sxt_kv_copy_push, v_pieces),

    FIELD(sxt_attention_push, part),
    FIELD(sxt_attention_push, q_tokens),
    FIELD(sxt_attention_push, k_tokens),
    FIELD(sxt_attention_push, kv_heads),
    FIELD(sxt_attention_push, group),
    FIELD(sxt_attention_push, tiles),
    FIELD(sxt_attention_push, flags),
    FIELD(sxt_attention_push, dims),
    FIELD(sxt_attention_push, bases_main),
    FIELD(sxt_attention_push, bases_extra),
    FIELD(sxt_attention_push, q_stride),
    FIELD(sxt_attention_push, k_stride),
    FIELD(sxt_attention_push, v_stride),
    FIELD(sxt_attention_push, o_stride),
    FIELD(sxt_attention_push, lse_stride),
    FIELD(sxt_attention_push, bias_stride),
    FIELD(sxt_attention_push, window_left),
    FIELD(sxt_attention_push, window_right),
    FIELD(sxt_attention_push, q_scale),
    FIELD(sxt_attention_push, softcap),

    FIELD(sxt_attention_params, part_tiles),
    FIELD(sxt_attention_params, part_splits),
    FIELD(sxt_attention_params, splits),
    FIELD(sxt_attention_params, split_keys),
    FIELD(sxt_attention_params, bound),
    FIELD(sxt_attention_params, sequences),
    FIELD(sxt_attention_params, q_all),
    FIELD(sxt_attention_params, k_all),
    FIELD(sxt_attention_params, page_rows),
    FIELD(sxt_attention_params, pages),
    FIELD(sxt_attention_params, table_stride),
    FIELD(sxt_attention_params, mask_batch),
    FIELD(sxt_attention_params, mask_head),
    FIELD(sxt_attention_params, mask_token),
    FIELD(sxt_attention_params, k_scale_head),
    FIELD(sxt_attention_params, v_scale_head),
    FIELD(sxt_attention_params, bases_forms),
    FIELD(sxt_attention_params, bases_scales),

    FIELD(sxt_merge_push, o_a),
    FIELD(sxt_merge_push, lse_a),
    FIELD(sxt_merge_push, o_b),
    FIELD(sxt_merge_push, lse_b),
    FIELD(sxt_merge_push, o),
    FIELD(sxt_merge_push, lse),
    FIELD(sxt_merge_push, rows),
    FIELD(sxt_merge_push, tokens),
    FIELD(sxt_merge_push, heads),
    FIELD(sxt_merge_push, channels),
};

enum { FIELD_COUNT = sizeof fields / sizeof fields[0] };

static uint32_t c_members(const char *type) {
    uint32_t count = 0;
    for (int i = 0; i < FIELD_COUNT; i++)
        count += strcmp(fields[i].type, type) == 0;
    return count;
}

// ── SPIR-V, as far as it is needed ──

enum {
    OP_NAME = 5,
    OP_MEMBER_NAME = 6,
    OP_TYPE_ARRAY = 28,
    OP_TYPE_STRUCT = 30,
    OP_TYPE_POINTER = 32,
    OP_VARIABLE = 59,
    OP_DECORATE = 71,
    OP_MEMBER_DECORATE = 72,
    DECORATION_SPEC_ID = 1,
    DECORATION_OFFSET = 35,
    STORAGE_UNIFORM = 2,
    STORAGE_PUSH_CONSTANT = 9,
    HEADER_WORDS = 5,
};

typedef struct module {
    const char *name;
    const uint32_t *words;
    size_t count;
} module;

// The next instruction with that opcode after `at` (0: from the start) whose first operand is `id`, if `id` is not 0.
static const uint32_t *next(const module *m, const uint32_t *at, uint32_t op, uint32_t id) {
    const uint32_t *end = m->words + m->count;
    for (at = at ? at + (*at >> 16) : m->words + HEADER_WORDS; at < end; at += *at >> 16) {
        cr_assert(*at >> 16 > 0, "%s: an instruction of no words", m->name);
        if ((*at & 0xffff) == op && (id == 0 || at[1] == id)) return at;
    }
    return NULL;
}

static const char *name_of(const module *m, uint32_t id) {
    const uint32_t *name = next(m, NULL, OP_NAME, id);
    return name ? (const char *)&name[2] : "";
}

static const char *member_name(const module *m, uint32_t id, uint32_t member) {
    const uint32_t *name = NULL;
    while ((name = next(m, name, OP_MEMBER_NAME, id)))
        if (name[2] == member) return (const char *)&name[3];
    return "";
}

// The number of members that are laid out otherwise than in C.
static uint32_t faults_of_struct(const module *m, uint32_t id, uint32_t *out_members) {
    uint32_t faults = 0;
    const char *type = name_of(m, id);
    *out_members = 0;
    for (const uint32_t *d = NULL; (d = next(m, d, OP_MEMBER_DECORATE, id));) {
        if (d[3] != DECORATION_OFFSET) continue;
        const char *member = member_name(m, id, d[2]);
        bool same = false;
        for (int i = 0; i < FIELD_COUNT && !same; i++)
            same =
                strcmp(fields[i].type, type) == 0 && strcmp(fields[i].member, member) == 0 && fields[i].offset == d[4];
        if (!same) fprintf(stderr, "%s: %s.%s at byte %u is not so in C\n", m->name, type, member, d[4]);
        faults += !same;
        *out_members += 1;
    }
    return faults;
}

typedef struct summary {
    uint32_t structs, pushes, faults;
} summary;

static summary check(const module *m) {
    summary sum = {0};
    for (const uint32_t *s = NULL; (s = next(m, s, OP_TYPE_STRUCT, 0));) {
        uint32_t c = c_members(name_of(m, s[1])), members;
        if (c == 0) continue;
        uint32_t faults = faults_of_struct(m, s[1], &members);
        if (members == 0) // a copy in registers, which has no layout
            continue;
        cr_expect_eq(members, c, "%s: %s has %u members, in C %u", m->name, name_of(m, s[1]), members, c);
        sum.structs++;
        sum.faults += faults;
    }
    // A block of push constants or of params has one member, of a struct that the table knows. (The other kind of
    // uniform block is an array of addresses.)
    for (const uint32_t *v = NULL; (v = next(m, v, OP_VARIABLE, 0));) {
        if (v[3] != STORAGE_PUSH_CONSTANT && v[3] != STORAGE_UNIFORM) continue;
        const uint32_t *pointer = next(m, NULL, OP_TYPE_POINTER, v[1]);
        const uint32_t *block = next(m, NULL, OP_TYPE_STRUCT, pointer[3]);
        if (v[3] == STORAGE_UNIFORM && next(m, NULL, OP_TYPE_ARRAY, block[2])) continue;
        sum.pushes += v[3] == STORAGE_PUSH_CONSTANT;
        cr_expect_eq(*block >> 16, 3u, "%s: a block has several members", m->name);
        cr_expect_gt(c_members(name_of(m, block[2])), 0u, "%s: a block is a '%s', which is not in the table", m->name,
                     name_of(m, block[2]));
    }
    return sum;
}

static module module_of(const sxt_shader *shader) {
    return (module){shader->name, shader->words, shader->bytes / sizeof(uint32_t)};
}

Test(interface, every_module_lays_structs_out_as_c_does) {
    for (unsigned i = 0; i < sxt_shader_count; i++) {
        module m = module_of(&sxt_shaders[i]);
        summary sum = check(&m);
        cr_expect_eq(sum.pushes, 1u, "%s: %u push blocks", m.name, sum.pushes);
        cr_expect_eq(sum.faults, 0u, "%s: %u members differ", m.name, sum.faults);
    }
}

Test(interface, specialisation_constants_fit_a_plan) {
    for (unsigned i = 0; i < sxt_shader_count; i++) {
        module m = module_of(&sxt_shaders[i]);
        for (const uint32_t *d = NULL; (d = next(&m, d, OP_DECORATE, 0));)
            if (d[2] == DECORATION_SPEC_ID)
                cr_expect_lt(d[3], (uint32_t)SXT_MAX_SPEC, "%s: constant_id %u", m.name, d[3]);
    }
}

// Negative control: moves one member of a copy of a module.
Test(interface, a_moved_member_is_found) {
    const sxt_shader *shader = &sxt_shaders[SXT_SHADER_NORM];
    uint32_t *words = malloc(shader->bytes);
    cr_assert_not_null(words);
    memcpy(words, shader->words, shader->bytes);
    module m = {shader->name, words, shader->bytes / sizeof(uint32_t)};
    uint32_t moved = 0;
    for (const uint32_t *d = NULL; (d = next(&m, d, OP_MEMBER_DECORATE, 0)) && !moved;)
        if (d[3] == DECORATION_OFFSET && strcmp(name_of(&m, d[1]), "sxt_norm_push") == 0 && d[2] == 7)
            words[d - words + 4] += 4, moved++;
    cr_assert_eq(moved, 1u);
    cr_expect_eq(check(&m).faults, 1u);
    free(words);
}
