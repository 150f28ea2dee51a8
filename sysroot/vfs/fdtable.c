/* The guest's descriptors. Numbers are the guest's own; several may share one open file. */
#include <stdlib.h>

#include "state.h"

int fd_get(int32_t fd, struct description **description) {
    int error = vfs_setup();
    if (error != 0) {
        return error;
    }
    if (fd < 0 || fd >= FD_LIMIT || vfs.fds[fd] == NULL || vfs.fds[fd]->kind == OPEN_DEAD) {
        return E_BADF;
    }
    *description = vfs.fds[fd];
    return 0;
}

int fd_slot(int32_t *fd) {
    return fd_slot_from(0, fd);
}

int fd_slot_from(int32_t lowest, int32_t *fd) {
    for (int32_t slot = lowest; slot < FD_LIMIT; slot++) {
        if (vfs.fds[slot] == NULL) {
            *fd = slot;
            return 0;
        }
    }
    return E_MFILE;
}

int open_outside(int32_t fd, int32_t lookup, const char *path, size_t length, int32_t oflags, uint64_t rights,
                 uint64_t inheriting, int32_t flags, int32_t *opened) {
    int error = outer_path_open(fd, lookup, path, length, oflags, rights, inheriting, flags, opened);
    /* The adapter to the component model has a table of its own, with fewer descriptors than ours,
     * and says that memory is short when it is full. */
    return error == E_NOMEM ? E_MFILE : error;
}

bool fd_inherited(int32_t fd) {
    return vfs.inherited[fd / 8] >> fd % 8 & 1;
}

/* There is no exec: what is noted is told again, and nothing else. */
void fd_inherit(int32_t fd, bool inherited) {
    vfs.inherited[fd / 8] = (uint8_t)((vfs.inherited[fd / 8] & ~(1 << fd % 8)) | inherited << fd % 8);
}

struct description *description_new(enum description_kind kind) {
    struct description *description = calloc(1, sizeof *description);
    if (description != NULL) {
        description->uses = 1;
        description->kind = kind;
        description->image = NO_IMAGE;
    }
    return description;
}

void description_release(struct description *description) {
    if (--description->uses != 0) {
        return;
    }
    if (description->pipe != NULL) {
        pipe_release(description);
    }
    if (description->node != NULL) {
        description->node->uses--;
        node_release(description->node);
    }
    free(description->path);
    free(description);
}

/* Makes `to` a second number for the open file of `from`. */
int fd_copy(int32_t from, int32_t to) {
    struct description *description;
    int error = fd_get(from, &description);
    if (error != 0 || from == to) {
        return error;
    }
    description->uses++;
    if (vfs.fds[to] != NULL) {
        /* As with dup2, an error in closing what stood there is lost. */
        __eryx_wasi_fd_close(to);
    }
    vfs.fds[to] = description;
    fd_inherit(to, true);
    return 0;
}
