// The descriptions that `shaders` compiles.
#ifndef SXT_TOOL_SHADERS_H
#define SXT_TOOL_SHADERS_H

#include "program.h"
#include "work.h"

// Called with each description; its tensors lie in the buffer given. False ends the walk.
typedef bool (*sxt_shader_visit)(void *user, const char *name, sxt_op op, const sxt_work_desc *desc);

enum { SXT_SHADER_NAME = 64 };

// More than any description takes: only a buffer without memory can be as large.
#define SXT_SHADER_BUFFER_BYTES (UINT64_C(1) << 46)

// Walks descriptions of every form that models use, so that each kernel variant is met: types, alignments, head dims,
// features, one token and many. False if a visit ended the walk.
bool sxt_shader_cases(sxt_buffer *buffer, sxt_shader_visit visit, void *user);

#endif
