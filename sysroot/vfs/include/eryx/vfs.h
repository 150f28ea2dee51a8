/* What the in-component file system adds to wasi-libc (for wasm32-wasip1): the functions that WASI
 * has no call for. Given to C code with `-include eryx/vfs.h`, or included like any other header.
 *
 * The declarations repeat POSIX word for word, so that a libc that declares them too is no clash. */
#ifndef ERYX_VFS_H
#define ERYX_VFS_H

#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A second descriptor for the same open file: offset and flags are shared. The lowest free number. */
int dup(int fd);
/* The same under a chosen number; what stood there is closed. Equal numbers: nothing happens. */
int dup2(int old_fd, int new_fd);
/* As dup2, but equal numbers are EINVAL; `flags` may hold O_CLOEXEC, which means nothing here. */
int dup3(int old_fd, int new_fd, int flags);

/* Replaces the six X at the end of `pattern` and creates a file, opened for reading and writing. */
int mkstemp(char *pattern);
/* The same with more open flags (O_APPEND, O_SYNC …). */
int mkostemp(char *pattern, int flags);
/* The same with `suffix` characters after the six X. */
int mkstemps(char *pattern, int suffix);
int mkostemps(char *pattern, int suffix, int flags);
/* Replaces the six X and creates a directory. */
char *mkdtemp(char *pattern);
/* A file in /tmp without a name, gone when it is closed. */
FILE *tmpfile(void);
/* What new files and directories in memory do not get. */
mode_t umask(mode_t mask);

/* Forgets the directories that the embedder granted; they are read anew at the next use. Open
 * descriptors of the embedder's files (but not 0, 1 and 2) turn into EBADF. For use between a
 * pre-initialisation and its snapshot. */
void __eryx_vfs_reset(void);
/* Sets how many bytes the memory file system may hold (names and bookkeeping count) and returns the
 * former limit; at the start 256 MiB. More may already be in use: then nothing can grow. */
uint64_t __eryx_vfs_quota(uint64_t bytes);
/* How many bytes it holds now. */
uint64_t __eryx_vfs_used(void);
/* How many descriptors above 3 may write. */
uint32_t __eryx_vfs_writers(void);
/* Has `hook` called with the status before the guest is ended by `proc_exit`; NULL for none. */
void __eryx_vfs_on_exit(void (*hook)(int32_t status));

#ifdef __cplusplus
}
#endif

#endif
