// The validation layer, core and synchronisation checks, has nothing to say about the library; and it does speak up
// when a barrier is left out, a range is wrong or a dispatch is too large. (The device suites run under it too.)
#include <criterion/criterion.h>
#include <string.h>

#include "support/device.h"
#include "vulkan/internal.h"

static sxt_test_log messages;
static sxt_device *device;

// Deliberately not sxt_test_open: these tests say themselves what to disable.
static void open_without(const char *disable) {
    messages = (sxt_test_log){0};
    const sxt_device_params params = {.disable = disable, .log = sxt_test_log_append, .log_user = &messages};
    cr_assert_eq(sxt_device_open(&params, &device), SXT_OK, "%s", messages.text);
}

static void ok(sxt_result result) {
    cr_assert_eq(result, SXT_OK, "%s\n%s", sxt_result_name(result), messages.text);
}

// ── Everything, in every pattern ──

enum { TOKENS = 33, HEADS = 4, CHANNELS = 64, ROWS = 50 };

typedef struct tensors {
    sxt_tensor q, k, v, k_cache, v_cache, o, lse, positions, slots, gain;
} tensors;

static sxt_tensor make(sxt_type type, sxt_memory memory, uint32_t tokens, uint32_t heads, uint32_t channels) {
    sxt_tensor t = {.type = type, .shape = {1, tokens, heads, channels}};
    const sxt_buffer_desc desc = {.bytes = (uint64_t)tokens * heads * channels * sxt_type_size(type), .memory = memory};
    ok(sxt_buffer_create(device, &desc, &t.buffer));
    return t;
}

static tensors make_tensors(sxt_type type, sxt_memory memory) {
    tensors t = {
        .q = make(type, memory, TOKENS, HEADS, CHANNELS),
        .k = make(type, memory, TOKENS, HEADS, CHANNELS),
        .v = make(SXT_TYPE_F32, memory, TOKENS, HEADS, CHANNELS),
        .k_cache = make(SXT_TYPE_F16, memory, ROWS, HEADS, CHANNELS),
        .v_cache = make(SXT_TYPE_BF16, memory, ROWS, HEADS, CHANNELS),
        .o = make(type, memory, TOKENS, HEADS, CHANNELS),
        .lse = make(SXT_TYPE_F32, memory, TOKENS, HEADS, 1),
        .positions = make(SXT_TYPE_I32, memory, 1, 1, TOKENS),
        .slots = make(SXT_TYPE_I32, memory, 1, 1, TOKENS),
        .gain = make(SXT_TYPE_F32, memory, 1, 1, CHANNELS),
    };
    static const char zeros[TOKENS * HEADS * CHANNELS * 4];
    int32_t rows[TOKENS];
    for (int32_t i = 0; i < TOKENS; i++)
        rows[i] = i;
    const sxt_tensor *zeroed[] = {&t.q, &t.k, &t.v, &t.gain};
    for (uint32_t i = 0; i < 4; i++)
        ok(sxt_buffer_write(zeroed[i]->buffer, 0, zeros, sxt_buffer_size(zeroed[i]->buffer)));
    ok(sxt_buffer_write(t.positions.buffer, 0, rows, sizeof rows));
    ok(sxt_buffer_write(t.slots.buffer, 0, rows, sizeof rows));
    return t;
}

static void destroy_tensors(tensors *t) {
    for (sxt_tensor *tensor = (sxt_tensor *)t; tensor < (sxt_tensor *)(t + 1); tensor++)
        sxt_buffer_destroy(&tensor->buffer);
}

// The pipeline of a layer: each step reads what the one before wrote, most of it in place.
static void record_layer(sxt_stream *stream, const tensors *t) {
    sxt_tensor q_flat = t->q;
    q_flat.shape[2] = 1;
    q_flat.shape[3] = HEADS * CHANNELS;
    ok(sxt_norm(stream, &(sxt_norm_desc){
                            .x = q_flat, .y = q_flat, .residual = t->o.type == t->q.type ? (sxt_tensor){0} : t->q}));
    ok(sxt_rope(stream, &(sxt_rope_desc){.x = t->k, .y = t->k, .positions = t->positions}));
    ok(sxt_qk_norm_rope(stream, &(sxt_qk_norm_rope_desc){.q = t->q,
                                                         .q_out = t->q,
                                                         .k = t->k,
                                                         .k_out = t->k,
                                                         .q_weight = t->gain,
                                                         .k_weight = t->gain,
                                                         .positions = t->positions,
                                                         .eps = 1e-6f}));
    ok(sxt_kv_write(stream, &(sxt_kv_write_desc){
                                .k = t->k, .v = t->v, .cache = {.k = t->k_cache, .v = t->v_cache, .slots = t->slots}}));
    ok(sxt_attention(
        stream,
        &(sxt_attention_desc){.q = t->q, .k = t->k_cache, .v = t->v_cache, .o = t->o, .lse = t->lse, .causal = true}));
    ok(sxt_norm(stream, &(sxt_norm_desc){.x = t->o, .y = t->q, .kind = SXT_NORM_LAYER, .eps = 1e-6f}));
}

static void run_everything(sxt_type type, sxt_memory memory) {
    static char read_back[TOKENS * HEADS * CHANNELS * 4];
    sxt_stream *streams[2] = {NULL, NULL};
    uint32_t index;
    uint64_t ticket;
    double us;
    tensors t = make_tensors(type, memory);
    ok(sxt_prepare(device, SXT_OP_ATTENTION,
                   &(sxt_attention_desc){.q = t.q, .k = t.k_cache, .v = t.v_cache, .o = t.o, .lse = t.lse}));
    for (uint32_t i = 0; i < 2; i++)
        ok(sxt_stream_create(device, &streams[i]));
    for (uint32_t round = 0; round < 6; round++) { // the streams take turns on the same tensors, without a wait
        sxt_stream *stream = streams[round % 2];
        if (round == 3) {
            record_layer(stream, &t);
            sxt_stream_reset(stream);
        }
        ok(sxt_stream_timestamp(stream, &index));
        record_layer(stream, &t);
        if (round == 4) record_layer(stream, &t);
        ok(sxt_stream_timestamp(stream, &index));
        ok(sxt_stream_submit(stream, &ticket));
    }
    ok(sxt_device_wait(device, ticket, UINT64_MAX));
    ok(sxt_stream_elapsed(streams[1], 0, 1, &us));
    ok(sxt_stream_submit(streams[0], NULL));
    ok(sxt_buffer_read(t.q.buffer, 0, read_back, sxt_buffer_size(t.q.buffer)));
    record_layer(streams[0], &t);
    ok(sxt_stream_submit(streams[0], &ticket));
    destroy_tensors(&t); // in flight
    sxt_stream_destroy(&streams[0]);
    sxt_stream_destroy(&streams[1]);
}

static void expect_silence(const char *what) {
    cr_expect_eq(messages.validation, 0, "%s: %u messages\n%s", what, messages.validation, messages.text);
}

Test(validation, all_operations_in_all_patterns_are_silent) {
    static const char *const disabled[] = {
        NULL,
        "buffer_address",
        "buffer_address,storage16",
        "buffer_address,storage16,subgroup_arithmetic,subgroup_shuffle,subgroup_size_control,fp16,bf16,int64,int16,"
        "int8,storage8",
    };
    for (uint32_t i = 0; i < sizeof disabled / sizeof disabled[0]; i++) {
        open_without(disabled[i]);
        run_everything(SXT_TYPE_F32, SXT_MEMORY_DEVICE);
        run_everything(SXT_TYPE_F16, SXT_MEMORY_HOST);
        sxt_device_close(&device);
        expect_silence(disabled[i] ? disabled[i] : "everything on");
    }
}

// ── Controls: each must be reported ──

static PFN_vkCmdDispatch real_dispatch;
static PFN_vkUpdateDescriptorSets real_update;

static VKAPI_ATTR void VKAPI_CALL no_barrier(VkCommandBuffer commands, VkPipelineStageFlags from,
                                             VkPipelineStageFlags to, VkDependencyFlags flags, uint32_t count,
                                             const VkMemoryBarrier *barriers, uint32_t buffer_count,
                                             const VkBufferMemoryBarrier *buffers, uint32_t image_count,
                                             const VkImageMemoryBarrier *images) {
    (void)commands, (void)from, (void)to, (void)flags, (void)count, (void)barriers, (void)buffer_count, (void)buffers,
        (void)image_count, (void)images;
}

static VKAPI_ATTR void VKAPI_CALL huge_dispatch(VkCommandBuffer commands, uint32_t x, uint32_t y, uint32_t z) {
    (void)x;
    real_dispatch(commands, sxt_device_get_info(device)->caps.max_group_count[0] + 1, y, z);
}

static VKAPI_ATTR void VKAPI_CALL long_ranges(VkDevice handle, uint32_t count, const VkWriteDescriptorSet *writes,
                                              uint32_t copy_count, const VkCopyDescriptorSet *copies) {
    VkWriteDescriptorSet first = writes[0];
    VkDescriptorBufferInfo info = first.pBufferInfo[0];
    info.range = 1 << 20;
    first.pBufferInfo = &info;
    real_update(handle, 1, &first, 0, NULL);
    real_update(handle, count, writes, copy_count, copies);
}

// Two steps, the second of which reads what the first wrote.
static void record_chain(sxt_stream *stream, const tensors *t) {
    ok(sxt_norm(stream, &(sxt_norm_desc){.x = t->q, .y = t->k}));
    ok(sxt_norm(stream, &(sxt_norm_desc){.x = t->k, .y = t->v}));
}

// Records the chain with `plant` applied to the device's table of functions, and expects messages that name `part`.
static void expect_report(void (*plant)(struct VolkDeviceTable *), const char *part) {
    sxt_stream *stream = NULL;
    open_without("buffer_address");
    tensors t = make_tensors(SXT_TYPE_F32, SXT_MEMORY_DEVICE);
    ok(sxt_stream_create(device, &stream));
    record_chain(stream, &t);
    sxt_stream_reset(stream);
    expect_silence("before the fault");
    struct VolkDeviceTable *table = &sxt_vulkan_device_of(device)->vk;
    const struct VolkDeviceTable saved = *table;
    plant(table);
    record_chain(stream, &t);
    *table = saved;
    cr_expect_gt(messages.validation, 0, "the planted fault was not reported: the layer does not see such faults");
    cr_expect(strstr(messages.text, part) != NULL, "no word of %s in\n%s", part, messages.text);
    sxt_stream_reset(stream);
    sxt_stream_destroy(&stream);
    destroy_tensors(&t);
    sxt_device_close(&device);
}

static void plant_no_barrier(struct VolkDeviceTable *table) {
    table->vkCmdPipelineBarrier = no_barrier;
}

static void plant_huge_dispatch(struct VolkDeviceTable *table) {
    real_dispatch = table->vkCmdDispatch;
    table->vkCmdDispatch = huge_dispatch;
}

static void plant_long_ranges(struct VolkDeviceTable *table) {
    real_update = table->vkUpdateDescriptorSets;
    table->vkUpdateDescriptorSets = long_ranges;
}

Test(validation, a_missing_barrier_is_reported) {
    expect_report(plant_no_barrier, "SYNC-HAZARD-READ");
}

Test(validation, a_dispatch_beyond_the_limits_is_reported) {
    expect_report(plant_huge_dispatch, "groupCountX");
}

Test(validation, a_range_beyond_its_buffer_is_reported) {
    expect_report(plant_long_ranges, "VkDescriptorBufferInfo");
}
