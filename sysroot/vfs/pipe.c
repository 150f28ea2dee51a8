/* Pipes within the guest. There is one thread: whoever would wait for the other end waits for itself.
 * That is told as the deadlock that it is, and to descriptors that do not wait as what they expect. */
#include <stdlib.h>
#include <string.h>

#include "eryx_public.h"
#include "state.h"

static bool is_writer(const struct description *description) {
    return (description->rights & RIGHT_WRITE) != 0;
}

static int would_wait(const struct description *description) {
    return description->flags & FLAG_NONBLOCK ? E_AGAIN : E_DEADLK;
}

int pipe_read(struct description *description, const struct wasi_iovec *vectors, size_t count, size_t *done) {
    struct pipe *pipe = description->pipe;
    *done = 0;
    if (is_writer(description)) {
        return E_BADF;
    }
    size_t wanted = 0;
    for (size_t i = 0; i < count; i++) {
        wanted += vectors[i].length;
    }
    if (pipe->used == 0 && pipe->writers != 0 && wanted != 0) {
        return would_wait(description);
    }
    for (size_t i = 0; i < count; i++) {
        for (size_t at = 0; at < vectors[i].length && pipe->used != 0;) {
            size_t part = vectors[i].length - at;
            part = part < pipe->used ? part : pipe->used;
            part = part < PIPE_SIZE - pipe->start ? part : PIPE_SIZE - pipe->start;
            memcpy(vectors[i].data + at, pipe->bytes + pipe->start, part);
            pipe->start = (uint32_t)(pipe->start + part) % PIPE_SIZE;
            pipe->used -= (uint32_t)part;
            at += part;
            *done += part;
        }
    }
    return 0;
}

int pipe_write(struct description *description, const struct wasi_iovec *vectors, size_t count, size_t *done) {
    struct pipe *pipe = description->pipe;
    *done = 0;
    if (!is_writer(description)) {
        return E_BADF;
    }
    if (pipe->readers == 0) {
        return E_PIPE;
    }
    uint64_t total = 0;
    for (size_t i = 0; i < count; i++) {
        total += vectors[i].length;
    }
    uint32_t room = PIPE_SIZE - pipe->used;
    /* Little goes whole or not at all. */
    if (total != 0 && (room == 0 || (total <= PIPE_ATOMIC && total > room))) {
        return would_wait(description);
    }
    for (size_t i = 0; i < count; i++) {
        for (size_t at = 0; at < vectors[i].length && pipe->used < PIPE_SIZE;) {
            uint32_t end = (pipe->start + pipe->used) % PIPE_SIZE;
            size_t part = vectors[i].length - at;
            part = part < PIPE_SIZE - pipe->used ? part : PIPE_SIZE - pipe->used;
            part = part < PIPE_SIZE - end ? part : PIPE_SIZE - end;
            memcpy(pipe->bytes + end, vectors[i].data + at, part);
            pipe->used += (uint32_t)part;
            at += part;
            *done += part;
        }
    }
    return 0;
}

uint64_t pipe_ready(const struct description *description, bool write) {
    const struct pipe *pipe = description->pipe;
    if (write != is_writer(description)) {
        return NOTHING_YET;
    }
    if (write) {
        return pipe->readers == 0 ? 0 : PIPE_SIZE - pipe->used < PIPE_ATOMIC ? NOTHING_YET : PIPE_SIZE - pipe->used;
    }
    return pipe->used == 0 && pipe->writers != 0 ? NOTHING_YET : pipe->used;
}

void pipe_stat(const struct description *description, struct wasi_filestat *stat) {
    memset(stat, 0, sizeof *stat);
    stat->device = DEVICE_MEMORY;
    stat->inode = description->pipe->inode;
    stat->links = 1;
    stat->accessed = stat->modified = stat->changed = description->pipe->time;
    stat_add_mode(stat, mode_of_outer(TYPE_UNKNOWN, NULL));
}

void pipe_release(struct description *description) {
    struct pipe *pipe = description->pipe;
    if (is_writer(description)) {
        pipe->writers--;
    } else {
        pipe->readers--;
    }
    if (pipe->readers == 0 && pipe->writers == 0) {
        quota_give(pipe, sizeof *pipe);
    }
}

int32_t __eryx_vfs_pipe(int32_t fds[2], int32_t flags) {
    int error = vfs_setup();
    if (error == 0) {
        error = fd_slot(&fds[0]);
    }
    if (error == 0) {
        error = fd_slot_from(fds[0] + 1, &fds[1]);
    }
    if (error != 0) {
        return error;
    }
    struct pipe *pipe = quota_take(sizeof *pipe);
    struct description *ends[2] = {description_new(OPEN_PIPE), description_new(OPEN_PIPE)};
    if (pipe == NULL || ends[0] == NULL || ends[1] == NULL) {
        quota_give(pipe, sizeof *pipe);
        free(ends[0]);
        free(ends[1]);
        return E_NOMEM;
    }
    pipe->inode = ++vfs.inodes;
    pipe->time = vfs_now();
    pipe->readers = pipe->writers = 1;
    for (int end = 0; end < 2; end++) {
        ends[end]->pipe = pipe;
        ends[end]->flags = (uint16_t)(flags & FLAG_NONBLOCK);
        ends[end]->rights = (RIGHTS_FILE & ~(RIGHT_READ | RIGHT_WRITE)) | (end == 0 ? RIGHT_READ : RIGHT_WRITE);
        vfs.fds[fds[end]] = ends[end];
        fd_inherit(fds[end], false);
    }
    return 0;
}
