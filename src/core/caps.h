// Capabilities as data: the names by which they can be switched off, and which device is the best.
#ifndef SXT_CORE_CAPS_H
#define SXT_CORE_CAPS_H

#include "core/device.h"

// Switches off the capabilities named in `list`: comma-separated, by their names in sxt_caps, blanks around names are
// fine; NULL and "" switch off nothing. What rests on a capability goes with it: without subgroup_size_control there is
// one subgroup size; without matrix no matrix2 and no shapes; without matrix2 no flexible shapes; without fp16 or bf16 no shapes of that type.
// Returns INVALID and logs the names that there are if one is unknown; `caps` is then as it was.
sxt_result sxt_caps_disable(const sxt_logger *logger, const char *list, sxt_caps *caps);

// Whether the device computes with a type of matrix elements (VkComponentTypeKHR), as far as it is told.
bool sxt_caps_has_component(const sxt_caps *caps, uint32_t type);

// The index of the device to take when nobody chose: usable, by type (discrete, integrated, virtual, other, CPU), then
// by memory, then the first. UINT32_MAX if none is usable.
uint32_t sxt_device_best(const sxt_device_info *infos, uint32_t count);

// VkComponentTypeKHR and VkScopeKHR, as in sxt_matrix_shape.
enum {
    SXT_COMPONENT_F16 = 0,
    SXT_COMPONENT_F32 = 1,
    SXT_COMPONENT_BF16 = 1000141000,
    SXT_SCOPE_WORKGROUP = 2,
    SXT_SCOPE_SUBGROUP = 3
};

#endif
