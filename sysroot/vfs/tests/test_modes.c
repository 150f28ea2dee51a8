/* Permissions of files in memory and in the image; flags of descriptors; locks. */
#include "tests.h"

mode_t guest_umask(mode_t mask);
int guest_dup2(int old_fd, int new_fd);

static uint32_t mode_of(const char *path) {
    struct wasi_filestat stat;
    EQUAL(stat_path(path, false, &stat), 0);
    return (uint32_t)(stat.links >> 32);
}

static int make_with(const char *path, uint32_t mode, uint64_t rights, int *fd) {
    int32_t lookup = LOOKUP_FOLLOW | LOOKUP_MODE | (int32_t)(mode << LOOKUP_MODE_SHIFT);
    return __eryx_wasi_path_open(ROOT, lookup, path, strlen(path), OPEN_CREATE, rights, 0, 0, fd);
}

static void make(const char *path, uint32_t mode) {
    int fd;
    EQUAL(make_with(path, mode, RW, &fd), 0);
    EQUAL(write_text(fd, "text"), 0);
    close_fd(fd);
}

static int make_folder(const char *path, uint32_t mode) {
    return __eryx_vfs_mkdir(ROOT, path, strlen(path), mode);
}

static int change(const char *path, uint32_t mode) {
    return __eryx_vfs_chmod(ROOT, LOOKUP_FOLLOW, path, strlen(path), mode);
}

static int allowed(const char *path, uint32_t wanted) {
    return __eryx_vfs_access(ROOT, LOOKUP_FOLLOW, path, strlen(path), wanted);
}

static void kept(void) {
    make("tmp/plain", 0666);
    EQUAL(mode_of("tmp/plain"), 0644);
    guest_umask(077);
    make("tmp/own", 0666);
    EQUAL(make_folder("tmp/folder", 0777), 0);
    EQUAL(mode_of("tmp/own"), 0600);
    EQUAL(mode_of("tmp/folder"), 0700);
    EQUAL(guest_umask(0), 077);
    make("tmp/all", 07777);
    EQUAL(mode_of("tmp/all"), 07777);
    guest_umask(022);
    EQUAL(change("tmp/own", 0751), 0);
    EQUAL(mode_of("tmp/own"), 0751);
    int fd = open_ok("tmp/own", 0, R);
    EQUAL(__eryx_vfs_fchmod(fd, 0640), 0);
    EQUAL(stat_fd(fd).links >> 32, 0640);
    close_fd(fd);
    EQUAL(symlink_path("own", "tmp/link"), 0);
    EQUAL(mode_of("tmp/link"), 0777);
    EQUAL(change("tmp/link", 0600), 0);
    EQUAL(mode_of("tmp/own"), 0600);
    EQUAL(__eryx_vfs_chmod(ROOT, 0, "tmp/link", 8, 0600), E_NOTSUP);
    EQUAL(mode_of("tmp"), 01777);
    EQUAL(mode_of("home/sandbox"), 0755);
    EQUAL(mode_of("dev/null"), 0666);
    EQUAL(mode_of("lib"), 0755);
    EQUAL(mode_of("lib/os.py"), 0644);
    EQUAL(mode_of("lib/link"), 0777);
    EQUAL(change("lib/os.py", 0600), E_ROFS);
    EQUAL(change("lib", 0700), E_ROFS);
    EQUAL(change("/", 0700), E_ROFS);
    EQUAL(change("dev/null", 0600), E_PERM);
    EQUAL(change("tmp/none", 0600), E_NOENT);
}

/* What the owner feels of it. */
static void felt(void) {
    int fd;
    EQUAL(change("tmp/own", 0), 0);
    EQUAL(open_error("tmp/own", 0, R), E_ACCES);
    EQUAL(open_error("tmp/own", 0, W), E_ACCES);
    EQUAL(open_error("tmp/own", OPEN_TRUNCATE, 0), E_ACCES);
    EQUAL(allowed("tmp/own", 0), 0);
    EQUAL(allowed("tmp/own", 4), E_ACCES);
    EQUAL(change("tmp/own", 0400), 0);
    CHECK(holds("tmp/own", "text"));
    EQUAL(open_error("tmp/own", OPEN_CREATE, RW), E_ACCES);
    EQUAL(allowed("tmp/own", 4), 0);
    EQUAL(allowed("tmp/own", 6), E_ACCES);
    EQUAL(allowed("tmp/own", 1), E_ACCES);
    EQUAL(allowed("lib/os.py", 4), 0);
    EQUAL(allowed("lib/os.py", 2), E_ROFS);
    EQUAL(allowed("lib/os.py", 1), E_ACCES);
    EQUAL(allowed("lib", 5), 0);
    EQUAL(allowed("lib", 2), E_ROFS);
    EQUAL(allowed("/", 2), E_ROFS);
    EQUAL(allowed("tmp", 7), 0);
    EQUAL(allowed("dev/null", 6), 0);
    /* Who makes a file has it open as asked. */
    EQUAL(make_with("tmp/none", 0, RW, &fd), 0);
    EQUAL(write_text(fd, "x"), 0);
    close_fd(fd);
    EQUAL(open_error("tmp/none", 0, R), E_ACCES);
    EQUAL(unlink_path("tmp/none"), 0);

    make("tmp/folder/in", 0666);
    EQUAL(change("tmp/folder", 0500), 0);
    CHECK(holds("tmp/folder/in", "text"));
    EQUAL(open_error("tmp/folder/new", OPEN_CREATE, W), E_ACCES);
    EQUAL(make_folder("tmp/folder/new", 0777), E_ACCES);
    EQUAL(symlink_path("x", "tmp/folder/new"), E_ACCES);
    EQUAL(unlink_path("tmp/folder/in"), E_ACCES);
    EQUAL(rename_path("tmp/folder/in", "tmp/in"), E_ACCES);
    EQUAL(rename_path("tmp/plain", "tmp/folder/in"), E_ACCES);
    EQUAL(link_path("tmp/plain", "tmp/folder/new"), E_ACCES);
    EQUAL(change("tmp/folder", 0600), 0);
    CHECK(lists("tmp/folder", "./ ../ in "));
    EQUAL(exists("tmp/folder/in"), E_ACCES);
    EQUAL(change("tmp/folder", 0300), 0);
    EQUAL(open_error("tmp/folder", OPEN_DIRECTORY, R), E_ACCES);
    CHECK(holds("tmp/folder/in", "text"));
    EQUAL(unlink_path("tmp/folder/in"), 0);
    EQUAL(remove_dir("tmp/folder"), 0);
}

static void inheritance(void) {
    int fd = open_ok("tmp/plain", 0, RW);
    EQUAL(__eryx_vfs_inherited(fd, -1), 0);
    EQUAL(__eryx_vfs_inherited(fd, 1), 1);
    EQUAL(__eryx_vfs_inherited(fd, -1), 1);
    EQUAL(__eryx_vfs_inherited(fd, 0), 0);
    EQUAL(__eryx_vfs_inherited(1, -1), 1);
    EQUAL(__eryx_vfs_inherited(999, -1), -E_BADF);
    int other = __eryx_vfs_duplicate(fd, 100, 1);
    EQUAL(other, 100);
    EQUAL(__eryx_vfs_inherited(other, -1), 1);
    EQUAL(__eryx_vfs_duplicate(fd, 100, 0), 101);
    EQUAL(__eryx_vfs_inherited(101, -1), 0);
    EQUAL(guest_dup2(fd, 101), 101);
    EQUAL(__eryx_vfs_inherited(101, -1), 1);
    EQUAL(__eryx_vfs_duplicate(fd, 1024, 0), -E_INVAL);
    EQUAL(__eryx_vfs_duplicate(fd, -1, 0), -E_INVAL);
    EQUAL(__eryx_vfs_duplicate(998, 0, 0), -E_BADF);
    close_fd(101);
    close_fd(100);
    close_fd(fd);
}

static void locks(void) {
    enum { SHARED = 1, ALONE = 2, NOW = 4, UNLOCK = 8 };
    int one = open_ok("tmp/plain", 0, RW), two = open_ok("tmp/plain", 0, R), other = open_ok("tmp/all", 0, R);
    int same = __eryx_vfs_duplicate(one, 0, 0);
    EQUAL(__eryx_vfs_flock(one, SHARED), 0);
    EQUAL(__eryx_vfs_flock(two, SHARED | NOW), 0);
    EQUAL(__eryx_vfs_flock(one, ALONE | NOW), E_AGAIN);
    EQUAL(__eryx_vfs_flock(two, UNLOCK), 0);
    EQUAL(__eryx_vfs_flock(one, ALONE), 0);
    EQUAL(__eryx_vfs_flock(same, ALONE | NOW), 0);
    EQUAL(__eryx_vfs_flock(two, SHARED | NOW), E_AGAIN);
    EQUAL(__eryx_vfs_flock(two, SHARED), E_DEADLK);
    EQUAL(__eryx_vfs_flock(other, ALONE | NOW), 0);
    EQUAL(__eryx_vfs_flock(one, 3), E_INVAL);
    EQUAL(__eryx_vfs_flock(900, SHARED), E_BADF);
    close_fd(one);
    EQUAL(__eryx_vfs_flock(two, SHARED | NOW), E_AGAIN);
    close_fd(same);
    EQUAL(__eryx_vfs_flock(two, ALONE | NOW), 0);
    EQUAL(__eryx_vfs_may_lock(two, 0), 0);
    EQUAL(__eryx_vfs_may_lock(two, 1), E_BADF);
    EQUAL(__eryx_vfs_may_lock(900, 0), E_BADF);
    close_fd(two);
    close_fd(other);
}

void test_modes(void) {
    uint64_t used = __eryx_vfs_used();
    kept();
    felt();
    inheritance();
    locks();
    struct __eryx_space space;
    EQUAL(__eryx_vfs_space(ROOT, "tmp", 3, &space), 0);
    CHECK(space.blocks * space.block == UINT64_C(256) << 20 && space.free < space.blocks && space.read_only == 0);
    EQUAL(__eryx_vfs_space(ROOT, "lib", 3, &space), 0);
    EQUAL(space.read_only, 1);
    EQUAL(__eryx_vfs_fspace(ROOT, &space), 0);
    EQUAL(__eryx_vfs_fspace(77, &space), E_BADF);
    static const char *const files[] = {"tmp/plain", "tmp/own", "tmp/all", "tmp/link"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        EQUAL(unlink_path(files[i]), 0);
    }
    CHECK(__eryx_vfs_used() <= used + 1024);
}
