/* Waiting for children, of which there are none: ECHILD. */
#ifndef ERYX_SYS_WAIT_H
#define ERYX_SYS_WAIT_H

#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

#define WNOHANG 1
#define WUNTRACED 2
#define WCONTINUED 8

/* The low seven bits tell the signal that ended a process, 0 if it exited, 0x7f if it was stopped. */
#define WTERMSIG(status) ((status) & 0x7f)
#define WCOREDUMP(status) ((status) & 0x80)
#define WEXITSTATUS(status) ((status) >> 8 & 0xff)
#define WSTOPSIG(status) WEXITSTATUS(status)
#define WIFEXITED(status) (WTERMSIG(status) == 0)
#define WIFSTOPPED(status) (((status) & 0xff) == 0x7f)
#define WIFCONTINUED(status) ((status) == 0xffff)
#define WIFSIGNALED(status) (WTERMSIG(status) != 0 && WTERMSIG(status) != 0x7f)

pid_t wait(int *status);
pid_t waitpid(pid_t process, int *status, int options);
struct rusage;
pid_t wait3(int *status, int options, struct rusage *usage);
pid_t wait4(pid_t process, int *status, int options, struct rusage *usage);

#ifdef __cplusplus
}
#endif

#endif
