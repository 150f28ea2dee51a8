/* Short ways to call the layer as a guest does; all return WASI's error numbers. */
#ifndef ERYX_VFS_SHIM_H
#define ERYX_VFS_SHIM_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../wasi.h"

#define R RIGHT_READ
#define W RIGHT_WRITE
#define RW (RIGHT_READ | RIGHT_WRITE)
#define ROOT 3

#define CHECK(condition)                                                                                    \
    do {                                                                                                    \
        if (!(condition)) {                                                                                 \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                                 \
            exit(1);                                                                                        \
        }                                                                                                   \
    } while (0)

#define EQUAL(found, expected)                                                                              \
    do {                                                                                                    \
        long long found_ = (long long)(found), expected_ = (long long)(expected);                           \
        if (found_ != expected_) {                                                                          \
            fprintf(stderr, "%s:%d: %s: expected %lld but found %lld\n", __FILE__, __LINE__, #found,        \
                    expected_, found_);                                                                     \
            exit(1);                                                                                        \
        }                                                                                                   \
    } while (0)

static inline int open_in(int at, const char *path, int oflags, uint64_t rights, int flags, int *fd) {
    int32_t opened = -1;
    int error = __eryx_wasi_path_open(at, LOOKUP_FOLLOW, path, strlen(path), oflags,
                                      rights | (RIGHTS_ALL & ~RW), RIGHTS_ALL, flags, &opened);
    *fd = opened;
    return error;
}

static inline int open_error(const char *path, int oflags, uint64_t rights) {
    int fd;
    int error = open_in(ROOT, path, oflags, rights, 0, &fd);
    if (error == 0) {
        __eryx_wasi_fd_close(fd);
    }
    return error;
}

static inline int open_ok(const char *path, int oflags, uint64_t rights) {
    int fd;
    EQUAL(open_in(ROOT, path, oflags, rights, 0, &fd), 0);
    return fd;
}

static inline int close_fd(int fd) {
    return __eryx_wasi_fd_close(fd);
}

static inline int write_text(int fd, const char *text) {
    struct wasi_iovec vector = {(uint8_t *)text, strlen(text)};
    size_t done = 0;
    int error = __eryx_wasi_fd_write(fd, &vector, 1, &done);
    if (error == 0) {
        EQUAL(done, strlen(text));
    }
    return error;
}

static inline const char *read_text(int fd) {
    static char buffer[8192];
    struct wasi_iovec vectors[2] = {{(uint8_t *)buffer, 3}, {(uint8_t *)buffer + 3, sizeof buffer - 4}};
    size_t done = 0;
    EQUAL(__eryx_wasi_fd_read(fd, vectors, 2, &done), 0);
    buffer[done] = '\0';
    return buffer;
}

static inline uint64_t seek_to(int fd, int64_t offset, int whence) {
    uint64_t position = UINT64_MAX;
    EQUAL(__eryx_wasi_fd_seek(fd, offset, whence, &position), 0);
    return position;
}

static inline void make_file(const char *path, const char *text) {
    int fd = open_ok(path, OPEN_CREATE | OPEN_TRUNCATE, W);
    EQUAL(write_text(fd, text), 0);
    EQUAL(close_fd(fd), 0);
}

static inline const char *contents(const char *path) {
    int fd = open_ok(path, 0, R);
    const char *text = read_text(fd);
    EQUAL(close_fd(fd), 0);
    return text;
}

static inline bool holds(const char *path, const char *text) {
    return strcmp(contents(path), text) == 0;
}

static inline int make_dir(const char *path) {
    return __eryx_wasi_path_create_directory(ROOT, path, strlen(path));
}
static inline int remove_dir(const char *path) {
    return __eryx_wasi_path_remove_directory(ROOT, path, strlen(path));
}
static inline int unlink_path(const char *path) {
    return __eryx_wasi_path_unlink_file(ROOT, path, strlen(path));
}
static inline int rename_path(const char *from, const char *to) {
    return __eryx_wasi_path_rename(ROOT, from, strlen(from), ROOT, to, strlen(to));
}
static inline int link_path(const char *from, const char *to) {
    return __eryx_wasi_path_link(ROOT, 0, from, strlen(from), ROOT, to, strlen(to));
}
static inline int symlink_path(const char *target, const char *path) {
    return __eryx_wasi_path_symlink(target, strlen(target), ROOT, path, strlen(path));
}
static inline int stat_path(const char *path, bool follow, struct wasi_filestat *stat) {
    return __eryx_wasi_path_filestat_get(ROOT, follow, path, strlen(path), stat);
}
static inline int exists(const char *path) {
    struct wasi_filestat stat;
    return stat_path(path, true, &stat);
}
static inline uint64_t inode_of(const char *path) {
    struct wasi_filestat stat;
    EQUAL(stat_path(path, true, &stat), 0);
    return stat.inode;
}
static inline struct wasi_filestat stat_fd(int fd) {
    struct wasi_filestat stat;
    EQUAL(__eryx_wasi_fd_filestat_get(fd, &stat), 0);
    return stat;
}
static inline int resize(int fd, uint64_t size) {
    return __eryx_wasi_fd_filestat_set_size(fd, size);
}

/* The names of a directory in the order of listing, read through a buffer of `size` bytes: what does
 * not fit whole is asked for again, as libc's readdir does. */
static inline const char *list_fd(int fd, size_t size) {
    static char names[65536];
    uint8_t *buffer = malloc(size);
    names[0] = '\0';
    for (uint64_t cookie = 0;;) {
        size_t used = 0, at = 0;
        EQUAL(__eryx_wasi_fd_readdir(fd, buffer, size, cookie, &used), 0);
        struct wasi_dirent entry;
        while (used - at >= sizeof entry) {
            memcpy(&entry, buffer + at, sizeof entry);
            if (entry.name_length > used - at - sizeof entry) {
                break;
            }
            strncat(names, (char *)buffer + at + sizeof entry, entry.name_length);
            strcat(names, entry.type == TYPE_DIRECTORY ? "/ " : entry.type == TYPE_LINK ? "@ " : " ");
            at += sizeof entry + entry.name_length;
            cookie = entry.next;
        }
        if (used < size) {
            break;
        }
        CHECK(at != 0);
    }
    free(buffer);
    return names;
}

static inline const char *list_path(const char *path) {
    int fd = open_ok(path, OPEN_DIRECTORY, R);
    const char *names = list_fd(fd, 4096);
    EQUAL(close_fd(fd), 0);
    return names;
}

static inline bool lists(const char *path, const char *expected) {
    const char *found = list_path(path);
    if (strcmp(found, expected) != 0) {
        fprintf(stderr, "%s lists: %s\n", path, found);
    }
    return strcmp(found, expected) == 0;
}

#endif
