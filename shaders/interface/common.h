// What every interface header leans on: fixed-width scalars under one name in C and in GLSL, and the type codes.
#ifndef SXT_INTERFACE_COMMON_H
#define SXT_INTERFACE_COMMON_H

#ifdef VULKAN // GLSL
#define SXT_U32 uint
#define SXT_I32 int
#define SXT_F32 float
#define SXT_U32X4(name) uvec4 name
#define SXT_ASSERT_PUSH(type, size)
#else
#include <assert.h>
#include <stdint.h>
#define SXT_U32 uint32_t
#define SXT_I32 int32_t
#define SXT_F32 float
#define SXT_U32X4(name) uint32_t name[4]
// Push constants have the same size on both sides, and never more than Vulkan guarantees.
#define SXT_ASSERT_PUSH(type, size)                                                                                    \
    static_assert(sizeof(struct type) == (size) && (size) <= 128, "push constants of " #type)
#endif

// How many buffers a dispatch can name: descriptors, or addresses in the uniform buffer that replaces them.
#define SXT_ADDRESS_SLOTS 16
// Where the uniform buffer lies that holds what push constants have no room for, in dispatches that have one.
#define SXT_PARAMS_BINDING 16

// Bits of the device's fault word: sxt_fault.
#define SXT_FAULT_BIT_INDEX 1
#define SXT_FAULT_BIT_LOGIT 2

// Storage types as specialisation constants: the values of sxt_type.
#define SXT_STORE_F32 0
#define SXT_STORE_F16 1
#define SXT_STORE_BF16 2
#define SXT_STORE_I32 3
#define SXT_STORE_Q8_0 4
#define SXT_STORE_Q4_0 5
#define SXT_STORE_FP8_E4M3 6
#define SXT_STORE_NONE 15 // of an optional tensor that is absent

#endif
