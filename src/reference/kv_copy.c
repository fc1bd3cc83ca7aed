#include <string.h>

#include "reference/reference.h"
#include "reference/row.h"

static void copy_row(const sxt_tensor *from, uint64_t from_row, const sxt_tensor *to, uint64_t to_row) {
    uint64_t from_rows = from->shape[SXT_TOKEN], to_rows = to->shape[SXT_TOKEN];
    size_t bytes = (size_t)from->shape[SXT_CHANNEL] / sxt_type_block(from->type) * sxt_type_size(from->type);
    for (uint32_t h = 0; h < from->shape[SXT_HEAD]; h++)
        memmove(sxt_row_data(to, (uint32_t)(to_row / to_rows), (uint32_t)(to_row % to_rows), h),
                sxt_row_data(from, (uint32_t)(from_row / from_rows), (uint32_t)(from_row % from_rows), h), bytes);
}

// What moves count in a cache: rows of the whole batch, or with `pages` batches.
static uint64_t units_of(const sxt_tensor *cache, bool pages) {
    return pages ? cache->shape[SXT_BATCH] : (uint64_t)cache->shape[SXT_BATCH] * cache->shape[SXT_TOKEN];
}

// Whether there is such a row or page; one that is not there is a fault, unless it is −1.
static bool is_there(const sxt_tensor *cache, double index, bool pages) {
    if (index >= 0 && index < (double)units_of(cache, pages)) return true;
    if (index != -1) sxt_reference_fault(cache->buffer, SXT_FAULT_INDEX);
    return false;
}

static void copy_side(const sxt_kv_copy_desc *desc, const sxt_tensor *from, const sxt_tensor *to) {
    if (!sxt_tensor_present(from) || sxt_tensor_empty(from) || sxt_tensor_empty(to)) return;
    uint64_t rows = desc->pages ? from->shape[SXT_TOKEN] : 1; // of a move
    for (uint32_t i = 0; i < desc->from.shape[3]; i++) {
        double source = sxt_row_at(&desc->from, 0, 0, 0, i), target = sxt_row_at(&desc->to, 0, 0, 0, i);
        const bool from_there = is_there(from, source, desc->pages), to_there = is_there(to, target, desc->pages);
        if (!from_there || !to_there) continue;
        for (uint64_t r = 0; r < rows; r++)
            copy_row(from, (uint64_t)source * rows + r, to, (uint64_t)target * rows + r);
    }
}

sxt_result sxt_kv_copy_reference(const sxt_kv_copy_desc *desc) {
    copy_side(desc, &desc->k_from, &desc->k_to);
    copy_side(desc, &desc->v_from, &desc->v_to);
    return SXT_OK;
}
