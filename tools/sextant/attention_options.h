// The options of attention that `verify` pairs with each other, and which of them exclude each other.
#ifndef SXT_TOOL_ATTENTION_OPTIONS_H
#define SXT_TOOL_ATTENTION_OPTIONS_H

#include "cover.h"
#include "sextant/sextant.h"

typedef enum sxt_attention_option {
    SXT_OPTION_MASK,
    SXT_OPTION_BIAS,
    SXT_OPTION_BITS,
    SXT_OPTION_SOFTCAP,
    SXT_OPTION_ALIBI,
    SXT_OPTION_SINKS,
    SXT_OPTION_LSE,
    SXT_OPTION_SCALE,
    SXT_OPTION_Q_TYPE, // values of the types: sxt_type
    SXT_OPTION_O_TYPE,
    SXT_OPTION_K_TYPE, // values: places in sxt_attention_kv_types
    SXT_OPTION_V_TYPE, // likewise, or SXT_V_IN_K
    SXT_OPTION_LAYOUT,
    SXT_OPTION_SEQUENCES,
    SXT_OPTION_GROUP,
    SXT_OPTION_DIM,
    SXT_OPTION_V_DIM,
    SXT_OPTION_LENGTH,
    SXT_OPTION_BOUND,
    SXT_OPTION_SPLIT,
    SXT_OPTION_COUNT
} sxt_attention_option;

enum { SXT_OFF, SXT_ON }; // softcap, ALiBi, sinks, lse, scale given, logit_bound, split_keys
enum { SXT_MASK_NONE, SXT_MASK_CAUSAL, SXT_MASK_LEFT, SXT_MASK_BOTH, SXT_MASK_CAUSAL_LEFT, SXT_MASKS };
enum { SXT_BIAS_NONE, SXT_BIAS_F32, SXT_BIAS_F16, SXT_BIAS_BROADCAST, SXT_BIASES };
enum { SXT_BITS_NONE, SXT_BITS_FULL, SXT_BITS_BROADCAST, SXT_BITS };
enum { SXT_V_IN_K = 6, SXT_KV_TYPES = 6 };
enum { SXT_LAYOUT_DENSE, SXT_LAYOUT_HEADS_FIRST, SXT_LAYOUT_ODD, SXT_LAYOUTS };
enum {
    SXT_SEQUENCES_BATCH,
    SXT_SEQUENCES_LENGTHS,
    SXT_SEQUENCES_PAGED,
    SXT_SEQUENCES_CU_Q,
    SXT_SEQUENCES_CU_Q_LENGTHS,
    SXT_SEQUENCES_CU_Q_PAGED,
    SXT_SEQUENCES_CU_BOTH,
    SXT_SEQUENCES
};
enum { SXT_GROUP_1, SXT_GROUP_2, SXT_GROUP_SOME, SXT_GROUP_MANY, SXT_GROUPS };
// quad: a multiple of 4 and not of 32, which q8_0 and q4_0 cannot have; wide: that above 256.
enum { SXT_DIM_64, SXT_DIM_128, SXT_DIM_256, SXT_DIM_576, SXT_DIM_BLOCKS, SXT_DIM_QUAD, SXT_DIM_WIDE, SXT_DIMS };
enum { SXT_V_DIM_SAME, SXT_V_DIM_BLOCKS, SXT_V_DIM_QUAD, SXT_V_DIMS };
enum {
    SXT_LENGTH_EMPTY,
    SXT_LENGTH_ONE,
    SXT_LENGTH_DECODE,
    SXT_LENGTH_EDGES,
    SXT_LENGTH_ANY,
    SXT_LENGTH_LONG,
    SXT_LENGTHS
};

extern const sxt_type sxt_attention_kv_types[SXT_KV_TYPES];

// The rows that `verify` goes through. Made at the first call; not thread-safe.
const sxt_cover *sxt_attention_cover(void);

#endif
