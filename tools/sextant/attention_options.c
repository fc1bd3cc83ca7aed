#include "attention_options.h"

const sxt_type sxt_attention_kv_types[SXT_KV_TYPES] = {SXT_TYPE_F32,  SXT_TYPE_F16,  SXT_TYPE_BF16,
                                                       SXT_TYPE_Q8_0, SXT_TYPE_Q4_0, SXT_TYPE_FP8_E4M3};

// Rows of blocks hold whole ones: 32 channels. What is not set yet excludes nothing.
static bool allowed(const sxt_cover_row *row) {
    const int8_t *value = row->value;
    int k = value[SXT_OPTION_K_TYPE], v = value[SXT_OPTION_V_TYPE], dim = value[SXT_OPTION_DIM],
        v_dim = value[SXT_OPTION_V_DIM];
    bool k_blocks = k >= 0 && sxt_type_block(sxt_attention_kv_types[k]) > 1;
    bool v_blocks = v == SXT_V_IN_K ? k_blocks : v >= 0 && sxt_type_block(sxt_attention_kv_types[v]) > 1;
    bool dim_odd = dim == SXT_DIM_QUAD || dim == SXT_DIM_WIDE;
    bool v_dim_odd = v_dim == SXT_V_DIM_QUAD || (v_dim == SXT_V_DIM_SAME && dim_odd);
    return !(k_blocks && dim_odd) && !(v_blocks && v_dim_odd);
}

const sxt_cover *sxt_attention_cover(void) {
    static const sxt_cover_space space = {
        .option_count = SXT_OPTION_COUNT,
        .value_counts =
            {
                [SXT_OPTION_MASK] = SXT_MASKS,
                [SXT_OPTION_BIAS] = SXT_BIASES,
                [SXT_OPTION_BITS] = SXT_BITS,
                [SXT_OPTION_SOFTCAP] = 2,
                [SXT_OPTION_ALIBI] = 2,
                [SXT_OPTION_SINKS] = 2,
                [SXT_OPTION_LSE] = 2,
                [SXT_OPTION_SCALE] = 2,
                [SXT_OPTION_Q_TYPE] = 3,
                [SXT_OPTION_O_TYPE] = 3,
                [SXT_OPTION_K_TYPE] = SXT_KV_TYPES,
                [SXT_OPTION_V_TYPE] = SXT_V_IN_K + 1,
                [SXT_OPTION_LAYOUT] = SXT_LAYOUTS,
                [SXT_OPTION_SEQUENCES] = SXT_SEQUENCES,
                [SXT_OPTION_GROUP] = SXT_GROUPS,
                [SXT_OPTION_DIM] = SXT_DIMS,
                [SXT_OPTION_V_DIM] = SXT_V_DIMS,
                [SXT_OPTION_LENGTH] = SXT_LENGTHS,
                [SXT_OPTION_BOUND] = 2,
                [SXT_OPTION_SPLIT] = 2,
            },
        .allowed = allowed,
    };
    static sxt_cover cover;
    if (cover.row_count == 0) sxt_cover_make(&space, &cover);
    return &cover;
}
