// Attention on matrix units by VK_NV_cooperative_matrix2: shaders/attention_matrix2.comp.
#include "kernels/attention_matrix.h"

typedef struct tile_choice {
    uint32_t scope;
    uint16_t most_channels; // of a head of K or V
    uint16_t rows, keys;
    uint16_t threads; // of scope workgroup
    uint8_t groups;   // of scope subgroup: subgroups that share the rows
    uint16_t chunk;
    bool held_q;
} tile_choice;

enum { WHOLE = 576, WORKGROUP = SXT_SCOPE_WORKGROUP, SUBGROUP = SXT_SCOPE_SUBGROUP };

// All tiles, by the devices that they are meant for.
static const tile_choice tiles[] = {
    // GPUs, within 48 KiB of shared memory. Not measured yet: sxt_tune is to say which is the best.
    {WORKGROUP, 128, 64, 64, 128, 1, WHOLE, true},
    {WORKGROUP, 128, 64, 64, 256, 1, WHOLE, true},
    {WORKGROUP, 128, 128, 32, 256, 1, 64, true},
    {WORKGROUP, 128, 64, 32, 128, 1, WHOLE, true},
    {WORKGROUP, 256, 64, 32, 256, 1, 128, true},
    {WORKGROUP, 256, 32, 32, 128, 1, 128, true},
    {WORKGROUP, 576, 32, 32, 256, 1, 96, true},
    {WORKGROUP, 576, 16, 32, 128, 1, 96, true},
    {SUBGROUP, 128, 64, 64, 0, 4, WHOLE, true},
    {SUBGROUP, 128, 64, 32, 0, 4, WHOLE, true},
    {SUBGROUP, 256, 32, 32, 0, 2, 128, false},
    {SUBGROUP, 576, 16, 32, 0, 1, 64, false},
    // Drivers on the CPU, which take as many seconds to compile a subgroup's part as it has small matrices.
    {SUBGROUP, 128, 16, 16, 0, 2, 16, true},
    {SUBGROUP, 576, 16, 16, 0, 2, 8, false},
};
enum { SOFTWARE_TILES = 12, ALL_TILES = sizeof tiles / sizeof tiles[0] };
_Static_assert((int)ALL_TILES == (int)SXT_ATTENTION_MATRIX2_TILES, "as many as can be asked for");

// What shaders/attention_matrix2.comp declares.
static uint32_t shared_bytes(const sxt_attention_desc *desc, const sxt_matrix_tile *tile) {
    uint32_t q_pitch = tile->head / 8 + 1, k_pitch = tile->k_chunk / 8 + 1, p_pitch = tile->keys / 8 + 1;
    uint32_t k_octets = sxt_larger(tile->keys * k_pitch, tile->rows * p_pitch);
    if (tile->held_q) k_octets = sxt_larger(k_octets, tile->rows * k_pitch);
    uint32_t octets = (tile->held_q ? 1 : tile->rows * q_pitch) + k_octets + tile->keys * (tile->v_chunk / 8 + 1);
    return 4 * (4 * octets + 5 * tile->rows + 3 + sxt_matrix_form_words(desc, tile));
}

// A flexible shape of which the tile's matrices are multiples: NULL if there is none. Mesa 26.1 reduces all rows but those
// of the first small matrix wrongly.
static const sxt_matrix_shape *find_shape(const sxt_caps *caps, const sxt_attention_desc *desc,
                                          const tile_choice *choice) {
    const uint32_t rows = choice->rows / choice->groups;
    for (uint32_t i = 0; i < caps->matrix_shape_count; i++) {
        const sxt_matrix_shape *s = &caps->matrix_shapes[i];
        if (s->flexible && s->a_type == sxt_attention_component(desc) && s->c_type == SXT_COMPONENT_F32 &&
            s->scope == choice->scope && s->threads == choice->threads && rows % s->m == 0 &&
            (rows == s->m || !caps->software) && choice->keys % s->n == 0 && choice->keys % s->k == 0 &&
            caps->matrix2_most >= sxt_larger(rows, choice->keys))
            return s;
    }
    return NULL;
}

static bool take_tile(const sxt_caps *caps, const sxt_attention_desc *desc, const tile_choice *choice,
                      sxt_matrix_tile *tile) {
    const uint32_t channels = desc->q.shape[SXT_CHANNEL], v_channels = desc->v.shape[SXT_CHANNEL];
    const sxt_matrix_shape *shape = find_shape(caps, desc, choice);
    if (shape == NULL || sxt_larger(channels, v_channels) > choice->most_channels) return false;
    const uint32_t lanes = sxt_plan_matrix_lanes(caps);
    *tile = (sxt_matrix_tile){.m = shape->m,
                              .n = shape->n,
                              .k = shape->k,
                              .lanes = lanes,
                              .threads = choice->scope == WORKGROUP ? choice->threads : lanes * choice->groups,
                              .rows = choice->rows,
                              .keys = choice->keys,
                              .row_groups = choice->groups,
                              .column_groups = 1,
                              .held_q = choice->held_q,
                              .ahead = !caps->software};
    // Rows are staged by octets.
    sxt_matrix_cut_head(channels, sxt_larger(shape->k, 8), choice->chunk, &tile->head, &tile->k_chunk);
    sxt_matrix_cut_head(v_channels, sxt_larger(shape->n, 8), choice->chunk, &tile->v_head, &tile->v_chunk);
    const uint32_t reserved = choice->scope == WORKGROUP ? caps->matrix2_shared_bytes : 0;
    return tile->threads <= caps->max_invocations && tile->threads <= caps->max_group_size_x &&
           tile->threads % lanes == 0 && sxt_larger(tile->k_chunk, tile->v_chunk) <= caps->matrix2_most &&
           shared_bytes(desc, tile) + reserved <= caps->shared_bytes;
}

// Few rows take a tile of few, if there is one. With a split that the caller chose, the order of sums must not depend on
// the number of queries: then what decides is the same for few rows and for many.
static const tile_choice *choose_tile(const sxt_caps *caps, const sxt_attention_desc *desc, sxt_matrix_tile *tile) {
    enum { FEW_ROWS = 16 };
    const int first = caps->software ? SOFTWARE_TILES : 0, end = caps->software ? ALL_TILES : SOFTWARE_TILES;
    const bool few = desc->split_keys == 0 && sxt_attention_packed_rows(desc) <= FEW_ROWS;
    if (desc->tile > 0) return take_tile(caps, desc, &tiles[desc->tile - 1], tile) ? &tiles[desc->tile - 1] : NULL;
    for (int i = first; i < end && few; i++)
        if (tiles[i].rows <= FEW_ROWS && take_tile(caps, desc, &tiles[i], tile)) return &tiles[i];
    for (int i = first; i < end; i++)
        if (take_tile(caps, desc, &tiles[i], tile)) return &tiles[i];
    return NULL;
}

sxt_result sxt_attention_plan_matrix2(const sxt_caps *caps, const sxt_attention_desc *desc, sxt_plan *plan) {
    static const sxt_shader_id shaders[2][2] = {
        {SXT_SHADER_ATTENTION_MATRIX2, SXT_SHADER_ATTENTION_MATRIX2_BF16},
        {SXT_SHADER_ATTENTION_MATRIX2_WORKGROUP, SXT_SHADER_ATTENTION_MATRIX2_WORKGROUP_BF16}};
    if (!caps->matrix2)
        return sxt_plan_unsupported(plan, "attention: the device has no VK_NV_cooperative_matrix2 with flexible sides");
    if (!sxt_attention_suits_matrix(caps, desc))
        return sxt_plan_unsupported(plan, "attention: no matrix units for these types");
    sxt_matrix_tile tile;
    const tile_choice *choice = choose_tile(caps, desc, &tile);
    if (choice == NULL)
        return sxt_plan_unsupported(plan, "attention: no flexible matrices for a tile, or too little shared memory");
    const bool whole = choice->scope == WORKGROUP;
    return sxt_attention_plan_by_matrix(caps, desc, &tile,
                                        shaders[whole][sxt_attention_component(desc) == SXT_COMPONENT_BF16],
                                        whole ? "matrix2.workgroup" : "matrix2", plan);
}
