// The reference: every operation on host memory in double precision, written to be read.
#ifndef SXT_REFERENCE_REFERENCE_H
#define SXT_REFERENCE_REFERENCE_H

#include "core/op.h"

// Computes at once. Buffers are host memory. The description is resolved. OUT_OF_MEMORY if it needs working memory and there is none.
#define SXT_OP_REFERENCE(enumerator, name) sxt_result sxt_##name##_reference(const sxt_##name##_desc *desc);
SXT_OPS(SXT_OP_REFERENCE)
#undef SXT_OP_REFERENCE

// Sets a bit in the fault word of the buffer's device.
void sxt_reference_fault(const sxt_buffer *buffer, sxt_fault fault);

void sxt_reference_info(sxt_device_info *out_info);
sxt_result sxt_reference_open(const sxt_device_params *params, sxt_device **out_device);

#endif
