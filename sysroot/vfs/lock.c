/* Locks. All that run in a guest are one process, so the locks of POSIX, which belong to processes,
 * never conflict. Those of flock belong to open files, and do. */
#include "eryx_public.h"
#include "state.h"

enum { LOCKED_SHARED = 1, LOCKED_ALONE = 2 };
enum { ASKED_SHARED = 1, ASKED_ALONE = 2, ASKED_NOT_TO_WAIT = 4, ASKED_UNLOCK = 8 };

int32_t __eryx_vfs_may_lock(int32_t fd, uint32_t write) {
    struct description *description;
    int error = fd_get(fd, &description);
    if (error != 0) {
        return error;
    }
    if (description->kind == OPEN_OUTER && description->mount == NULL) {
        return 0;
    }
    return description->rights & (write ? RIGHT_WRITE : RIGHT_READ) ? 0 : E_BADF;
}

int32_t __eryx_vfs_flock(int32_t fd, int32_t how) {
    struct description *description;
    struct wasi_filestat stat;
    int error = fd_get(fd, &description);
    if (error == 0) {
        error = __eryx_wasi_fd_filestat_get(fd, &stat);
    }
    if (error != 0) {
        return error;
    }
    int asked = how & ~ASKED_NOT_TO_WAIT;
    if (asked == ASKED_UNLOCK) {
        description->lock = 0;
        return 0;
    }
    if (asked != ASKED_SHARED && asked != ASKED_ALONE) {
        return E_INVAL;
    }
    for (int32_t other = 0; other < FD_LIMIT; other++) {
        const struct description *held = vfs.fds[other];
        if (held != NULL && held != description && held->lock != 0 && held->lock_device == stat.device &&
            held->lock_inode == stat.inode && (asked == ASKED_ALONE || held->lock == LOCKED_ALONE)) {
            /* Nobody else runs who could unlock it. */
            return how & ASKED_NOT_TO_WAIT ? E_AGAIN : E_DEADLK;
        }
    }
    description->lock = asked == ASKED_ALONE ? LOCKED_ALONE : LOCKED_SHARED;
    description->lock_device = stat.device;
    description->lock_inode = stat.inode;
    return 0;
}

int32_t __eryx_vfs_duplicate(int32_t fd, int32_t lowest, int32_t inherited) {
    struct description *description;
    int32_t slot;
    int error = fd_get(fd, &description);
    if (error != 0) {
        return -error;
    }
    if (lowest < 0 || lowest >= FD_LIMIT) {
        return -E_INVAL;
    }
    error = fd_slot_from(lowest, &slot);
    if (error == 0) {
        error = fd_copy(fd, slot);
    }
    if (error != 0) {
        return -error;
    }
    fd_inherit(slot, inherited != 0);
    return slot;
}

int32_t __eryx_vfs_inherited(int32_t fd, int32_t change) {
    struct description *description;
    int error = fd_get(fd, &description);
    if (error != 0) {
        return -error;
    }
    if (change >= 0) {
        fd_inherit(fd, change != 0);
    }
    return fd_inherited(fd);
}
