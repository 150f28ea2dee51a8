/* The marks of what libvfs.so shows to other libraries; everything else is hidden. */
#ifndef ERYX_VFS_PUBLIC_H
#define ERYX_VFS_PUBLIC_H

#include <stddef.h>
#include <stdint.h>

#define PUBLIC __attribute__((visibility("default")))

#ifdef __wasm__
#define LIBC_NAME(name) name
#else
/* The native tests must not replace their own libc's functions. */
#define LIBC_NAME(name) guest_##name
#endif

/* Asked for by our libc, which imports them as it does the functions of WASI; they return WASI's
 * error numbers. */
PUBLIC int32_t __eryx_vfs_mkdir(int32_t fd, const char *path, size_t length, uint32_t mode);
PUBLIC int32_t __eryx_vfs_chmod(int32_t fd, int32_t lookup, const char *path, size_t length, uint32_t mode);
PUBLIC int32_t __eryx_vfs_fchmod(int32_t fd, uint32_t mode);
/* `wanted` as access() has it. */
PUBLIC int32_t __eryx_vfs_access(int32_t fd, int32_t lookup, const char *path, size_t length, uint32_t wanted);
struct __eryx_space {
    uint64_t block, blocks, free, files, files_free;
    uint32_t name, read_only;
};
PUBLIC int32_t __eryx_vfs_space(int32_t fd, const char *path, size_t length, struct __eryx_space *out);
PUBLIC int32_t __eryx_vfs_fspace(int32_t fd, struct __eryx_space *out);
/* Whether a lock of POSIX may be had: the descriptor must be open for what it is about. */
PUBLIC int32_t __eryx_vfs_may_lock(int32_t fd, uint32_t write);
/* The lowest number from `lowest` on, or an error number below zero. */
PUBLIC int32_t __eryx_vfs_duplicate(int32_t fd, int32_t lowest, int32_t inherited);
/* Whether a descriptor is without FD_CLOEXEC, set to `change` if that is not negative; or an error
 * number below zero. */
PUBLIC int32_t __eryx_vfs_inherited(int32_t fd, int32_t change);

/* The halves of posix.c that do not need libc. */
PUBLIC int32_t __eryx_vfs_pipe(int32_t fds[2], int32_t flags);
enum { MAP_OF_FILE = 1, MAP_WRITTEN_BACK = 2 };
PUBLIC int32_t __eryx_vfs_map(void **address, uint64_t length, int32_t fd, uint64_t offset, int32_t how);
PUBLIC int32_t __eryx_vfs_unmap(void *address, uint64_t length);
PUBLIC int32_t __eryx_vfs_sync_map(void *address);
PUBLIC int32_t __eryx_vfs_remap(void **address, uint64_t length);
PUBLIC int32_t __eryx_vfs_flock(int32_t fd, int32_t how);

PUBLIC void __eryx_vfs_reset(void);
PUBLIC uint64_t __eryx_vfs_quota(uint64_t bytes);
PUBLIC uint64_t __eryx_vfs_used(void);
PUBLIC uint32_t __eryx_vfs_writers(void);
PUBLIC void __eryx_vfs_on_exit(void (*hook)(int32_t status));

#endif
