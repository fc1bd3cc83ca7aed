// Random cases of a norm.
#include "maker.h"

void sxt_family_norm(sxt_maker *m) {
    static const uint32_t common[] = {1, 2, 64, 127, 128, 129, 1024, 4096},
                          long_ones[] = {8192, 16384, 20011, 32768, 65535, 65536};
    sxt_random *form = m->form, *random = m->random;
    uint32_t shape[4] = {1, 1, 1, 0}, skip = sxt_random_range(random, 0, 2);
    shape[3] = sxt_random_once_in(form, 2) ? sxt_random_range(form, 3, 1500) : sxt_draw_one_of(form, common, 8);
    if (sxt_random_once_in(form, 12)) shape[3] = sxt_draw_one_of(form, long_ones, 6);
    for (uint32_t i = skip; i < 3; i++)
        shape[i] = sxt_draw_tokens(random, (uint64_t)shape[0] * shape[1] * shape[2] * shape[3], 60000);
    sxt_make_key(m, "op", "norm");
    sxt_make_norm_keys(m, "kind", false);
    sxt_make_normal(m, "x", sxt_draw_float(form), 4 - skip, shape + skip, sxt_random_once_in(random, 3) ? 2 : 0, 1.5);
    sxt_make_spoilt(m, "x");
    if (sxt_random_once_in(form, 2)) sxt_make_repeated(m, "weight", 4 - skip, shape + skip);
    if (sxt_random_once_in(form, 3)) sxt_make_repeated(m, "bias", 4 - skip, shape + skip);
    if (sxt_random_once_in(form, 3)) sxt_make_normal(m, "residual", sxt_draw_float(form), 4 - skip, shape + skip, 0, 1);
    sxt_make_output(m, true);
    sxt_make_layout(m);
}
