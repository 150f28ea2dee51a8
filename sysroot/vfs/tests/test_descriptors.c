/* The descriptor table: standard streams, dup and its kin, renumbering, rights, polling. */
#include <errno.h>
#include <fcntl.h>
#include <sys/types.h>

#include "mock.h"
#include "tests.h"

int guest_dup(int fd);
int guest_dup2(int old_fd, int new_fd);
int guest_dup3(int old_fd, int new_fd, int flags);
int guest_mkstemp(char *pattern);
int guest_mkostemp(char *pattern, int flags);
int guest_mkstemps(char *pattern, int suffix);
int guest_mkostemps(char *pattern, int suffix, int flags);
char *guest_mkdtemp(char *pattern);
FILE *guest_tmpfile(void);
mode_t guest_umask(mode_t mask);

int native_errno(int error) {
    switch (error) {
    case E_BADF: return EBADF;
    case E_EXIST: return EEXIST;
    case E_INVAL: return EINVAL;
    case E_MFILE: return EMFILE;
    case E_NOENT: return ENOENT;
    case E_ROFS: return EROFS;
    default: return EIO;
    }
}

int native_open(const char *path, int flags, int mode) {
    (void)mode;
    int oflags = (flags & O_CREAT ? OPEN_CREATE : 0) | (flags & O_EXCL ? OPEN_EXCLUSIVE : 0);
    int fd, error = open_in(ROOT, path, oflags, RW, flags & O_APPEND ? FLAG_APPEND : 0, &fd);
    errno = error == 0 ? 0 : native_errno(error);
    return error == 0 ? fd : -1;
}

int native_mkdir(const char *path, int mode) {
    (void)mode;
    int error = make_dir(path);
    errno = error == 0 ? 0 : native_errno(error);
    return error == 0 ? 0 : -1;
}

int native_unlink(const char *path) {
    return unlink_path(path);
}

static int last_fdopen;
FILE *native_fdopen(int fd, const char *mode) {
    CHECK(strcmp(mode, "w+") == 0);
    last_fdopen = fd;
    return stderr; /* any stream: the test looks at the descriptor */
}

static void duplicates(void) {
    make_file("tmp/f", "0123456789");
    int fd = open_ok("tmp/f", 0, RW);
    int copy = guest_dup(fd);
    CHECK(copy > ROOT && copy != fd);
    EQUAL(seek_to(fd, 4, FROM_START), 4);
    EQUAL(seek_to(copy, 0, FROM_CURRENT), 4); /* one offset */
    EQUAL(__eryx_wasi_fd_fdstat_set_flags(copy, FLAG_APPEND), 0);
    struct wasi_fdstat stat;
    EQUAL(__eryx_wasi_fd_fdstat_get(fd, &stat), 0);
    EQUAL(stat.flags, FLAG_APPEND);
    EQUAL(close_fd(fd), 0);
    EQUAL(guest_dup(fd), -1);
    EQUAL(errno, EBADF);
    EQUAL(write_text(copy, "A"), 0);
    EQUAL(guest_dup2(copy, copy), copy);
    EQUAL(guest_dup3(copy, copy, 0), -1);
    EQUAL(errno, EINVAL);
    EQUAL(guest_dup2(copy, 50), 50);
    EQUAL(guest_dup3(copy, 51, O_CLOEXEC), 51);
    EQUAL(guest_dup3(copy, 52, O_APPEND), -1);
    EQUAL(guest_dup2(copy, 1024), -1);
    EQUAL(errno, EBADF);
    EQUAL(guest_dup2(copy, -1), -1);
    EQUAL(guest_dup2(99, 98), -1);
    EQUAL(guest_dup2(copy, ROOT), -1);
    EQUAL(close_fd(copy), 0);
    EQUAL(close_fd(50), 0);
    EQUAL(unlink_path("tmp/f"), 0);
    EQUAL(seek_to(51, 0, FROM_START), 0);
    CHECK(strcmp(read_text(51), "0123456789A") == 0);
    EQUAL(close_fd(51), 0);
}

static void streams(void) {
    mock_output_length = 0;
    EQUAL(write_text(1, "out "), 0);
    /* What `os.dup2(file, 1)` and back does. */
    int saved = guest_dup(1);
    int fd = open_ok("tmp/out", OPEN_CREATE, RW);
    EQUAL(guest_dup2(fd, 1), 1);
    EQUAL(write_text(1, "file"), 0);
    EQUAL(guest_dup2(saved, 1), 1);
    close_fd(saved);
    EQUAL(write_text(1, "again"), 0);
    EQUAL(mock_output_length, 9);
    CHECK(memcmp(mock_output, "out again", 9) == 0);
    close_fd(fd);
    CHECK(holds("tmp/out", "file"));
    EQUAL(unlink_path("tmp/out"), 0);
    EQUAL(__eryx_wasi_path_create_directory(0, "x", 1), E_NOTDIR);
    fd = open_ok("dev/null", 0, RW);
    EQUAL(write_text(fd, "gone"), 0);
    CHECK(strcmp(read_text(fd), "") == 0);
    struct wasi_fdstat stat;
    EQUAL(__eryx_wasi_fd_fdstat_get(fd, &stat), 0);
    EQUAL(stat.type, TYPE_CHARACTER_DEVICE);
    close_fd(fd);
    EQUAL(open_error("dev/null", OPEN_CREATE | OPEN_TRUNCATE, W), 0);
    EQUAL(unlink_path("dev/null"), E_ROFS);
}

static void renumbering(void) {
    make_file("tmp/f", "x");
    int fd = open_ok("tmp/f", 0, R), other = open_ok("lib/os.py", 0, R);
    EQUAL(__eryx_wasi_fd_renumber(fd, other), 0);
    EQUAL(close_fd(fd), E_BADF);
    CHECK(strcmp(read_text(other), "x") == 0);
    EQUAL(__eryx_wasi_fd_renumber(other, other), 0);
    EQUAL(__eryx_wasi_fd_renumber(other, 70), 0);
    EQUAL(__eryx_wasi_fd_renumber(71, 70), E_BADF);
    EQUAL(__eryx_wasi_fd_renumber(70, ROOT), E_BADF);
    EQUAL(__eryx_wasi_fd_renumber(ROOT, 70), E_BADF);
    EQUAL(__eryx_wasi_fd_renumber(70, 5000), E_BADF);
    EQUAL(close_fd(70), 0);
    EQUAL(close_fd(ROOT), E_BADF);
    EQUAL(exists("tmp/f"), 0);
    EQUAL(unlink_path("tmp/f"), 0);
    /* The lowest free number is taken. */
    int low = open_ok("lib/os.py", 0, R), high = open_ok("lib/os.py", 0, R);
    close_fd(low);
    EQUAL(open_ok("lib/os.py", 0, R), low);
    close_fd(low);
    close_fd(high);
}

static void rights(void) {
    struct wasi_fdstat stat;
    EQUAL(__eryx_wasi_fd_fdstat_get(ROOT, &stat), 0);
    EQUAL(stat.type, TYPE_DIRECTORY);
    /* libc's openat asks for no more than the directory may pass on. */
    EQUAL(stat.inheriting, RIGHTS_ALL);
    CHECK((stat.rights & RIGHT_READDIR) != 0);
    struct wasi_prestat prestat;
    uint8_t name[4] = {0};
    EQUAL(__eryx_wasi_fd_prestat_get(ROOT, &prestat), 0);
    EQUAL(prestat.name_length, 1);
    EQUAL(__eryx_wasi_fd_prestat_dir_name(ROOT, name, 1), 0);
    EQUAL(name[0], '/');
    EQUAL(__eryx_wasi_fd_prestat_get(4, &prestat), E_BADF);
    int fd = open_ok("tmp/f", OPEN_CREATE, RW);
    EQUAL(__eryx_wasi_fd_fdstat_get(fd, &stat), 0);
    EQUAL(stat.rights & RW, RW);
    EQUAL(stat.rights & RIGHT_READDIR, 0);
    EQUAL(__eryx_wasi_fd_fdstat_set_rights(fd, R, 0), 0);
    EQUAL(__eryx_wasi_fd_fdstat_set_rights(fd, RW, 0), E_NOTCAPABLE);
    EQUAL(write_text(fd, "x"), E_BADF);
    close_fd(fd);
    EQUAL(unlink_path("tmp/f"), 0);
}

static void temporary(void) {
    char one[] = "/tmp/aXXXXXX", two[] = "/tmp/aXXXXXX", suffixed[] = "/tmp/bXXXXXX.txt";
    int first = guest_mkstemp(one), second = guest_mkostemp(two, O_APPEND);
    CHECK(first > ROOT && second > ROOT && strcmp(one, two) != 0);
    EQUAL(exists(one), 0);
    struct wasi_fdstat stat;
    EQUAL(__eryx_wasi_fd_fdstat_get(second, &stat), 0);
    EQUAL(stat.flags, FLAG_APPEND);
    int third = guest_mkstemps(suffixed, 4);
    CHECK(third > ROOT && strcmp(suffixed + strlen(suffixed) - 4, ".txt") == 0);
    char bad[] = "/tmp/aXXXXX", there[] = "/lib/aXXXXXX", folder[] = "/tmp/dXXXXXX";
    EQUAL(guest_mkstemp(bad), -1);
    EQUAL(errno, EINVAL);
    EQUAL(guest_mkostemps(bad, -1, 0), -1);
    EQUAL(guest_mkstemp(there), -1);
    EQUAL(errno, EROFS);
    CHECK(strcmp(there, "/lib/aXXXXXX") == 0);
    CHECK(guest_mkdtemp(folder) == folder);
    EQUAL(remove_dir(folder), 0);
    CHECK(guest_mkdtemp(bad) == NULL);
    EQUAL(unlink_path(one) | unlink_path(two) | unlink_path(suffixed), 0);
    EQUAL(close_fd(first) | close_fd(second) | close_fd(third), 0);
    CHECK(guest_tmpfile() != NULL);
    EQUAL((uint32_t)stat_fd(last_fdopen).links, 0);
    EQUAL(write_text(last_fdopen, "x"), 0);
    EQUAL(close_fd(last_fdopen), 0);
    CHECK(lists("tmp", "./ ../ "));
    EQUAL(guest_umask(077), 022);
    EQUAL(guest_umask(022), 077);
}

static struct wasi_subscription watch(int fd, uint8_t tag, uint64_t userdata) {
    struct wasi_subscription subscription;
    memset(&subscription, 0, sizeof subscription);
    subscription.userdata = userdata;
    subscription.tag = tag;
    subscription.u.fd = fd;
    return subscription;
}

static void polling(void) {
    int fd = open_ok("lib/os.py", 0, R);
    struct wasi_subscription in[4];
    struct wasi_event out[4];
    size_t events;
    EQUAL(__eryx_wasi_poll_oneoff(in, out, 0, &events), E_INVAL);
    /* Only ours: the embedder is not asked. */
    mock_polled = -1;
    in[0] = watch(fd, EVENT_READ, 7);
    in[1] = watch(900, EVENT_WRITE, 8);
    EQUAL(__eryx_wasi_poll_oneoff(in, out, 2, &events), 0);
    EQUAL(mock_polled, -1);
    EQUAL(events, 2);
    EQUAL(out[0].userdata, 7);
    EQUAL(out[0].error, 0);
    EQUAL(out[0].bytes, 11);
    EQUAL(out[1].userdata, 8);
    EQUAL(out[1].error, E_BADF);
    /* Mixed: ours are ready, the embedder's ready ones come along, nothing waits. */
    in[1] = watch(1, EVENT_WRITE, 1);
    in[2] = watch(0, EVENT_READ, 2);
    in[3] = watch(0, EVENT_CLOCK, 9);
    in[3].u.clock.timeout = UINT64_MAX;
    EQUAL(__eryx_wasi_poll_oneoff(in, out, 4, &events), 0);
    EQUAL(mock_polled, 4);
    CHECK(!mock_waited);
    EQUAL(events, 2);
    EQUAL(out[0].userdata, 7);
    EQUAL(out[1].userdata, 1);
    EQUAL(out[1].type, EVENT_WRITE);
    /* Only the embedder's, under another number. */
    int copy = guest_dup(1);
    in[0] = watch(copy, EVENT_WRITE, 5);
    EQUAL(__eryx_wasi_poll_oneoff(in, out, 1, &events), 0);
    CHECK(mock_waited);
    EQUAL(events, 1);
    EQUAL(out[0].userdata, 5);
    close_fd(copy);
    close_fd(fd);
}

static void handed_through(void) {
    size_t count, bytes;
    uint64_t resolution;
    EQUAL(__eryx_wasi_args_sizes_get(&count, &bytes), 0);
    EQUAL(count, 7);
    EQUAL(__eryx_wasi_environ_sizes_get(&count, &bytes), 0);
    EQUAL(count, 8);
    EQUAL(__eryx_wasi_args_get(NULL, NULL) | __eryx_wasi_environ_get(NULL, NULL), 0);
    EQUAL(__eryx_wasi_clock_res_get(1, &resolution), 0);
    EQUAL(resolution, 2);
    EQUAL(__eryx_wasi_sched_yield(), 0);
    EQUAL(__eryx_wasi_proc_raise(1), E_NOTSUP);
    int copy = guest_dup(0);
    EQUAL(__eryx_wasi_sock_shutdown(copy, 0), 0);
    EQUAL(__eryx_wasi_sock_shutdown(ROOT, 0), E_NOTSOCK);
    EQUAL(__eryx_wasi_sock_send(copy, NULL, 0, 0, &count), 0);
    EQUAL(count, 0);
    EQUAL(__eryx_wasi_sock_recv(77, NULL, 0, 0, &count, NULL), E_BADF);
    close_fd(copy);
}

void test_descriptors(void) {
    duplicates();
    streams();
    renumbering();
    rights();
    temporary();
    polling();
    handed_through();
}
