/* WASI preview1, as this layer sees it: the structures, the error numbers and the functions of the
 * embedder ("outer" functions). Layouts are those of wasm32; natively, for the tests, pointers and
 * size_t are wider and the mock of the embedder uses the same declarations. */
#ifndef ERYX_VFS_WASI_H
#define ERYX_VFS_WASI_H

#include <stddef.h>
#include <stdint.h>

enum wasi_errno {
    E_SUCCESS = 0,
    E_ACCES = 2,
    E_AGAIN = 6,
    E_BADF = 8,
    E_BUSY = 10,
    E_DEADLK = 16,
    E_EXIST = 20,
    E_FBIG = 22,
    E_ILSEQ = 25,
    E_INVAL = 28,
    E_IO = 29,
    E_ISDIR = 31,
    E_LOOP = 32,
    E_MFILE = 33,
    E_MLINK = 34,
    E_NAMETOOLONG = 37,
    E_NOENT = 44,
    E_NOMEM = 48,
    E_NOSPC = 51,
    E_NOSYS = 52,
    E_NOTDIR = 54,
    E_NOTEMPTY = 55,
    E_NOTSOCK = 57,
    E_NOTSUP = 58,
    E_OVERFLOW = 61,
    E_PERM = 63,
    E_PIPE = 64,
    E_ROFS = 69,
    E_SPIPE = 70,
    E_XDEV = 75,
    E_NOTCAPABLE = 76,
};

enum wasi_filetype { TYPE_UNKNOWN = 0, TYPE_CHARACTER_DEVICE = 2, TYPE_DIRECTORY = 3, TYPE_REGULAR = 4, TYPE_LINK = 7 };
enum wasi_oflags { OPEN_CREATE = 1, OPEN_DIRECTORY = 2, OPEN_EXCLUSIVE = 4, OPEN_TRUNCATE = 8 };
enum wasi_fdflags { FLAG_APPEND = 1, FLAG_NONBLOCK = 4, FLAG_ALL = 31 };
enum wasi_fstflags { SET_ACCESSED = 1, SET_ACCESSED_NOW = 2, SET_MODIFIED = 4, SET_MODIFIED_NOW = 8 };
enum wasi_whence { FROM_START = 0, FROM_CURRENT = 1, FROM_END = 2 };
enum wasi_event_tag { EVENT_CLOCK = 0, EVENT_READ = 1, EVENT_WRITE = 2 };
/* Beside preview1's flag our libc tells path_open the permissions of a new file: bits 16 to 27, when
 * bit 28 is set. */
enum { LOOKUP_MODE = 1 << 28, LOOKUP_MODE_SHIFT = 16 };
enum { LOOKUP_FOLLOW = 1, CLOCK_REALTIME_ID = 0, CLOCK_MONOTONIC_ID = 1 };

#define RIGHT_READ (UINT64_C(1) << 1)
#define RIGHT_WRITE (UINT64_C(1) << 6)
#define RIGHT_READDIR (UINT64_C(1) << 14)
/* Every right that preview1 knows. */
#define RIGHTS_ALL ((UINT64_C(1) << 30) - 1)
/* datasync, read, seek, set flags, sync, tell, write, advise, allocate, the three filestat rights
 * of a descriptor, poll. */
#define RIGHTS_FILE                                                                                         \
    (UINT64_C(0x1ff) | (UINT64_C(1) << 21) | (UINT64_C(1) << 22) | (UINT64_C(1) << 23) | (UINT64_C(1) << 27))
/* set flags, sync, advise, all path rights, readdir, filestat get and set times, poll. */
#define RIGHTS_DIRECTORY                                                                                    \
    ((UINT64_C(1) << 3) | (UINT64_C(1) << 4) | (UINT64_C(1) << 7) | (UINT64_C(0x7ff) << 9) |                \
     (UINT64_C(1) << 20) | (UINT64_C(1) << 21) | (UINT64_C(1) << 23) | (UINT64_C(7) << 24) |                \
     (UINT64_C(1) << 27))

struct wasi_iovec {
    uint8_t *data;
    size_t length;
};

struct wasi_dirent {
    uint64_t next;
    uint64_t inode;
    uint32_t name_length;
    uint8_t type;
};

struct wasi_fdstat {
    uint8_t type;
    uint16_t flags;
    uint64_t rights;
    uint64_t inheriting;
};

struct wasi_filestat {
    uint64_t device;
    uint64_t inode;
    uint8_t type;
    uint64_t links;
    uint64_t size;
    uint64_t accessed;
    uint64_t modified;
    uint64_t changed;
};

struct wasi_subscription {
    uint64_t userdata;
    uint8_t tag;
    union {
        struct {
            uint32_t id;
            uint64_t timeout;
            uint64_t precision;
            uint16_t flags;
        } clock;
        int32_t fd;
    } u;
};

struct wasi_event {
    uint64_t userdata;
    uint16_t error;
    uint8_t type;
    uint64_t bytes;
    uint16_t flags;
};

struct wasi_prestat {
    uint8_t tag;
    size_t name_length;
};

_Static_assert(sizeof(struct wasi_dirent) == 24, "layout of preview1");
_Static_assert(sizeof(struct wasi_fdstat) == 24, "layout of preview1");
_Static_assert(sizeof(struct wasi_filestat) == 64, "layout of preview1");
_Static_assert(sizeof(struct wasi_subscription) == 48, "layout of preview1");
_Static_assert(sizeof(struct wasi_event) == 32, "layout of preview1");
#ifdef __wasm__
_Static_assert(sizeof(struct wasi_iovec) == 8, "layout of preview1");
_Static_assert(sizeof(struct wasi_prestat) == 8, "layout of preview1");
#endif

/* The functions, once for what we import and once for what we export: X(result, name, parameters). */
#define WASI_FUNCTIONS(X)                                                                                   \
    X(int32_t, args_get, (uint8_t * *argv, uint8_t *buffer))                                                \
    X(int32_t, args_sizes_get, (size_t *count, size_t *bytes))                                              \
    X(int32_t, environ_get, (uint8_t * *environment, uint8_t *buffer))                                      \
    X(int32_t, environ_sizes_get, (size_t *count, size_t *bytes))                                           \
    X(int32_t, clock_res_get, (int32_t id, uint64_t *resolution))                                           \
    X(int32_t, clock_time_get, (int32_t id, uint64_t precision, uint64_t *time))                            \
    X(int32_t, fd_advise, (int32_t fd, uint64_t offset, uint64_t length, int32_t advice))                   \
    X(int32_t, fd_allocate, (int32_t fd, uint64_t offset, uint64_t length))                                 \
    X(int32_t, fd_close, (int32_t fd))                                                                      \
    X(int32_t, fd_datasync, (int32_t fd))                                                                   \
    X(int32_t, fd_fdstat_get, (int32_t fd, struct wasi_fdstat * stat))                                      \
    X(int32_t, fd_fdstat_set_flags, (int32_t fd, int32_t flags))                                            \
    X(int32_t, fd_fdstat_set_rights, (int32_t fd, uint64_t rights, uint64_t inheriting))                    \
    X(int32_t, fd_filestat_get, (int32_t fd, struct wasi_filestat * stat))                                  \
    X(int32_t, fd_filestat_set_size, (int32_t fd, uint64_t size))                                           \
    X(int32_t, fd_filestat_set_times, (int32_t fd, uint64_t accessed, uint64_t modified, int32_t flags))    \
    X(int32_t, fd_pread,                                                                                    \
      (int32_t fd, const struct wasi_iovec *vectors, size_t count, uint64_t offset, size_t *done))          \
    X(int32_t, fd_prestat_get, (int32_t fd, struct wasi_prestat * stat))                                    \
    X(int32_t, fd_prestat_dir_name, (int32_t fd, uint8_t * name, size_t length))                            \
    X(int32_t, fd_pwrite,                                                                                   \
      (int32_t fd, const struct wasi_iovec *vectors, size_t count, uint64_t offset, size_t *done))          \
    X(int32_t, fd_read, (int32_t fd, const struct wasi_iovec *vectors, size_t count, size_t *done))         \
    X(int32_t, fd_readdir, (int32_t fd, uint8_t * buffer, size_t length, uint64_t cookie, size_t *used))    \
    X(int32_t, fd_renumber, (int32_t from, int32_t to))                                                     \
    X(int32_t, fd_seek, (int32_t fd, int64_t offset, int32_t whence, uint64_t *position))                   \
    X(int32_t, fd_sync, (int32_t fd))                                                                       \
    X(int32_t, fd_tell, (int32_t fd, uint64_t *position))                                                   \
    X(int32_t, fd_write, (int32_t fd, const struct wasi_iovec *vectors, size_t count, size_t *done))        \
    X(int32_t, path_create_directory, (int32_t fd, const char *path, size_t length))                        \
    X(int32_t, path_filestat_get,                                                                           \
      (int32_t fd, int32_t lookup, const char *path, size_t length, struct wasi_filestat *stat))            \
    X(int32_t, path_filestat_set_times,                                                                     \
      (int32_t fd, int32_t lookup, const char *path, size_t length, uint64_t accessed, uint64_t modified,   \
       int32_t flags))                                                                                      \
    X(int32_t, path_link,                                                                                   \
      (int32_t old_fd, int32_t lookup, const char *old_path, size_t old_length, int32_t new_fd,             \
       const char *new_path, size_t new_length))                                                            \
    X(int32_t, path_open,                                                                                   \
      (int32_t fd, int32_t lookup, const char *path, size_t length, int32_t oflags, uint64_t rights,        \
       uint64_t inheriting, int32_t flags, int32_t *opened))                                                \
    X(int32_t, path_readlink,                                                                               \
      (int32_t fd, const char *path, size_t length, uint8_t *buffer, size_t size, size_t *used))            \
    X(int32_t, path_remove_directory, (int32_t fd, const char *path, size_t length))                        \
    X(int32_t, path_rename,                                                                                 \
      (int32_t old_fd, const char *old_path, size_t old_length, int32_t new_fd, const char *new_path,       \
       size_t new_length))                                                                                  \
    X(int32_t, path_symlink,                                                                                \
      (const char *target, size_t target_length, int32_t fd, const char *path, size_t length))              \
    X(int32_t, path_unlink_file, (int32_t fd, const char *path, size_t length))                             \
    X(int32_t, poll_oneoff,                                                                                 \
      (const struct wasi_subscription *in, struct wasi_event *out, size_t count, size_t *events))           \
    X(void, proc_exit, (int32_t status))                                                                    \
    X(int32_t, proc_raise, (int32_t signal))                                                                \
    X(int32_t, sched_yield, (void))                                                                         \
    X(int32_t, random_get, (uint8_t * buffer, size_t length))                                               \
    X(int32_t, sock_accept, (int32_t fd, int32_t flags, int32_t *accepted))                                 \
    X(int32_t, sock_recv,                                                                                   \
      (int32_t fd, const struct wasi_iovec *vectors, size_t count, int32_t flags, size_t *done,             \
       uint16_t *out_flags))                                                                                \
    X(int32_t, sock_send,                                                                                   \
      (int32_t fd, const struct wasi_iovec *vectors, size_t count, int32_t flags, size_t *done))            \
    X(int32_t, sock_shutdown, (int32_t fd, int32_t how))

#ifdef __wasm__
#define WASI_IMPORT(result, name, parameters)                                                               \
    result outer_##name parameters                                                                          \
        __attribute__((import_module("wasi_snapshot_preview1"), import_name(#name)));
#else
#define WASI_IMPORT(result, name, parameters) result outer_##name parameters;
#endif
#define WASI_EXPORT(result, name, parameters)                                                               \
    __attribute__((visibility("default"))) result __eryx_wasi_##name parameters;

WASI_FUNCTIONS(WASI_IMPORT)
WASI_FUNCTIONS(WASI_EXPORT)

#endif
