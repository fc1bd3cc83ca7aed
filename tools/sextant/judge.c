#include "judge.h"

#include "bound.h"
#include "cache.h"
#include "number.h"
#include "sequences.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

// One stage by itself, on the input that the device had, and what the reference makes of it.
typedef struct trial {
    const sxt_work *work; // all stages
    const sxt_stage *stage;
    void *const *data; // the device's, by slot of `work`
    sxt_work single;
    void *before[SXT_MAX_SLOTS], *right[SXT_MAX_SLOTS]; // by slot of `single`
    float *decoded;                                     // a cache in place, as f32
    double *magnitude;                                  // see sxt_evidence
} trial;

static bool is_exact(sxt_op op) {
    return op == SXT_OP_KV_WRITE || op == SXT_OP_KV_COPY;
}

static bool is_cache(const char *field) {
    return strcmp(field, "k_cache") == 0 || strcmp(field, "v_cache") == 0;
}

// ── The stage alone ──

// A cache becomes a tensor of the tokens in their order, so that nothing of where rows lie is asked of the reference.
static void flatten_cache(sxt_work *single, const char *field, const char *from_field, const char *scale_field) {
    sxt_stage *stage = &single->stages[0];
    int cache = sxt_stage_slot(stage, field), scale = single->slots[cache].scale;
    const sxt_slot *from = &single->slots[sxt_stage_slot(stage, from_field)];
    bool exact = is_exact(stage->op);
    sxt_type type = exact ? single->slots[cache].type : SXT_TYPE_F32;
    int flat = sxt_work_slot(single, single->slots[cache].name, type, from->shape, NULL);
    if (exact) single->slots[flat].scale = scale;
    if (!exact) sxt_stage_bind(stage, scale_field, SXT_NO_SLOT);
    sxt_stage_bind(stage, field, flat);
}

// Gives each output an f32 slot of its own, so that the reference is not rounded to the output's type and an operation
// in place keeps its input. What has to be right to the bit stays: its rounding is what is checked.
static void widen_outputs(sxt_work *single) {
    sxt_stage *stage = &single->stages[0];
    const sxt_field *fields = sxt_op_fields(stage->op);
    for (int f = 0; fields[f].name; f++) {
        if (!fields[f].written || stage->slots[f] == SXT_NO_SLOT) continue;
        const char *name = fields[f].name;
        if (is_cache(name)) {
            flatten_cache(single, name, name[0] == 'k' ? "k" : "v", name[0] == 'k' ? "k_scale" : "v_scale");
        } else if (!is_exact(stage->op)) {
            const sxt_slot *from = &single->slots[stage->slots[f]];
            const void *initial = stage->op == SXT_OP_KV_SHIFT ? from->initial : NULL; // in place
            stage->slots[f] = sxt_work_slot(single, from->name, SXT_TYPE_F32, from->shape, initial);
        }
    }
    sxt_kv_cache *cache = sxt_op_cache(stage->op, &stage->desc);
    if (!cache) return;
    cache->first_row = 0;
    sxt_stage_bind(stage, "slots", SXT_NO_SLOT);
    sxt_stage_bind(stage, "block_table", SXT_NO_SLOT);
}

// The keys that a kv_shift turns, decoded into the f32 slot that widen_outputs made.
static bool decode_shifted(trial *t) {
    const sxt_stage *stage = &t->single.stages[0];
    if (stage->op != SXT_OP_KV_SHIFT) return true;
    int from = sxt_stage_slot(t->stage, "k"), to = sxt_stage_slot(stage, "k");
    void *inputs[SXT_MAX_SLOTS];
    for (int i = 0; i < SXT_MAX_SLOTS; i++)
        inputs[i] = (void *)(uintptr_t)t->work->slots[i].initial;
    t->decoded = sxt_data_decode(t->work, from, inputs);
    t->single.slots[to].initial = t->decoded;
    sxt_stage_bind(&t->single.stages[0], "k_scale", SXT_NO_SLOT);
    return t->decoded != NULL;
}

// Work of a single stage, on input that the device has where a stage before made it.
static void isolate(trial *t) {
    t->single = *t->work;
    t->single.layout = 0;
    t->single.stages[0] = *t->stage;
    t->single.stage_count = 1;
    for (int i = 0; i < t->work->slot_count; i++) {
        if (!t->work->slots[i].initial && !sxt_work_writes(&t->single, i)) t->single.slots[i].initial = t->data[i];
    }
}

// Σ p·|v| for each element of o: what the reference makes of the attention with |v|, decoded, in v's place.
static sxt_result run_magnitude(const sxt_session *reference, trial *t) {
    sxt_work work = t->single;
    int v = sxt_stage_slot(&work.stages[0], "v"), o = sxt_stage_slot(&work.stages[0], "o"); // o is f32 by now
    uint64_t v_count = sxt_slot_count(&work.slots[v]), o_count = sxt_slot_count(&work.slots[o]);
    void *data[SXT_MAX_SLOTS] = {0};
    float *absolute = sxt_data_decode(&work, v, t->before);
    t->magnitude = malloc(o_count * sizeof *t->magnitude + 1);
    sxt_result result = absolute && t->magnitude ? SXT_OK : SXT_ERROR_OUT_OF_MEMORY;
    for (uint64_t i = 0; result == SXT_OK && i < v_count; i++)
        absolute[i] = fabsf(absolute[i]);
    int plain = sxt_work_slot(&work, "|v|", SXT_TYPE_F32, work.slots[v].shape, absolute);
    sxt_stage_bind(&work.stages[0], "v", plain);
    sxt_stage_bind(&work.stages[0], "v_scale", SXT_NO_SLOT);
    if (result == SXT_OK) result = sxt_check_reference(reference, &work, data);
    for (uint64_t i = 0; result == SXT_OK && i < o_count; i++)
        t->magnitude[i] = ((const float *)data[o])[i];
    sxt_data_free(data);
    free(absolute);
    return result;
}

static sxt_result run_trial(const sxt_session *reference, trial *t) {
    isolate(t);
    widen_outputs(&t->single);
    if (!decode_shifted(t)) return SXT_ERROR_OUT_OF_MEMORY;
    for (int i = 0; i < t->single.slot_count; i++)
        t->before[i] = (void *)(uintptr_t)t->single.slots[i].initial;
    sxt_result result = sxt_check_reference(reference, &t->single, t->right);
    return result == SXT_OK && t->stage->op == SXT_OP_ATTENTION ? run_magnitude(reference, t) : result;
}

// ── Elements ──

// The device's elements in the order of the reference's, and what is right for each.
typedef struct comparison {
    const sxt_slot *slot; // the reference's
    sxt_target target;
    const void *values, *reference; // of the target's type (`reference` only with `exact`)
    double *right, *bound;          // `bound` only without `exact`
    bool exact, logarithm;
    const sxt_cache_map *map; // NULL: not a cache
} comparison;

static double value_at(const comparison *c, uint64_t i) {
    double value = sxt_number_get(c->target.type, c->values, i);
    if (!c->target.scale) return value;
    return value * c->target.scale[c->target.scales == 1 ? 0 : i / c->slot->shape[3] % c->slot->shape[2]];
}

// Whether the bits of element i (or its block) are those of the reference's element j. A NaN may be any NaN, but for
// copies, where `right` is not asked.
static bool same_bits(const comparison *c, uint64_t i, uint64_t j) {
    uint32_t block = sxt_type_block(c->target.type), size = sxt_type_size(c->target.type);
    const char *a = (const char *)c->values + i / block * size, *b = (const char *)c->reference + j / block * size;
    if (memcmp(a, b, size) == 0) return true;
    if (!c->map || !isnan(c->right[j]) || !isnan(value_at(c, i))) return false;
    return block == 1 || memcmp(a + 2, b + 2, size - 2) == 0; // a block's NaN is in its f16 scale
}

// How much of what is allowed element i needs to be taken for the reference's element j: fine up to 1.
static double share_of(const comparison *c, uint64_t i, uint64_t j) {
    if (c->exact) return same_bits(c, i, j) ? 0 : INFINITY;
    double value = value_at(c, i), right = c->right[j];
    if (!isfinite(value) || !isfinite(right)) return value == right || (isnan(value) && isnan(right)) ? 0 : INFINITY;
    if (value == right) return 0;
    return c->bound[j] > 0 ? fabs(value - right) / (SXT_BOUND_SLACK * c->bound[j]) : INFINITY;
}

// The element of the reference that element i is closest to: its own but where several tokens take one row, and any of
// them may stay. Writers of one block may mix there, so blocks are not looked at: out_share is 0.
static uint64_t find_closest(const comparison *c, uint64_t i, double *out_share) {
    *out_share = share_of(c, i, i);
    if (!c->map) return i;
    uint64_t row = (uint64_t)c->slot->shape[2] * c->slot->shape[3], token = i / row, best = i;
    if (c->map->twins[token] != token && sxt_type_block(c->target.type) > 1) *out_share = 0;
    for (uint64_t twin = c->map->twins[token]; twin != token && *out_share > 0; twin = c->map->twins[twin]) {
        uint64_t j = twin * row + i % row;
        double share = share_of(c, i, j);
        if (share < *out_share) *out_share = share, best = j;
    }
    return best;
}

static void judge_elements(const comparison *c, sxt_check_line *line) {
    uint64_t count = sxt_slot_count(c->slot), row = (uint64_t)c->slot->shape[2] * c->slot->shape[3];
    double difference = 0, size = 0, allowed = 0;
    bool broken = false;
    line->elements = true;
    line->bits = c->exact;
    for (uint64_t i = 0; i < count; i++) {
        if (c->map && c->map->rows[i / row] < 0) continue;
        double share, value = value_at(c, i), right = c->right[find_closest(c, i, &share)];
        if (isfinite(value) && isfinite(right)) {
            difference += share > 0 ? (value - right) * (value - right) : 0;
            size += c->logarithm ? fmax(1, right * right) : right * right;
            if (!c->exact) allowed += c->bound[i] * c->bound[i];
        }
        broken |= isinf(share);
        if (!(share <= line->worst_share)) {
            line->worst_share = isnan(share) ? INFINITY : share;
            line->worst_index = i;
            line->worst_value = value;
            line->worst_reference = right;
        }
    }
    line->error = difference > 0 ? sqrt(difference / size) : broken ? INFINITY : 0;
    // Numbers too small for the type to hold all their digits are off by as much as it flushes, at most all they are.
    if (size > 0)
        line->limit = fmax(line->limit, fmin(1, sxt_number_tiny(c->target.type) * sqrt((double)count / size)));
    // In a few elements one code off may be more than the figure for many.
    if (sxt_type_block(c->target.type) > 1 || c->target.type == SXT_TYPE_FP8_E4M3)
        line->limit = fmax(line->limit, size > 0 && !c->exact ? SXT_BOUND_SLACK * sqrt(allowed / size) : 0);
    line->ok = line->error <= line->limit && line->worst_share <= 1;
}

// ── Outputs ──

// The rows that tokens took, in the tokens' order. What was dropped is left undefined.
static void *gather_rows(const sxt_slot *flat, sxt_type type, const sxt_cache_map *map, const void *cache) {
    uint64_t row_bytes = sxt_number_bytes(type, (uint64_t)flat->shape[2] * flat->shape[3]);
    char *dense = malloc(map->token_count * row_bytes + 1);
    for (uint64_t token = 0; dense && token < map->token_count; token++) {
        if (map->rows[token] >= 0)
            memcpy(dense + token * row_bytes, (const char *)cache + (uint64_t)map->rows[token] * row_bytes, row_bytes);
    }
    return dense;
}

// Rows that no token takes must be as they were.
static void check_untouched(const sxt_slot *slot, const sxt_cache_map *map, const void *cache, sxt_check *check) {
    uint64_t row_bytes = sxt_number_bytes(slot->type, (uint64_t)slot->shape[2] * slot->shape[3]);
    for (uint64_t row = 0; row < map->row_count && !*check->damage; row++) {
        const unsigned char *bytes = (const unsigned char *)cache + row * row_bytes;
        for (uint64_t i = 0; i < row_bytes && !map->taken[row]; i++) {
            if (bytes[i] == SXT_POISON) continue;
            snprintf(check->damage, sizeof check->damage, "%s: row %llu was written, which no token takes", slot->name,
                     (unsigned long long)row);
            check->ok = false;
            break;
        }
    }
}

// Results of queries that no sequence has must be as they were.
static bool check_unclaimed(const trial *t, const sxt_slot *slot, const void *data, sxt_check *check) {
    sxt_sequences sequences = sxt_sequences_of(t->work, t->stage);
    uint64_t token_bytes = sxt_number_bytes(slot->type, (uint64_t)slot->shape[2] * slot->shape[3]);
    bool *claimed = sxt_sequences_claimed(&sequences);
    for (uint64_t i = 0; claimed && i < (uint64_t)slot->shape[0] * slot->shape[1] * token_bytes; i++) {
        if (claimed[i / token_bytes] || ((const unsigned char *)data)[i] == SXT_POISON || *check->damage) continue;
        snprintf(check->damage, sizeof check->damage, "%s: token %llu was written, which no sequence has", slot->name,
                 (unsigned long long)(i / token_bytes));
        check->ok = false;
    }
    free(claimed);
    return claimed != NULL;
}

static sxt_target target_of(const trial *t, int slot) {
    const sxt_slot *at = &t->work->slots[slot];
    sxt_target target = {.type = at->type};
    if (at->scale == SXT_NO_SLOT) return target;
    target.scale = t->work->slots[at->scale].initial;
    target.scales = t->work->slots[at->scale].shape[2];
    return target;
}

// Makes and judges a comparison whose `right` and `bound` have been allocated.
static void compare_field(const trial *t, const char *field, double limit, comparison *c, sxt_check *check) {
    int flat = sxt_stage_slot(&t->single.stages[0], field);
    sxt_evidence evidence = {.work = &t->single,
                             .stage = &t->single.stages[0],
                             .before = t->before,
                             .reference = t->right,
                             .magnitude = t->magnitude};
    c->reference = t->right[flat];
    if (c->exact) {
        comparison reference = *c;
        reference.values = c->reference;
        for (uint64_t i = 0; i < sxt_slot_count(c->slot); i++)
            c->right[i] = value_at(&reference, i);
    } else {
        sxt_bound(&evidence, field, &c->target, c->right, c->bound);
    }
    sxt_check_line *line = sxt_check_add(check, t->work->slots[sxt_stage_slot(t->stage, field)].name, "reference", 0,
                                         c->exact ? 0 : limit);
    judge_elements(c, line);
    sxt_check_count(check, line);
}

static sxt_result judge_field(const trial *t, const char *field, double condition, sxt_check *check) {
    int slot = sxt_stage_slot(t->stage, field), flat = sxt_stage_slot(&t->single.stages[0], field);
    const sxt_slot *held = &t->work->slots[slot];
    sxt_cache_map map = {0};
    comparison c = {.slot = &t->single.slots[flat],
                    .target = target_of(t, slot),
                    .values = t->data[slot],
                    .exact = is_exact(t->stage->op),
                    .logarithm = strcmp(held->name, "lse") == 0};
    void *gathered = NULL;
    uint64_t count = sxt_slot_count(c.slot);
    bool ready = t->stage->op != SXT_OP_ATTENTION || check_unclaimed(t, held, t->data[slot], check);
    if (is_cache(field)) {
        ready = sxt_cache_map_init(t->work, t->stage, field, t->data, &map);
        if (ready) gathered = gather_rows(c.slot, held->type, &map, t->data[slot]);
        if (gathered) check_untouched(held, &map, t->data[slot], check);
        ready = gathered != NULL;
        c.values = gathered;
        c.map = &map;
    }
    c.right = malloc(count * sizeof *c.right + 1);
    c.bound = malloc(count * sizeof *c.bound + 1);
    ready = ready && c.right && c.bound;
    double limit = fmax(sxt_bound_relative(&t->single, flat), sxt_bound_relative_type(held->type)) * condition;
    if (ready) compare_field(t, field, limit, &c, check);
    sxt_cache_map_finish(&map);
    free(gathered);
    free(c.right);
    free(c.bound);
    return ready ? SXT_OK : SXT_ERROR_OUT_OF_MEMORY;
}

sxt_result sxt_judge_stage(const sxt_session *reference, const sxt_work *work, int stage,
                           void *const data[SXT_MAX_SLOTS], double condition, sxt_check *check) {
    trial t = {.work = work, .stage = &work->stages[stage], .data = data};
    const sxt_field *fields = sxt_op_fields(t.stage->op);
    sxt_result result = run_trial(reference, &t);
    for (int f = 0; fields[f].name && result == SXT_OK; f++) {
        if (fields[f].written && t.stage->slots[f] != SXT_NO_SLOT)
            result = judge_field(&t, fields[f].name, condition, check);
    }
    free(t.decoded);
    free(t.magnitude);
    sxt_data_free(t.right);
    return result;
}
