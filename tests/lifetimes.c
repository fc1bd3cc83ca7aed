// Buffers, streams and devices that come and go, and several threads on one device: nothing is lost, mixed up or
// leaked.
#include <criterion/criterion.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "support/device.h"
#include "support/random.h"

static sxt_test_log messages;

enum { TOKENS = 40, CHANNELS = 64, COUNT = TOKENS * CHANNELS };

static void ok(sxt_result result) {
    cr_assert_eq(result, SXT_OK, "%s\n%s", sxt_result_name(result), messages.text);
}

static sxt_tensor make(sxt_device *device, const char *name) {
    sxt_tensor t = {.type = SXT_TYPE_F32, .shape = {1, TOKENS, 1, CHANNELS}};
    ok(sxt_buffer_create(device, &(sxt_buffer_desc){.bytes = COUNT * sizeof(float), .name = name}, &t.buffer));
    return t;
}

static void fill(float values[COUNT], uint64_t seed) {
    sxt_test_rng rng = sxt_test_rng_make(seed);
    for (uint32_t i = 0; i < COUNT; i++)
        values[i] = (float)sxt_test_normal(&rng);
}

// x → norm → y, and attention of y with itself → o. The results depend on `seed` alone.
static void job(sxt_device *device, sxt_stream *stream, uint64_t seed, float out[COUNT]) {
    float values[COUNT];
    uint64_t ticket;
    sxt_tensor x = make(device, "x"), y = make(device, "y"), o = make(device, "o");
    fill(values, seed);
    ok(sxt_buffer_write(x.buffer, 0, values, sizeof values));
    ok(sxt_norm(stream, &(sxt_norm_desc){.x = x, .y = y, .eps = 1e-6f}));
    ok(sxt_attention(stream, &(sxt_attention_desc){.q = y, .k = y, .v = x, .o = o, .causal = true}));
    ok(sxt_stream_submit(stream, &ticket));
    // In flight or done: what is destroyed now lives on as long as the device needs it.
    sxt_buffer_destroy(&x.buffer);
    sxt_buffer_destroy(&y.buffer);
    cr_assert_null(x.buffer);
    ok(sxt_device_wait(device, ticket, UINT64_MAX));
    ok(sxt_buffer_read(o.buffer, 0, out, COUNT * sizeof *out));
    sxt_buffer_destroy(&o.buffer);
}

Test(lifetimes, buffers_destroyed_in_flight_serve_until_the_work_is_done) {
    static float first[COUNT], again[COUNT];
    sxt_device *device = sxt_test_open(&messages);
    sxt_stream *stream = NULL;
    ok(sxt_stream_create(device, &stream));
    job(device, stream, 1, first);
    for (uint32_t i = 0; i < 20; i++) {
        job(device, stream, 2 + i, again);
        cr_assert(memcmp(first, again, sizeof first) != 0);
    }
    job(device, stream, 1, again);
    cr_assert(memcmp(first, again, sizeof first) == 0);
    sxt_stream_destroy(&stream);
    sxt_device_close(&device);
}

// ── Threads ──

typedef struct worker {
    pthread_t thread;
    sxt_device *device;
    uint64_t seed;
    uint32_t jobs;
    float (*results)[COUNT];
} worker;

static void *work(void *argument) {
    worker *w = argument;
    sxt_stream *stream = NULL;
    if (sxt_stream_create(w->device, &stream) != SXT_OK) return w;
    for (uint32_t i = 0; i < w->jobs; i++)
        job(w->device, stream, w->seed + i, w->results[i]);
    sxt_stream_destroy(&stream);
    return NULL;
}

// Two threads with a stream each, on one device, get what one thread gets.
Test(lifetimes, two_threads_share_a_device) {
    enum { WORKERS = 2, JOBS = 30 };
    static float together[WORKERS][JOBS][COUNT], alone[COUNT];
    worker workers[WORKERS];
    sxt_device *device = sxt_test_open(&messages);
    for (uint32_t i = 0; i < WORKERS; i++) {
        workers[i] = (worker){.device = device, .seed = 100 * i, .jobs = JOBS, .results = together[i]};
        cr_assert_eq(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
    }
    for (uint32_t i = 0; i < WORKERS; i++) {
        void *failed = NULL;
        pthread_join(workers[i].thread, &failed);
        cr_assert_null(failed, "thread %u got no stream", i);
    }
    sxt_stream *stream = NULL;
    ok(sxt_stream_create(device, &stream));
    for (uint32_t i = 0; i < WORKERS * JOBS; i++) {
        job(device, stream, 100 * (i / JOBS) + i % JOBS, alone);
        cr_assert(memcmp(alone, together[i / JOBS][i % JOBS], sizeof alone) == 0, "thread %u, job %u", i / JOBS,
                  i % JOBS);
    }
    sxt_stream_destroy(&stream);
    sxt_device_close(&device);
}

// Each thread with a device of its own.
Test(lifetimes, devices_do_not_disturb_each_other) {
    static float results[2][2][COUNT];
    sxt_test_log logs[2] = {0};
    worker workers[2];
    for (uint32_t i = 0; i < 2; i++) {
        workers[i] = (worker){.device = sxt_test_open(&logs[i]), .seed = 7, .jobs = 2, .results = results[i]};
        cr_assert_eq(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
    }
    for (uint32_t i = 0; i < 2; i++) {
        pthread_join(workers[i].thread, NULL);
        sxt_device_close(&workers[i].device);
    }
    cr_assert(memcmp(results[0], results[1], sizeof results[0]) == 0);
}

// ── Growth ──

// Kilobytes of memory that this process has resident; 0 where that cannot be told.
static long resident_kib(void) {
    long size = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (!file) return 0;
    const int read = fscanf(file, "%ld %ld", &size, &resident);
    fclose(file);
    return read == 2 ? resident * (sysconf(_SC_PAGESIZE) / 1024) : 0;
}

// Runs a cycle many times and gives the growth over the second half, counted as four times that of its calmest quarter:
// whatever is leaked in every cycle grows in all of them. What drivers and allocators keep for good comes in steps of a
// megabyte or two, now and then.
static long growth_kib(void (*cycle)(void *), void *argument, uint32_t cycles) {
    enum { WINDOWS = 4 };
    long least = LONG_MAX;
    for (uint32_t i = 0; i < cycles / 2; i++)
        cycle(argument);
    for (uint32_t window = 0; window < WINDOWS; window++) {
        const long before = resident_kib();
        for (uint32_t i = 0; i < (cycles + 2 * WINDOWS - 1) / (2 * WINDOWS); i++)
            cycle(argument);
        const long growth = resident_kib() - before;
        if (growth < least) least = growth;
    }
    return WINDOWS * least;
}

static void cycle_of_objects(void *argument) {
    sxt_device *device = argument;
    sxt_stream *stream = NULL;
    uint64_t ticket;
    ok(sxt_stream_create(device, &stream));
    sxt_tensor x = make(device, "x"), y = make(device, "y");
    ok(sxt_kv_write(stream, &(sxt_kv_write_desc){.k = x, .cache.k = y}));
    ok(sxt_stream_submit(stream, &ticket));
    sxt_buffer_destroy(&x.buffer);
    ok(sxt_device_wait(device, ticket, UINT64_MAX));
    sxt_buffer_destroy(&y.buffer);
    sxt_stream_destroy(&stream);
}

static void cycle_of_devices(void *argument) {
    (void)argument;
    sxt_device *device = sxt_test_open(&messages);
    cycle_of_objects(device);
    sxt_device_close(&device);
}

static void cycle_with_a_leak(void *argument) {
    (void)argument;
    volatile char *leak = malloc(4096);
    for (uint32_t i = 0; leak && i < 4096; i += 512)
        leak[i] = 1;
}

// A sanitizer keeps freed memory for a while, so growth says nothing there; it looks for leaks itself. The validation layer
// keeps 4 KiB a submission, of its own, for as long as its device lives.
static bool memory_is_counted(void) {
    if (getenv("VK_INSTANCE_LAYERS")) return false;
#if defined(__SANITIZE_ADDRESS__)
    return false;
#else
    return resident_kib() > 0;
#endif
}

// Enough cycles for the second half to be free of what the first ones keep.
static uint32_t cycles(uint32_t count) {
    return memory_is_counted() ? count : count / 10;
}

enum { ALLOWED_KIB = 512 };

Test(lifetimes, a_thousand_cycles_do_not_grow) {
    sxt_device *device = sxt_test_open(&messages);
    const long growth = growth_kib(cycle_of_objects, device, cycles(1000));
    sxt_device_close(&device);
    if (memory_is_counted()) cr_assert_lt(growth, ALLOWED_KIB, "grew by %ld KiB", growth);
}

Test(lifetimes, devices_opened_and_closed_do_not_grow) {
    const long growth = growth_kib(cycle_of_devices, NULL, cycles(24));
    if (memory_is_counted()) cr_assert_lt(growth, 2 * ALLOWED_KIB, "grew by %ld KiB", growth);
}

// The control.
Test(lifetimes, a_leak_of_a_page_a_cycle_is_seen) {
    if (memory_is_counted()) cr_assert_geq(growth_kib(cycle_with_a_leak, NULL, 1000), ALLOWED_KIB);
}
