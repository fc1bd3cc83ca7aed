// Attention with its keys cut into splits: what the kernels of few queries and the merge of splits have beside
// interface/attention.h, which has the layout of partial results.
#ifndef SXT_INTERFACE_ATTENTION_DECODE_H
#define SXT_INTERFACE_ATTENTION_DECODE_H

#include "interface/attention.h"

// Bindings of the merge that are not the call's own.
#define SXT_ATTENTION_PARTIAL_O SXT_ATTENTION_Q
#define SXT_ATTENTION_PARTIAL_LSE SXT_ATTENTION_K

// Specialisation constants after those of attention: of attention_decode_software, …
#define SXT_ATTENTION_SPEC_TOKENS 13 // rows of several query tokens, which may see different keys
#define SXT_ATTENTION_SPEC_TOUCH 14  // rows of the next trip are fetched ahead
#define SXT_ATTENTION_SPEC_DECODE_COUNT 15
// … and of attention_decode_merge.
#define SXT_ATTENTION_SPEC_MERGE_GROUP 13 // invocations of a workgroup
#define SXT_ATTENTION_SPEC_MERGE_COUNT 14

#endif
