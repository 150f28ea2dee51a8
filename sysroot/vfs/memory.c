/* Allocation for what the guest stores: counted, so that a full file system is ENOSPC for the guest
 * long before the linear memory is exhausted for everybody. */
#include <stdlib.h>

#include "eryx_public.h"
#include "state.h"

void *quota_take(uint64_t size) {
    uint64_t quota = vfs.quota_set ? vfs.quota : DEFAULT_QUOTA;
    bool fits = vfs.exempt || (vfs.used <= quota && size <= quota - vfs.used);
    if (size > SIZE_MAX || !fits) {
        return NULL;
    }
    void *memory = calloc(1, (size_t)size);
    if (memory != NULL) {
        vfs.used += size;
    }
    return memory;
}

void quota_give(void *memory, uint64_t size) {
    if (memory != NULL) {
        free(memory);
        vfs.used -= size;
    }
}

PUBLIC uint64_t __eryx_vfs_quota(uint64_t bytes) {
    uint64_t former = vfs.quota_set ? vfs.quota : DEFAULT_QUOTA;
    vfs.quota = bytes;
    vfs.quota_set = true;
    return former;
}

PUBLIC uint64_t __eryx_vfs_used(void) {
    return vfs.used;
}
