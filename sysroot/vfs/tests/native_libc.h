/* Stands in for wasi-libc when posix.c is compiled for the native tests: the few functions it calls,
 * answered by the layer itself, and the host's numbers for errno. */
#ifndef ERYX_VFS_NATIVE_LIBC_H
#define ERYX_VFS_NATIVE_LIBC_H

#include <fcntl.h>
#include <stdio.h>
#include <sys/types.h>

int native_errno(int error);
int native_open(const char *path, int flags, int mode);
int native_mkdir(const char *path, int mode);
int native_unlink(const char *path);
FILE *native_fdopen(int fd, const char *mode);

#define ERRNO(error) native_errno(error)
#define open native_open
#define mkdir native_mkdir
#define unlink native_unlink
#define fdopen native_fdopen

#endif
