/* The marks of what libvfs.so shows to other libraries; everything else is hidden. */
#ifndef ERYX_VFS_PUBLIC_H
#define ERYX_VFS_PUBLIC_H

#include <stdint.h>

#define PUBLIC __attribute__((visibility("default")))

#ifdef __wasm__
#define LIBC_NAME(name) name
#else
/* The native tests must not replace their own libc's functions. */
#define LIBC_NAME(name) guest_##name
#endif

PUBLIC void __eryx_vfs_reset(void);
PUBLIC uint64_t __eryx_vfs_quota(uint64_t bytes);
PUBLIC uint64_t __eryx_vfs_used(void);

#endif
