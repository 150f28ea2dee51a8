/* The calls on an open descriptor: contents, position and state. */
#include <string.h>

#include "state.h"

/* Begins every call: finds the open file, and hands an embedder's one straight through. */
#define OPEN_FILE(fd, description, pass)                                                                    \
    struct description *description;                                                                        \
    int error = fd_get(fd, &description);                                                                   \
    if (error != 0) {                                                                                       \
        return error;                                                                                       \
    }                                                                                                       \
    if (description->kind == OPEN_OUTER) {                                                                  \
        return pass;                                                                                        \
    }

static bool is_directory(const struct description *description) {
    if (description->kind == OPEN_PIPE) {
        return false;
    }
    return description->kind == OPEN_NODE ? description->node->kind == NODE_DIRECTORY
                                          : image_type(description->image) == TYPE_DIRECTORY;
}

/* The memory file behind a descriptor, or NULL. */
static struct file *memory_file(const struct description *description) {
    return description->kind == OPEN_NODE && description->node->kind == NODE_FILE ? &description->node->u.file
                                                                                  : NULL;
}

static uint64_t size_of(const struct description *description) {
    if (description->kind == OPEN_IMAGE) {
        return image_node(description->image)->count;
    }
    const struct file *file = memory_file(description);
    return file == NULL ? 0 : file->size;
}

int32_t __eryx_wasi_fd_advise(int32_t fd, uint64_t offset, uint64_t length, int32_t advice) {
    OPEN_FILE(fd, description, outer_fd_advise(description->fd, offset, length, advice))
    return advice < 0 || advice > 5 ? E_INVAL : 0;
}

int32_t __eryx_wasi_fd_allocate(int32_t fd, uint64_t offset, uint64_t length) {
    OPEN_FILE(fd, description, outer_fd_allocate(description->fd, offset, length))
    struct file *file = memory_file(description);
    if (file == NULL || (description->rights & RIGHT_WRITE) == 0) {
        return E_BADF;
    }
    if (length == 0) {
        return E_INVAL;
    }
    uint64_t before = file->size;
    error = file_allocate(file, offset, length);
    if (file->size != before) {
        node_touch(description->node);
    }
    return error;
}

int32_t __eryx_wasi_fd_close(int32_t fd) {
    int error = vfs_setup();
    if (error != 0) {
        return error;
    }
    /* libc has noted number 3 as the way to every path: no `closerange` may take it away. */
    if (fd < 0 || fd >= FD_LIMIT || vfs.fds[fd] == NULL || fd == ROOT_FD) {
        return E_BADF;
    }
    struct description *description = vfs.fds[fd];
    vfs.fds[fd] = NULL;
    if (description->kind == OPEN_OUTER && description->uses == 1) {
        error = outer_fd_close(description->fd);
    }
    description_release(description);
    return error;
}

int32_t __eryx_wasi_fd_datasync(int32_t fd) {
    OPEN_FILE(fd, description, outer_fd_datasync(description->fd))
    return 0;
}

int32_t __eryx_wasi_fd_sync(int32_t fd) {
    OPEN_FILE(fd, description, outer_fd_sync(description->fd))
    return 0;
}

/* For files in grants the adapter forgets flags, and knows rights roughly: what was asked for is told. */
static int outer_fdstat(const struct description *description, struct wasi_fdstat *stat) {
    int error = outer_fd_fdstat_get(description->fd, stat);
    if (error == 0 && description->mount != NULL) {
        stat->flags = description->flags;
        stat->rights &= description->rights | ~(RIGHT_READ | RIGHT_WRITE);
    } else if (error == 0) {
        stat->flags |= description->flags;
    }
    return error;
}

int32_t __eryx_wasi_fd_fdstat_get(int32_t fd, struct wasi_fdstat *stat) {
    OPEN_FILE(fd, description, outer_fdstat(description, stat))
    memset(stat, 0, sizeof *stat);
    stat->type = description->kind == OPEN_NODE    ? node_type(description->node)
                 : description->kind == OPEN_IMAGE ? image_type(description->image)
                                                   : TYPE_UNKNOWN;
    stat->flags = description->flags;
    stat->rights = description->rights;
    stat->inheriting = description->inheriting;
    return 0;
}

static int outer_set_flags(struct description *description, int32_t flags) {
    if ((flags & ~FLAG_ALL) != 0) {
        return E_INVAL;
    }
    if (description->mount == NULL) {
        /* The embedder's streams have no such state; what was set is told again. */
        outer_fd_fdstat_set_flags(description->fd, flags & FLAG_NONBLOCK);
        description->flags = (uint16_t)flags;
        return 0;
    }
    /* The adapter knows these two, and refuses to change others. */
    int error = outer_fd_fdstat_set_flags(description->fd, flags & (FLAG_APPEND | FLAG_NONBLOCK));
    if (error == 0) {
        description->flags = (uint16_t)flags;
    }
    return error;
}

int32_t __eryx_wasi_fd_fdstat_set_flags(int32_t fd, int32_t flags) {
    OPEN_FILE(fd, description, outer_set_flags(description, flags))
    if ((flags & ~FLAG_ALL) != 0) {
        return E_INVAL;
    }
    description->flags = (uint16_t)flags;
    return 0;
}

int32_t __eryx_wasi_fd_fdstat_set_rights(int32_t fd, uint64_t rights, uint64_t inheriting) {
    OPEN_FILE(fd, description, outer_fd_fdstat_set_rights(description->fd, rights, inheriting))
    if ((rights & ~description->rights) != 0 || (inheriting & ~description->inheriting) != 0) {
        return E_NOTCAPABLE;
    }
    /* The root's descriptor is everybody's. */
    if (fd != ROOT_FD) {
        description->rights = rights;
        description->inheriting = inheriting;
    }
    return 0;
}

static int outer_stat(const struct description *description, struct wasi_filestat *stat) {
    int error = outer_fd_filestat_get(description->fd, stat);
    if (error == 0) {
        stat_add_mode(stat, mode_of_outer(stat->type, description->mount));
    }
    return error;
}

int32_t __eryx_wasi_fd_filestat_get(int32_t fd, struct wasi_filestat *stat) {
    OPEN_FILE(fd, description, outer_stat(description, stat))
    if (description->kind == OPEN_PIPE) {
        pipe_stat(description, stat);
    } else if (description->kind == OPEN_NODE) {
        node_stat(description->node, stat);
    } else {
        image_stat(description->image, stat);
    }
    return 0;
}

int32_t __eryx_wasi_fd_filestat_set_size(int32_t fd, uint64_t size) {
    OPEN_FILE(fd, description, outer_fd_filestat_set_size(description->fd, size))
    struct file *file = memory_file(description);
    if (file == NULL || (description->rights & RIGHT_WRITE) == 0) {
        return E_INVAL;
    }
    error = file_resize(file, size);
    if (error == 0) {
        node_touch(description->node);
    }
    return error;
}

int32_t __eryx_wasi_fd_filestat_set_times(int32_t fd, uint64_t accessed, uint64_t modified, int32_t flags) {
    OPEN_FILE(fd, description, outer_fd_filestat_set_times(description->fd, accessed, modified, flags))
    if (description->kind != OPEN_NODE) {
        return description->kind == OPEN_IMAGE ? E_ROFS : 0;
    }
    return node_set_times(description->node, accessed, modified, flags);
}

/* The sum of the lengths must be a count that the result can hold. */
static int check_vectors(const struct wasi_iovec *vectors, size_t count) {
    uint64_t total = 0;
    for (size_t i = 0; i < count; i++) {
        total += vectors[i].length;
        if (total > INT32_MAX) {
            return E_INVAL;
        }
    }
    return 0;
}

int description_read_at(const struct description *description, const struct wasi_iovec *vectors, size_t count,
                        uint64_t offset, size_t *done) {
    *done = 0;
    if (description->kind == OPEN_PIPE) {
        return E_SPIPE;
    }
    if (is_directory(description)) {
        return E_ISDIR;
    }
    if ((description->rights & RIGHT_READ) == 0) {
        return E_BADF;
    }
    int error = check_vectors(vectors, count);
    for (size_t i = 0; error == 0 && i < count; i++) {
        size_t part = 0;
        if (description->kind == OPEN_IMAGE) {
            const struct image_node *node = image_node(description->image);
            if (offset < node->count) {
                part = node->count - (size_t)offset;
                part = part < vectors[i].length ? part : vectors[i].length;
            }
            if (part != 0) {
                memcpy(vectors[i].data, image_bytes(node->start) + offset, part);
            }
        } else if (description->node->kind == NODE_FILE) {
            part = file_read(&description->node->u.file, offset, vectors[i].data, vectors[i].length);
        }
        *done += part;
        offset += part;
        if (part < vectors[i].length) {
            break;
        }
    }
    return error;
}

int description_write_at(const struct description *description, const struct wasi_iovec *vectors, size_t count,
                         uint64_t offset, size_t *done) {
    *done = 0;
    if (description->kind == OPEN_PIPE) {
        return E_SPIPE;
    }
    if (is_directory(description)) {
        return E_ISDIR;
    }
    if ((description->rights & RIGHT_WRITE) == 0) {
        return E_BADF;
    }
    int error = check_vectors(vectors, count);
    if (error != 0) {
        return error;
    }
    struct file *file = memory_file(description);
    for (size_t i = 0; i < count; i++) {
        size_t part = vectors[i].length;
        if (file != NULL) {
            error = file_write(file, offset, vectors[i].data, vectors[i].length, &part);
        }
        *done += part;
        offset += part;
        if (error != 0 || part < vectors[i].length) {
            break;
        }
    }
    if (*done != 0 && file != NULL) {
        node_touch(description->node);
    }
    return *done != 0 ? 0 : error;
}

int32_t __eryx_wasi_fd_pread(int32_t fd, const struct wasi_iovec *vectors, size_t count, uint64_t offset,
                             size_t *done) {
    OPEN_FILE(fd, description, outer_fd_pread(description->fd, vectors, count, offset, done))
    if ((int64_t)offset < 0) {
        return E_INVAL;
    }
    return description_read_at(description, vectors, count, offset, done);
}

int32_t __eryx_wasi_fd_pwrite(int32_t fd, const struct wasi_iovec *vectors, size_t count, uint64_t offset,
                              size_t *done) {
    OPEN_FILE(fd, description, outer_fd_pwrite(description->fd, vectors, count, offset, done))
    if ((int64_t)offset < 0) {
        return E_INVAL;
    }
    return description_write_at(description, vectors, count, offset, done);
}

int32_t __eryx_wasi_fd_read(int32_t fd, const struct wasi_iovec *vectors, size_t count, size_t *done) {
    OPEN_FILE(fd, description, outer_fd_read(description->fd, vectors, count, done))
    if (description->kind == OPEN_PIPE) {
        return pipe_read(description, vectors, count, done);
    }
    error = description_read_at(description, vectors, count, description->offset, done);
    description->offset += *done;
    return error;
}

/* The adapter to the component model has one error for a stream that failed and for one whose reader
 * has gone. With those of the embedder it is nearly always the second, which programs know how to
 * take. */
static int write_outer(const struct description *description, const struct wasi_iovec *vectors, size_t count,
                       size_t *done) {
    *done = 0;
    int error = 0;
    /* It takes one piece at a time. */
    for (size_t i = 0, part; i < count || count == 0; i++, *done += part) {
        part = 0;
        error = outer_fd_write(description->fd, vectors + i, count == 0 ? 0 : 1, &part);
        if (error != 0 || count == 0 || part < vectors[i].length) {
            *done += part;
            break;
        }
    }
    if (*done != 0) {
        return 0;
    }
    return error == E_IO && description->mount == NULL ? E_PIPE : error;
}

int32_t __eryx_wasi_fd_write(int32_t fd, const struct wasi_iovec *vectors, size_t count, size_t *done) {
    OPEN_FILE(fd, description, write_outer(description, vectors, count, done))
    if (description->kind == OPEN_PIPE) {
        return pipe_write(description, vectors, count, done);
    }
    if (description->flags & FLAG_APPEND) {
        description->offset = size_of(description);
    }
    error = description_write_at(description, vectors, count, description->offset, done);
    description->offset += *done;
    return error;
}

int32_t __eryx_wasi_fd_seek(int32_t fd, int64_t offset, int32_t whence, uint64_t *position) {
    OPEN_FILE(fd, description, outer_fd_seek(description->fd, offset, whence, position))
    if (description->kind == OPEN_PIPE) {
        return E_SPIPE;
    }
    if (is_directory(description)) {
        return E_ISDIR;
    }
    uint64_t from;
    switch (whence) {
    case FROM_START:
        from = 0;
        break;
    case FROM_CURRENT:
        from = description->offset;
        break;
    case FROM_END:
        from = size_of(description);
        break;
    default:
        return E_INVAL;
    }
    /* `from` never exceeds INT64_MAX, so the sum can only overflow upwards. */
    if (offset > 0 && from > (uint64_t)(INT64_MAX - offset)) {
        return E_OVERFLOW;
    }
    if ((int64_t)from + offset < 0) {
        return E_INVAL;
    }
    *position = description->offset = (uint64_t)((int64_t)from + offset);
    return 0;
}

int32_t __eryx_wasi_fd_tell(int32_t fd, uint64_t *position) {
    OPEN_FILE(fd, description, outer_fd_tell(description->fd, position))
    if (description->kind == OPEN_PIPE) {
        return E_SPIPE;
    }
    if (is_directory(description)) {
        return E_ISDIR;
    }
    *position = description->offset;
    return 0;
}

/* Unlike dup2 this moves: afterwards `from` is closed. `to` need not have been open. */
int32_t __eryx_wasi_fd_renumber(int32_t from, int32_t to) {
    struct description *description;
    int error = fd_get(from, &description);
    if (error != 0) {
        return error;
    }
    if (to < 0 || to >= FD_LIMIT || from == ROOT_FD || to == ROOT_FD) {
        return E_BADF;
    }
    if (from == to) {
        return 0;
    }
    error = fd_copy(from, to);
    return error != 0 ? error : __eryx_wasi_fd_close(from);
}

/* The guest sees one preopened directory: the root. */
int32_t __eryx_wasi_fd_prestat_get(int32_t fd, struct wasi_prestat *stat) {
    int error = vfs_setup();
    if (error != 0) {
        return error;
    }
    if (fd != ROOT_FD) {
        return E_BADF;
    }
    memset(stat, 0, sizeof *stat);
    stat->name_length = 1;
    return 0;
}

int32_t __eryx_wasi_fd_prestat_dir_name(int32_t fd, uint8_t *name, size_t length) {
    if (fd != ROOT_FD) {
        return E_BADF;
    }
    if (length < 1) {
        return E_NAMETOOLONG;
    }
    name[0] = '/';
    return 0;
}
