#include "sextant/sextant.h"

const char *sxt_result_name(sxt_result result) {
    switch (result) {
    case SXT_OK:
        return "SXT_OK";
    case SXT_TIMEOUT:
        return "SXT_TIMEOUT";
    case SXT_ERROR_INVALID:
        return "SXT_ERROR_INVALID";
    case SXT_ERROR_UNSUPPORTED:
        return "SXT_ERROR_UNSUPPORTED";
    case SXT_ERROR_NO_DEVICE:
        return "SXT_ERROR_NO_DEVICE";
    case SXT_ERROR_OUT_OF_MEMORY:
        return "SXT_ERROR_OUT_OF_MEMORY";
    case SXT_ERROR_DEVICE_LOST:
        return "SXT_ERROR_DEVICE_LOST";
    case SXT_ERROR_DRIVER:
        return "SXT_ERROR_DRIVER";
    }
    return "unknown sxt_result";
}

uint32_t sxt_type_size(sxt_type type) {
    switch (type) {
    case SXT_TYPE_F32:
    case SXT_TYPE_I32:
        return 4;
    case SXT_TYPE_F16:
    case SXT_TYPE_BF16:
        return 2;
    case SXT_TYPE_Q8_0:
        return 34;
    case SXT_TYPE_Q4_0:
        return 18;
    case SXT_TYPE_FP8_E4M3:
        return 1;
    }
    return 0;
}

uint32_t sxt_type_block(sxt_type type) {
    return type == SXT_TYPE_Q8_0 || type == SXT_TYPE_Q4_0 ? 32 : sxt_type_size(type) != 0 ? 1 : 0;
}

const char *sxt_type_name(sxt_type type) {
    switch (type) {
    case SXT_TYPE_F32:
        return "f32";
    case SXT_TYPE_F16:
        return "f16";
    case SXT_TYPE_BF16:
        return "bf16";
    case SXT_TYPE_I32:
        return "i32";
    case SXT_TYPE_Q8_0:
        return "q8_0";
    case SXT_TYPE_Q4_0:
        return "q4_0";
    case SXT_TYPE_FP8_E4M3:
        return "fp8_e4m3";
    }
    return "unknown type";
}
