/* The functions of C that wasi-libc leaves out because WASI has no call for them. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "eryx_public.h"
#include "state.h"

#define ATTEMPTS 100
#define TRIPLE_X 6

#ifdef __wasm__
#include <eryx/vfs.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
/* errno has WASI's own numbers there. */
#define ERRNO(error) (error)
#else
#include "native_libc.h"
#endif

PUBLIC int LIBC_NAME(dup)(int fd);
PUBLIC int LIBC_NAME(dup2)(int old_fd, int new_fd);
PUBLIC int LIBC_NAME(dup3)(int old_fd, int new_fd, int flags);
PUBLIC int LIBC_NAME(mkstemp)(char *pattern);
PUBLIC int LIBC_NAME(mkostemp)(char *pattern, int flags);
PUBLIC int LIBC_NAME(mkstemps)(char *pattern, int suffix);
PUBLIC int LIBC_NAME(mkostemps)(char *pattern, int suffix, int flags);
PUBLIC char *LIBC_NAME(mkdtemp)(char *pattern);
PUBLIC FILE *LIBC_NAME(tmpfile)(void);
PUBLIC mode_t LIBC_NAME(umask)(mode_t mask);

static int fail(int error) {
    errno = ERRNO(error);
    return -1;
}

PUBLIC int LIBC_NAME(dup)(int fd) {
    struct description *description;
    int32_t slot;
    int error = fd_get(fd, &description);
    if (error == 0) {
        error = fd_slot(&slot);
    }
    if (error == 0) {
        error = fd_copy(fd, slot);
    }
    return error != 0 ? fail(error) : slot;
}

PUBLIC int LIBC_NAME(dup2)(int old_fd, int new_fd) {
    struct description *description;
    int error = fd_get(old_fd, &description);
    if (error == 0 && (new_fd < 0 || new_fd >= FD_LIMIT || (new_fd == ROOT_FD && old_fd != ROOT_FD))) {
        error = E_BADF;
    }
    if (error == 0) {
        error = fd_copy(old_fd, new_fd);
    }
    return error != 0 ? fail(error) : new_fd;
}

PUBLIC int LIBC_NAME(dup3)(int old_fd, int new_fd, int flags) {
    if (old_fd == new_fd || (flags & ~O_CLOEXEC) != 0) {
        return fail(E_INVAL);
    }
    return LIBC_NAME(dup2)(old_fd, new_fd);
}

/* Where the six X begin, or NULL. */
static char *letters_of(char *pattern, int suffix) {
    size_t length = strlen(pattern);
    if (suffix < 0 || length < (size_t)suffix + TRIPLE_X) {
        return NULL;
    }
    char *letters = pattern + length - (size_t)suffix - TRIPLE_X;
    return memcmp(letters, "XXXXXX", TRIPLE_X) == 0 ? letters : NULL;
}

static int randomise(char *letters) {
    static const char alphabet[] = "abcdefghijklmnopqrstuvwxyz0123456789";
    uint8_t bytes[TRIPLE_X];
    int error = outer_random_get(bytes, sizeof bytes);
    for (size_t i = 0; error == 0 && i < sizeof bytes; i++) {
        letters[i] = alphabet[bytes[i] % (sizeof alphabet - 1)];
    }
    return error;
}

PUBLIC int LIBC_NAME(mkostemps)(char *pattern, int suffix, int flags) {
    char *letters = letters_of(pattern, suffix);
    if (letters == NULL) {
        return fail(E_INVAL);
    }
    flags &= ~(O_RDONLY | O_WRONLY | O_RDWR);
    for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
        int error = randomise(letters);
        if (error != 0) {
            return fail(error);
        }
        int fd = open(pattern, flags | O_RDWR | O_CREAT | O_EXCL, 0600);
        if (fd >= 0 || errno != EEXIST) {
            if (fd < 0) {
                memcpy(letters, "XXXXXX", TRIPLE_X);
            }
            return fd;
        }
    }
    memcpy(letters, "XXXXXX", TRIPLE_X);
    return fail(E_EXIST);
}

PUBLIC int LIBC_NAME(mkstemps)(char *pattern, int suffix) {
    return LIBC_NAME(mkostemps)(pattern, suffix, 0);
}

PUBLIC int LIBC_NAME(mkostemp)(char *pattern, int flags) {
    return LIBC_NAME(mkostemps)(pattern, 0, flags);
}

PUBLIC int LIBC_NAME(mkstemp)(char *pattern) {
    return LIBC_NAME(mkostemps)(pattern, 0, 0);
}

PUBLIC char *LIBC_NAME(mkdtemp)(char *pattern) {
    char *letters = letters_of(pattern, 0);
    if (letters == NULL) {
        fail(E_INVAL);
        return NULL;
    }
    for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
        int error = randomise(letters);
        if (error != 0) {
            fail(error);
            return NULL;
        }
        if (mkdir(pattern, 0700) == 0) {
            return pattern;
        }
        if (errno != EEXIST) {
            break;
        }
    }
    memcpy(letters, "XXXXXX", TRIPLE_X);
    return NULL;
}

PUBLIC FILE *LIBC_NAME(tmpfile)(void) {
    char pattern[] = "/tmp/tmpfile.XXXXXX";
    int fd = LIBC_NAME(mkstemp)(pattern);
    if (fd < 0) {
        return NULL;
    }
    unlink(pattern);
    FILE *file = fdopen(fd, "w+");
    if (file == NULL) {
        __eryx_wasi_fd_close(fd);
    }
    return file;
}

PUBLIC mode_t LIBC_NAME(umask)(mode_t mask) {
    mode_t former = (vfs.mask & MASK_SET) != 0 ? (mode_t)(vfs.mask & 0777) : 022;
    vfs.mask = (uint32_t)(mask & 0777) | MASK_SET;
    return former;
}
