// Random cases of rotations.
#include "maker.h"

void sxt_family_rope(sxt_maker *m) {
    sxt_random *form = m->form, *random = m->random;
    uint32_t shape[4], skip = sxt_draw_batch(m, &shape[0]);
    shape[3] = sxt_draw_rotary_head(form);
    shape[2] = sxt_draw_size(random, 33);
    shape[1] = sxt_draw_tokens(random, (uint64_t)shape[0] * shape[2] * shape[3], 60000);
    sxt_make_key(m, "op", "rope");
    sxt_make_normal(m, "x", sxt_draw_float(form), 4 - skip, shape + skip, 0, 1);
    sxt_make_spoilt(m, "x");
    sxt_make_positions(m, "positions", sxt_make_rope(m, shape[3]), !skip, shape[0], shape[1]);
    sxt_make_output(m, true);
    sxt_make_layout(m);
}
