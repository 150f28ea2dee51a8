/* What the runtime hears of the guest's end, and asks about its files. */
#include "eryx_public.h"
#include "state.h"

static void (*exit_hook)(int32_t status);

void __eryx_vfs_on_exit(void (*hook)(int32_t status)) {
    exit_hook = hook;
}

uint32_t __eryx_vfs_writers(void) {
    uint32_t count = 0;
    for (int32_t fd = ROOT_FD + 1; fd < FD_LIMIT; fd++) {
        const struct description *description = vfs.fds[fd];
        if (description != NULL && description->kind != OPEN_DEAD && (description->rights & RIGHT_WRITE) != 0) {
            count++;
        }
    }
    return count;
}

void __eryx_wasi_proc_exit(int32_t status) {
    if (exit_hook != NULL) {
        exit_hook(status);
    }
    outer_proc_exit(status);
}
