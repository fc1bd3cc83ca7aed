// A plan: what the runtime is to dispatch for one operation, as plain data. Kernels make plans from capabilities and a
// description, without any Vulkan handle; the runtime binds, puts barriers by the ranges and dispatches.
#ifndef SXT_VULKAN_PLAN_H
#define SXT_VULKAN_PLAN_H

#include "sextant/sextant.h"

#include "interface/common.h"
#include "sxt_shaders.h"

enum {
    SXT_MAX_BINDINGS = SXT_ADDRESS_SLOTS,
    SXT_MAX_SPEC = 32,
    SXT_MAX_PUSH = 128,
    SXT_MAX_PARAMS = 128,
    SXT_MAX_DISPATCHES = 2,
    SXT_MAX_TABLE_KEY = 128
};

typedef enum sxt_binding_kind {
    SXT_BINDING_NONE = 0, // the shader declares it and will not touch it: any buffer does
    SXT_BINDING_BUFFER,
    SXT_BINDING_TABLE,   // the plan's table
    SXT_BINDING_SCRATCH, // a range of the plan's scratch memory
    SXT_BINDING_FAULTS,  // the device's fault word: touched by atomics alone, so that it makes no hazard
} sxt_binding_kind;

typedef struct sxt_binding {
    sxt_binding_kind kind;
    bool written;           // else only read
    sxt_buffer *buffer;     // of BUFFER
    uint64_t offset, bytes; // offset a multiple of storage_align, bytes ≤ storage_range: the bound range
    uint64_t hazard_offset, hazard_bytes; // what is really touched: hazards are tracked by this
} sxt_binding;

// A small constant table that a kernel wants on the device (RoPE's frequencies). The runtime keeps one per key, and
// calls `fill` only when it has none yet.
typedef struct sxt_table {
    uint32_t bytes; // 0: none
    uint32_t key_bytes;
    uint8_t key[SXT_MAX_TABLE_KEY]; // all that the contents depend on (longer input: its hash)
    void (*fill)(const void *context, void *out_data);
    const void *context; // valid during the record call: the resolved description
} sxt_table;

typedef struct sxt_dispatch {
    sxt_shader_id shader;
    uint32_t subgroup_size; // required size, and full subgroups: local_size_x is a multiple; 0 = the driver's choice
    uint32_t spec_count;    // constant_id is the index
    uint32_t spec[SXT_MAX_SPEC];
    // Bindings of set 0, by index. With `by_address` (built with SXT_ADDRESS=1) the shader gets their addresses instead.
    bool by_address;
    uint32_t binding_count;
    sxt_binding bindings[SXT_MAX_BINDINGS];
    uint32_t push_bytes;
    uint8_t push[SXT_MAX_PUSH];
    // What push constants have no room for: a uniform buffer (std140, scalars alone) at binding SXT_PARAMS_BINDING.
    uint32_t param_bytes; // 0: none, and the shader declares none
    uint8_t params[SXT_MAX_PARAMS];
    uint32_t groups[3];
} sxt_dispatch;

typedef struct sxt_plan {
    char variant[96];        // for logs: kernel and geometry
    uint32_t dispatch_count; // 0: nothing to do
    // With more than one part all dispatches are recorded, in order, once for each; the first word of their push
    // constants is the part's number.
    uint32_t parts;
    uint64_t scratch_bytes; // of device memory, beside the tensors
    sxt_dispatch dispatches[SXT_MAX_DISPATCHES];
    sxt_table table;
} sxt_plan;

#endif
