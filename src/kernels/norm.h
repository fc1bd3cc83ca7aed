// What the two files that plan sxt_norm share.
#ifndef SXT_KERNELS_NORM_H
#define SXT_KERNELS_NORM_H

#include "kernels/kernels.h"

#include "interface/norm.h"

// Whether shaders/norm_software.comp is to run.
bool sxt_norm_wants_software(const sxt_caps *caps);

// Completes a dispatch of it whose bindings and specialisation constants of types and alignment are there. May rewrite
// `push` so that rows are of one dim.
void sxt_norm_shape_software(const sxt_caps *caps, const sxt_norm_desc *desc, struct sxt_norm_push *push,
                             sxt_plan *plan);

#endif
