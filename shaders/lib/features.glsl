// Extensions that a variant's build asks for, by SXT_SUBGROUP=1, SXT_STORAGE16=1 and SXT_ADDRESS=1 in variants.list (SXT_CODED=1: see lib/cache.glsl).
// Included first: extensions must be named before any code.
#ifndef SXT_LIB_FEATURES_GLSL
#define SXT_LIB_FEATURES_GLSL

#ifndef SXT_SUBGROUP
#define SXT_SUBGROUP 0
#endif
#ifndef SXT_STORAGE16
#define SXT_STORAGE16 0
#endif
#ifndef SXT_CODED
#define SXT_CODED 0
#endif
#ifndef SXT_ADDRESS
#define SXT_ADDRESS 0
#endif

#extension GL_EXT_control_flow_attributes : require
#if SXT_SUBGROUP
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_arithmetic : require
#extension GL_KHR_shader_subgroup_shuffle : require
#endif
#if SXT_STORAGE16
#extension GL_EXT_shader_16bit_storage : require
#endif
#if SXT_ADDRESS
#extension GL_EXT_buffer_reference : require
#extension GL_EXT_buffer_reference_uvec2 : require
#endif

#endif
