// A rig: work set up on a device. One buffer a slot, so that whatever strays out of a tensor meets its surroundings:
// with guards, everything around and between a tensor's elements, and every output before it is written, is NaN in all
// types, and is compared after the run.
#ifndef SXT_TOOL_RIG_H
#define SXT_TOOL_RIG_H

#include "program.h"
#include "work.h"

enum { SXT_POISON = 0xff }; // all ones is NaN in f32, f16, bf16, fp8 and as a block's scale, and -1 in i32

typedef struct sxt_rig {
    const sxt_session *session;
    const sxt_work *work;
    bool guarded;
    sxt_buffer *buffers[SXT_MAX_SLOTS];
    sxt_tensor tensors[SXT_MAX_SLOTS];
    void *images[SXT_MAX_SLOTS]; // with guards: what each buffer held at first
    sxt_stream *stream;
    double stage_us[SXT_MAX_STAGES]; // of the latest run
    bool device_clock;               // measured by GPU timestamps; else wall time around submission and wait
} sxt_rig;

// Creates buffers and uploads. Work and session must outlive the rig; a rig that failed must still be finished.
sxt_result sxt_rig_init(sxt_rig *rig, const sxt_session *session, const sxt_work *work, bool guarded);
void sxt_rig_finish(sxt_rig *rig);

// The description of a stage with this rig's tensors.
void sxt_rig_desc(const sxt_rig *rig, const sxt_stage *stage, sxt_work_desc *out_desc);

// Prepares and describes a stage: `out_text` gets the kernel variant.
sxt_result sxt_rig_prepare(sxt_rig *rig, int stage, char *out_text, size_t size);

// Writes into `work`, a copy of the rig's, in which type this device makes the products of each attention.
sxt_result sxt_rig_products(const sxt_rig *rig, sxt_work *work);

// Records one stage into the rig's stream.
sxt_result sxt_rig_record(sxt_rig *rig, int stage);

// Runs all stages once, and times each.
sxt_result sxt_rig_run(sxt_rig *rig);

// Reads a slot's elements, dense. With guards also checks that nothing else in its buffer has changed (for a slot that
// no stage writes: nothing at all); *out_damage says so.
sxt_result sxt_rig_read(sxt_rig *rig, int slot, void *out_data, bool *out_damaged);

#endif
