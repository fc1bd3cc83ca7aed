// What the planners of attention on matrix units share.
#ifndef SXT_KERNELS_ATTENTION_MATRIX_H
#define SXT_KERNELS_ATTENTION_MATRIX_H

#include "core/caps.h"
#include "kernels/attention.h"

// A tile, and how the kernel goes through it: see interface/attention_matrix.h.
typedef struct sxt_matrix_tile {
    uint32_t m, n, k;          // the device's product, or what its sides are multiples of
    uint32_t head, v_head;     // channels, padded
    uint32_t k_chunk, v_chunk; // of these, staged at a time
    uint32_t lanes, threads;   // of a subgroup, of a workgroup
    uint32_t rows, keys;
    uint32_t row_groups, column_groups; // subgroups
    bool held_q, turned_v, ahead, together;
} sxt_matrix_tile;

// Whether the device has what the kernels take beside a shape, and the types can be multiplied.
bool sxt_attention_suits_matrix(const sxt_caps *caps, const sxt_attention_desc *desc);

// The type of products: SXT_COMPONENT_F16 or SXT_COMPONENT_BF16.
uint32_t sxt_attention_component(const sxt_attention_desc *desc);

// Pads channels and cuts them into equal chunks of about `most` channels, in whole units.
void sxt_matrix_cut_head(uint32_t channels, uint32_t unit, uint32_t most, uint32_t *out_head, uint32_t *out_chunk);

// Words of shared memory that forms take: rows of pages, bits of masks.
uint32_t sxt_matrix_form_words(const sxt_attention_desc *desc, const sxt_matrix_tile *tile);

// Plans the call by this tile and kernel, `name` among the variants.
sxt_result sxt_attention_plan_by_matrix(const sxt_caps *caps, const sxt_attention_desc *desc,
                                        const sxt_matrix_tile *tile, sxt_shader_id shader, const char *name,
                                        sxt_plan *plan);

#endif
