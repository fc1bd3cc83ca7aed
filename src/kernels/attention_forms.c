#include "kernels/kernels.h"

static bool readable(const sxt_tensor *tensor) {
    return tensor->type != SXT_TYPE_Q4_0 && tensor->type != SXT_TYPE_FP8_E4M3;
}

const char *sxt_attention_missing_form(const sxt_attention_desc *desc) {
    enum { HEAD_DIM_MAX = 256 };
    if (sxt_tensor_present(&desc->mask)) return "no kernel reads a mask of bits";
    if (sxt_tensor_present(&desc->cu_seqlens_q)) return "no kernel reads cu_seqlens_q and cu_seqlens_k";
    if (sxt_tensor_present(&desc->block_table)) return "no kernel reads a block_table";
    if (sxt_tensor_present(&desc->kv_lengths)) return "no kernel reads kv_lengths";
    if (!readable(&desc->k) || !readable(&desc->v)) return "no kernel reads k and v in q4_0 or fp8_e4m3";
    if (desc->q.shape[SXT_CHANNEL] > HEAD_DIM_MAX || desc->v.shape[SXT_CHANNEL] > HEAD_DIM_MAX)
        return "no kernel takes heads of more than 256 channels";
    return NULL;
}
