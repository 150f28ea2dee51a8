/* The calls that have nothing to do with files, and sockets, whose descriptors only need translating. */
#include "state.h"

int32_t __eryx_wasi_args_get(uint8_t **argv, uint8_t *buffer) {
    return outer_args_get(argv, buffer);
}

int32_t __eryx_wasi_args_sizes_get(size_t *count, size_t *bytes) {
    return outer_args_sizes_get(count, bytes);
}

int32_t __eryx_wasi_environ_get(uint8_t **environment, uint8_t *buffer) {
    return outer_environ_get(environment, buffer);
}

int32_t __eryx_wasi_environ_sizes_get(size_t *count, size_t *bytes) {
    return outer_environ_sizes_get(count, bytes);
}

int32_t __eryx_wasi_clock_res_get(int32_t id, uint64_t *resolution) {
    return outer_clock_res_get(id, resolution);
}

int32_t __eryx_wasi_clock_time_get(int32_t id, uint64_t precision, uint64_t *time) {
    return outer_clock_time_get(id, precision, time);
}

int32_t __eryx_wasi_proc_raise(int32_t signal) {
    return outer_proc_raise(signal);
}

int32_t __eryx_wasi_sched_yield(void) {
    return outer_sched_yield();
}

int32_t __eryx_wasi_random_get(uint8_t *buffer, size_t length) {
    return outer_random_get(buffer, length);
}

static int socket_of(int32_t fd, int32_t *outer) {
    struct description *description;
    int error = fd_get(fd, &description);
    if (error != 0) {
        return error;
    }
    if (description->kind != OPEN_OUTER) {
        return E_NOTSOCK;
    }
    *outer = description->fd;
    return 0;
}

int32_t __eryx_wasi_sock_accept(int32_t fd, int32_t flags, int32_t *accepted) {
    int32_t outer, slot;
    int error = socket_of(fd, &outer);
    if (error == 0) {
        error = fd_slot(&slot);
    }
    if (error != 0) {
        return error;
    }
    struct description *description = description_new(OPEN_OUTER);
    if (description == NULL) {
        return E_NOMEM;
    }
    error = outer_sock_accept(outer, flags, &description->fd);
    if (error != 0) {
        description_release(description);
        return error;
    }
    vfs.fds[slot] = description;
    fd_inherit(slot, false);
    *accepted = slot;
    return 0;
}

int32_t __eryx_wasi_sock_recv(int32_t fd, const struct wasi_iovec *vectors, size_t count, int32_t flags,
                              size_t *done, uint16_t *out_flags) {
    int32_t outer;
    int error = socket_of(fd, &outer);
    return error != 0 ? error : outer_sock_recv(outer, vectors, count, flags, done, out_flags);
}

int32_t __eryx_wasi_sock_send(int32_t fd, const struct wasi_iovec *vectors, size_t count, int32_t flags,
                              size_t *done) {
    int32_t outer;
    int error = socket_of(fd, &outer);
    return error != 0 ? error : outer_sock_send(outer, vectors, count, flags, done);
}

int32_t __eryx_wasi_sock_shutdown(int32_t fd, int32_t how) {
    int32_t outer;
    int error = socket_of(fd, &outer);
    return error != 0 ? error : outer_sock_shutdown(outer, how);
}
