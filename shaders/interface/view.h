// A tensor in push constants: how a shader finds its rows of channels.
#ifndef SXT_INTERFACE_VIEW_H
#define SXT_INTERFACE_VIEW_H

#include "interface/common.h"

// The row of (b, t, h) starts at element base + b·batch + t·token + h·head of the bound range.
struct sxt_view {
    SXT_U32 base, batch, token, head;
};

#ifdef VULKAN
uint sxt_view_row(sxt_view view, uint batch, uint token, uint head) {
    return view.base + batch * view.batch + token * view.token + head * view.head;
}
#else
typedef struct sxt_view sxt_view; // GLSL names structs without `struct`
#endif

#endif
