/* What there is of users, processes and the machine: one of each, see include/eryx/posix.h. The
 * native tests have their own. */
#ifdef __wasm__
#include <errno.h>
#define _WASI_EMULATED_MMAN
#define _WASI_EMULATED_PROCESS_CLOCKS
#include <eryx/posix.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "eryx_public.h"

/* As wasi-libc's getpid(). */
#define PROCESS 42
#define USER 1000
#define NAME "sandbox"

static int fail(int error) {
    errno = error;
    return -1;
}

/* Whether `id` is the only one there is, or `-1`, which leaves things as they are. */
static int only(uint32_t id) {
    return id == USER || id == UINT32_MAX ? 0 : fail(EPERM);
}

PUBLIC uid_t getuid(void) {
    return USER;
}
PUBLIC uid_t geteuid(void) {
    return USER;
}
PUBLIC gid_t getgid(void) {
    return USER;
}
PUBLIC gid_t getegid(void) {
    return USER;
}
PUBLIC int getresuid(uid_t *real, uid_t *effective, uid_t *saved) {
    *real = *effective = *saved = USER;
    return 0;
}
PUBLIC int getresgid(gid_t *real, gid_t *effective, gid_t *saved) {
    *real = *effective = *saved = USER;
    return 0;
}
PUBLIC int setuid(uid_t user) {
    return only(user);
}
PUBLIC int seteuid(uid_t user) {
    return only(user);
}
PUBLIC int setreuid(uid_t real, uid_t effective) {
    return only(real) == 0 ? only(effective) : -1;
}
PUBLIC int setresuid(uid_t real, uid_t effective, uid_t saved) {
    return setreuid(real, effective) == 0 ? only(saved) : -1;
}
PUBLIC int setgid(gid_t group) {
    return only(group);
}
PUBLIC int setegid(gid_t group) {
    return only(group);
}
PUBLIC int setregid(gid_t real, gid_t effective) {
    return setreuid(real, effective);
}
PUBLIC int setresgid(gid_t real, gid_t effective, gid_t saved) {
    return setresuid(real, effective, saved);
}

PUBLIC int getgroups(int count, gid_t *groups) {
    if (count < 0) {
        return fail(EINVAL);
    }
    if (count > 0) {
        groups[0] = USER;
    }
    return 1;
}
PUBLIC int setgroups(size_t count, const gid_t *groups) {
    (void)count, (void)groups;
    return fail(EPERM);
}
PUBLIC int initgroups(const char *user, gid_t group) {
    (void)user, (void)group;
    return fail(EPERM);
}
PUBLIC int getgrouplist(const char *user, gid_t group, gid_t *groups, int *count) {
    (void)user;
    int room = *count;
    *count = 1;
    if (room < 1) {
        return -1;
    }
    groups[0] = group;
    return 1;
}
PUBLIC char *getlogin(void) {
    static char name[] = NAME;
    return name;
}
PUBLIC int getlogin_r(char *name, size_t size) {
    if (size < sizeof NAME) {
        return ERANGE;
    }
    memcpy(name, NAME, sizeof NAME);
    return 0;
}

static struct passwd *the_user(void) {
    static char name[] = NAME, password[] = "x", about[] = "", home[] = "/home/sandbox", shell[] = "/bin/sh";
    static struct passwd user;
    user = (struct passwd){name, password, USER, USER, about, home, shell};
    return &user;
}
static struct group *the_group(void) {
    static char name[] = NAME, password[] = "x";
    static char *members[] = {NULL};
    static struct group group;
    group = (struct group){name, password, USER, members};
    return &group;
}
static bool users_told, groups_told;

PUBLIC struct passwd *getpwuid(uid_t user) {
    return user == USER ? the_user() : NULL;
}
PUBLIC struct passwd *getpwnam(const char *name) {
    return strcmp(name, NAME) == 0 ? the_user() : NULL;
}
PUBLIC struct passwd *getpwent(void) {
    return users_told ? NULL : (users_told = true, the_user());
}
PUBLIC void setpwent(void) {
    users_told = false;
}
PUBLIC void endpwent(void) {
    users_told = false;
}
PUBLIC struct group *getgrgid(gid_t group) {
    return group == USER ? the_group() : NULL;
}
PUBLIC struct group *getgrnam(const char *name) {
    return strcmp(name, NAME) == 0 ? the_group() : NULL;
}
PUBLIC struct group *getgrent(void) {
    return groups_told ? NULL : (groups_told = true, the_group());
}
PUBLIC void setgrent(void) {
    groups_told = false;
}
PUBLIC void endgrent(void) {
    groups_told = false;
}

static pid_t of(pid_t process) {
    return process == 0 || process == PROCESS ? PROCESS : fail(ESRCH);
}

PUBLIC pid_t getppid(void) {
    return 1;
}
PUBLIC pid_t getpgrp(void) {
    return PROCESS;
}
PUBLIC pid_t getpgid(pid_t process) {
    return of(process);
}
PUBLIC pid_t getsid(pid_t process) {
    return of(process);
}
PUBLIC int setpgid(pid_t process, pid_t group) {
    if (of(process) < 0) {
        return -1;
    }
    /* The head of a session stays in its group. */
    return fail(group < 0 ? EINVAL : EPERM);
}
PUBLIC int setpgrp(void) {
    return setpgid(0, 0);
}
PUBLIC pid_t setsid(void) {
    return fail(EPERM);
}
PUBLIC pid_t fork(void) {
    return fail(ENOSYS);
}
PUBLIC pid_t vfork(void) {
    return fail(ENOSYS);
}
PUBLIC int execve(const char *path, char *const arguments[], char *const environment[]) {
    (void)arguments, (void)environment;
    struct stat status;
    return stat(path, &status) != 0 ? -1 : fail(ENOSYS);
}
PUBLIC int execv(const char *path, char *const arguments[]) {
    return execve(path, arguments, NULL);
}
PUBLIC int fexecve(int fd, char *const arguments[], char *const environment[]) {
    (void)arguments, (void)environment;
    struct stat status;
    return fstat(fd, &status) != 0 ? -1 : fail(ENOSYS);
}
/* As POSIX has it where there is no command interpreter. */
PUBLIC int system(const char *command) {
    return command == NULL ? 0 : fail(ENOSYS);
}
PUBLIC pid_t wait4(pid_t process, int *status, int options, struct rusage *usage) {
    (void)process, (void)status, (void)options, (void)usage;
    return fail(ECHILD);
}
PUBLIC pid_t wait3(int *status, int options, struct rusage *usage) {
    return wait4(-1, status, options, usage);
}
PUBLIC pid_t waitpid(pid_t process, int *status, int options) {
    return wait4(process, status, options, NULL);
}
PUBLIC pid_t wait(int *status) {
    return wait4(-1, status, 0, NULL);
}
PUBLIC int nice(int change) {
    return change < 0 ? fail(EPERM) : 0;
}
PUBLIC int getpriority(int which, id_t who) {
    return which < 0 || which > 2 ? fail(EINVAL) : who != 0 && who != PROCESS && who != USER ? fail(ESRCH) : 0;
}
PUBLIC int setpriority(int which, id_t who, int priority) {
    return getpriority(which, who) != 0 ? -1 : priority < 0 ? fail(EACCES) : 0;
}
PUBLIC int siginterrupt(int signal, int interrupts) {
    (void)interrupts;
    return signal < 1 || signal > 64 ? fail(EINVAL) : 0;
}

PUBLIC int fchownat(int directory, const char *path, uid_t user, gid_t group, int flags) {
    struct stat status;
    return fstatat(directory, path, &status, flags) != 0 || only(user) != 0 ? -1 : only(group);
}
PUBLIC int chown(const char *path, uid_t user, gid_t group) {
    return fchownat(AT_FDCWD, path, user, group, 0);
}
PUBLIC int lchown(const char *path, uid_t user, gid_t group) {
    return fchownat(AT_FDCWD, path, user, group, AT_SYMLINK_NOFOLLOW);
}
PUBLIC int fchown(int fd, uid_t user, gid_t group) {
    struct stat status;
    return fstat(fd, &status) != 0 || only(user) != 0 ? -1 : only(group);
}
PUBLIC int chroot(const char *path) {
    struct stat status;
    return stat(path, &status) != 0 ? -1 : fail(EPERM);
}
/* Names of what is neither a file, a directory nor a link cannot be made. */
PUBLIC int mknodat(int directory, const char *path, mode_t mode, dev_t device) {
    struct stat status;
    (void)mode, (void)device;
    return fail(fstatat(directory, path, &status, AT_SYMLINK_NOFOLLOW) == 0 ? EEXIST : EPERM);
}
PUBLIC int mknod(const char *path, mode_t mode, dev_t device) {
    return mknodat(AT_FDCWD, path, mode, device);
}
PUBLIC int mkfifo(const char *path, mode_t mode) {
    return mknodat(AT_FDCWD, path, mode, 0);
}
PUBLIC int mkfifoat(int directory, const char *path, mode_t mode) {
    return mknodat(directory, path, mode, 0);
}
PUBLIC void sync(void) {
}
PUBLIC int lockf(int fd, int command, off_t length) {
    (void)length;
    if (command < F_ULOCK || command > F_TEST) {
        return fail(EINVAL);
    }
    int error = __eryx_vfs_may_lock(fd, command == F_LOCK || command == F_TLOCK);
    return error != 0 ? fail(error) : 0;
}
PUBLIC int flock(int fd, int operation) {
    int error = __eryx_vfs_flock(fd, operation);
    return error != 0 ? fail(error) : 0;
}
PUBLIC int pipe2(int fds[2], int flags) {
    if ((flags & ~(O_CLOEXEC | O_NONBLOCK)) != 0) {
        return fail(EINVAL);
    }
    int error = __eryx_vfs_pipe(fds, flags);
    return error != 0 ? fail(error) : 0;
}
PUBLIC int pipe(int fds[2]) {
    if (pipe2(fds, 0) != 0) {
        return -1;
    }
    fcntl(fds[0], F_SETFD, 0);
    fcntl(fds[1], F_SETFD, 0);
    return 0;
}
PUBLIC ssize_t sendfile(int out, int in, off_t *offset, size_t count) {
    char buffer[16384];
    ssize_t sent = 0;
    off_t place = offset == NULL ? 0 : *offset;
    while ((size_t)sent < count) {
        size_t want = count - (size_t)sent < sizeof buffer ? count - (size_t)sent : sizeof buffer;
        ssize_t part = offset == NULL ? read(in, buffer, want) : pread(in, buffer, want, place);
        if (part <= 0) {
            return part < 0 && sent == 0 ? -1 : sent;
        }
        ssize_t done = write(out, buffer, (size_t)part);
        if (done > 0) {
            sent += done;
            place += done;
            if (offset != NULL) {
                *offset = place;
            }
        }
        if (done < part) {
            if (offset == NULL) {
                lseek(in, (done < 0 ? 0 : done) - part, SEEK_CUR);
            }
            return done < 0 && sent == 0 ? -1 : sent;
        }
    }
    return sent;
}

/* A file in memory without a name. */
PUBLIC int memfd_create(const char *name, unsigned flags) {
    char pattern[] = "/tmp/memfd.XXXXXX";
    (void)name;
    if ((flags & ~(MFD_CLOEXEC | MFD_ALLOW_SEALING)) != 0) {
        return fail(EINVAL);
    }
    int fd = mkstemp(pattern);
    if (fd >= 0) {
        unlink(pattern);
    }
    return fd;
}

PUBLIC void *mmap(void *wish, size_t length, int protection, int flags, int fd, off_t offset) {
    void *address = wish;
    int how = (flags & MAP_ANONYMOUS) != 0 ? 0 : MAP_OF_FILE;
    if (how != 0 && (flags & MAP_TYPE) != MAP_PRIVATE && (protection & PROT_WRITE) != 0) {
        how |= MAP_WRITTEN_BACK;
    }
    int error = (flags & MAP_FIXED) != 0 || offset < 0 ? EINVAL : __eryx_vfs_map(&address, length, fd, (uint64_t)offset, how);
    if (error != 0) {
        errno = error;
        return MAP_FAILED;
    }
    return address;
}
PUBLIC int munmap(void *address, size_t length) {
    int error = __eryx_vfs_unmap(address, length);
    return error != 0 ? fail(error) : 0;
}
PUBLIC int msync(void *address, size_t length, int flags) {
    (void)length, (void)flags;
    int error = __eryx_vfs_sync_map(address);
    return error != 0 ? fail(error) : 0;
}
PUBLIC void *mremap(void *address, size_t former, size_t length, int flags, ...) {
    (void)former, (void)flags;
    int error = __eryx_vfs_remap(&address, length);
    if (error != 0) {
        errno = error;
        return MAP_FAILED;
    }
    return address;
}
/* All memory can be read and written. */
PUBLIC int mprotect(void *address, size_t length, int protection) {
    (void)address, (void)length, (void)protection;
    return 0;
}
PUBLIC int madvise(void *address, size_t length, int advice) {
    (void)address, (void)length, (void)advice;
    return 0;
}

PUBLIC int ttyname_r(int fd, char *name, size_t size) {
    struct stat status;
    (void)name, (void)size;
    return fstat(fd, &status) != 0 ? errno : ENOTTY;
}
PUBLIC char *ctermid(char *name) {
    static char own[] = "/dev/tty";
    return name == NULL ? own : strcpy(name, own);
}
PUBLIC pid_t tcgetpgrp(int fd) {
    struct stat status;
    return fstat(fd, &status) != 0 ? -1 : fail(ENOTTY);
}
PUBLIC int tcsetpgrp(int fd, pid_t group) {
    (void)group;
    return tcgetpgrp(fd);
}
PUBLIC int getloadavg(double loads[], int count) {
    (void)loads, (void)count;
    return -1;
}
PUBLIC int clock_settime(clockid_t clock, const struct timespec *time) {
    (void)clock, (void)time;
    return fail(EPERM);
}
PUBLIC int sethostname(const char *name, size_t length) {
    (void)name, (void)length;
    return fail(EPERM);
}
/* The order in which one process runs: any will do. */
PUBLIC int sched_get_priority_max(int policy) {
    return policy == 1 || policy == 2 ? 99 : policy >= 0 && policy <= 6 ? 0 : fail(EINVAL);
}
PUBLIC int sched_get_priority_min(int policy) {
    return policy == 1 || policy == 2 ? 1 : policy >= 0 && policy <= 6 ? 0 : fail(EINVAL);
}

PUBLIC int getrlimit(int resource, struct rlimit *limit) {
    if (resource < 0 || resource >= RLIM_NLIMITS) {
        return fail(EINVAL);
    }
    limit->rlim_cur = limit->rlim_max = RLIM_INFINITY;
    if (resource == RLIMIT_NOFILE) {
        limit->rlim_cur = limit->rlim_max = 1024;
    } else if (resource == RLIMIT_CORE || resource == RLIMIT_NPROC) {
        limit->rlim_cur = limit->rlim_max = resource == RLIMIT_NPROC;
    }
    return 0;
}
/* The embedder's limits are not the guest's to change; setting what is there changes nothing. */
PUBLIC int setrlimit(int resource, const struct rlimit *limit) {
    struct rlimit now;
    if (getrlimit(resource, &now) != 0) {
        return -1;
    }
    return limit->rlim_cur > limit->rlim_max ? fail(EINVAL)
           : limit->rlim_cur == now.rlim_cur && limit->rlim_max == now.rlim_max ? 0
                                                                                : fail(EPERM);
}
PUBLIC int prlimit(pid_t process, int resource, const struct rlimit *wanted, struct rlimit *limit) {
    if (of(process) < 0 || (limit != NULL && getrlimit(resource, limit) != 0)) {
        return -1;
    }
    return wanted == NULL ? 0 : setrlimit(resource, wanted);
}
#endif
