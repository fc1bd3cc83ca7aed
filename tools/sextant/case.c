#include "case.h"

#include "program.h"

#include <float.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

// ── What is understood ──

static const char *const op_names[] = {"norm", "rope", "qk_norm_rope", "attention", "kv_write", NULL};
static const char *const norm_names[] = {"rms", "layer", "l2", "none", NULL}; // in sxt_norm_kind's order
static const char *const kind_names[] = {"rms", "layer", "l2", NULL};
static const char *const pairing_names[] = {"half", "interleaved", NULL};             // sxt_rope_pairing
static const char *const multi_names[] = {"none", "mrope", "imrope", "vision", NULL}; // sxt_rope_multi
static const char *const type_names[] = {"f32", "f16", "bf16", NULL};                 // sxt_type
static const char *const kv_type_names[] = {"f32", "f16", "bf16", "q8_0", NULL};      // sxt_type without i32

enum {
    NORM = 1 << SXT_CASE_NORM,
    ROPE = 1 << SXT_CASE_ROPE,
    QK = 1 << SXT_CASE_QK_NORM_ROPE,
    ATTENTION = 1 << SXT_CASE_ATTENTION,
    KV = 1 << SXT_CASE_KV_WRITE,
    EVERY = NORM | ROPE | QK | ATTENTION | KV,
    ROTATES = ROPE | QK | ATTENTION,
};

typedef enum key_kind { KEY_FLOAT, KEY_UINT, KEY_INT, KEY_BOOL, KEY_CHOICE, KEY_SECTIONS } key_kind;

typedef struct key_row {
    const char *name;
    unsigned ops;
    key_kind kind;
    size_t place; // offset in sxt_case_params
    const char *const *choices;
    const char *help;
} key_row;

#define AT(member) offsetof(sxt_case_params, member)

static const key_row keys[] = {
    {"op", EVERY, KEY_CHOICE, AT(op), op_names, "required"},
    {"kind", NORM, KEY_CHOICE, AT(norm), kind_names, "default rms"},
    {"norm", QK | ATTENTION, KEY_CHOICE, AT(norm), norm_names,
     "of each head of q and k, before RoPE; default rms, for attention none"},
    {"eps", NORM | QK | ATTENTION, KEY_FLOAT, AT(eps), NULL,
     "of the norm, from 0; default 0 (models use 1e-5 or 1e-6)"},
    {"offset", NORM | QK | ATTENTION, KEY_FLOAT, AT(offset), NULL, "added to weights; default 0"},
    {"pairing", ROTATES, KEY_CHOICE, AT(pairing), pairing_names, "default half; for attention: absent = no RoPE"},
    {"rotary_dim", ROTATES, KEY_UINT, AT(rope.rotary_dim), NULL, "default: all channels after rotary_offset"},
    {"rotary_offset", ROTATES, KEY_UINT, AT(rope.rotary_offset), NULL, "default 0"},
    {"base", ROTATES, KEY_FLOAT, AT(rope.base), NULL, "default 10000"},
    {"freq_scale", ROTATES, KEY_FLOAT, AT(rope.freq_scale), NULL, "default 1"},
    {"ext_factor", ROTATES, KEY_FLOAT, AT(rope.ext_factor), NULL, "0 = no YaRN (default), 1 = YaRN"},
    {"attn_factor", ROTATES, KEY_FLOAT, AT(rope.attn_factor), NULL, "default 1"},
    {"beta_fast", ROTATES, KEY_FLOAT, AT(rope.beta_fast), NULL, "default 32"},
    {"beta_slow", ROTATES, KEY_FLOAT, AT(rope.beta_slow), NULL, "default 1"},
    {"original_context", ROTATES, KEY_UINT, AT(rope.original_context), NULL, "needed with ext_factor"},
    {"multi", ROTATES, KEY_CHOICE, AT(multi), multi_names, "axes of positions; default none"},
    {"sections", ROTATES, KEY_SECTIONS, AT(rope.sections), NULL, "with multi: pairs of each axis, e.g. 16,24,24"},
    {"inverse", ROTATES, KEY_BOOL, AT(rope.inverse), NULL, "rotate back; default false"},
    {"scale", ATTENTION, KEY_FLOAT, AT(scale), NULL, "default (and 0) 1/sqrt(D)"},
    {"softcap", ATTENTION, KEY_FLOAT, AT(softcap), NULL, "default 0 = none"},
    {"causal", ATTENTION, KEY_BOOL, AT(causal), NULL, "default false"},
    {"window_left", ATTENTION, KEY_INT, AT(window_left), NULL, "keys before the query's own; default -1 = all"},
    {"window_right", ATTENTION, KEY_INT, AT(window_right), NULL, "keys after the query's own; default -1 = all"},
    {"kv_type", ATTENTION | KV, KEY_CHOICE, AT(kv_type), kv_type_names,
     "of the cache; absent: k and v as they are. q8_0: not after norm or RoPE"},
    {"rows", KV, KEY_UINT, AT(rows), NULL, "of the cache; default: as many as needed"},
    {"first_row", KV, KEY_UINT, AT(first_row), NULL, "row of the first token, without slots; default 0"},
    {"out_type", NORM | ROPE | QK | ATTENTION, KEY_CHOICE, AT(out_type), type_names,
     "of the outputs (not lse); default f32"},
    {"in_place", NORM | ROPE | QK, KEY_BOOL, AT(in_place), NULL, "outputs overwrite their inputs; default false"},
    {"layout", EVERY, KEY_UINT, AT(layout), NULL,
     "not 0: spread tensors over memory by odd strides and offsets, drawn from this seed"},
};
enum { KEY_COUNT = sizeof keys / sizeof keys[0] };

enum {
    FLOATS = 1 << SXT_DTYPE_F32 | 1 << SXT_DTYPE_F16 | 1 << SXT_DTYPE_BF16,
    F32 = 1 << SXT_DTYPE_F32,
    F32_F16 = 1 << SXT_DTYPE_F32 | 1 << SXT_DTYPE_F16,
    I32 = 1 << SXT_DTYPE_I32,
};

typedef enum tensor_role { REQUIRED, OPTIONAL, EXPECTED } tensor_role;

typedef struct tensor_row {
    sxt_case_op op;
    const char *name;
    tensor_role role;
    unsigned dtypes;
    const char *shape;
} tensor_row;

static const tensor_row tensors[] = {
    {SXT_CASE_NORM, "x", REQUIRED, FLOATS, "[T, C] or [C], [T, H, C], [B, T, H, C]"},
    {SXT_CASE_NORM, "weight", OPTIONAL, FLOATS, "[C], or like x with 1 where it repeats"},
    {SXT_CASE_NORM, "bias", OPTIONAL, FLOATS, "[C], or like x with 1 where it repeats"},
    {SXT_CASE_NORM, "residual", OPTIONAL, FLOATS, "like x"},
    {SXT_CASE_NORM, "y", EXPECTED, FLOATS, "like x"},
    {SXT_CASE_NORM, "residual_out", EXPECTED, FLOATS, "like x"},
    {SXT_CASE_ROPE, "x", REQUIRED, FLOATS, "[T, H, D]"},
    {SXT_CASE_ROPE, "positions", REQUIRED, I32, "[T] or [B, T]; with multi [planes, T] or [planes, B, T]"},
    {SXT_CASE_ROPE, "freq_factors", OPTIONAL, F32, "[rotary_dim/2]"},
    {SXT_CASE_ROPE, "y", EXPECTED, FLOATS, "[T, H, D]"},
    {SXT_CASE_QK_NORM_ROPE, "q", REQUIRED, FLOATS, "[T, Hq, D]"},
    {SXT_CASE_QK_NORM_ROPE, "k", REQUIRED, FLOATS, "[T, Hk, D]"},
    {SXT_CASE_QK_NORM_ROPE, "positions", REQUIRED, I32, "[T] or [B, T]; with multi [planes, T] or [planes, B, T]"},
    {SXT_CASE_QK_NORM_ROPE, "q_weight", OPTIONAL, FLOATS, "[D], or [Hq, 1] (a temperature per head), [Hq, D]"},
    {SXT_CASE_QK_NORM_ROPE, "k_weight", OPTIONAL, FLOATS, "[D], or [Hk, 1], [Hk, D]"},
    {SXT_CASE_QK_NORM_ROPE, "freq_factors", OPTIONAL, F32, "[rotary_dim/2]"},
    {SXT_CASE_QK_NORM_ROPE, "q_out", EXPECTED, FLOATS, "[T, Hq, D]"},
    {SXT_CASE_QK_NORM_ROPE, "k_out", EXPECTED, FLOATS, "[T, Hk, D]"},
    {SXT_CASE_ATTENTION, "q", REQUIRED, FLOATS, "[Tq, Hq, D]"},
    {SXT_CASE_ATTENTION, "k", REQUIRED, FLOATS, "[Tk, Hk, D]"},
    {SXT_CASE_ATTENTION, "v", REQUIRED, FLOATS, "[Tk, Hk, Dv]"},
    {SXT_CASE_ATTENTION, "positions", OPTIONAL, I32, "[Tk] (or as for rope), with `pairing`; queries take the last Tq"},
    {SXT_CASE_ATTENTION, "q_weight", OPTIONAL, FLOATS, "[D], or [Hq, 1], [Hq, D]; with `norm`"},
    {SXT_CASE_ATTENTION, "k_weight", OPTIONAL, FLOATS, "[D], or [Hk, 1], [Hk, D]; with `norm`"},
    {SXT_CASE_ATTENTION, "freq_factors", OPTIONAL, F32, "[rotary_dim/2]"},
    {SXT_CASE_ATTENTION, "sinks", OPTIONAL, F32, "[Hq]"},
    {SXT_CASE_ATTENTION, "alibi_slopes", OPTIONAL, F32, "[Hq]"},
    {SXT_CASE_ATTENTION, "bias", OPTIONAL, F32_F16, "[Tq, Tk] or [Hq, Tq, Tk]"},
    {SXT_CASE_ATTENTION, "o", EXPECTED, FLOATS, "[Tq, Hq, Dv]"},
    {SXT_CASE_ATTENTION, "lse", EXPECTED, F32, "[Tq, Hq]"},
    {SXT_CASE_KV_WRITE, "k", REQUIRED, FLOATS, "[T, H, D]"},
    {SXT_CASE_KV_WRITE, "v", OPTIONAL, FLOATS, "[T, H, Dv]"},
    {SXT_CASE_KV_WRITE, "slots", OPTIONAL, I32, "[T]: row of each token, -1 = none"},
    {SXT_CASE_KV_WRITE, "k_cache", EXPECTED, FLOATS, "[rows, H, D]"},
    {SXT_CASE_KV_WRITE, "v_cache", EXPECTED, FLOATS, "[rows, H, Dv]"},
};
enum { TENSOR_COUNT = sizeof tensors / sizeof tensors[0] };

// ── Reading ──

__attribute__((format(printf, 2, 3))) static bool fail(char error[SXT_ERROR_SIZE], const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(error, SXT_ERROR_SIZE, format, arguments);
    va_end(arguments);
    return false;
}

static void join(char *to, size_t size, const char *name) {
    size_t used = strlen(to);
    snprintf(to + used, size - used, "%s%s", used ? ", " : "", name);
}

static bool read_choice(const key_row *row, const char *text, int *out_value, char *error) {
    char list[128] = "";
    for (int i = 0; row->choices[i]; i++) {
        if (strcmp(text, row->choices[i]) == 0) return *out_value = i, true;
        join(list, sizeof list, row->choices[i]);
    }
    return fail(error, "key '%s': '%.60s' is none of %s", row->name, text, list);
}

// "16,24,24", and as well "[16, 24, 24]".
static bool read_sections(const key_row *row, const char *text, uint32_t sections[4], char *error) {
    const char *at = text + (*text == '[');
    for (int i = 0; i < 4; i++) {
        char part[16];
        int64_t value;
        at += strspn(at, " ");
        size_t length = strcspn(at, ",] ");
        if (length >= sizeof part) break;
        memcpy(part, at, length);
        part[length] = '\0';
        if (!sxt_parse_int(part, 0, UINT32_MAX, &value)) break;
        sections[i] = (uint32_t)value;
        at += length;
        at += strspn(at, " ");
        if (strcmp(at, *text == '[' ? "]" : "") == 0) return true;
        if (*at++ != ',') break;
    }
    return fail(error, "key '%s': '%.60s' is not one to four whole numbers with commas", row->name, text);
}

static bool read_key(const key_row *row, const char *text, sxt_case_params *params, char *error) {
    void *place = (char *)params + row->place;
    int64_t whole;
    double number;
    switch (row->kind) {
    case KEY_FLOAT:
        if (!sxt_parse_float(text, -FLT_MAX, FLT_MAX, &number)) {
            return fail(error, "key '%s': '%.60s' is not a finite number of 32-bit range", row->name, text);
        }
        *(float *)place = (float)number;
        return true;
    case KEY_UINT:
        if (!sxt_parse_int(text, 0, UINT32_MAX, &whole)) {
            return fail(error, "key '%s': '%.60s' is not a whole number from 0 to 4294967295", row->name, text);
        }
        *(uint32_t *)place = (uint32_t)whole;
        return true;
    case KEY_INT:
        if (!sxt_parse_int(text, -1, INT32_MAX, &whole)) {
            return fail(error, "key '%s': '%.60s' is not a whole number from -1 to 2147483647", row->name, text);
        }
        *(int32_t *)place = (int32_t)whole;
        return true;
    case KEY_BOOL:
        *(bool *)place = strcmp(text, "true") == 0 || strcmp(text, "1") == 0;
        if (*(bool *)place || strcmp(text, "false") == 0 || strcmp(text, "0") == 0) return true;
        return fail(error, "key '%s': '%.60s' is none of true, false, 1, 0", row->name, text);
    case KEY_CHOICE:
        return read_choice(row, text, place, error);
    case KEY_SECTIONS:
        return read_sections(row, text, place, error);
    }
    return false;
}

static const key_row *find_key(sxt_case_op op, const char *name) {
    for (int i = 0; i < KEY_COUNT; i++) {
        if ((keys[i].ops & 1u << op) && strcmp(keys[i].name, name) == 0) return &keys[i];
    }
    return NULL;
}

bool sxt_case_params_read(const sxt_bundle *bundle, sxt_case_params *out_params, char error[SXT_ERROR_SIZE]) {
    char allowed[400] = "";
    const char *op = sxt_bundle_value(bundle, "op");
    *out_params = (sxt_case_params){
        .window_left = -1, .window_right = -1, .kv_type = SXT_TYPE_ABSENT, .out_type = SXT_TYPE_ABSENT};
    if (!op)
        return fail(error, "key 'op' is missing from __metadata__: norm, rope, qk_norm_rope, attention or kv_write");
    int chosen;
    if (!read_choice(find_key(SXT_CASE_NORM, "op"), op, &chosen, error)) return false;
    out_params->op = (sxt_case_op)chosen;
    out_params->rotate = out_params->op != SXT_CASE_ATTENTION || sxt_bundle_value(bundle, "pairing");
    out_params->norm_given = sxt_bundle_value(bundle, "norm") != NULL;
    if (out_params->op == SXT_CASE_ATTENTION) out_params->norm = SXT_NORM_NONE;
    out_params->windowed = sxt_bundle_value(bundle, "window_left") || sxt_bundle_value(bundle, "window_right");
    for (size_t i = 0; i < bundle->pair_count; i++) {
        const sxt_pair *pair = &bundle->pairs[i];
        const key_row *row = find_key(out_params->op, pair->key);
        if (!row) {
            for (int k = 0; k < KEY_COUNT; k++) {
                if (keys[k].ops & 1u << out_params->op) join(allowed, sizeof allowed, keys[k].name);
            }
            return fail(error, "key '%.60s' is unknown; %s takes %s", pair->key, op, allowed);
        }
        if (row->kind != KEY_CHOICE || row->place != AT(op)) {
            if (!read_key(row, pair->value, out_params, error)) return false;
        }
    }
    if (out_params->kv_type == 3) out_params->kv_type = SXT_TYPE_Q8_0;
    if (out_params->op == SXT_CASE_KV_WRITE && out_params->kv_type == SXT_TYPE_Q8_0) {
        return fail(error, "key 'kv_type': kv_write takes f32, f16 and bf16");
    }
    out_params->rope.pairing = (sxt_rope_pairing)out_params->pairing;
    out_params->rope.multi = (sxt_rope_multi)out_params->multi;
    if (out_params->eps < 0) return fail(error, "key 'eps': %g is negative", (double)out_params->eps);
    return true;
}

bool sxt_case_tensors_check(const sxt_bundle *bundle, sxt_case_op op, char error[SXT_ERROR_SIZE]) {
    char allowed[300] = "";
    for (int t = 0; t < TENSOR_COUNT; t++) {
        if (tensors[t].op != op) continue;
        const sxt_array *array = sxt_bundle_array(bundle, tensors[t].name);
        join(allowed, sizeof allowed, tensors[t].name);
        if (!array && tensors[t].role == REQUIRED) {
            return fail(error, "tensor '%s' is missing: %s needs it, %s", tensors[t].name, op_names[op],
                        tensors[t].shape);
        }
        if (array && !(tensors[t].dtypes & 1u << array->dtype)) {
            char types[64] = "";
            for (int d = 0; d < SXT_DTYPE_COUNT; d++) {
                if (tensors[t].dtypes & 1u << d) join(types, sizeof types, sxt_dtype_name((sxt_dtype)d));
            }
            return fail(error, "tensor '%s': dtype %s, where %s is right", array->name, sxt_dtype_name(array->dtype),
                        types);
        }
    }
    for (size_t i = 0; i < bundle->array_count; i++) {
        bool known = false;
        for (int t = 0; t < TENSOR_COUNT; t++) {
            known |= tensors[t].op == op && strcmp(tensors[t].name, bundle->arrays[i].name) == 0;
        }
        if (!known) {
            return fail(error, "tensor '%.60s' is unknown; %s takes %s", bundle->arrays[i].name, op_names[op], allowed);
        }
    }
    return true;
}

// ── Help ──

void sxt_case_print_help(void) {
    static const char *const roles[] = {"", ", optional", ", expected output"};
    printf("\nTensors. All with tokens (T) and heads (H) may have a leading batch dim. Expected outputs are for "
           "--check.\n");
    for (int t = 0; t < TENSOR_COUNT; t++) {
        bool first = t == 0 || tensors[t].op != tensors[t - 1].op;
        printf("  %-13s %-13s %s%s\n", first ? op_names[tensors[t].op] : "", tensors[t].name, tensors[t].shape,
               roles[tensors[t].role]);
    }
    printf("\nKeys of __metadata__ and of --set (in the file all values are strings), each for the ops with a letter:\n"
           "n norm, r rope, q qk_norm_rope, a attention, k kv_write.\n");
    for (int i = 0; i < KEY_COUNT; i++) {
        char choices[128] = "", ops[SXT_CASE_OP_COUNT + 1] = "";
        for (int c = 0; keys[i].choices && keys[i].choices[c]; c++)
            join(choices, sizeof choices, keys[i].choices[c]);
        for (int op = 0; op < SXT_CASE_OP_COUNT; op++)
            ops[op] = keys[i].ops & 1u << op ? "nrqak"[op] : '.';
        printf("  %-17s %s  %s%s%s\n", keys[i].name, ops, choices, *choices ? "; " : "", keys[i].help);
    }
}
