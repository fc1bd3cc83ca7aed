#include "core/rope.h"

#include <math.h>
#include <string.h>

#include "core/op.h"
#include "core/tensor.h"

static const double two_pi = 6.283185307179586476925287;

static uint32_t least(uint32_t a, uint32_t b) {
    return a < b ? a : b;
}

static sxt_result resolve_dims(const sxt_device *device, const char *op, uint32_t channels, sxt_rope_params *p) {
    const sxt_logger *log = &device->logger;
    if (p->rotary_offset >= channels)
        SXT_REJECT(log, "%s: rope.rotary_offset is %u, and must be below the number of channels, %u", op,
                   p->rotary_offset, channels);
    uint32_t most = channels - p->rotary_offset;
    if (p->rotary_dim > most)
        SXT_REJECT(log, "%s: rope.rotary_dim is %u, and must be at most %u: %u channels less rotary_offset %u", op,
                   p->rotary_dim, most, channels, p->rotary_offset);
    if (p->rotary_dim == 0) p->rotary_dim = most;
    if (p->rotary_dim % 2 != 0)
        SXT_REJECT(log, "%s: rope.rotary_dim is %u, and must be even (0 means all channels after rotary_offset)", op,
                   p->rotary_dim);
    return SXT_OK;
}

static sxt_result resolve_scaling(const sxt_device *device, const char *op, sxt_rope_params *p) {
    struct {
        const char *field;
        float *value;
        float preset, least;
    } const floats[] = {
        {"rope.base", &p->base, 10000.0f, 1.0f},         {"rope.freq_scale", &p->freq_scale, 1.0f, 0.0f},
        {"rope.ext_factor", &p->ext_factor, 0.0f, 0.0f}, {"rope.attn_factor", &p->attn_factor, 1.0f, -INFINITY},
        {"rope.beta_fast", &p->beta_fast, 32.0f, 0.0f},  {"rope.beta_slow", &p->beta_slow, 1.0f, 0.0f},
    };
    for (size_t i = 0; i < sizeof floats / sizeof floats[0]; i++) {
        if (*floats[i].value == 0.0f) *floats[i].value = floats[i].preset;
        sxt_result result = sxt_check_float(device, op, floats[i].field, *floats[i].value, floats[i].least);
        if (result != SXT_OK) return result;
    }
    if (p->ext_factor != 0.0f && p->original_context == 0)
        SXT_REJECT(&device->logger, "%s: rope.original_context is 0, and YaRN (ext_factor %g) needs it", op,
                   (double)p->ext_factor);
    if (p->ext_factor != 0.0f && p->base == 1.0f)
        SXT_REJECT(&device->logger, "%s: rope.base is 1, and YaRN (ext_factor %g) needs a larger one", op,
                   (double)p->ext_factor);
    for (uint32_t i = 0; p->freq_factors != NULL && i < p->rotary_dim / 2; i++)
        if (!isfinite(p->freq_factors[i]) || p->freq_factors[i] <= 0.0f)
            SXT_REJECT(&device->logger, "%s: rope.freq_factors[%u] is %g, and must be finite and above 0", op, i,
                       (double)p->freq_factors[i]);
    return SXT_OK;
}

static sxt_result resolve_sections(const sxt_device *device, const char *op, const char *field, uint32_t planes,
                                   sxt_rope_params *p) {
    const sxt_logger *log = &device->logger;
    if (p->multi == SXT_ROPE_SINGLE) {
        memset(p->sections, 0, sizeof p->sections);
        if (planes != 1) SXT_REJECT(log, "%s: %s.shape[0] is %u, and must be 1 without rope.multi", op, field, planes);
        return SXT_OK;
    }
    if (planes < 2 || planes > 4)
        SXT_REJECT(log, "%s: %s.shape[0] is %u, and must be from 2 to 4 with rope.multi", op, field, planes);
    uint32_t pairs = p->rotary_dim / 2, left = pairs;
    for (uint32_t axis = 0; axis < 4; axis++) {
        if (axis >= planes && p->sections[axis] > 0)
            SXT_REJECT(log, "%s: rope.sections[%u] is %u, and must be 0: there are %u planes of %s", op, axis,
                       p->sections[axis], planes, field);
        left -= least(left, p->sections[axis]);
    }
    if (left > 0)
        SXT_REJECT(log, "%s: rope.sections count %u pairs, and must count all %u of rotary_dim %u", op, pairs - left,
                   pairs, p->rotary_dim);
    if (p->multi == SXT_ROPE_IMROPE) {
        uint32_t unowned = 0;
        for (uint32_t pair = 0; pair < pairs; pair++)
            unowned += pair / 3 >= p->sections[pair % 3];
        p->sections[3] = planes == 4 ? unowned : 0;
        return SXT_OK;
    }
    left = pairs;
    for (uint32_t axis = 0; axis < 4; axis++) {
        p->sections[axis] = least(left, p->sections[axis]);
        left -= p->sections[axis];
    }
    return SXT_OK;
}

sxt_result sxt_rope_params_resolve(const sxt_device *device, const char *op, const char *field, uint32_t channels,
                                   uint32_t planes, const sxt_rope_params *params, sxt_rope_params *out_params) {
    *out_params = *params;
    sxt_result result;
    if ((result = sxt_check_enum(device, op, "rope.pairing", (int)params->pairing, 2, "0 (half) or 1 (interleaved)")) ||
        (result = sxt_check_enum(device, op, "rope.multi", (int)params->multi, 4,
                                 "0 (single), 1 (mrope), 2 (imrope) or 3 (vision)")) ||
        (result = resolve_dims(device, op, channels, out_params)) || (result = resolve_scaling(device, op, out_params)))
        return result;
    return resolve_sections(device, op, field, planes, out_params);
}

// The dim by which frequencies fall from 1 to 1/base.
static double frequency_dim(const sxt_rope_params *p) {
    return p->multi == SXT_ROPE_VISION ? p->rotary_dim / 2 : p->rotary_dim;
}

// The pair's place in its section where the index restarts there, else in the head.
static uint32_t frequency_index(const sxt_rope_params *p, uint32_t pair) {
    if (p->multi == SXT_ROPE_VISION)
        for (uint32_t axis = 0; axis < 4 && pair >= p->sections[axis]; axis++)
            pair -= p->sections[axis];
    return pair;
}

// The pair whose wavelength fits `turns` times into the trained context.
static double yarn_correction(const sxt_rope_params *p, double turns) {
    return frequency_dim(p) * log(p->original_context / (turns * two_pi)) / (2.0 * log(p->base));
}

// The part of YaRN's interpolation that pair keeps of its own frequency.
static double yarn_ramp(const sxt_rope_params *p, uint32_t pair) {
    double low = fmax(0.0, floor(yarn_correction(p, p->beta_fast)));
    double high = fmin(frequency_dim(p) - 1.0, ceil(yarn_correction(p, p->beta_slow)));
    double place = (pair - low) / fmax(0.001, high - low);
    return p->ext_factor * (1.0 - fmin(1.0, fmax(0.0, place)));
}

double sxt_rope_frequency(const sxt_rope_params *p, uint32_t pair) {
    double frequency = pow(p->base, -2.0 * frequency_index(p, pair) / frequency_dim(p));
    if (p->freq_factors != NULL) frequency /= p->freq_factors[pair];
    double scaled = p->freq_scale * frequency;
    if (p->ext_factor != 0.0f) {
        double ramp = yarn_ramp(p, pair);
        scaled = scaled * (1.0 - ramp) + frequency * ramp;
    }
    return p->inverse ? -scaled : scaled;
}

uint32_t sxt_rope_axis(const sxt_rope_params *p, uint32_t pair) {
    if (p->multi == SXT_ROPE_SINGLE) return 0;
    if (p->multi == SXT_ROPE_IMROPE) {
        if (pair / 3 < p->sections[pair % 3]) return pair % 3;
        return p->sections[3] > 0 ? 3 : 0;
    }
    uint32_t axis = 0;
    while (axis < 3 && pair >= p->sections[axis])
        pair -= p->sections[axis++];
    return axis;
}

double sxt_rope_magnitude(const sxt_rope_params *p) {
    double magnitude = p->attn_factor;
    if (p->ext_factor != 0.0f) magnitude *= 1.0 + 0.1 * log(1.0 / p->freq_scale);
    return magnitude;
}

sxt_result sxt_positions_resolve(const sxt_device *device, const char *op, const char *field, const sxt_tensor *x,
                                 const char *like, sxt_tensor *positions) {
    const uint32_t shape[4] = {positions->shape[0], x->shape[SXT_BATCH], 1, x->shape[SXT_TOKEN]};
    return sxt_tensor_broadcast(device, op, field, shape, 1 << 1, like, positions);
}

sxt_result sxt_rope_resolve(const sxt_device *device, const sxt_rope_desc *desc, sxt_rope_desc *out_desc) {
    static const char op[] = "sxt_rope";
    sxt_rope_desc *d = out_desc;
    *d = *desc;
    const sxt_tensor_rule rules[] = {
        {.field = "x", .tensor = &d->x, .types = SXT_TYPES_FLOAT},
        {.field = "y", .tensor = &d->y, .types = SXT_TYPES_FLOAT, .output = true, .may_be = {&d->x}},
        {.field = "positions", .tensor = &d->positions, .types = SXT_TYPES_I32},
    };
    enum { RULES = sizeof rules / sizeof rules[0] };
    sxt_result result;
    if ((result = sxt_tensors_resolve(device, op, rules, RULES)) ||
        (result = sxt_tensor_check_channels(device, op, "x", &d->x)) ||
        (result = sxt_tensor_broadcast(device, op, "y", d->x.shape, 0, "x", &d->y)) ||
        (result = sxt_positions_resolve(device, op, "positions", &d->x, "x", &d->positions)) ||
        (result = sxt_rope_params_resolve(device, op, "positions", d->x.shape[SXT_CHANNEL], d->positions.shape[0],
                                          &desc->rope, &d->rope)))
        return result;
    return sxt_tensors_check_overlap(device, op, rules, RULES);
}

sxt_result sxt_rope(sxt_stream *stream, const sxt_rope_desc *desc) {
    return sxt_op_record(stream, SXT_OP_ROPE, desc);
}
