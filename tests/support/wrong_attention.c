// Negative control for `sextant verify` and `run --check`: preloaded into the program, it multiplies the scale of every
// attention by 1.001, except on the reference. The program must notice.
#define _GNU_SOURCE
#include "sextant/sextant.h"

#include <dlfcn.h>
#include <math.h>

enum { MAX_STREAMS = 64 };
static const sxt_stream *reference_streams[MAX_STREAMS]; // the latest ones
static unsigned next;

sxt_result sxt_stream_create(sxt_device *device, sxt_stream **out_stream) {
    sxt_result (*real)(sxt_device *, sxt_stream **);
    *(void **)&real = dlsym(RTLD_NEXT, "sxt_stream_create"); // POSIX's way to a function's address
    sxt_result result = real(device, out_stream);
    for (unsigned i = 0; i < MAX_STREAMS; i++) {
        if (reference_streams[i] == *out_stream) reference_streams[i] = NULL; // the address is used again
    }
    if (result == SXT_OK && sxt_device_get_info(device)->kind == SXT_DEVICE_REFERENCE) {
        reference_streams[next++ % MAX_STREAMS] = *out_stream;
    }
    return result;
}

sxt_result sxt_attention(sxt_stream *stream, const sxt_attention_desc *desc) {
    sxt_result (*real)(sxt_stream *, const sxt_attention_desc *);
    *(void **)&real = dlsym(RTLD_NEXT, "sxt_attention");
    sxt_attention_desc wrong = *desc;
    wrong.scale = 1.001f * (desc->scale != 0 ? desc->scale : 1 / sqrtf((float)desc->q.shape[3]));
    for (unsigned i = 0; i < MAX_STREAMS; i++) {
        if (reference_streams[i] == stream) return real(stream, desc);
    }
    return real(stream, &wrong);
}
