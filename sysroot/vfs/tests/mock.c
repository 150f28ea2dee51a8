/* An embedder made of POSIX calls, enough of one to prove what is handed through. Granted descriptors
 * begin at 3, opened ones at 100, so that a number that was not translated cannot work by accident. */
#include "mock.h"
#include "shim.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../wasi.h"

#define FIRST 100
#define SLOTS 64

int mock_crossings;
uint64_t mock_time = 1000;
char mock_output[4096];
int mock_output_length;
int mock_polled;
bool mock_waited, mock_read_only, mock_gone;
long mock_allocations = -1;

static struct {
    char guest[256];
    int fd;
} grants[8];
static int grant_count;
static int slots[SLOTS];

void mock_grant(const char *host, const char *guest) {
    snprintf(grants[grant_count].guest, sizeof grants[0].guest, "%s", guest);
    grants[grant_count++].fd = open(host, O_RDONLY | O_DIRECTORY);
}

void mock_no_grants(void) {
    while (grant_count > 0) {
        close(grants[--grant_count].fd);
    }
}

int mock_open_count(void) {
    int count = 0;
    for (int i = 0; i < SLOTS; i++) {
        count += slots[i] != 0;
    }
    return count;
}

/* The host's descriptor, or -1. */
static int host(int32_t fd) {
    mock_crossings++;
    if (fd >= 3 && fd < 3 + grant_count) {
        return grants[fd - 3].fd;
    }
    return fd >= FIRST && fd < FIRST + SLOTS && slots[fd - FIRST] != 0 ? slots[fd - FIRST] : -1;
}

static int32_t code(int error) {
    switch (error) {
    case 0: return E_SUCCESS;
    case EACCES: return E_ACCES;
    case EBADF: return E_BADF;
    case EEXIST: return E_EXIST;
    case EINVAL: return E_INVAL;
    case EISDIR: return E_ISDIR;
    case ELOOP: return E_LOOP;
    case ENOENT: return E_NOENT;
    case ENOTDIR: return E_NOTDIR;
    case ENOTEMPTY: return E_NOTEMPTY;
    case EPERM: return E_PERM;
    default: return E_IO;
    }
}

static int32_t result(long value) {
    return value < 0 ? code(errno) : 0;
}

/* A sandbox refuses what leads up and out; the tests need only the plain cases. */
static bool text(const char *path, size_t length, char *out) {
    memcpy(out, path, length);
    out[length] = '\0';
    return length != 0 && path[0] != '/' && strstr(out, "..") == NULL;
}

#define PATH(at, path, length, copy)                                                                        \
    char copy[5000];                                                                                        \
    int at##_host = host(at);                                                                               \
    if (at##_host < 0) {                                                                                    \
        return E_BADF;                                                                                      \
    }                                                                                                       \
    /* The real one traps. */                                                                               \
    CHECK(is_utf8(path, length));                                                                           \
    if (!text(path, length, copy)) {                                                                        \
        return E_NOTCAPABLE;                                                                                \
    }

static uint8_t type_of(mode_t mode) {
    return S_ISDIR(mode) ? TYPE_DIRECTORY : S_ISLNK(mode) ? TYPE_LINK : TYPE_REGULAR;
}

static int32_t fill(int failed, const struct stat *in, struct wasi_filestat *out) {
    if (failed < 0) {
        return code(errno);
    }
    memset(out, 0, sizeof *out);
    out->device = in->st_dev;
    out->inode = in->st_ino;
    out->type = type_of(in->st_mode);
    out->links = in->st_nlink;
    out->size = (uint64_t)in->st_size;
    out->modified = (uint64_t)in->st_mtim.tv_sec * 1000000000u + (uint64_t)in->st_mtim.tv_nsec;
    return 0;
}

int32_t outer_args_get(uint8_t **argv, uint8_t *buffer) {
    (void)argv, (void)buffer;
    return 0;
}
int32_t outer_args_sizes_get(size_t *count, size_t *bytes) {
    *count = *bytes = 7;
    return 0;
}
int32_t outer_environ_get(uint8_t **environment, uint8_t *buffer) {
    (void)environment, (void)buffer;
    return 0;
}
int32_t outer_environ_sizes_get(size_t *count, size_t *bytes) {
    *count = *bytes = 8;
    return 0;
}
int32_t outer_clock_res_get(int32_t id, uint64_t *resolution) {
    *resolution = (uint64_t)id + 1;
    return 0;
}
int32_t outer_clock_time_get(int32_t id, uint64_t precision, uint64_t *time) {
    (void)id, (void)precision;
    *time = mock_time;
    return 0;
}
int32_t outer_fd_advise(int32_t fd, uint64_t offset, uint64_t length, int32_t advice) {
    (void)offset, (void)length, (void)advice;
    return host(fd) < 0 ? E_BADF : 0;
}
int32_t outer_fd_allocate(int32_t fd, uint64_t offset, uint64_t length) {
    return code(posix_fallocate(host(fd), (off_t)offset, (off_t)length));
}
int32_t outer_fd_close(int32_t fd) {
    int there = host(fd);
    if (fd >= 0 && fd <= 2) {
        return 0;
    }
    if (there < 0) {
        return E_BADF;
    }
    if (fd >= FIRST) {
        slots[fd - FIRST] = 0;
    }
    return result(close(there));
}
int32_t outer_fd_datasync(int32_t fd) {
    return result(fdatasync(host(fd)));
}
int32_t outer_fd_sync(int32_t fd) {
    return result(fsync(host(fd)));
}
int32_t outer_fd_fdstat_get(int32_t fd, struct wasi_fdstat *out) {
    memset(out, 0, sizeof *out);
    if (fd >= 0 && fd <= 2) {
        out->type = TYPE_CHARACTER_DEVICE;
        return 0;
    }
    struct stat stat;
    if (fstat(host(fd), &stat) < 0) {
        return code(errno);
    }
    out->type = type_of(stat.st_mode);
    out->rights = out->inheriting = RIGHTS_ALL;
    return 0;
}
int32_t outer_fd_fdstat_set_flags(int32_t fd, int32_t flags) {
    return result(fcntl(host(fd), F_SETFL, flags & FLAG_APPEND ? O_APPEND : 0));
}
int32_t outer_fd_fdstat_set_rights(int32_t fd, uint64_t rights, uint64_t inheriting) {
    (void)rights, (void)inheriting;
    return host(fd) < 0 ? E_BADF : 0;
}
int32_t outer_fd_filestat_get(int32_t fd, struct wasi_filestat *out) {
    struct stat stat;
    return fill(fstat(host(fd), &stat), &stat, out);
}
int32_t outer_fd_filestat_set_size(int32_t fd, uint64_t size) {
    return result(ftruncate(host(fd), (off_t)size));
}

static struct timespec moment(uint64_t time, bool set, bool now) {
    return (struct timespec){(time_t)(time / 1000000000u),
                             now ? UTIME_NOW : set ? (long)(time % 1000000000u) : UTIME_OMIT};
}
int32_t outer_fd_filestat_set_times(int32_t fd, uint64_t accessed, uint64_t modified, int32_t flags) {
    struct timespec times[2] = {moment(accessed, flags & 1, flags & 2), moment(modified, flags & 4, flags & 8)};
    return result(futimens(host(fd), times));
}

static int32_t transfer(int32_t fd, const struct wasi_iovec *vectors, size_t count, int64_t offset, bool write_it,
                        size_t *done) {
    int there = host(fd);
    *done = 0;
    for (size_t i = 0; i < count; i++) {
        ssize_t part;
        if (offset >= 0) {
            off_t at = (off_t)offset + (off_t)*done;
            part = write_it ? pwrite(there, vectors[i].data, vectors[i].length, at)
                            : pread(there, vectors[i].data, vectors[i].length, at);
        } else {
            part = write_it ? write(there, vectors[i].data, vectors[i].length)
                            : read(there, vectors[i].data, vectors[i].length);
        }
        if (part < 0) {
            return code(errno);
        }
        *done += (size_t)part;
    }
    return 0;
}
int32_t outer_fd_pread(int32_t fd, const struct wasi_iovec *vectors, size_t count, uint64_t offset, size_t *done) {
    return transfer(fd, vectors, count, (int64_t)offset, false, done);
}
int32_t outer_fd_pwrite(int32_t fd, const struct wasi_iovec *vectors, size_t count, uint64_t offset,
                        size_t *done) {
    return transfer(fd, vectors, count, (int64_t)offset, true, done);
}
int32_t outer_fd_read(int32_t fd, const struct wasi_iovec *vectors, size_t count, size_t *done) {
    return transfer(fd, vectors, count, -1, false, done);
}
int32_t outer_fd_write(int32_t fd, const struct wasi_iovec *vectors, size_t count, size_t *done) {
    if (fd != 1 && fd != 2) {
        return transfer(fd, vectors, count, -1, true, done);
    }
    *done = 0;
    if (mock_gone) {
        return E_IO;
    }
    for (size_t i = 0; i < count; i++) {
        memcpy(mock_output + mock_output_length, vectors[i].data, vectors[i].length);
        mock_output_length += (int)vectors[i].length;
        *done += vectors[i].length;
    }
    return 0;
}
int32_t outer_fd_prestat_get(int32_t fd, struct wasi_prestat *stat) {
    if (host(fd) < 0 || fd >= FIRST) {
        return E_BADF;
    }
    stat->tag = 0;
    stat->name_length = strlen(grants[fd - 3].guest);
    return 0;
}
int32_t outer_fd_prestat_dir_name(int32_t fd, uint8_t *name, size_t length) {
    memcpy(name, grants[fd - 3].guest, length);
    return 0;
}
int32_t outer_fd_readdir(int32_t fd, uint8_t *buffer, size_t length, uint64_t cookie, size_t *used) {
    DIR *directory = fdopendir(dup(host(fd)));
    if (directory == NULL) {
        return code(errno);
    }
    rewinddir(directory);
    *used = 0;
    struct dirent *entry;
    for (uint64_t place = 1; (entry = readdir(directory)) != NULL; place++) {
        if (place <= cookie) {
            continue;
        }
        struct wasi_dirent header;
        memset(&header, 0, sizeof header);
        header.next = place;
        header.inode = entry->d_ino;
        header.name_length = (uint32_t)strlen(entry->d_name);
        header.type = entry->d_type == DT_DIR ? TYPE_DIRECTORY : TYPE_REGULAR;
        uint8_t bytes[512];
        memcpy(bytes, &header, sizeof header);
        memcpy(bytes + sizeof header, entry->d_name, header.name_length);
        size_t size = sizeof header + header.name_length, room = length - *used;
        memcpy(buffer + *used, bytes, size < room ? size : room);
        *used += size < room ? size : room;
        if (*used == length) {
            break;
        }
    }
    closedir(directory);
    return 0;
}
int32_t outer_fd_renumber(int32_t from, int32_t to) {
    (void)from, (void)to;
    abort(); /* the layer keeps numbers of its own */
}
int32_t outer_fd_seek(int32_t fd, int64_t offset, int32_t whence, uint64_t *position) {
    static const int whences[] = {SEEK_SET, SEEK_CUR, SEEK_END};
    off_t at = lseek(host(fd), (off_t)offset, whences[whence]);
    *position = (uint64_t)at;
    return result(at);
}
int32_t outer_fd_tell(int32_t fd, uint64_t *position) {
    return outer_fd_seek(fd, 0, FROM_CURRENT, position);
}
int32_t outer_path_create_directory(int32_t fd, const char *path, size_t length) {
    PATH(fd, path, length, name)
    if (mock_read_only) {
        return E_PERM;
    }
    return result(mkdirat(fd_host, name, 0777));
}
int32_t outer_path_filestat_get(int32_t fd, int32_t lookup, const char *path, size_t length,
                                struct wasi_filestat *out) {
    PATH(fd, path, length, name)
    struct stat stat;
    return fill(fstatat(fd_host, name, &stat, lookup & 1 ? 0 : AT_SYMLINK_NOFOLLOW), &stat, out);
}
int32_t outer_path_filestat_set_times(int32_t fd, int32_t lookup, const char *path, size_t length,
                                      uint64_t accessed, uint64_t modified, int32_t flags) {
    PATH(fd, path, length, name)
    struct timespec times[2] = {moment(accessed, flags & 1, flags & 2), moment(modified, flags & 4, flags & 8)};
    return result(utimensat(fd_host, name, times, lookup & 1 ? 0 : AT_SYMLINK_NOFOLLOW));
}
int32_t outer_path_link(int32_t old_fd, int32_t lookup, const char *old_path, size_t old_length, int32_t new_fd,
                        const char *new_path, size_t new_length) {
    PATH(old_fd, old_path, old_length, from)
    PATH(new_fd, new_path, new_length, to)
    return result(linkat(old_fd_host, from, new_fd_host, to, lookup & 1 ? AT_SYMLINK_FOLLOW : 0));
}
int32_t outer_path_open(int32_t fd, int32_t lookup, const char *path, size_t length, int32_t oflags,
                        uint64_t rights, uint64_t inheriting, int32_t flags, int32_t *opened) {
    (void)inheriting;
    PATH(fd, path, length, name)
    EQUAL(lookup & ~1, 0);
    if (mock_read_only && (rights & RIGHT_WRITE || oflags & (OPEN_CREATE | OPEN_TRUNCATE))) {
        return E_PERM;
    }
    int how = lookup & 1 ? 0 : O_NOFOLLOW;
    how |= oflags & OPEN_CREATE ? O_CREAT : 0;
    how |= oflags & OPEN_EXCLUSIVE ? O_EXCL : 0;
    how |= oflags & OPEN_TRUNCATE ? O_TRUNC : 0;
    how |= oflags & OPEN_DIRECTORY ? O_DIRECTORY : 0;
    how |= flags & FLAG_APPEND ? O_APPEND : 0;
    how |= !(rights & RIGHT_WRITE) ? O_RDONLY : rights & RIGHT_READ ? O_RDWR : O_WRONLY;
    int there = openat(fd_host, name, how, 0666);
    if (there < 0) {
        return code(errno);
    }
    for (int i = 0; i < SLOTS; i++) {
        if (slots[i] == 0) {
            slots[i] = there;
            *opened = FIRST + i;
            return 0;
        }
    }
    close(there);
    return E_NOMEM; /* as the adapter says it */
}
int32_t outer_path_readlink(int32_t fd, const char *path, size_t length, uint8_t *buffer, size_t size,
                            size_t *used) {
    PATH(fd, path, length, name)
    ssize_t count = readlinkat(fd_host, name, (char *)buffer, size);
    *used = count < 0 ? 0 : (size_t)count;
    return result(count);
}
int32_t outer_path_remove_directory(int32_t fd, const char *path, size_t length) {
    PATH(fd, path, length, name)
    return result(unlinkat(fd_host, name, AT_REMOVEDIR));
}
int32_t outer_path_rename(int32_t old_fd, const char *old_path, size_t old_length, int32_t new_fd,
                          const char *new_path, size_t new_length) {
    PATH(old_fd, old_path, old_length, from)
    PATH(new_fd, new_path, new_length, to)
    return result(renameat(old_fd_host, from, new_fd_host, to));
}
int32_t outer_path_symlink(const char *target, size_t target_length, int32_t fd, const char *path,
                           size_t length) {
    PATH(fd, path, length, name)
    char copy[5000];
    memcpy(copy, target, target_length);
    copy[target_length] = '\0';
    CHECK(is_utf8(target, target_length));
    return result(symlinkat(copy, fd_host, name));
}
int32_t outer_path_unlink_file(int32_t fd, const char *path, size_t length) {
    PATH(fd, path, length, name)
    return result(unlinkat(fd_host, name, 0));
}
int32_t outer_poll_oneoff(const struct wasi_subscription *in, struct wasi_event *out, size_t count,
                          size_t *events) {
    mock_polled = (int)count;
    mock_waited = true;
    *events = 0;
    for (size_t i = 0; i < count; i++) {
        bool immediate = in[i].tag == EVENT_CLOCK && in[i].u.clock.timeout == 0;
        if (immediate) {
            mock_waited = false;
        }
        /* Descriptor 1 is always ready, 0 never; a clock strikes when nothing else happens. */
        if (immediate || (in[i].tag != EVENT_CLOCK && in[i].u.fd == 1)) {
            memset(&out[*events], 0, sizeof *out);
            out[*events].userdata = in[i].userdata;
            out[(*events)++].type = in[i].tag;
        }
    }
    return 0;
}
int32_t mock_exit_status = -1;
void outer_proc_exit(int32_t status) {
    mock_exit_status = status;
}
int32_t outer_proc_raise(int32_t signal) {
    (void)signal;
    return E_NOTSUP;
}
int32_t outer_sched_yield(void) {
    return 0;
}
int32_t outer_random_get(uint8_t *buffer, size_t length) {
    static uint8_t next;
    for (size_t i = 0; i < length; i++) {
        /* Slow to change, so that names collide and are tried again. */
        buffer[i] = i + 1 == length ? (uint8_t)(next++ / 2) : 0;
    }
    return 0;
}
int32_t outer_sock_accept(int32_t fd, int32_t flags, int32_t *accepted) {
    (void)fd, (void)flags;
    *accepted = FIRST + SLOTS - 1;
    return 0;
}
int32_t outer_sock_recv(int32_t fd, const struct wasi_iovec *vectors, size_t count, int32_t flags, size_t *done,
                        uint16_t *out_flags) {
    (void)vectors, (void)count, (void)flags, (void)out_flags;
    *done = (size_t)fd;
    return 0;
}
int32_t outer_sock_send(int32_t fd, const struct wasi_iovec *vectors, size_t count, int32_t flags,
                        size_t *done) {
    (void)vectors, (void)count, (void)flags;
    *done = (size_t)fd;
    return 0;
}
int32_t outer_sock_shutdown(int32_t fd, int32_t how) {
    (void)how;
    return fd == 0 ? 0 : E_NOTSOCK;
}
