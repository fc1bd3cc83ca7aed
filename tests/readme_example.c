#include <sextant/sextant.h>
#include <stdio.h>

enum { TOKENS = 64, HEADS = 16, KV_HEADS = 8, DIM = 128 };

static sxt_tensor tensor(sxt_device *device, sxt_type type, uint32_t heads) {
    sxt_tensor t = {.type = type, .shape = {1, TOKENS, heads, DIM}};
    uint64_t bytes = (uint64_t)TOKENS * heads * DIM / sxt_type_block(type) * sxt_type_size(type);
    sxt_buffer_create(device, &(sxt_buffer_desc){.bytes = bytes}, &t.buffer); // a failed one is refused by the op
    return t;
}

static void log_line(void *user, sxt_log_level level, const char *message) {
    if (level <= SXT_LOG_WARNING)
        fprintf(user, "sextant: %s\n", message);
}

int main(void) {
    static float x[TOKENS * HEADS * DIM];
    int32_t at[TOKENS];
    for (int i = 0; i < TOKENS * HEADS * DIM; i++)
        x[i] = (float)(i * 7919 % 1000) / 500 - 1, at[i % TOKENS] = i % TOKENS;
    sxt_device *device = NULL;
    sxt_stream *stream = NULL;
    uint64_t ticket = 0;
    if (sxt_device_open(&(sxt_device_params){.log = log_line, .log_user = stderr}, &device))
        return 1;
    sxt_tensor q = tensor(device, SXT_TYPE_F32, HEADS), k = tensor(device, SXT_TYPE_F32, KV_HEADS);
    sxt_tensor o = tensor(device, SXT_TYPE_F32, HEADS), positions = {.type = SXT_TYPE_I32, .shape = {1, 1, 1, TOKENS}};
    sxt_kv_cache cache = {.k = tensor(device, SXT_TYPE_F16, KV_HEADS), .v = tensor(device, SXT_TYPE_Q8_0, KV_HEADS)};
    sxt_buffer_create(device, &(sxt_buffer_desc){.bytes = sizeof at}, &positions.buffer);
    bool ok = !sxt_buffer_write(q.buffer, 0, x, sizeof x) && !sxt_buffer_write(k.buffer, 0, x, sizeof x / 2) &&
              !sxt_buffer_write(positions.buffer, 0, at, sizeof at) && !sxt_stream_create(device, &stream) &&
              !sxt_qk_norm_rope(stream, &(sxt_qk_norm_rope_desc){ // k as it came serves as v here
                  .q = q, .q_out = q, .k = k, .v = k, .cache = cache, .positions = positions, .eps = 1e-6f}) &&
              !sxt_attention(stream, &(sxt_attention_desc){.q = q, .k = cache.k, .v = cache.v, .o = o, .causal = true}) &&
              !sxt_stream_submit(stream, &ticket) && !sxt_device_wait(device, ticket, UINT64_MAX) &&
              !sxt_buffer_read(o.buffer, 0, x, sizeof x);
    printf("%s: o[0] = %g\n", sxt_device_get_info(device)->name, ok ? x[0] : 0);
    sxt_stream_destroy(&stream);
    for (sxt_tensor *t[] = {&q, &k, &o, &positions, &cache.k, &cache.v}, **p = t; p < t + 6; p++)
        sxt_buffer_destroy(&(*p)->buffer);
    sxt_device_close(&device);
    return !ok;
}
