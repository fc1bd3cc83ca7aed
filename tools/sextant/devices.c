// sextant devices: what there is, and the path that attention would take on it.
#include "program.h"
#include "rig.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

enum { JSON };

// The variants that a device takes for a prefill and for a decode step, d 128, f16 cache.
typedef struct paths {
    char prefill[512], decode[512];
} paths;

static void describe(const sxt_session *session, uint32_t tq, uint32_t tk, char *out_text, size_t size) {
    sxt_work work = {0};
    sxt_rig rig;
    char text[160] = "";
    int q = sxt_work_slot(&work, "q", SXT_TYPE_F32, (uint32_t[4]){1, tq, 32, 128}, NULL);
    int k = sxt_work_slot(&work, "k", SXT_TYPE_F16, (uint32_t[4]){1, tk, 8, 128}, NULL);
    int v = sxt_work_slot(&work, "v", SXT_TYPE_F16, (uint32_t[4]){1, tk, 8, 128}, NULL);
    int o = sxt_work_slot(&work, "o", SXT_TYPE_F32, (uint32_t[4]){1, tq, 32, 128}, NULL);
    sxt_stage *stage = sxt_work_stage(&work, SXT_OP_ATTENTION);
    stage->desc.attention.causal = true;
    sxt_stage_bind(stage, "q", q);
    sxt_stage_bind(stage, "k", k);
    sxt_stage_bind(stage, "v", v);
    sxt_stage_bind(stage, "o", o);
    sxt_work_desc desc;
    sxt_result result = sxt_rig_init(&rig, session, &work, false);
    sxt_rig_desc(&rig, &work.stages[0], &desc);
    if (result == SXT_OK) result = sxt_describe(session->device, SXT_OP_ATTENTION, &desc, text, sizeof text);
    snprintf(out_text, size, "%s", result == SXT_OK ? text : sxt_result_name(result));
    sxt_rig_finish(&rig);
}

static void find_paths(const sxt_args *args, uint32_t index, paths *out_paths) {
    char select[16];
    sxt_session session;
    sxt_device_params params = sxt_session_params(args, &session);
    snprintf(select, sizeof select, "%u", index);
    params.select = select;
    sxt_result result = sxt_device_open(&params, &session.device);
    if (result == SXT_OK) {
        session.info = sxt_device_get_info(session.device);
        describe(&session, 512, 512, out_paths->prefill, sizeof out_paths->prefill);
        describe(&session, 1, 4096, out_paths->decode, sizeof out_paths->decode);
    } else {
        snprintf(out_paths->prefill, sizeof out_paths->prefill, "%s",
                 *session.last ? session.last : sxt_result_name(result));
        snprintf(out_paths->decode, sizeof out_paths->decode, "%s", sxt_result_name(result));
    }
    sxt_session_close(&session);
}

// ── Capabilities by name ──

typedef struct capability {
    const char *name;
    size_t place;
} capability;

#define CAP(name)                                                                                                      \
    { #name, offsetof(sxt_caps, name) }
static const capability capabilities[] = {
    CAP(subgroup_arithmetic),
    CAP(subgroup_shuffle),
    CAP(subgroup_size_control),
    CAP(storage16),
    CAP(fp16),
    CAP(bf16),
    CAP(storage8),
    CAP(int8),
    CAP(int16),
    CAP(int64),
    CAP(int_dot),
    CAP(buffer_address),
    CAP(matrix),
    CAP(matrix2),
};
enum { CAPABILITY_COUNT = sizeof capabilities / sizeof capabilities[0] };

static bool has(const sxt_caps *caps, int i) {
    return *(const bool *)((const char *)caps + capabilities[i].place);
}

static const char *component_name(uint32_t type) {
    static const char *const names[] = {"f16", "f32", "f64", "i8", "i16", "i32", "i64", "u8", "u16", "u32", "u64"};
    if (type < sizeof names / sizeof names[0]) return names[type];
    return type == 1000141000 ? "bf16" : type == 1000491002 ? "fp8 e4m3" : type == 1000491003 ? "fp8 e5m2" : "?";
}

const char *sxt_shape_name(const sxt_matrix_shape *shape, char out_text[SXT_SHAPE_SIZE]) {
    size_t used =
        (size_t)snprintf(out_text, SXT_SHAPE_SIZE, "%s%ux%ux%u %s->%s", shape->flexible ? "multiples of " : "",
                         shape->m, shape->n, shape->k, component_name(shape->a_type), component_name(shape->c_type));
    if (shape->scope == 2)
        snprintf(out_text + used, SXT_SHAPE_SIZE - used, shape->threads ? " (workgroup of %u)" : " (workgroup)",
                 shape->threads);
    return out_text;
}

// ── Table ──

static void print_shapes(const sxt_caps *caps) {
    if (caps->matrix_shape_count == 0) return;
    printf("    matrices      ");
    for (uint32_t i = 0; i < caps->matrix_shape_count && i < SXT_MAX_MATRIX_SHAPES; i++) {
        char text[SXT_SHAPE_SIZE];
        printf("%s%s", i ? ", " : "", sxt_shape_name(&caps->matrix_shapes[i], text));
    }
    putchar('\n');
}

static void print_device(uint32_t index, const sxt_device_info *info, const paths *path) {
    const sxt_caps *caps = &info->caps;
    printf("%u   %s\n", index, info->name);
    printf("    driver        %s\n", info->driver);
    if (info->kind == SXT_DEVICE_REFERENCE) {
        printf("    kind          reference: double precision on the host\n");
    } else {
        printf("    kind          %s, Vulkan %u.%u.%u\n", info->type, info->api_version >> 22 & 0x7f,
               info->api_version >> 12 & 0x3ff, info->api_version & 0xfff);
    }
    if (!info->usable) {
        printf("    not usable    %s\n", info->why_not);
        return;
    }
    if (info->kind != SXT_DEVICE_REFERENCE) {
        printf("    subgroups     %u", caps->subgroup_size);
        if (caps->subgroup_min != caps->subgroup_max) printf(" (%u to %u)", caps->subgroup_min, caps->subgroup_max);
        printf(", workgroups to %u\n    capabilities ", caps->max_invocations);
        for (int i = 0; i < CAPABILITY_COUNT; i++) {
            if (has(caps, i)) printf(" %s", capabilities[i].name);
        }
        printf("\n    fp16, bf16    %s, %s\n", caps->fp16 ? "yes" : "no", caps->bf16 ? "yes" : "no");
        print_shapes(caps);
        printf("    shared        %u KiB a workgroup\n", caps->shared_bytes / 1024);
        printf("    memory        %.1f GiB%s\n", (double)caps->memory_bytes / (1 << 30),
               caps->unified_memory ? ", unified" : "");
    }
    printf("    prefill       %s\n    decode        %s\n", path->prefill, path->decode);
}

// ── JSON ──

static json_t *caps_json(const sxt_caps *caps) {
    json_t *names = json_array(), *shapes = json_array();
    for (int i = 0; i < CAPABILITY_COUNT; i++) {
        if (has(caps, i)) json_array_append_new(names, json_string(capabilities[i].name));
    }
    for (uint32_t i = 0; i < caps->matrix_shape_count && i < SXT_MAX_MATRIX_SHAPES; i++) {
        const sxt_matrix_shape *s = &caps->matrix_shapes[i];
        json_array_append_new(shapes,
                              json_pack("{s:i, s:i, s:i, s:s, s:s, s:s, s:b, s:i}", "m", (int)s->m, "n", (int)s->n, "k",
                                        (int)s->k, "a", component_name(s->a_type), "c", component_name(s->c_type),
                                        "scope", s->scope == 2 ? "workgroup" : "subgroup", "flexible", s->flexible,
                                        "threads", (int)s->threads));
    }
    return json_pack("{s:i, s:i, s:i, s:i, s:I, s:I, s:b, s:b, s:b, s:o, s:o}", "subgroup_size",
                     (int)caps->subgroup_size, "subgroup_min", (int)caps->subgroup_min, "subgroup_max",
                     (int)caps->subgroup_max, "max_invocations", (int)caps->max_invocations, "shared_bytes",
                     (json_int_t)caps->shared_bytes, "memory_bytes", (json_int_t)caps->memory_bytes, "unified_memory",
                     caps->unified_memory, "fp16", caps->fp16, "bf16", caps->bf16, "capabilities", names,
                     "matrix_shapes", shapes);
}

static json_t *device_json(uint32_t index, const sxt_device_info *info, const paths *path) {
    json_t *device =
        json_pack("{s:i, s:s, s:s, s:s, s:s, s:b, s:o}", "index", (int)index, "name", info->name, "driver",
                  info->driver, "kind", info->kind == SXT_DEVICE_REFERENCE ? "reference" : "vulkan", "type",
                  info->type ? info->type : "", "usable", info->usable, "caps", caps_json(&info->caps));
    if (!info->usable) json_object_set_new(device, "why_not", json_string(info->why_not));
    if (info->usable) {
        json_object_set_new(device, "attention_prefill", json_string(path->prefill));
        json_object_set_new(device, "attention_decode", json_string(path->decode));
    }
    return device;
}

static int run(const sxt_args *args) {
    sxt_session session;
    uint32_t count = 0;
    sxt_device_params params = sxt_session_params(args, &session);
    sxt_result result = sxt_device_list(&params, NULL, 0, &count);
    sxt_device_info *infos = calloc(count + 1, sizeof *infos);
    if (result == SXT_OK && !infos) result = SXT_ERROR_OUT_OF_MEMORY;
    if (result == SXT_OK) result = sxt_device_list(&params, infos, count, &count);
    if (result != SXT_OK) {
        free(infos);
        return sxt_session_fail(&session, result, "devices");
    }
    json_t *all = json_array();
    for (uint32_t i = 0; i < count; i++) {
        paths path = {{0}, {0}};
        if (infos[i].usable) find_paths(args, i, &path);
        if (args->value[JSON])
            json_array_append_new(all, device_json(i, &infos[i], &path));
        else
            print_device(i, &infos[i], &path);
    }
    if (args->value[JSON]) {
        json_t *root = json_pack("{s:O}", "devices", all);
        json_dumpf(root, stdout, JSON_INDENT(2));
        putchar('\n');
        json_decref(root);
    }
    // No driver is no error of this command, and still worth a word.
    if (count == 1 && *session.last && !args->quiet && !args->verbose) sxt_fail(SXT_EXIT_DONE, "%s", session.last);
    json_decref(all);
    free(infos);
    return SXT_EXIT_DONE;
}

const sxt_command sxt_devices_command = {
    .name = "devices",
    .summary = "List the devices, what they can do, and the path that attention takes on each",
    .explanation =
        "Numbers and names are what --device takes everywhere. The path is the kernel variant for 32/8 heads, head\n"
        "dim 128, an f16 cache: a prefill of 512 tokens, and one query on 4096 keys. All devices are listed,\n"
        "whatever --device says; --disable shows what remains.\n",
    .options = {[JSON] = {0, "json", NULL, false, "as JSON on stdout"}},
    .run = run,
};
