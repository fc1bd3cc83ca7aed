// sxt_tune: only what computes the right thing may win; what won is taken, and kept in the cache file.
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "interface/attention.h"
#include "kernels/tune.h"
#include "support/attention.h"
#include "vulkan/internal.h"

static sxt_test_bench bench;
static sxt_test_trial trial;

static void setup(void) {
    sxt_test_bench_init(&bench);
    sxt_test_trial_init(&trial, &bench, 1);
    trial.layout = SXT_TEST_DENSE;
    trial.device_only = true;
}

static void teardown(void) {
    sxt_test_trial_finish(&trial);
    sxt_test_bench_finish(&bench);
}

TestSuite(tune, .init = setup, .fini = teardown);

static sxt_attention_desc make(uint32_t queries, uint32_t keys) {
    sxt_attention_desc d = {
        .q = sxt_test_dense(&trial, "q", SXT_TYPE_F32, 1, queries, 4, 32),
        .k = sxt_test_dense(&trial, "k", SXT_TYPE_F16, 1, keys, 2, 32),
        .v = sxt_test_dense(&trial, "v", SXT_TYPE_F16, 1, keys, 2, 32),
        .o = sxt_test_dense(&trial, "o", SXT_TYPE_F32, 1, queries, 4, 32),
        .lse = sxt_test_dense(&trial, "lse", SXT_TYPE_F32, 1, queries, 4, 1),
        .causal = true,
    };
    sxt_test_fill_normal(&trial, &d.q, 0, 2);
    sxt_test_fill_normal(&trial, &d.k, 0, 1);
    sxt_test_fill_normal(&trial, &d.v, 0, 1);
    return d;
}

// The description with the device's buffers, filled; and resolved, as plans take it.
static sxt_attention_desc on_device(const sxt_attention_desc *d) {
    sxt_any_desc translated;
    sxt_test_upload(&trial);
    sxt_test_translate(&trial, SXT_TEST_DEVICE, &(sxt_test_step){SXT_OP_ATTENTION, d}, &translated);
    return translated.attention;
}

static sxt_attention_desc resolved(const sxt_device *device, const sxt_attention_desc *d) {
    sxt_any_desc all;
    cr_assert_eq(sxt_op_resolve(device, SXT_OP_ATTENTION, d, &all), SXT_OK);
    return all.attention;
}

// What was done to plans, and how many there were.
typedef struct meddling {
    enum { NOTHING, FEWER_ROWS, OTHER_MASK } what;
    uint32_t seen;
} meddling;

// Spoils all but the first: they become quick, and wrong.
static void meddle(void *user, uint32_t number, sxt_plan *plan) {
    meddling *m = user;
    m->seen++;
    if (number == 0) return;
    sxt_dispatch *dispatch = &plan->dispatches[0];
    struct sxt_attention_push push;
    memcpy(&push, dispatch->push, sizeof push);
    if (m->what == FEWER_ROWS) push.tiles = 1;
    if (m->what == OTHER_MASK) push.window_right = 1; // each row sees one key too many
    memcpy(dispatch->push, &push, sizeof push);
}

Test(tune, a_wrong_candidate_is_rejected) {
    const sxt_attention_desc d = make(40, 70), there = on_device(&d);
    const sxt_attention_desc desc = resolved(bench.devices[SXT_TEST_DEVICE], &there);
    for (int what = NOTHING; what <= OTHER_MASK; what++) {
        meddling m = {what, 0};
        sxt_tuning tuning;
        cr_assert_eq(sxt_tune_through(bench.devices[SXT_TEST_DEVICE], &desc, meddle, &m, &tuning), SXT_OK, "%s",
                     bench.log.text);
        cr_expect(m.seen > 1 && tuning.candidates == m.seen, "%u of %u", tuning.candidates, m.seen);
        cr_expect_eq(tuning.rejected, what == NOTHING ? 0 : m.seen - 1, "%d: %u of %u", what, tuning.rejected, m.seen);
        if (what != NOTHING) cr_expect_str_eq(tuning.best_variant, tuning.default_variant);
        cr_expect(tuning.best_us > 0 && tuning.best_us <= tuning.default_us);
    }
}

Test(tune, outputs_come_back_as_they_were) {
    sxt_attention_desc d = make(40, 70), desc = on_device(&d);
    cr_assert_eq(sxt_tune(bench.devices[SXT_TEST_DEVICE], SXT_OP_ATTENTION, &desc, NULL), SXT_OK);
    sxt_test_download(&trial);
    for (uint32_t n = 0; n < 40 * 4 * 32; n++)
        cr_assert_eq(memcmp(sxt_test_bytes(&trial, SXT_TEST_DEVICE, &d.o, n),
                            sxt_test_bytes(&trial, SXT_TEST_INITIAL, &d.o, n), 4),
                     0, "element %u", n);
}

static void describe(sxt_device *device, const sxt_attention_desc *desc, char out_text[SXT_MAX_NAME]) {
    cr_assert_eq(sxt_describe(device, SXT_OP_ATTENTION, desc, out_text, SXT_MAX_NAME), SXT_OK);
}

// A choice that no device makes by itself, as sxt_tune would leave it: calls like that one take it, others do not, and a
// device that is opened with the file takes it again.
Test(tune, what_was_chosen_is_taken_and_kept) {
    char path[] = "/tmp/sextant-tune-XXXXXX", before[SXT_MAX_NAME], after[SXT_MAX_NAME], other[SXT_MAX_NAME];
    close(mkstemp(path));
    unlink(path);
    sxt_attention_desc d = make(40, 70), near = d, far = d;
    near.q.shape[1] = near.o.shape[1] = near.lse.shape[1] = 33; // 32 … 63, as 40
    far.q.shape[1] = far.o.shape[1] = far.lse.shape[1] = 31;
    for (int opened = 0; opened < 2; opened++) {
        sxt_device *device = NULL;
        cr_assert_eq(sxt_device_open(&(sxt_device_params){.cache_path = path}, &device), SXT_OK);
        sxt_buffer *buffer = NULL;
        cr_assert_eq(sxt_buffer_create(device, &(sxt_buffer_desc){.bytes = 1 << 20}, &buffer), SXT_OK);
        sxt_tensor *const tensors[] = {&d.q, &d.k, &d.v, &d.o, &d.lse};
        sxt_attention_desc *const all[] = {&d, &near, &far};
        for (uint32_t n = 0; n < 3; n++)
            for (uint32_t i = 0; i < sizeof tensors / sizeof tensors[0]; i++) {
                sxt_tensor *t = (sxt_tensor *)((char *)all[n] + ((char *)tensors[i] - (char *)&d));
                t->buffer = buffer;
                t->offset_bytes = i << 16;
                memset(t->strides, 0, sizeof t->strides);
            }
        if (opened == 0) {
            describe(device, &d, before);
            const sxt_attention_desc desc = resolved(device, &d);
            sxt_vulkan_choice_put(device, sxt_tune_key(&desc), (uint32_t)SXT_ATTENTION_TILE << 16 | 1);
        }
        describe(device, &d, after);
        cr_expect(strstr(after, "rows 8 keys 32") && strcmp(before, after) != 0, "%s, before %s", after, before);
        describe(device, &near, other);
        cr_expect(strstr(other, "rows 8 keys 32"), "near: %s", other);
        describe(device, &far, other);
        cr_expect(strncmp(other, after, 14) != 0 || !strstr(other, "rows 8 keys 32"), "far: %s", other);
        sxt_attention_desc fixed = d;
        fixed.split_keys = 256;
        describe(device, &fixed, other);
        cr_expect(!strstr(other, "rows 8 keys 32 grid"), "with split_keys: %s", other);
        sxt_buffer_destroy(&buffer);
        sxt_device_close(&device);
    }
    unlink(path);
}

Test(tune, what_cannot_be_tuned_says_why) {
    sxt_attention_desc d = make(4, 70);
    sxt_test_fill(&trial, &d.v, 0);
    sxt_attention_desc desc = on_device(&d);
    sxt_device *device = bench.devices[SXT_TEST_DEVICE];
    cr_expect_eq(sxt_tune(device, SXT_OP_ATTENTION, &desc, NULL), SXT_ERROR_INVALID);
    cr_expect(strstr(bench.log.text, "as in use"), "%s", bench.log.text);
    cr_expect_eq(sxt_tune(device, SXT_OP_ATTENTION, NULL, NULL), SXT_ERROR_INVALID);
    cr_expect_eq(sxt_tune(NULL, SXT_OP_ATTENTION, &desc, NULL), SXT_ERROR_INVALID);
}

// More choices than there is room for: the latest are there.
Test(tune, choices_have_an_end) {
    sxt_device *device = bench.devices[SXT_TEST_DEVICE];
    uint32_t value = 0;
    for (uint64_t key = 0; key < SXT_VULKAN_CHOICES + 10; key++)
        sxt_vulkan_choice_put(device, key, (uint32_t)key + 5);
    cr_expect(!sxt_vulkan_choice_get(device, 3, &value));
    cr_expect(sxt_vulkan_choice_get(device, SXT_VULKAN_CHOICES + 9, &value) && value == SXT_VULKAN_CHOICES + 14);
    sxt_vulkan_choices copy = {.count = 0};
    static uint8_t saved[SXT_VULKAN_CHOICES * 16 + 8];
    sxt_vulkan_choices *choices = &sxt_vulkan_device_of(device)->choices;
    const size_t bytes = sxt_vulkan_choices_save(choices, saved);
    cr_assert_eq(bytes, sizeof saved);
    cr_expect_eq(sxt_vulkan_choices_load(&copy, saved, bytes - 1), 0, "cut short");
    cr_expect_eq(sxt_vulkan_choices_load(&copy, saved, bytes), bytes);
    cr_expect(copy.count == choices->count && memcmp(copy.rows, choices->rows, sizeof copy.rows) == 0);
    choices->count = 0;
}
