#include "case.h"

#include "program.h"

#include <float.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

// ── What is understood ──

static const char *const op_names[] = {"norm",     "rope",    "qk_norm_rope",    "attention", "kv_write",
                                       "kv_shift", "kv_copy", "attention_merge", NULL}; // in sxt_case_op's order
static const char op_letters[] = "nrqawscm";
static const sxt_case_tensor *const op_tensors[] = {
    sxt_norm_tensors,     sxt_rope_tensors,     sxt_qk_norm_rope_tensors, sxt_attention_tensors,
    sxt_kv_write_tensors, sxt_kv_shift_tensors, sxt_kv_copy_tensors,      sxt_attention_merge_tensors,
};
static const char *const norm_names[] = {"rms", "layer", "l2", "none", NULL}; // in sxt_norm_kind's order
static const char *const kind_names[] = {"rms", "layer", "l2", NULL};
static const char *const pairing_names[] = {"half", "interleaved", NULL}; // sxt_rope_pairing
static const char *const fused_pairing_names[] = {"half", "interleaved", "none", NULL};
static const char *const multi_names[] = {"none", "mrope", "imrope", "vision", NULL}; // sxt_rope_multi
static const char *const scaling_names[] = {"none",   "ntk",      "dynamic_ntk",
                                            "llama3", "longrope", NULL}; // sxt_case_scaling
static const char *const kernel_names[] = {"auto",   "tile",    "software",
                                           "matrix", "matrix2", NULL}; // sxt_attention_kernel
static const char *const type_names[] = {"f32", "f16", "bf16", NULL};  // sxt_type
static const char *const cache_type_names[] = {"f32", "f16", "bf16", "q8_0", "q4_0", "fp8_e4m3", NULL};

enum {
    NORM = 1 << SXT_CASE_NORM,
    ROPE = 1 << SXT_CASE_ROPE,
    QK = 1 << SXT_CASE_QK_NORM_ROPE,
    ATTENTION = 1 << SXT_CASE_ATTENTION,
    WRITE = 1 << SXT_CASE_KV_WRITE,
    SHIFT = 1 << SXT_CASE_KV_SHIFT,
    COPY = 1 << SXT_CASE_KV_COPY,
    MERGE = 1 << SXT_CASE_ATTENTION_MERGE,
    EVERY = NORM | ROPE | QK | ATTENTION | WRITE | SHIFT | COPY | MERGE,
    ROTATES = ROPE | QK | ATTENTION | SHIFT,
};

typedef enum key_kind { KEY_FLOAT, KEY_UINT, KEY_INT, KEY_BOOL, KEY_CHOICE, KEY_TYPE, KEY_SECTIONS } key_kind;

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
    {"normalise_v", QK, KEY_BOOL, AT(normalise_v), NULL, "v too, by the same norm without a gain; default false"},
    {"pairing", QK, KEY_CHOICE, AT(pairing), fused_pairing_names, "default half; none: norm alone"},
    {"pairing", ROTATES & ~QK, KEY_CHOICE, AT(pairing), pairing_names, "default half; for attention: absent = no RoPE"},
    {"rotary_dim", ROTATES, KEY_UINT, AT(rope.rotary_dim), NULL, "default: all channels after rotary_offset"},
    {"rotary_offset", ROTATES, KEY_UINT, AT(rope.rotary_offset), NULL, "default 0"},
    {"base", ROTATES, KEY_FLOAT, AT(rope.base), NULL, "default 10000"},
    {"freq_scale", ROTATES, KEY_FLOAT, AT(rope.freq_scale), NULL, "default 1"},
    {"ext_factor", ROTATES, KEY_FLOAT, AT(rope.ext_factor), NULL, "0 = no YaRN (default), 1 = YaRN"},
    {"attn_factor", ROTATES, KEY_FLOAT, AT(rope.attn_factor), NULL, "default 1"},
    {"beta_fast", ROTATES, KEY_FLOAT, AT(rope.beta_fast), NULL, "default 32"},
    {"beta_slow", ROTATES, KEY_FLOAT, AT(rope.beta_slow), NULL, "default 1"},
    {"original_context", ROTATES, KEY_UINT, AT(rope.original_context), NULL,
     "trained context: for ext_factor and scaling"},
    {"scaling", ROTATES, KEY_CHOICE, AT(scaling), scaling_names,
     "by the keys that follow (see sextant.h); default none"},
    {"factor", ROTATES, KEY_FLOAT, AT(factor), NULL, "of ntk, dynamic_ntk and llama3"},
    {"low_freq_factor", ROTATES, KEY_FLOAT, AT(low_freq_factor), NULL, "of llama3"},
    {"high_freq_factor", ROTATES, KEY_FLOAT, AT(high_freq_factor), NULL, "of llama3"},
    {"length", ROTATES, KEY_UINT, AT(length), NULL, "tokens of the whole sequence: of dynamic_ntk and longrope"},
    {"max_context", ROTATES, KEY_UINT, AT(max_context), NULL, "of longrope"},
    {"multi", ROTATES, KEY_CHOICE, AT(multi), multi_names, "axes of positions; default none"},
    {"sections", ROTATES, KEY_SECTIONS, AT(rope.sections), NULL, "with multi: pairs of each axis, e.g. 16,24,24"},
    {"inverse", ROTATES, KEY_BOOL, AT(rope.inverse), NULL, "rotate back; default false"},
    {"scale", ATTENTION, KEY_FLOAT, AT(scale), NULL, "default (and 0) 1/sqrt(D)"},
    {"softcap", ATTENTION, KEY_FLOAT, AT(softcap), NULL, "default 0 = none"},
    {"causal", ATTENTION, KEY_BOOL, AT(causal), NULL, "default false"},
    {"window_left", ATTENTION, KEY_INT, AT(window_left), NULL, "keys before the query's own; default -1 = all"},
    {"window_right", ATTENTION, KEY_INT, AT(window_right), NULL, "keys after the query's own; default -1 = all"},
    {"logit_bound", ATTENTION, KEY_FLOAT, AT(logit_bound), NULL, "promised of |scale*(q.k)|; default 0 = unknown"},
    {"split_keys", ATTENTION, KEY_UINT, AT(split_keys), NULL, "keys to a split, a multiple of 256; default 0 = any"},
    {"f32_products", ATTENTION, KEY_BOOL, AT(f32_products), NULL, "no products of f16 or bf16; default false"},
    {"kernel", ATTENTION, KEY_CHOICE, AT(kernel), kernel_names, "default auto: the device's choice"},
    {"max_q_tokens", ATTENTION, KEY_UINT, AT(max_q_tokens), NULL,
     "of a sequence; default: the longest of cu_seqlens_q"},
    {"max_k_tokens", ATTENTION, KEY_UINT, AT(max_k_tokens), NULL,
     "of a sequence; default: the longest of cu_seqlens_k"},
    {"v_dim", ATTENTION, KEY_UINT, AT(v_dim), NULL, "without v: values are so many first channels of k (MLA)"},
    {"lse", ATTENTION | MERGE, KEY_BOOL, AT(lse), NULL, "is an output too; default true"},
    {"kv_type", ATTENTION, KEY_TYPE, AT(kv_type), cache_type_names,
     "writes k and v to a cache first; absent: as they are"},
    {"kv_type", QK | WRITE | SHIFT | COPY, KEY_TYPE, AT(kv_type), cache_type_names,
     "of both caches; absent: f32, or what k_type and v_type say"},
    {"k_type", ATTENTION | QK | WRITE | SHIFT | COPY, KEY_TYPE, AT(k_type), cache_type_names,
     "of keys alone; default kv_type"},
    {"v_type", ATTENTION | QK | WRITE | COPY, KEY_TYPE, AT(v_type), cache_type_names,
     "of values alone; default kv_type"},
    {"rows", QK | WRITE, KEY_UINT, AT(rows), NULL, "of the cache; default: as many as needed"},
    {"first_row", QK | WRITE, KEY_UINT, AT(first_row), NULL, "row of the first token, without slots; default 0"},
    {"page_size", QK | WRITE, KEY_UINT, AT(page_size), NULL, "rows of a page; needed with block_table"},
    {"page_count", QK | WRITE, KEY_UINT, AT(page_count), NULL, "pages there are; default: as many as named"},
    {"pages", COPY, KEY_BOOL, AT(pages), NULL, "moves are of whole batches or pages; default false"},
    {"out_type", NORM | ROPE | ATTENTION | MERGE, KEY_TYPE, AT(out_type), type_names,
     "of the outputs (not lse); default f32"},
    {"out_type", QK, KEY_TYPE, AT(out_type), cache_type_names, "of q_out and k_out; default f32"},
    {"in_place", NORM | ROPE | QK, KEY_BOOL, AT(in_place), NULL, "outputs overwrite their inputs; default false"},
    {"in_place", MERGE, KEY_BOOL, AT(in_place), NULL, "o and lse overwrite o_a and lse_a; default false"},
    {"heads_first", ATTENTION | MERGE, KEY_BOOL, AT(heads_first), NULL,
     "dense tensors lie as [batch, head, token, channel]; default false"},
    {"layout", EVERY, KEY_UINT, AT(layout), NULL,
     "not 0: spread tensors over memory by odd strides and offsets, drawn from this seed"},
};
enum { KEY_COUNT = sizeof keys / sizeof keys[0] };

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

static bool read_type(const key_row *row, const char *text, int *out_type, char *error) {
    static const sxt_type types[] = {SXT_TYPE_F32,  SXT_TYPE_F16,  SXT_TYPE_BF16,
                                     SXT_TYPE_Q8_0, SXT_TYPE_Q4_0, SXT_TYPE_FP8_E4M3}; // as cache_type_names
    int chosen;
    if (!read_choice(row, text, &chosen, error)) return false;
    *out_type = (int)types[chosen];
    return true;
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
    case KEY_TYPE:
        return read_type(row, text, place, error);
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

// The names of all that an operation takes, into `out_names`.
static void list_keys(sxt_case_op op, char *out_names, size_t size) {
    *out_names = '\0';
    for (int k = 0; k < KEY_COUNT; k++) {
        if (keys[k].ops & 1u << op) join(out_names, size, keys[k].name);
    }
}

static bool read_op(const sxt_bundle *bundle, sxt_case_op *out_op, char *error) {
    const char *op = sxt_bundle_value(bundle, "op");
    char names[128] = "";
    int chosen;
    for (int i = 0; op_names[i]; i++)
        join(names, sizeof names, op_names[i]);
    if (!op) return fail(error, "key 'op' is missing from __metadata__: one of %s", names);
    if (!read_choice(find_key(SXT_CASE_NORM, "op"), op, &chosen, error)) return false;
    *out_op = (sxt_case_op)chosen;
    return true;
}

// What hangs on whether a key was given at all.
static void note_given(const sxt_bundle *bundle, sxt_case_params *params) {
    static const char *const of_cache[] = {"kv_type", "k_type", "v_type", "rows", "first_row", "page_size"};
    bool attends = params->op == SXT_CASE_ATTENTION;
    params->rotate = !attends || sxt_bundle_value(bundle, "pairing");
    params->norm_given = sxt_bundle_value(bundle, "norm") != NULL;
    if (attends) params->norm = SXT_NORM_NONE;
    params->windowed = sxt_bundle_value(bundle, "window_left") || sxt_bundle_value(bundle, "window_right");
    for (size_t i = 0; i < sizeof of_cache / sizeof *of_cache; i++)
        params->cached |= sxt_bundle_value(bundle, of_cache[i]) != NULL;
}

bool sxt_case_params_read(const sxt_bundle *bundle, sxt_case_params *out_params, char error[SXT_ERROR_SIZE]) {
    *out_params = (sxt_case_params){.lse = true,
                                    .window_left = -1,
                                    .window_right = -1,
                                    .kv_type = SXT_TYPE_ABSENT,
                                    .k_type = SXT_TYPE_ABSENT,
                                    .v_type = SXT_TYPE_ABSENT,
                                    .out_type = SXT_TYPE_ABSENT};
    if (!read_op(bundle, &out_params->op, error)) return false;
    note_given(bundle, out_params);
    for (size_t i = 0; i < bundle->pair_count; i++) {
        const sxt_pair *pair = &bundle->pairs[i];
        const key_row *row = find_key(out_params->op, pair->key);
        if (!row) {
            char allowed[600];
            list_keys(out_params->op, allowed, sizeof allowed);
            return fail(error, "key '%.60s' is unknown; %s takes %s", pair->key, op_names[out_params->op], allowed);
        }
        if (row->place == AT(op) && row->choices == op_names) continue; // read already
        if (!read_key(row, pair->value, out_params, error)) return false;
    }
    out_params->rope.pairing = (sxt_rope_pairing)out_params->pairing;
    out_params->rope.multi = (sxt_rope_multi)out_params->multi;
    if (out_params->eps < 0) return fail(error, "key 'eps': %g is negative", (double)out_params->eps);
    return true;
}

bool sxt_case_kernel_read(const char *text, sxt_attention_kernel *out_kernel, char error[SXT_ERROR_SIZE]) {
    const key_row *row = find_key(SXT_CASE_ATTENTION, "kernel");
    int kernel = SXT_ATTENTION_AUTO;
    const bool known = read_choice(row, text, &kernel, error);
    *out_kernel = (sxt_attention_kernel)kernel;
    return known;
}

static bool check_tensor(const sxt_bundle *bundle, const sxt_case_tensor *row, const char *op, char *error) {
    const sxt_array *array = sxt_bundle_array(bundle, row->name);
    char types[64] = "";
    if (!array && row->role == SXT_REQUIRED)
        return fail(error, "tensor '%s' is missing: %s needs it, %s", row->name, op, row->shape);
    if (!array || row->dtypes & 1u << array->dtype) return true;
    for (int d = 0; d < SXT_DTYPE_COUNT; d++) {
        if (row->dtypes & 1u << d) join(types, sizeof types, sxt_dtype_name((sxt_dtype)d));
    }
    return fail(error, "tensor '%s': dtype %s, where %s is right", array->name, sxt_dtype_name(array->dtype), types);
}

bool sxt_case_tensors_check(const sxt_bundle *bundle, sxt_case_op op, char error[SXT_ERROR_SIZE]) {
    char allowed[400] = "";
    const sxt_case_tensor *rows = op_tensors[op];
    for (int t = 0; rows[t].name; t++) {
        join(allowed, sizeof allowed, rows[t].name);
        if (!check_tensor(bundle, &rows[t], op_names[op], error)) return false;
    }
    for (size_t i = 0; i < bundle->array_count; i++) {
        bool known = false;
        for (int t = 0; rows[t].name; t++)
            known |= strcmp(rows[t].name, bundle->arrays[i].name) == 0;
        if (!known)
            return fail(error, "tensor '%.60s' is unknown; %s takes %s", bundle->arrays[i].name, op_names[op], allowed);
    }
    return true;
}

// ── Help ──

void sxt_case_print_help(void) {
    static const char *const roles[] = {"", ", optional", ", expected output"};
    printf("\nTensors. All with tokens (T) and heads (H) may have a leading batch dim. Expected outputs are for "
           "--check.\n");
    for (int op = 0; op < SXT_CASE_OP_COUNT; op++) {
        for (const sxt_case_tensor *row = op_tensors[op]; row->name; row++) {
            printf("  %-15s %-13s %s%s\n", row == op_tensors[op] ? op_names[op] : "", row->name, row->shape,
                   roles[row->role]);
        }
    }
    printf("\nKeys of __metadata__ and of --set (in the file all values are strings), each for the ops with a letter:\n"
           "n norm, r rope, q qk_norm_rope, a attention, w kv_write, s kv_shift, c kv_copy, m attention_merge.\n");
    for (int i = 0; i < KEY_COUNT; i++) {
        char choices[128] = "", ops[SXT_CASE_OP_COUNT + 1] = "";
        for (int c = 0; keys[i].choices && keys[i].choices[c]; c++)
            join(choices, sizeof choices, keys[i].choices[c]);
        for (int op = 0; op < SXT_CASE_OP_COUNT; op++)
            ops[op] = keys[i].ops & 1u << op ? op_letters[op] : '.';
        printf("  %-17s %s  %s%s%s\n", keys[i].name, ops, choices, *choices ? "; " : "", keys[i].help);
    }
}
