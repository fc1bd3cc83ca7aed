// Recordings, submissions, tickets and threads, on the device under test and end to end: what comes out is right.
// (Where barriers stand is told by tests/hazard.c and tests/runtime.c; that none is missing, by tests/validation.c.)
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "support/trial.h"

static sxt_test_bench bench;
static sxt_test_trial trial;
static sxt_device *device;

static void setup(void) {
    sxt_test_bench_init(&bench);
    device = bench.devices[SXT_TEST_DEVICE];
    sxt_test_trial_init(&trial, &bench, sxt_test_first_seed());
    trial.device_only = true;
}

static void teardown(void) {
    sxt_test_trial_finish(&trial);
    sxt_test_bench_finish(&bench);
}

TestSuite(streams, .init = setup, .fini = teardown);

static void ok(sxt_result result) {
    cr_assert_eq(result, SXT_OK, "%s\n%s", sxt_result_name(result), bench.log.text);
}

static sxt_stream *new_stream(void) {
    sxt_stream *stream = NULL;
    ok(sxt_stream_create(device, &stream));
    return stream;
}

static uint64_t submit(sxt_stream *stream) {
    uint64_t ticket = 0;
    ok(sxt_stream_submit(stream, &ticket));
    return ticket;
}

static void finish(sxt_stream *stream) {
    ok(sxt_device_wait(device, submit(stream), UINT64_MAX));
}

static sxt_tensor normal(const char *name, uint32_t tokens, uint32_t heads, uint32_t channels) {
    const sxt_tensor t = sxt_test_dense(&trial, name, SXT_TYPE_F32, 1, tokens, heads, channels);
    sxt_test_fill_normal(&trial, &t, 0, 1);
    return t;
}

static sxt_tensor empty(const char *name, uint32_t tokens, uint32_t heads, uint32_t channels) {
    return sxt_test_dense(&trial, name, SXT_TYPE_F32, 1, tokens, heads, channels);
}

static sxt_tensor tokens_of(const sxt_tensor *t, uint32_t first, uint32_t count) {
    sxt_tensor view = *t;
    view.offset_bytes += first * t->strides[1] * sxt_type_size(t->type);
    view.shape[1] = count;
    return view;
}

static void require_same_bits(const sxt_tensor *a, sxt_test_side side_b, const sxt_tensor *b) {
    sxt_test_require(&trial, sxt_test_check_bits(&trial, SXT_TEST_DEVICE, a, side_b, b));
}

// ── Order ──

enum { POOL = 5, ROWS = 24, CHANNELS = 40, CHAIN = 60 };

// Random copies of rows among a few tensors: reads after writes, writes after reads and writes after writes, of the
// same and of neighbouring rows, all in one recording. Copies are exact, so one that runs too early or late shows in
// the bits.
Test(streams, dependent_copies_happen_in_order) {
    const uint64_t first = sxt_test_first_seed();
    const uint32_t cases = sxt_test_cases(60);
    for (uint32_t i = 0; i < cases; i++) {
        sxt_test_trial_finish(&trial);
        sxt_test_trial_init(&trial, &bench, first + i);
        sxt_tensor pool[POOL];
        for (uint32_t j = 0; j < POOL; j++)
            pool[j] = normal("one of the pool", ROWS, 1, CHANNELS);
        sxt_kv_write_desc copies[CHAIN];
        sxt_test_step steps[CHAIN];
        for (uint32_t j = 0; j < CHAIN; j++) {
            const uint32_t from = sxt_test_below(&trial.rng, POOL);
            const uint32_t to = (from + sxt_test_between(&trial.rng, 1, POOL - 1)) % POOL;
            const uint32_t rows = sxt_test_between(&trial.rng, 1, ROWS);
            copies[j] = (sxt_kv_write_desc){
                .k = tokens_of(&pool[from], sxt_test_below(&trial.rng, ROWS - rows + 1), rows),
                .cache = {.k = pool[to], .first_row = sxt_test_below(&trial.rng, ROWS - rows + 1)},
            };
            steps[j] = (sxt_test_step){SXT_OP_KV_WRITE, &copies[j]};
        }
        ok(sxt_test_run(&trial, steps, CHAIN));
        for (uint32_t j = 0; j < POOL; j++)
            require_same_bits(&pool[j], SXT_TEST_REFERENCE, &pool[j]);
    }
}

// norm and rope in place, over and over, in one recording, and step by step with a wait after each.
Test(streams, in_place_chains_equal_single_steps) {
    const sxt_tensor chained = normal("chained", 17, 3, 64), single = sxt_test_like(&trial, "single", &chained);
    const sxt_tensor positions = sxt_test_dense(&trial, "positions", SXT_TYPE_I32, 1, 1, 1, 17);
    for (uint32_t t = 0; t < 17; t++)
        sxt_test_set_int(&trial, &positions, t, (int32_t)t * 3);
    sxt_test_upload(&trial);
    sxt_stream *stream = new_stream();
    for (uint32_t pass = 0; pass < 2; pass++) {
        const sxt_tensor x = pass == 0 ? chained : single;
        for (uint32_t i = 0; i < 20; i++) {
            ok(sxt_test_record(&trial, stream, SXT_OP_NORM, &(sxt_norm_desc){.x = x, .y = x, .eps = 1e-6f}));
            if (pass == 1) finish(stream);
            ok(sxt_test_record(&trial, stream, SXT_OP_ROPE, &(sxt_rope_desc){.x = x, .y = x, .positions = positions}));
            if (pass == 1) finish(stream);
        }
        finish(stream);
    }
    sxt_test_download(&trial);
    sxt_test_require(&trial, sxt_test_check_memory(&trial));
    require_same_bits(&chained, SXT_TEST_DEVICE, &single);
    sxt_stream_destroy(&stream);
}

// What one stream writes the next submission of another reads, without a wait between them.
Test(streams, submissions_of_several_streams_run_in_order) {
    enum { HOPS = 40 };
    const sxt_tensor a = normal("a", ROWS, 1, CHANNELS), b = empty("b", ROWS, 1, CHANNELS),
                     c = empty("c", ROWS, 1, CHANNELS);
    sxt_test_upload(&trial);
    sxt_stream *streams[2] = {new_stream(), new_stream()};
    const sxt_kv_write_desc hops[] = {{.k = a, .cache.k = b}, {.k = b, .cache.k = c}, {.k = c, .cache.k = a}};
    for (uint32_t i = 0; i < HOPS; i++) {
        ok(sxt_test_record(&trial, streams[i % 2], SXT_OP_KV_WRITE, &hops[i % 3]));
        submit(streams[i % 2]);
    }
    finish(streams[0]);
    sxt_test_download(&trial);
    const sxt_tensor *all[] = {&a, &b, &c};
    for (uint32_t i = 0; i < 3; i++)
        require_same_bits(all[i], SXT_TEST_INITIAL, &a);
    sxt_stream_destroy(&streams[0]);
    sxt_stream_destroy(&streams[1]);
}

Test(streams, halves_on_two_streams_equal_the_whole) {
    const sxt_tensor q = normal("q", 32, 4, 64), k = normal("k", 50, 2, 64), v = normal("v", 50, 2, 64);
    const sxt_tensor whole = empty("whole", 32, 4, 64), halves = empty("halves", 32, 4, 64);
    sxt_test_upload(&trial);
    sxt_stream *streams[2] = {new_stream(), new_stream()};
    for (uint32_t i = 0; i < 2; i++) {
        const sxt_attention_desc half = {
            .q = tokens_of(&q, 16 * i, 16), .k = k, .v = v, .o = tokens_of(&halves, 16 * i, 16)};
        ok(sxt_test_record(&trial, streams[i], SXT_OP_ATTENTION, &half));
    }
    submit(streams[1]);
    submit(streams[0]);
    ok(sxt_test_record(&trial, streams[0], SXT_OP_ATTENTION,
                       &(sxt_attention_desc){.q = q, .k = k, .v = v, .o = whole}));
    finish(streams[0]);
    sxt_test_download(&trial);
    sxt_test_require(&trial, sxt_test_check_memory(&trial));
    require_same_bits(&whole, SXT_TEST_DEVICE, &halves);
    sxt_stream_destroy(&streams[0]);
    sxt_stream_destroy(&streams[1]);
}

// More dispatches than one pool of descriptors, or one hazard list, holds: row i goes to row ROWS − 1 − i, one at a
// time.
Test(streams, a_recording_may_be_long) {
    enum { LONG = 2000 };
    const sxt_tensor from = normal("from", LONG, 1, 8), to = empty("to", LONG, 1, 8);
    sxt_test_upload(&trial);
    sxt_stream *stream = new_stream();
    for (uint32_t i = 0; i < LONG; i++) {
        const sxt_kv_write_desc d = {.k = tokens_of(&from, i, 1), .cache = {.k = to, .first_row = LONG - 1 - i}};
        ok(sxt_test_record(&trial, stream, SXT_OP_KV_WRITE, &d));
    }
    finish(stream);
    sxt_test_download(&trial);
    for (uint32_t i = 0; i < LONG; i++) {
        const sxt_tensor a = tokens_of(&to, LONG - 1 - i, 1), b = tokens_of(&from, i, 1);
        require_same_bits(&a, SXT_TEST_INITIAL, &b);
    }
    sxt_stream_destroy(&stream);
}

// ── Tickets and recordings ──

Test(streams, waiting_may_run_out_of_time) {
    const bool at_once = sxt_test_is_reference(device);
    const uint32_t tokens = at_once ? 8 : 300;
    const sxt_tensor q = normal("q", tokens, 16, 64), o = empty("o", tokens, 16, 64);
    sxt_test_upload(&trial);
    sxt_stream *stream = new_stream();
    const sxt_attention_desc d = {.q = q, .k = q, .v = q, .o = o};
    ok(sxt_prepare(device, SXT_OP_ATTENTION, &d));
    ok(sxt_test_record(&trial, stream, SXT_OP_ATTENTION, &d));
    const uint64_t ticket = submit(stream);
    cr_expect_eq(sxt_device_wait(device, ticket, 0), at_once ? SXT_OK : SXT_TIMEOUT);
    cr_expect_eq(sxt_device_wait(device, ticket, 1000), at_once ? SXT_OK : SXT_TIMEOUT);
    ok(sxt_device_wait(device, ticket, UINT64_MAX));
    ok(sxt_device_wait(device, ticket, 0));
    sxt_stream_destroy(&stream);
}

Test(streams, tickets_grow_and_empty_submissions_are_fine) {
    const sxt_tensor x = normal("x", 3, 1, 16), y = empty("y", 3, 1, 16);
    sxt_test_upload(&trial);
    sxt_stream *stream = new_stream();
    uint64_t last = submit(stream);
    ok(sxt_device_wait(device, last, 0));
    for (uint32_t i = 0; i < 20; i++) {
        ok(sxt_test_record(&trial, stream, SXT_OP_NORM, &(sxt_norm_desc){.x = x, .y = y, .eps = 1e-6f}));
        const uint64_t ticket = submit(stream);
        cr_assert_gt(ticket, last);
        last = ticket;
    }
    ok(sxt_stream_submit(stream, NULL));
    ok(sxt_device_wait(device, last, UINT64_MAX));
    ok(sxt_device_wait(device, 0, 0));
    sxt_stream_destroy(&stream);
}

Test(streams, reset_drops_what_was_recorded) {
    const sxt_tensor x = normal("x", 3, 1, 16), kept = normal("kept", 3, 1, 16), y = empty("y", 3, 1, 16);
    sxt_test_upload(&trial);
    sxt_stream *stream = new_stream();
    const sxt_kv_write_desc dropped = {.k = x, .cache.k = kept}, later = {.k = x, .cache.k = y};
    // On the reference, which computes while recording, nothing can be dropped.
    if (!sxt_test_is_reference(device)) {
        ok(sxt_kv_write(stream, &dropped));
        sxt_stream_reset(stream);
        sxt_stream_reset(stream);
    }
    ok(sxt_test_record(&trial, stream, SXT_OP_KV_WRITE, &later));
    finish(stream);
    sxt_test_download(&trial);
    sxt_test_require(&trial, sxt_test_check_memory(&trial));
    require_same_bits(&y, SXT_TEST_INITIAL, &x);
    sxt_stream_destroy(&stream);
}

Test(streams, a_refused_call_leaves_the_recording_as_it_was) {
    const sxt_tensor x = normal("x", 3, 1, 16), y = empty("y", 3, 1, 16), z = empty("z", 3, 1, 16);
    sxt_test_upload(&trial);
    sxt_stream *stream = new_stream();
    sxt_norm_desc wrong = {.x = x, .y = y};
    wrong.y.shape[3] = 15;
    ok(sxt_test_record(&trial, stream, SXT_OP_KV_WRITE, &(sxt_kv_write_desc){.k = x, .cache.k = y}));
    cr_assert_eq(sxt_norm(stream, &wrong), SXT_ERROR_INVALID);
    ok(sxt_test_record(&trial, stream, SXT_OP_KV_WRITE, &(sxt_kv_write_desc){.k = y, .cache.k = z}));
    finish(stream);
    sxt_test_download(&trial);
    sxt_test_require(&trial, sxt_test_check_memory(&trial));
    require_same_bits(&z, SXT_TEST_INITIAL, &x);
    sxt_stream_destroy(&stream);
}

Test(streams, timestamps_are_numbered_and_never_run_backwards) {
    enum { STAMPS = 10 };
    const sxt_tensor x = normal("x", 64, 8, 128);
    sxt_test_upload(&trial);
    sxt_stream *stream = new_stream();
    uint32_t index = 99;
    if (sxt_device_get_info(device)->caps.timestamp_ns == 0 && !sxt_test_is_reference(device)) {
        cr_assert_eq(sxt_stream_timestamp(stream, &index), SXT_ERROR_UNSUPPORTED);
        sxt_stream_destroy(&stream);
        return;
    }
    for (uint32_t round = 0; round < 3; round++) {
        double sum = 0, whole = 0;
        for (uint32_t i = 0; i < STAMPS; i++) {
            if (i > 0) ok(sxt_test_record(&trial, stream, SXT_OP_NORM, &(sxt_norm_desc){.x = x, .y = x, .eps = 1e-6f}));
            ok(sxt_stream_timestamp(stream, &index));
            cr_assert_eq(index, i);
        }
        finish(stream);
        for (uint32_t i = 1; i < STAMPS; i++) {
            double us = -1;
            ok(sxt_stream_elapsed(stream, i - 1, i, &us));
            cr_assert(us >= 0 && us < 1e9, "%g µs", us);
            sum += us;
        }
        ok(sxt_stream_elapsed(stream, 0, STAMPS - 1, &whole));
        cr_assert(whole > 0 && sum <= whole * 1.001 + 1 && sum >= whole * 0.999 - 1, "%g µs in parts, %g µs in all",
                  sum, whole);
    }
    sxt_stream_destroy(&stream);
}

Test(streams, prepared_or_not_the_bits_are_the_same) {
    const sxt_tensor q = normal("q", 20, 4, 64), first = empty("first", 20, 4, 64), second = empty("second", 20, 4, 64);
    sxt_test_upload(&trial);
    sxt_stream *stream = new_stream();
    sxt_attention_desc d = {.q = q, .k = q, .v = q, .o = first, .causal = true};
    ok(sxt_test_record(&trial, stream, SXT_OP_ATTENTION, &d));
    finish(stream);
    d.o = second;
    ok(sxt_prepare(device, SXT_OP_ATTENTION, &d));
    ok(sxt_prepare(device, SXT_OP_ATTENTION, &d));
    ok(sxt_test_record(&trial, stream, SXT_OP_ATTENTION, &d));
    finish(stream);
    sxt_test_download(&trial);
    sxt_test_require(&trial, sxt_test_check_memory(&trial)); // preparing touches no tensor
    require_same_bits(&first, SXT_TEST_DEVICE, &second);
    sxt_stream_destroy(&stream);
}
