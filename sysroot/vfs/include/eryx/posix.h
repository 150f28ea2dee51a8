/* The functions of POSIX that are not about files and that WASI has no call for (for wasm32-wasip1): who the user is, what there
 * is of processes, pipes and mappings. Given to C code with `-include eryx/posix.h`, or included like any other header.
 *
 * There is one process, of one user. What can be told of them is told; what would need another process, other rights or the
 * machine fails with ENOSYS or EPERM. */
#ifndef ERYX_POSIX_H
#define ERYX_POSIX_H

#include <errno.h>
#include <stddef.h>
#include <sys/types.h>
/* Few headers, and none with functions that configure scripts look for: their probes declare those otherwise. */
#include <__typedef_clockid_t.h>

#include <eryx/vfs.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The user: 1000, `sandbox`, in the group of the same number and name. Changing to where one is succeeds. */
uid_t getuid(void);
uid_t geteuid(void);
gid_t getgid(void);
gid_t getegid(void);
int getresuid(uid_t *real, uid_t *effective, uid_t *saved);
int getresgid(gid_t *real, gid_t *effective, gid_t *saved);
int setuid(uid_t user);
int seteuid(uid_t user);
int setreuid(uid_t real, uid_t effective);
int setresuid(uid_t real, uid_t effective, uid_t saved);
int setgid(gid_t group);
int setegid(gid_t group);
int setregid(gid_t real, gid_t effective);
int setresgid(gid_t real, gid_t effective, gid_t saved);
int getgroups(int count, gid_t *groups);
int setgroups(size_t count, const gid_t *groups);
int initgroups(const char *user, gid_t group);
int getgrouplist(const char *user, gid_t group, gid_t *groups, int *count);
char *getlogin(void);
int getlogin_r(char *name, size_t size);

/* The process: one, at the head of its group and session. */
pid_t getppid(void);
pid_t getpgrp(void);
pid_t getpgid(pid_t process);
pid_t getsid(pid_t process);
int setpgid(pid_t process, pid_t group);
int setpgrp(void);
pid_t setsid(void);
/* To itself, at once; there is nobody else. Handlers are with whoever is linked with the emulation of signals, so that this
 * must be, too. */
#ifdef _WASI_EMULATED_SIGNAL
int raise(int signal);
static inline int kill(pid_t process, int signal) {
    if (process == 0 || process == 42 || process == -42) {
        return raise(signal);
    }
    errno = ESRCH;
    return -1;
}
static inline int killpg(pid_t group, int signal) {
    return kill(-group, signal);
}
#endif
int siginterrupt(int signal, int interrupts);
pid_t fork(void);
pid_t vfork(void);
int execv(const char *path, char *const arguments[]);
int execve(const char *path, char *const arguments[], char *const environment[]);
int fexecve(int fd, char *const arguments[], char *const environment[]);
int system(const char *command);
int nice(int change);

/* Files: what the permissions of one user leave of it. */
int chown(const char *path, uid_t user, gid_t group);
int lchown(const char *path, uid_t user, gid_t group);
int fchown(int fd, uid_t user, gid_t group);
int fchownat(int directory, const char *path, uid_t user, gid_t group, int flags);
int chroot(const char *path);
int mkfifo(const char *path, mode_t mode);
int mkfifoat(int directory, const char *path, mode_t mode);
int mknod(const char *path, mode_t mode, dev_t device);
int mknodat(int directory, const char *path, mode_t mode, dev_t device);
void sync(void);
#define F_ULOCK 0
#define F_LOCK 1
#define F_TLOCK 2
#define F_TEST 3
int lockf(int fd, int command, off_t length);
int flock(int fd, int operation);
ssize_t sendfile(int out, int in, off_t *offset, size_t count);

/* A pipe within the guest, of 64 KiB. There is one thread, so what would wait for the other end is EDEADLK. */
int pipe(int fds[2]);
int pipe2(int fds[2], int flags);

/* Terminals: there is none. */
struct winsize {
    unsigned short ws_row, ws_col, ws_xpixel, ws_ypixel;
};
#define TIOCGWINSZ 0x5413
int ttyname_r(int fd, char *name, size_t size);
char *ctermid(char *name);
pid_t tcgetpgrp(int fd);
int tcsetpgrp(int fd, pid_t group);

/* The machine: one processor, whose load nobody tells. */
int getloadavg(double loads[], int count);
struct timespec;
int clock_settime(clockid_t clock, const struct timespec *time);
int sethostname(const char *name, size_t length);
int sched_get_priority_max(int policy);
int sched_get_priority_min(int policy);

struct rlimit;
int getrlimit(int resource, struct rlimit *limit);
int setrlimit(int resource, const struct rlimit *limit);

#ifdef __cplusplus
}
#endif

#endif
