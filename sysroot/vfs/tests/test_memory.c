/* The memory file system: files, directories, links, limits. */
#include "mock.h"
#include "tests.h"

static void files(void) {
    int fd;
    EQUAL(open_error("tmp/f", 0, R), E_NOENT);
    EQUAL(open_error("tmp/f", OPEN_EXCLUSIVE, R), E_NOENT);
    EQUAL(open_error("tmp/f/", OPEN_CREATE, W), E_ISDIR);
    EQUAL(open_error("tmp/f", OPEN_CREATE | OPEN_DIRECTORY, W), E_INVAL);
    EQUAL(open_in(ROOT, "tmp/f", OPEN_CREATE | OPEN_EXCLUSIVE, RW, 0, &fd), 0);
    CHECK(fd > ROOT);
    EQUAL(open_error("tmp/f", OPEN_CREATE | OPEN_EXCLUSIVE, RW), E_EXIST);
    EQUAL(open_error("tmp/f", OPEN_DIRECTORY, R), E_NOTDIR);
    EQUAL(open_error("tmp/f/", 0, R), E_NOTDIR);
    EQUAL(open_error("tmp/f/x", 0, R), E_NOTDIR);
    EQUAL(open_error("tmp/f/..", 0, R), E_NOTDIR);
    EQUAL(write_text(fd, "hello world"), 0);
    EQUAL(seek_to(fd, -5, FROM_END), 6);
    CHECK(strcmp(read_text(fd), "world") == 0);
    CHECK(strcmp(read_text(fd), "") == 0);
    uint64_t position;
    EQUAL(__eryx_wasi_fd_tell(fd, &position), 0);
    EQUAL(position, 11);
    EQUAL(__eryx_wasi_fd_seek(fd, -12, FROM_CURRENT, &position), E_INVAL);
    EQUAL(__eryx_wasi_fd_seek(fd, INT64_MAX, FROM_CURRENT, &position), E_OVERFLOW);
    EQUAL(__eryx_wasi_fd_seek(fd, 0, 3, &position), E_INVAL);
    EQUAL(seek_to(fd, 20, FROM_START), 20);
    EQUAL(write_text(fd, "end"), 0);
    EQUAL(stat_fd(fd).size, 23);
    EQUAL(seek_to(fd, 10, FROM_START), 10);
    CHECK(memcmp(read_text(fd), "d\0\0\0\0\0\0\0\0\0end", 13) == 0);
    close_fd(fd);
    EQUAL(write_text(fd, "x"), E_BADF);
    EQUAL(close_fd(fd), E_BADF);

    fd = open_ok("tmp/f", 0, R);
    EQUAL(write_text(fd, "x"), E_BADF);
    EQUAL(resize(fd, 1), E_INVAL);
    close_fd(fd);
    fd = open_ok("tmp/f", OPEN_TRUNCATE, W);
    EQUAL(stat_fd(fd).size, 0);
    size_t done;
    uint8_t byte;
    struct wasi_iovec vector = {&byte, 1};
    EQUAL(__eryx_wasi_fd_read(fd, &vector, 1, &done), E_BADF);
    struct wasi_iovec huge[2] = {{&byte, 1}, {&byte, INT32_MAX}};
    EQUAL(__eryx_wasi_fd_write(fd, huge, 2, &done), E_INVAL);
    close_fd(fd);

    EQUAL(open_in(ROOT, "tmp/f", 0, RW, FLAG_APPEND, &fd), 0);
    EQUAL(write_text(fd, "one"), 0);
    EQUAL(seek_to(fd, 0, FROM_START), 0);
    EQUAL(write_text(fd, "two"), 0);
    EQUAL(__eryx_wasi_fd_fdstat_set_flags(fd, 0), 0);
    EQUAL(__eryx_wasi_fd_fdstat_set_flags(fd, 64), E_INVAL);
    EQUAL(seek_to(fd, 0, FROM_START), 0);
    EQUAL(write_text(fd, "O"), 0);
    close_fd(fd);
    CHECK(holds("tmp/f", "Onetwo"));
    EQUAL(unlink_path("tmp/f"), 0);
}

static void positions_and_sizes(void) {
    int fd = open_ok("/tmp/p", OPEN_CREATE, RW);
    size_t done;
    struct wasi_iovec in = {(uint8_t *)"abc", 3};
    EQUAL(__eryx_wasi_fd_pwrite(fd, &in, 1, 200000, &done), 0);
    EQUAL(done, 3);
    EQUAL(seek_to(fd, 0, FROM_CURRENT), 0);
    EQUAL(stat_fd(fd).size, 200003);
    CHECK(__eryx_vfs_used() < 200000); /* the hole takes nothing */
    uint8_t out[10];
    memset(out, 'x', sizeof out);
    struct wasi_iovec into = {out, sizeof out};
    EQUAL(__eryx_wasi_fd_pread(fd, &into, 1, 199996, &done), 0);
    EQUAL(done, 7);
    CHECK(memcmp(out, "\0\0\0\0abcxxx", 10) == 0);
    EQUAL(__eryx_wasi_fd_pread(fd, &into, 1, UINT64_MAX, &done), E_INVAL);
    EQUAL(__eryx_wasi_fd_pwrite(fd, &in, 1, UINT64_MAX, &done), E_INVAL);
    EQUAL(__eryx_wasi_fd_pwrite(fd, &in, 1, UINT64_C(1) << 33, &done), E_FBIG);
    /* What is cut off must not come back. */
    EQUAL(resize(fd, 200001), 0);
    EQUAL(resize(fd, 200003), 0);
    EQUAL(__eryx_wasi_fd_pread(fd, &into, 1, 200000, &done), 0);
    EQUAL(done, 3);
    CHECK(memcmp(out, "a\0\0", 3) == 0);
    EQUAL(resize(fd, 65536), 0);
    EQUAL(resize(fd, 0), 0);
    EQUAL(resize(fd, UINT64_C(1) << 40), E_FBIG);
    EQUAL(resize(fd, UINT64_C(1) << 32), 0);
    EQUAL(resize(fd, 5), 0);
    EQUAL(__eryx_wasi_fd_allocate(fd, 0, 0), E_INVAL);
    EQUAL(__eryx_wasi_fd_allocate(fd, 70000, 10), 0);
    EQUAL(stat_fd(fd).size, 70010);
    EQUAL(__eryx_wasi_fd_allocate(fd, 0, 10), 0);
    EQUAL(stat_fd(fd).size, 70010);
    EQUAL(__eryx_wasi_fd_allocate(fd, 0, UINT64_C(1) << 33), E_FBIG);
    EQUAL(__eryx_wasi_fd_advise(fd, 0, 0, 5), 0);
    EQUAL(__eryx_wasi_fd_advise(fd, 0, 0, 6), E_INVAL);
    EQUAL(__eryx_wasi_fd_sync(fd), 0);
    EQUAL(__eryx_wasi_fd_datasync(fd), 0);
    /* Every block border, against a plain array. */
    static uint8_t model[3 * 65536 + 100], back[sizeof model];
    EQUAL(resize(fd, 0), 0);
    for (size_t at = 0, step = 1; at + step < sizeof model; at += step, step = step * 3 % 40009 + 1) {
        for (size_t i = 0; i < step; i++) {
            model[at + i] = (uint8_t)(at + i * 7);
        }
        struct wasi_iovec part = {model + at, step};
        EQUAL(__eryx_wasi_fd_pwrite(fd, &part, 1, at, &done), 0);
        EQUAL(done, step);
    }
    struct wasi_iovec all = {back, sizeof back};
    EQUAL(__eryx_wasi_fd_pread(fd, &all, 1, 0, &done), 0);
    EQUAL(done, stat_fd(fd).size);
    CHECK(memcmp(model, back, done) == 0);
    close_fd(fd);
    EQUAL(unlink_path("/tmp/p"), 0);
}

static void directories(void) {
    EQUAL(make_dir("tmp/d"), 0);
    EQUAL(make_dir("tmp/d"), E_EXIST);
    EQUAL(make_dir("tmp/d/"), E_EXIST);
    EQUAL(make_dir("tmp"), E_EXIST);
    EQUAL(make_dir("/"), E_EXIST);
    EQUAL(make_dir(""), E_NOENT);
    EQUAL(make_dir("tmp/x/y"), E_NOENT);
    EQUAL(make_dir("tmp/d/sub/"), 0);
    EQUAL(remove_dir("tmp/d"), E_NOTEMPTY);
    EQUAL(remove_dir("tmp/d/."), E_INVAL);
    EQUAL(unlink_path("tmp/d"), E_ISDIR);
    EQUAL(open_error("tmp/d", 0, RW), E_ISDIR);
    EQUAL(open_error("tmp/d", OPEN_CREATE, R), E_ISDIR);
    int fd = open_ok("tmp/d/sub", OPEN_DIRECTORY, R);
    EQUAL(write_text(fd, "x"), E_ISDIR);
    uint64_t position;
    EQUAL(__eryx_wasi_fd_seek(fd, 0, FROM_START, &position), E_ISDIR);
    int inner;
    EQUAL(open_in(fd, "file", OPEN_CREATE, W, 0, &inner), 0);
    EQUAL(open_in(inner, "x", 0, R, 0, &(int){0}), E_NOTDIR);
    close_fd(inner);
    EQUAL(open_in(fd, "../sub/./file", 0, R, 0, &inner), 0);
    close_fd(inner);
    EQUAL(open_in(fd, "/tmp/d/sub/file", 0, R, 0, &inner), 0);
    close_fd(inner);
    EQUAL(inode_of("/../../tmp/../tmp/d/sub/.."), inode_of("tmp/d"));
    EQUAL(remove_dir("tmp/d/sub/file"), E_NOTDIR);
    EQUAL(unlink_path("tmp/d/sub/file/"), E_NOTDIR);
    EQUAL(unlink_path("tmp/d/sub/file"), 0);
    EQUAL(remove_dir("tmp/d/sub"), 0);
    /* The open descriptor stands in a directory that is no more. */
    EQUAL(open_in(fd, "file", OPEN_CREATE, W, 0, &inner), E_NOENT);
    EQUAL(open_in(fd, "..", 0, R, 0, &inner), E_NOENT);
    CHECK(strcmp(list_fd(fd, 4096), "") == 0);
    EQUAL((uint32_t)stat_fd(fd).links, 0);
    close_fd(fd);
    EQUAL(remove_dir("tmp/d/"), 0);
    EQUAL(remove_dir("tmp/d"), E_NOENT);
    EQUAL(remove_dir("tmp"), E_BUSY);
    EQUAL(rename_path("tmp", "tmp2"), E_BUSY);
    EQUAL(remove_dir("home/sandbox"), E_BUSY);
    EQUAL(make_dir("new"), E_ROFS);
    EQUAL(open_error("home/new", OPEN_CREATE, W), E_ROFS);
    CHECK(lists("home", "./ ../ sandbox/ "));
    char path[5000];
    memset(path, 'n', sizeof path);
    memcpy(path, "tmp/", 4);
    path[4 + 255] = '\0';
    EQUAL(make_dir(path), 0);
    EQUAL(remove_dir(path), 0);
    path[4 + 255] = 'n';
    path[4 + 256] = '\0';
    EQUAL(make_dir(path), E_NAMETOOLONG);
    path[4 + 256] = 'n';
    EQUAL(__eryx_wasi_path_create_directory(ROOT, path, 4097), E_NAMETOOLONG);
    EQUAL(__eryx_wasi_path_create_directory(ROOT, "tmp/a\0b", 7), E_INVAL);
}

static void listing(void) {
    EQUAL(make_dir("tmp/l"), 0);
    char path[64];
    for (int i = 0; i < 300; i++) {
        snprintf(path, sizeof path, "tmp/l/%d", i);
        make_file(path, "");
    }
    int fd = open_ok("tmp/l", OPEN_DIRECTORY, R);
    char all[8192];
    strcpy(all, list_fd(fd, 65536));
    CHECK(strncmp(all, "./ ../ 0 1 2 3 ", 15) == 0);
    CHECK(strcmp(all + strlen(all) - 8, "298 299 ") == 0);
    for (size_t size = 27; size < 400; size += 7) {
        CHECK(strcmp(list_fd(fd, size), all) == 0);
    }
    /* Entries come and go in the middle of a listing: what stays is told exactly once. */
    uint8_t buffer[24 + 3 + 24 + 3];
    uint64_t cookie = 0;
    int seen = 0;
    for (int step = 0;; step++) {
        size_t used;
        EQUAL(__eryx_wasi_fd_readdir(fd, buffer, sizeof buffer, cookie, &used), 0);
        struct wasi_dirent entry;
        if (used < sizeof entry) {
            break;
        }
        memcpy(&entry, buffer, sizeof entry);
        cookie = entry.next;
        seen += buffer[24] != '.' && buffer[24] != 'n';
        if (buffer[24] != '.' && buffer[24] != 'n') {
            snprintf(path, sizeof path, "tmp/l/%.*s", (int)entry.name_length, (char *)buffer + 24);
            EQUAL(unlink_path(path), 0);
            if (step % 3 == 0) {
                snprintf(path, sizeof path, "tmp/l/n%d", step);
                make_file(path, "");
            }
        }
    }
    EQUAL(seen, 300);
    for (int step = 0; step < 400; step++) {
        snprintf(path, sizeof path, "tmp/l/n%d", step);
        unlink_path(path);
    }
    CHECK(strcmp(list_fd(fd, 100), "./ ../ ") == 0);
    uint8_t dot[100];
    size_t used;
    struct wasi_dirent entry;
    EQUAL(__eryx_wasi_fd_readdir(fd, dot, sizeof dot, 0, &used), 0);
    memcpy(&entry, dot, sizeof entry);
    EQUAL(entry.inode, inode_of("tmp/l"));
    memcpy(&entry, dot + 25, sizeof entry);
    EQUAL(entry.inode, inode_of("tmp"));
    EQUAL(__eryx_wasi_fd_readdir(fd, dot, sizeof dot, 3, &used), E_INVAL);
    close_fd(fd);
    EQUAL(remove_dir("tmp/l"), 0);
}

static void symlinks(void) {
    EQUAL(make_dir("tmp/s"), 0);
    make_file("tmp/s/file", "data");
    EQUAL(symlink_path("s/file", "tmp/link"), 0);
    EQUAL(symlink_path("s/file", "tmp/link"), E_EXIST);
    EQUAL(symlink_path("", "tmp/link2"), E_NOENT);
    EQUAL(symlink_path("x", "lib/new"), E_ROFS);
    CHECK(holds("tmp/link", "data"));
    EQUAL(open_error("tmp/link/", 0, R), E_NOTDIR);
    EQUAL(symlink_path("/tmp/s", "tmp/s/self"), 0);
    CHECK(holds("tmp/s/self/self/self/file", "data"));
    EQUAL(symlink_path("../../tmp/s/", "tmp/s/up"), 0);
    CHECK(holds("tmp/s/up/file", "data"));
    EQUAL(inode_of("tmp/s/up/.."), inode_of("tmp"));
    EQUAL(make_dir("tmp/s/up/made"), 0);
    EQUAL(remove_dir("tmp/s/made"), 0);
    EQUAL(symlink_path("loop2", "tmp/loop1"), 0);
    EQUAL(symlink_path("loop1", "tmp/loop2"), 0);
    EQUAL(open_error("tmp/loop1", 0, R), E_LOOP);
    EQUAL(exists("tmp/loop1/x"), E_LOOP);
    struct wasi_filestat stat;
    EQUAL(stat_path("tmp/link", false, &stat), 0);
    EQUAL(stat.type, TYPE_LINK);
    EQUAL(stat.size, 6);
    EQUAL(stat_path("tmp/link", true, &stat), 0);
    EQUAL(stat.type, TYPE_REGULAR);
    uint8_t text[100];
    size_t used;
    EQUAL(__eryx_wasi_path_readlink(ROOT, "tmp/link", 8, text, sizeof text, &used), 0);
    EQUAL(used, 6);
    CHECK(memcmp(text, "s/file", 6) == 0);
    EQUAL(__eryx_wasi_path_readlink(ROOT, "tmp/link", 8, text, 3, &used), 0);
    EQUAL(used, 3);
    EQUAL(__eryx_wasi_path_readlink(ROOT, "tmp/s", 5, text, 3, &used), E_INVAL);
    int32_t fd;
    EQUAL(__eryx_wasi_path_open(ROOT, 0, "tmp/link", 8, 0, R, 0, 0, &fd), E_LOOP);
    EQUAL(__eryx_wasi_path_open(ROOT, 0, "tmp/link", 8, OPEN_DIRECTORY, R, 0, 0, &fd), E_NOTDIR);
    /* Creating goes through a dangling link, but not exclusively. */
    EQUAL(symlink_path("s/dangling", "tmp/d"), 0);
    EQUAL(open_error("tmp/d", OPEN_CREATE | OPEN_EXCLUSIVE, W), E_EXIST);
    EQUAL(open_error("tmp/d", 0, R), E_NOENT);
    EQUAL(open_error("tmp/d", OPEN_CREATE, W), 0);
    EQUAL(unlink_path("tmp/s/dangling"), 0);
    EQUAL(unlink_path("tmp/d"), 0);
    EQUAL(remove_dir("tmp/s/self"), E_NOTDIR);
    /* Renaming and unlinking mean the link, not its target. */
    EQUAL(rename_path("tmp/link", "tmp/renamed"), 0);
    CHECK(holds("tmp/renamed", "data"));
    EQUAL(unlink_path("tmp/renamed"), 0);
    EQUAL(exists("tmp/s/file"), 0);
    EQUAL(unlink_path("tmp/loop1"), 0);
    EQUAL(unlink_path("tmp/loop2"), 0);
    EQUAL(unlink_path("tmp/s/up"), 0);
    EQUAL(unlink_path("tmp/s/self"), 0);
    EQUAL(unlink_path("tmp/s/file"), 0);
    EQUAL(remove_dir("tmp/s"), 0);
}

static void renames(void) {
    EQUAL(make_dir("tmp/a"), 0);
    EQUAL(make_dir("tmp/b"), 0);
    make_file("tmp/a/f", "from");
    make_file("tmp/b/g", "over");
    EQUAL(rename_path("tmp/none", "tmp/x"), E_NOENT);
    EQUAL(rename_path("tmp/a/f", "tmp/none/x"), E_NOENT);
    int old = open_ok("tmp/b/g", 0, R);
    EQUAL(rename_path("tmp/a/f", "tmp/b/g"), 0);
    CHECK(strcmp(read_text(old), "over") == 0);
    EQUAL((uint32_t)stat_fd(old).links, 0);
    close_fd(old);
    CHECK(holds("tmp/b/g", "from"));
    EQUAL(exists("tmp/a/f"), E_NOENT);
    EQUAL(rename_path("tmp/b", "tmp/b/inside"), E_INVAL);
    EQUAL(rename_path("tmp/b/g", "tmp/a"), E_ISDIR);
    EQUAL(rename_path("tmp/a", "tmp/b/g"), E_NOTDIR);
    EQUAL(rename_path("tmp/a", "tmp/b"), E_NOTEMPTY);
    EQUAL(rename_path("tmp/b/g", "tmp/b/h/"), E_NOTDIR);
    EQUAL(rename_path("tmp/b/g/", "tmp/b/h"), E_NOTDIR);
    EQUAL(rename_path("tmp/b/.", "tmp/c"), E_BUSY);
    EQUAL(rename_path("tmp/b/g", "tmp/b/g"), 0);
    EQUAL(rename_path("tmp/b", "tmp/a"), 0);
    CHECK(holds("tmp/a/g", "from"));
    EQUAL(rename_path("tmp/a", "home/sandbox/moved/"), 0);
    EQUAL(inode_of("home/sandbox/moved/.."), inode_of("home/sandbox"));
    EQUAL(rename_path("home/sandbox/moved", "home/moved"), E_ROFS);
    EQUAL(rename_path("home/sandbox/moved/g", "lib/g"), E_ROFS);
    /* Hard links. */
    EQUAL(link_path("home/sandbox/moved/g", "tmp/g"), 0);
    EQUAL(link_path("home/sandbox/moved/g", "tmp/g"), E_EXIST);
    EQUAL(link_path("home/sandbox/moved", "tmp/dir"), E_PERM);
    EQUAL(link_path("lib/os.py", "tmp/os.py"), E_XDEV);
    EQUAL(link_path("tmp/g", "lib/g"), E_ROFS);
    EQUAL(inode_of("tmp/g"), inode_of("home/sandbox/moved/g"));
    struct wasi_filestat stat;
    EQUAL(stat_path("tmp/g", true, &stat), 0);
    EQUAL((uint32_t)stat.links, 2);
    EQUAL(rename_path("tmp/g", "home/sandbox/moved/g"), 0); /* one file: nothing happens */
    EQUAL(exists("tmp/g"), 0);
    EQUAL(unlink_path("home/sandbox/moved/g"), 0);
    CHECK(holds("tmp/g", "from"));
    EQUAL(unlink_path("tmp/g"), 0);
    EQUAL(remove_dir("home/sandbox/moved"), 0);
}

static void times(void) {
    mock_time = 5000;
    make_file("tmp/t", "x");
    int fd = open_ok("tmp/t", 0, RW);
    EQUAL(stat_fd(fd).modified, 5000);
    mock_time = 6000;
    read_text(fd);
    EQUAL(stat_fd(fd).accessed, 5000);
    EQUAL(write_text(fd, "y"), 0);
    EQUAL(stat_fd(fd).modified, 6000);
    EQUAL(__eryx_wasi_fd_filestat_set_times(fd, 1, 2, SET_ACCESSED | SET_MODIFIED), 0);
    EQUAL(stat_fd(fd).accessed, 1);
    EQUAL(stat_fd(fd).modified, 2);
    EQUAL(stat_fd(fd).changed, 6000);
    mock_time = 7000;
    EQUAL(__eryx_wasi_path_filestat_set_times(ROOT, 1, "tmp/t", 5, 9, 9, SET_MODIFIED_NOW), 0);
    EQUAL(stat_fd(fd).accessed, 1);
    EQUAL(stat_fd(fd).modified, 7000);
    EQUAL(__eryx_wasi_fd_filestat_set_times(fd, 1, 2, SET_ACCESSED | SET_ACCESSED_NOW), E_INVAL);
    EQUAL(__eryx_wasi_path_filestat_set_times(ROOT, 1, "lib", 3, 9, 9, SET_MODIFIED), E_ROFS);
    EQUAL(__eryx_wasi_path_filestat_set_times(ROOT, 1, "home", 4, 9, 9, SET_MODIFIED), E_ROFS);
    mock_time = 8000;
    EQUAL(unlink_path("tmp/t"), 0);
    EQUAL(stat_fd(fd).changed, 8000);
    struct wasi_filestat stat;
    EQUAL(stat_path("tmp", true, &stat), 0);
    EQUAL(stat.modified, 8000);
    close_fd(fd);
}

static void limits(void) {
    uint64_t before = __eryx_vfs_used();
    EQUAL(__eryx_vfs_quota(before + 300000), UINT64_C(256) << 20);
    int fd = open_ok("tmp/big", OPEN_CREATE, RW);
    static uint8_t bytes[400000];
    struct wasi_iovec vector = {bytes, sizeof bytes};
    size_t done;
    /* As much as fits is written, then nothing. */
    EQUAL(__eryx_wasi_fd_write(fd, &vector, 1, &done), 0);
    EQUAL(done, 4 * 65536);
    EQUAL(__eryx_wasi_fd_write(fd, &vector, 1, &done), E_NOSPC);
    EQUAL(done, 0);
    EQUAL(__eryx_wasi_fd_allocate(fd, 0, 400000), E_NOSPC);
    EQUAL(resize(fd, 400000), 0); /* a hole fits */
    CHECK(__eryx_vfs_used() <= before + 300000);
    __eryx_vfs_quota(0);
    EQUAL(make_dir("tmp/more"), E_NOSPC);
    EQUAL(symlink_path("x", "tmp/more"), E_NOSPC);
    EQUAL(open_error("tmp/more", OPEN_CREATE, W), E_NOSPC);
    EQUAL(exists("tmp/more"), E_NOENT);
    EQUAL(unlink_path("tmp/big"), 0);
    CHECK(__eryx_vfs_used() > before); /* still open */
    close_fd(fd);
    EQUAL(__eryx_vfs_used(), before);
    __eryx_vfs_quota(UINT64_C(256) << 20);

    /* Allocation fails at every point in turn: ENOSPC, and nothing half done. */
    for (long fail_at = 0; fail_at < 12; fail_at++) {
        uint64_t used = __eryx_vfs_used();
        mock_allocations = fail_at;
        int error = make_dir("tmp/oom");
        mock_allocations = -1;
        EQUAL(exists("tmp/oom"), error == 0 ? 0 : E_NOENT);
        CHECK(error == 0 || error == E_NOSPC || error == E_NOMEM);
        if (error == 0) {
            mock_allocations = fail_at;
            error = open_error("tmp/oom/f", OPEN_CREATE, W);
            mock_allocations = -1;
            CHECK(error == 0 || error == E_NOSPC || error == E_NOMEM);
            unlink_path("tmp/oom/f");
            EQUAL(remove_dir("tmp/oom"), 0);
        }
        EQUAL(__eryx_vfs_used(), used);
    }
    int fds[2000], count = 0;
    while (open_in(ROOT, "tmp/many", OPEN_CREATE, W, 0, &fds[count]) == 0) {
        count++;
    }
    EQUAL(count, 1024 - 4);
    EQUAL(open_error("tmp/many", 0, R), E_MFILE);
    while (count > 0) {
        EQUAL(close_fd(fds[--count]), 0);
    }
    EQUAL(unlink_path("tmp/many"), 0);
}

void test_memory(void) {
    uint64_t used = __eryx_vfs_used();
    EQUAL(exists("tmp"), 0);
    files();
    positions_and_sizes();
    directories();
    used = __eryx_vfs_used(); /* the table of /tmp has its size now */
    listing();
    symlinks();
    renames();
    times();
    limits();
    CHECK(__eryx_vfs_used() <= used + 4096);
    CHECK(lists("tmp", "./ ../ "));
    CHECK(lists("home/sandbox", "./ ../ given.txt "));
}
