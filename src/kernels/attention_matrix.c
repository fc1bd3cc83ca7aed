// Attention on matrix units: shaders/attention_matrix.comp.
#include "kernels/attention_matrix.h"

#include "core/caps.h"
#include "interface/attention_matrix.h"

static bool is_half(sxt_type type) {
    return type != SXT_TYPE_F32 && type != SXT_TYPE_BF16;
}

// f16 holds all that it is asked to but bf16, whose range is larger.
uint32_t sxt_attention_component(const sxt_attention_desc *desc) {
    return desc->k.type == SXT_TYPE_BF16 ? SXT_COMPONENT_BF16 : SXT_COMPONENT_F16;
}

bool sxt_attention_suits_matrix(const sxt_caps *caps, const sxt_attention_desc *desc) {
    const bool halves = is_half(desc->k.type) && is_half(desc->v.type);
    const bool brains = desc->k.type == SXT_TYPE_BF16 && desc->v.type == SXT_TYPE_BF16;
    return caps->matrix && caps->fp16 && caps->storage16 && caps->subgroup_arithmetic && !desc->f32_products &&
           (halves || brains);
}

static bool fits_kernel(const sxt_matrix_shape *shape) {
    return !shape->flexible && shape->c_type == SXT_COMPONENT_F32 && shape->scope == SXT_SCOPE_SUBGROUP &&
           shape->m % 8 == 0 && shape->n % 8 == 0 && shape->k % 8 == 0 && shape->m <= 32 && 32 % shape->n == 0 &&
           32 % shape->k == 0;
}

// The driver's first choice among the shapes that the kernel can take; NULL if there is none.
static const sxt_matrix_shape *find_shape(const sxt_caps *caps, uint32_t component) {
    for (uint32_t i = 0; i < caps->matrix_shape_count; i++)
        if (caps->matrix_shapes[i].a_type == component && fits_kernel(&caps->matrix_shapes[i]))
            return &caps->matrix_shapes[i];
    return NULL;
}

bool sxt_attention_has_matrix(const sxt_caps *caps, const sxt_attention_desc *desc) {
    return sxt_attention_suits_matrix(caps, desc) && find_shape(caps, sxt_attention_component(desc)) != NULL;
}

// Rows start at multiples of 8 elements of the type that is multiplied, and so do they end.
static bool is_wide(const sxt_tensor *tensor, uint32_t component, uint32_t base, const uint32_t stride[3]) {
    const sxt_type type = component == SXT_COMPONENT_BF16 ? SXT_TYPE_BF16 : SXT_TYPE_F16;
    return tensor->type == type && (tensor->shape[SXT_CHANNEL] | base | stride[0] | stride[1] | stride[2]) % 8 == 0;
}

// What shaders/attention_matrix.comp declares.
static uint32_t shared_bytes(const sxt_attention_desc *desc, const sxt_matrix_tile *tile) {
    uint32_t q_pitch = tile->head / 8 + 1, k_pitch = tile->k_chunk / 8 + 1, p_pitch = tile->keys / 8 + 1;
    uint32_t v_octets = tile->turned_v ? tile->v_chunk * p_pitch : tile->keys * (tile->v_chunk / 8 + 1);
    uint32_t fragment = tile->m * tile->n, scratch = tile->row_groups * tile->column_groups * fragment / 4;
    uint32_t p_octets = sxt_larger(tile->rows * p_pitch, scratch);
    uint32_t k_octets = sxt_larger(tile->keys * k_pitch, scratch);
    uint32_t octets = (tile->held_q ? 1 : tile->rows * q_pitch) + k_octets + v_octets + p_octets;
    uint32_t words = 4 * octets + fragment + tile->rows * (4 + tile->column_groups) + 3;
    return 4 * (words + sxt_matrix_form_words(desc, tile));
}

uint32_t sxt_matrix_form_words(const sxt_attention_desc *desc, const sxt_matrix_tile *tile) {
    return (sxt_tensor_present(&desc->block_table) ? 4 * tile->keys : 1) +
           (sxt_tensor_present(&desc->mask) ? tile->rows * ((tile->keys + 31) / 32) + 3 : 2);
}

void sxt_matrix_cut_head(uint32_t channels, uint32_t unit, uint32_t most, uint32_t *out_head, uint32_t *out_chunk) {
    uint32_t chunks = (channels + most - 1) / most, chunk = (channels + chunks - 1) / chunks;
    *out_chunk = (chunk + unit - 1) / unit * unit;
    *out_head = (channels + *out_chunk - 1) / *out_chunk * *out_chunk;
}

// Pads and cuts the heads, and says whether the tile fits the device.
static bool fits(const sxt_caps *caps, const sxt_attention_desc *desc, uint32_t chunk, sxt_matrix_tile *tile) {
    sxt_matrix_cut_head(desc->q.shape[SXT_CHANNEL], tile->k, chunk, &tile->head, &tile->k_chunk);
    sxt_matrix_cut_head(desc->v.shape[SXT_CHANNEL], tile->n * tile->column_groups, chunk, &tile->v_head,
                        &tile->v_chunk);
    // A subgroup's scratch memory lies among the weights of its own rows.
    uint32_t own_octets = tile->rows / tile->row_groups * (tile->keys / 8 + 1);
    return tile->threads <= caps->max_invocations && tile->threads <= caps->max_group_size_x &&
           tile->keys % (tile->n * tile->column_groups) == 0 && tile->rows % (tile->m * tile->row_groups) == 0 &&
           own_octets * 4 >= tile->m * tile->n && (!tile->held_q || tile->k_chunk == tile->head) &&
           shared_bytes(desc, tile) <= caps->shared_bytes;
}

// Weights under a bound B are from 2^15·e^−2B to 2^15: in f16 they are normal numbers up to B = 10. (Its largest number
// is below 2^16, its smallest normal one 2^−14: 2B·log2(e) ≤ 29.) Beyond, the kernel looks whether they were large enough,
// and goes through a tile once more where they were not: see lib/matrix.glsl. Up to B = 16 a row whose e^s have a mean of
// 2^−3.9 needs none, and those of models have 1 and more.
enum { NORMAL_BOUND = 10, LARGEST_BOUND = 16 };

static bool bears_bound(const sxt_attention_desc *desc, float bound) {
    return bound > 0 && (sxt_attention_component(desc) == SXT_COMPONENT_BF16 || bound <= LARGEST_BOUND);
}

static bool needs_second_look(const sxt_attention_desc *desc, float bound) {
    return sxt_attention_component(desc) == SXT_COMPONENT_F16 && bound > NORMAL_BOUND && bears_bound(desc, bound);
}

typedef struct tile_choice {
    uint16_t most_channels; // of a head of K or V
    uint16_t rows, keys;
    uint8_t row_groups, column_groups;
    uint16_t chunk;
    bool held_q;
    bool extras; // softcap, bias, ALiBi, masks of bits, pages and second looks too, which want registers
} tile_choice;

enum { WHOLE = 576 };

// All tiles, by the devices that they are meant for.
static const tile_choice tiles[] = {
    // AMD and others: sizes that AMD's compiler (RADV, navi31: 256 registers) makes without spills, with four subgroups to
    // a SIMD or more: see tools/radv_report.sh. The output of 16 rows of 128 channels, and their queries, are half of its
    // registers.
    {64, 64, 32, 4, 1, WHOLE, true, true},
    {128, 64, 32, 4, 1, WHOLE, true, false},
    {128, 64, 32, 4, 2, WHOLE, false, true},
    {256, 64, 32, 4, 2, 128, false, true},
    {256, 32, 32, 2, 2, 128, false, true},
    {576, 16, 64, 1, 4, 64, false, true},
    {576, 16, 32, 1, 2, 64, false, true},
    // NVIDIA, whose subgroups have as many registers, and hold operands in half of them: more is fetched ahead. 48 KiB of
    // shared memory. Not measured yet.
    {128, 64, 64, 4, 1, WHOLE, true, false},
    {128, 64, 32, 4, 2, WHOLE, false, true},
    {256, 32, 32, 2, 2, 128, false, true},
    {576, 16, 64, 1, 4, 64, false, true},
    {576, 16, 32, 1, 2, 64, false, true},
    // Drivers on the CPU, which take as many seconds to compile a subgroup's part as it has matrices.
    {128, 16, 32, 2, 4, 32, true, true},
    {576, 16, 32, 2, 4, 64, false, true},
    {576, 8, 32, 1, 4, 64, false, true},
    {576, 16, 32, 1, 1, 64, false, true},
};
enum { OTHER_TILES = 0, NVIDIA_TILES = 7, SOFTWARE_TILES = 12, ALL_TILES = sizeof tiles / sizeof tiles[0] };
_Static_assert((int)ALL_TILES == (int)SXT_ATTENTION_MATRIX_TILES, "as many as can be asked for");

static bool take_tile(const sxt_caps *caps, const sxt_attention_desc *desc, const tile_choice *choice,
                      sxt_matrix_tile *tile) {
    tile->rows = choice->rows;
    tile->keys = choice->keys;
    tile->row_groups = choice->row_groups;
    tile->column_groups = choice->column_groups;
    tile->threads = tile->lanes * tile->row_groups * tile->column_groups;
    tile->held_q = choice->held_q;
    // Subgroups that share rows must. Drivers on the CPU (lavapipe 26.1) make a barrier of the workgroup of each of a
    // subgroup's own, where all have to come.
    tile->together = tile->column_groups > 1 || caps->software;
    return sxt_larger(desc->q.shape[SXT_CHANNEL], desc->v.shape[SXT_CHANNEL]) <= choice->most_channels &&
           fits(caps, desc, choice->chunk, tile);
}

static bool try_tile(const sxt_caps *caps, const sxt_attention_desc *desc, const tile_choice *choice,
                     sxt_matrix_tile *tile) {
    enum { FEW_ROWS = 16 };
    bool extras = needs_second_look(desc, desc->logit_bound) || desc->softcap > 0 || sxt_tensor_present(&desc->bias) ||
                  sxt_tensor_present(&desc->alibi_slopes) || sxt_tensor_present(&desc->mask) ||
                  sxt_tensor_present(&desc->block_table);
    bool few = sxt_attention_packed_rows(desc) <= FEW_ROWS;
    // With a split that the caller chose, the order of sums must not depend on the number of queries: what decides it is
    // the same for few rows and for many.
    bool invariant = caps->software || (choice->keys == 32 && choice->column_groups == 2);
    if (desc->split_keys > 0 && !invariant) return false;
    if ((extras && !choice->extras) || (few && choice->rows > FEW_ROWS)) return false;
    return take_tile(caps, desc, choice, tile);
}

static bool choose_tile(const sxt_caps *caps, const sxt_attention_desc *desc, sxt_matrix_tile *tile) {
    enum { VENDOR_NVIDIA = 0x10de };
    const bool nvidia = caps->vendor_id == VENDOR_NVIDIA;
    const int first = caps->software ? SOFTWARE_TILES : nvidia ? NVIDIA_TILES : OTHER_TILES;
    const int end = caps->software ? ALL_TILES : nvidia ? SOFTWARE_TILES : NVIDIA_TILES;
    tile->lanes = sxt_plan_matrix_lanes(caps);
    // NVIDIA's loads turn matrices on their way out of shared memory; others take 16 bits at a time.
    tile->turned_v = !nvidia;
    tile->ahead = nvidia;
    if (desc->tile > 0) return take_tile(caps, desc, &tiles[desc->tile - 1], tile);
    for (int i = first; i < end; i++)
        if (try_tile(caps, desc, &tiles[i], tile)) return true;
    return false;
}

sxt_result sxt_attention_plan_by_matrix(const sxt_caps *caps, const sxt_attention_desc *desc,
                                        const sxt_matrix_tile *tile, sxt_shader_id shader, const char *name,
                                        sxt_plan *plan) {
    sxt_attention_frame frame;
    sxt_result result = sxt_attention_frame_call(caps, desc, false, &frame, plan);
    if (result != SXT_OK) return result;

    struct sxt_attention_push *push = &frame.push;
    push->flags |= SXT_ATTENTION_ROWS_OUTER;
    sxt_dispatch *dispatch = &plan->dispatches[0];
    dispatch->shader = shader;
    dispatch->subgroup_size = caps->subgroup_size_control ? tile->lanes : 0;
    const uint32_t component = sxt_attention_component(desc);
    uint32_t *spec = dispatch->spec;
    spec[SXT_ATTENTION_SPEC_BOUNDED] = bears_bound(desc, frame.params.bound);
    spec[SXT_ATTENTION_SPEC_SECOND_LOOK] = needs_second_look(desc, frame.params.bound);
    spec[SXT_ATTENTION_SPEC_HEAD] = tile->head;
    spec[SXT_ATTENTION_SPEC_V_HEAD] = tile->v_head;
    spec[SXT_ATTENTION_SPEC_KEYS] = tile->keys;
    spec[SXT_ATTENTION_SPEC_LANES] = tile->lanes;
    spec[SXT_ATTENTION_SPEC_THREADS] = tile->threads;
    spec[SXT_ATTENTION_SPEC_MATRIX_M] = tile->m;
    spec[SXT_ATTENTION_SPEC_MATRIX_N] = tile->n;
    spec[SXT_ATTENTION_SPEC_MATRIX_K] = tile->k;
    spec[SXT_ATTENTION_SPEC_ROW_GROUPS] = tile->row_groups;
    spec[SXT_ATTENTION_SPEC_COLUMN_GROUPS] = tile->column_groups;
    spec[SXT_ATTENTION_SPEC_HELD_Q] = tile->held_q;
    spec[SXT_ATTENTION_SPEC_TOGETHER] = tile->together;
    spec[SXT_ATTENTION_SPEC_TURNED_V] = tile->turned_v;
    spec[SXT_ATTENTION_SPEC_AHEAD] = tile->ahead;
    spec[SXT_ATTENTION_SPEC_ROLLED] = caps->software;
    spec[SXT_ATTENTION_SPEC_K_CHUNK] = tile->k_chunk;
    spec[SXT_ATTENTION_SPEC_V_CHUNK] = tile->v_chunk;
    spec[SXT_ATTENTION_SPEC_WIDE_K] = is_wide(&desc->k, component, push->bases_main >> 8 & 0xff, push->k_stride);
    spec[SXT_ATTENTION_SPEC_WIDE_V] = is_wide(&desc->v, component, push->bases_main >> 16 & 0xff, push->v_stride);
    dispatch->spec_count = SXT_ATTENTION_SPEC_MATRIX_COUNT;
    const sxt_attention_tiling tiling = {.rows = tile->rows,
                                         .split_keys = sxt_attention_choose_split(caps, desc, tile->rows)};
    result = sxt_attention_lay_out(caps, desc, &tiling, &frame, plan);
    if (result != SXT_OK) return result;
    sxt_plan_name(plan, "attention.%s%s d%u %ux%ux%u rows %u keys %u groups %ux%u%s splits %u grid %ux%u%s", name,
                  spec[SXT_ATTENTION_SPEC_BOUNDED] ? ".bounded" : "", tile->head, tile->m, tile->n, tile->k, tile->rows,
                  tile->keys, tile->row_groups, tile->column_groups, tile->held_q ? " q held" : "", dispatch->groups[2],
                  dispatch->groups[0], dispatch->groups[1], plan->parts > 1 ? " in parts" : "");
    return SXT_OK;
}

sxt_result sxt_attention_plan_matrix(const sxt_caps *caps, const sxt_attention_desc *desc, sxt_plan *plan) {
    if (!sxt_attention_has_matrix(caps, desc))
        return sxt_plan_unsupported(plan, "attention: no matrix units for these types");
    const uint32_t component = sxt_attention_component(desc);
    const sxt_matrix_shape *shape = find_shape(caps, component);
    sxt_matrix_tile tile = {.m = shape->m, .n = shape->n, .k = shape->k};
    if (!choose_tile(caps, desc, &tile))
        return sxt_plan_unsupported(plan, "attention: matrix units, and too little shared memory for them");
    return sxt_attention_plan_by_matrix(caps, desc, &tile,
                                        component == SXT_COMPONENT_BF16 ? SXT_SHADER_ATTENTION_MATRIX_BF16
                                                                        : SXT_SHADER_ATTENTION_MATRIX,
                                        "matrix", plan);
}
