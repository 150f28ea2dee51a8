/* Directories of the embedder: where they appear, what is handed through, and forgetting them. */
#include <sys/stat.h>
#include <unistd.h>

#include "mock.h"
#include "tests.h"

int guest_dup(int fd);

static char base[4096];

static const char *host_path(const char *name) {
    static char path[4400];
    snprintf(path, sizeof path, "%s/%s", base, name);
    return path;
}

static void host_directory(const char *name) {
    EQUAL(mkdir(host_path(name), 0777), 0);
}

static void host_file(const char *name, const char *text) {
    FILE *file = fopen(host_path(name), "w");
    CHECK(file != NULL);
    fputs(text, file);
    fclose(file);
}

static int access_path(const char *path, uint32_t wanted) {
    return __eryx_vfs_access(ROOT, LOOKUP_FOLLOW, path, strlen(path), wanted);
}

static int chmod_path(const char *path, uint32_t mode) {
    return __eryx_vfs_chmod(ROOT, LOOKUP_FOLLOW, path, strlen(path), mode);
}

static uint32_t mode_of(const char *path) {
    struct wasi_filestat stat;
    EQUAL(stat_path(path, false, &stat), 0);
    return (uint32_t)(stat.links >> 32);
}

/* The embedder takes UTF-8 and nothing else; the mock looks at each path that comes to it. */
static void foreign_names(void) {
    static const char *const names[] = {"data/\x80", "data/\xc3", "data/\xed\xa0\x80", "data/\xc0\xaf", "data/\xf5\x80\x80\x80",
                                        "data/x\xff/y", "data/\xff/../in.txt", "data/sub/../\xff", "data/\xff/"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *name = names[i];
        bool up = strstr(name, "/..") != NULL && strstr(name, "sub") == NULL;
        int creating = up ? E_NOENT : E_ILSEQ;
        struct wasi_filestat stat;
        EQUAL(exists(name), E_NOENT);
        EQUAL(stat_path(name, false, &stat), E_NOENT);
        EQUAL(open_error(name, 0, R), E_NOENT);
        EQUAL(open_error(name, OPEN_DIRECTORY, R), E_NOENT);
        EQUAL(open_error(name, OPEN_CREATE, W), creating);
        EQUAL(make_dir(name), creating);
        EQUAL(remove_dir(name), E_NOENT);
        EQUAL(unlink_path(name), E_NOENT);
        EQUAL(rename_path(name, "data/new"), E_NOENT);
        EQUAL(rename_path("data/in.txt", name), creating);
        EQUAL(rename_path("top.txt", name), up ? E_NOENT : E_XDEV);
        EQUAL(link_path(name, "data/new"), E_NOENT);
        EQUAL(link_path("data/in.txt", name), creating);
        EQUAL(symlink_path("in.txt", name), creating);
        EQUAL(access_path(name, 0), E_NOENT);
        EQUAL(chmod_path(name, 0600), E_NOENT);
        EQUAL(__eryx_wasi_path_filestat_set_times(ROOT, 1, name, strlen(name), 0, 0, SET_MODIFIED_NOW), E_NOENT);
        uint8_t target[8];
        EQUAL(__eryx_wasi_path_readlink(ROOT, name, strlen(name), target, sizeof target, &(size_t){0}), E_NOENT);
        struct __eryx_space space;
        EQUAL(__eryx_vfs_space(ROOT, name, strlen(name), &space), E_NOENT);
    }
    EQUAL(symlink_path("\xff", "data/link"), E_ILSEQ);
    EQUAL(exists("data/link"), E_NOENT);
    EQUAL(exists("data/\xf0\x9f\x98\x80\xc3\xa9\xe2\x82\xac"), E_NOENT);
    int folder = open_ok("data", OPEN_DIRECTORY, R), fd;
    EQUAL(open_in(folder, "\xff", 0, R, 0, &fd), E_NOENT);
    EQUAL(open_in(folder, "\xff", OPEN_CREATE, W, 0, &fd), E_ILSEQ);
    close_fd(folder);
    /* Memory takes any bytes. */
    make_file("tmp/\xff", "any");
    CHECK(holds("tmp/\xff", "any"));
    EQUAL(symlink_path("\xff", "tmp/to"), 0);
    CHECK(holds("tmp/to", "any"));
    EQUAL(unlink_path("tmp/to"), 0);
    EQUAL(unlink_path("tmp/\xff"), 0);
}

static void permissions_of_the_embedder(void) {
    EQUAL(mode_of("data"), 0755);
    EQUAL(mode_of("data/sub"), 0755);
    EQUAL(mode_of("data/in.txt"), 0644);
    EQUAL(access_path("data/in.txt", 6), 0);
    EQUAL(access_path("data/in.txt", 1), E_ACCES);
    EQUAL(access_path("data/sub", 7), 0);
    EQUAL(access_path("data", 7), 0);
    EQUAL(chmod_path("data/in.txt", 0600), 0);
    EQUAL(mode_of("data/in.txt"), 0644);
    EQUAL(chmod(host_path("one/in.txt"), 0000), 0);
    if (geteuid() != 0) {
        EQUAL(access_path("data/in.txt", 4), E_ACCES);
    }
    EQUAL(chmod(host_path("one/in.txt"), 0644), 0);

    mock_read_only = true;
    __eryx_vfs_reset();
    EQUAL(mode_of("data"), 0555);
    EQUAL(mode_of("data/sub"), 0555);
    EQUAL(mode_of("data/in.txt"), 0444);
    EQUAL(access_path("data/in.txt", 4), 0);
    EQUAL(access_path("data/in.txt", 2), E_ROFS);
    EQUAL(access_path("data/sub", 2), E_ROFS);
    EQUAL(access_path("data", 2), E_ROFS);
    EQUAL(access_path("data", 5), 0);
    EQUAL(chmod_path("data/in.txt", 0600), E_ROFS);
    struct __eryx_space space;
    EQUAL(__eryx_vfs_space(ROOT, "data", 4, &space), 0);
    EQUAL(space.read_only, 1);
    mock_read_only = false;
    __eryx_vfs_reset();
    EQUAL(__eryx_vfs_space(ROOT, "data/sub", 8, &space), 0);
    EQUAL(space.read_only, 0);
}

/* Flags are told as they were given. */
static void flags_of_the_embedder(void) {
    int fd;
    struct wasi_fdstat stat;
    EQUAL(open_in(ROOT, "data/in.txt", 0, R, FLAG_APPEND, &fd), 0);
    EQUAL(__eryx_wasi_fd_fdstat_get(fd, &stat), 0);
    EQUAL(stat.flags, FLAG_APPEND);
    EQUAL(__eryx_wasi_fd_fdstat_set_flags(fd, FLAG_NONBLOCK), 0);
    EQUAL(__eryx_wasi_fd_fdstat_get(fd, &stat), 0);
    EQUAL(stat.flags, FLAG_NONBLOCK);
    close_fd(fd);
    EQUAL(__eryx_wasi_fd_fdstat_set_flags(1, FLAG_NONBLOCK), 0);
    EQUAL(__eryx_wasi_fd_fdstat_get(1, &stat), 0);
    EQUAL(stat.flags & FLAG_NONBLOCK, FLAG_NONBLOCK);
    EQUAL(__eryx_wasi_fd_fdstat_set_flags(1, 0), 0);
    mock_gone = true;
    EQUAL(write_text(1, "x"), E_PIPE);
    mock_gone = false;
}

static void granted_directory(void) {
    CHECK(lists("/", "./ ../ tmp/ home/ dev/ data/ lib/ top.txt "));
    CHECK(holds("data/in.txt", "from outside"));
    make_file("data/sub/out.txt", "from inside");
    EQUAL(access(host_path("one/sub/out.txt"), F_OK), 0);
    CHECK(holds("/data/sub/../sub/./out.txt", "from inside"));
    EQUAL(inode_of("data/.."), inode_of("/"));
    EQUAL(inode_of("data/sub/.."), inode_of("data"));
    CHECK(holds("data/sub/../../lib/os.py", "import sys\n"));
    EQUAL(exists("data/in.txt/.."), E_NOTDIR);
    EQUAL(exists("data/none/.."), E_NOENT);
    EQUAL(open_error("data/in.txt/", 0, R), E_NOTDIR);
    EQUAL(make_dir("data"), E_EXIST);
    EQUAL(make_dir("data/made"), 0);
    EQUAL(remove_dir("data/made"), 0);
    EQUAL(remove_dir("data"), E_BUSY);
    EQUAL(rename_path("data", "tmp/data"), E_BUSY);
    EQUAL(rename_path("data/sub/out.txt", "data/sub/moved.txt"), 0);
    EQUAL(rename_path("data/sub/moved.txt", "tmp/moved.txt"), E_XDEV);
    EQUAL(link_path("data/sub/moved.txt", "tmp/moved.txt"), E_XDEV);
    EQUAL(link_path("data/sub/moved.txt", "data/linked"), 0);
    EQUAL(unlink_path("data/linked"), 0);
    EQUAL(unlink_path("data/sub/moved.txt"), 0);
    CHECK(strstr(list_path("data"), " in.txt ") != NULL);
    CHECK(strstr(list_path("data"), "sub/ ") != NULL);
    struct wasi_filestat stat;
    EQUAL(stat_path("data", true, &stat), 0);
    EQUAL(stat.type, TYPE_DIRECTORY);
    EQUAL(__eryx_wasi_path_filestat_set_times(ROOT, 1, "data/in.txt", 11, 0, 3000000000, SET_MODIFIED), 0);
    EQUAL(stat_path("data/in.txt", true, &stat), 0);
    EQUAL(stat.modified, 3000000000);
}

static void links_of_the_embedder(void) {
    EQUAL(symlink_path("sub/deep", "data/short"), 0);
    EQUAL(make_dir("data/sub/deep"), 0);
    make_file("data/short/f", "deep");
    CHECK(holds("data/sub/deep/f", "deep"));
    /* `..` after a link means the target's parent. */
    EQUAL(inode_of("data/short/.."), inode_of("data/sub"));
    CHECK(holds("data/short/../deep/f", "deep"));
    uint8_t text[32];
    size_t used;
    EQUAL(__eryx_wasi_path_readlink(ROOT, "data/short", 10, text, sizeof text, &used), 0);
    EQUAL(used, 8);
    EQUAL(symlink_path("/etc", "data/out"), 0);
    EQUAL(exists("data/out/.."), E_NOTCAPABLE);
    /* A memory link leads into the grant. */
    EQUAL(symlink_path("../data/sub", "tmp/into"), 0);
    CHECK(holds("tmp/into/deep/f", "deep"));
    EQUAL(unlink_path("tmp/into"), 0);
    EQUAL(unlink_path("data/out"), 0);
    EQUAL(unlink_path("data/short"), 0);
    EQUAL(unlink_path("data/sub/deep/f"), 0);
    EQUAL(remove_dir("data/sub/deep"), 0);
}

static void as_many_as_there_are(void) {
    int before = mock_open_count(), fds[1024], count = 0, error;
    while ((error = open_in(ROOT, "data/in.txt", 0, R, 0, &fds[count])) == 0) {
        count++;
        CHECK(count < 1024);
    }
    EQUAL(error, E_MFILE);
    CHECK(count > 10);
    int file = open_ok("tmp/inside", OPEN_CREATE, RW); /* those in memory are not the embedder's */
    EQUAL(close_fd(file), 0);
    while (count > 0) {
        EQUAL(close_fd(fds[--count]), 0);
    }
    EQUAL(mock_open_count(), before);
    CHECK(holds("data/in.txt", "from outside"));
}

static void descriptors(void) {
    int before = mock_open_count();
    int fd = open_ok("data/sub", OPEN_DIRECTORY, R), file;
    EQUAL(open_in(fd, "x", OPEN_CREATE, RW, 0, &file), 0);
    int copy = guest_dup(file);
    EQUAL(write_text(file, "shared"), 0);
    EQUAL(seek_to(copy, 0, FROM_CURRENT), 6);
    EQUAL(seek_to(copy, 0, FROM_START), 0);
    CHECK(strcmp(read_text(file), "shared") == 0);
    EQUAL(resize(file, 2), 0);
    EQUAL(stat_fd(file).size, 2);
    EQUAL(close_fd(file), 0);
    EQUAL(mock_open_count(), before + 2); /* the copy keeps it open */
    EQUAL(close_fd(copy), 0);
    EQUAL(mock_open_count(), before + 1);
    EQUAL(open_in(fd, "../in.txt", 0, R, 0, &file), 0);
    close_fd(file);
    EQUAL(open_in(fd, "../../lib/os.py", 0, R, 0, &file), 0);
    close_fd(file);
    EQUAL(open_in(fd, ".", 0, R, 0, &file), 0);
    close_fd(file);
    CHECK(strstr(list_fd(fd, 4096), "x ") != NULL);
    EQUAL(__eryx_wasi_path_unlink_file(fd, "x", 1), 0);
    close_fd(fd);
    EQUAL(mock_open_count(), before);
}

static void nested_and_covering(void) {
    /* Granted at /lib/python/pkg: the image shows through around it. */
    CHECK(lists("lib/python", "./ ../ pkg/ empty.py "));
    CHECK(holds("lib/python/empty.py", ""));
    CHECK(holds("lib/python/pkg/m.py", "granted"));
    CHECK(holds("lib/python/pkg/../../os.py", "import sys\n"));
    EQUAL(make_dir("lib/python/other"), E_ROFS);
    EQUAL(rename_path("data/in.txt", "lib/python/pkg/in.txt"), E_XDEV);
    /* Entering from below through the image leads to the same directory. */
    int fd = open_ok("lib/many", OPEN_DIRECTORY, R), file;
    EQUAL(open_in(fd, "../python/pkg/m.py", 0, R, 0, &file), 0);
    close_fd(file);
    close_fd(fd);
    /* One grant inside another. */
    CHECK(holds("data/inner/m.py", "granted"));
    CHECK(strstr(list_path("data"), "inner/ ") != NULL);
    EQUAL(inode_of("data/inner/.."), inode_of("data"));
    /* Over a name of the memory tree. */
    CHECK(holds("tmp/mine/m.py", "granted"));
    EQUAL(remove_dir("tmp/mine"), E_BUSY);
}

static void as_root(void) {
    host_directory("root");
    host_file("root/extra.txt", "extra");
    host_file("root/top.txt", "hidden");
    host_directory("root/lib");
    host_directory("root/dir");
    mock_no_grants();
    mock_grant(host_path("root"), ".");
    mock_grant(host_path("two"), "/dir/two");
    __eryx_vfs_reset();
    CHECK(holds("extra.txt", "extra"));
    CHECK(holds("top.txt", "top"));
    CHECK(holds("lib/os.py", "import sys\n"));
    make_file("new.txt", "new");
    EQUAL(access(host_path("root/new.txt"), F_OK), 0);
    make_file("dir/made", "x");
    EQUAL(access(host_path("root/dir/made"), F_OK), 0);
    CHECK(holds("dir/two/m.py", "granted"));
    EQUAL(inode_of("dir/two/../.."), inode_of("/"));
    char names[4096];
    strcpy(names, list_path("/"));
    CHECK(strncmp(names, "./ ../ tmp/ home/ dev/ dir/ lib/ top.txt ", 41) == 0);
    CHECK(strstr(names, " extra.txt ") != NULL && strstr(names, " new.txt ") != NULL);
    CHECK(strstr(names + 41, "top.txt") == NULL && strstr(names + 41, "lib") == NULL);
    int fd = open_ok("/", OPEN_DIRECTORY, R);
    for (size_t size = 40; size < 200; size += 3) {
        EQUAL(strlen(list_fd(fd, size)), strlen(names));
    }
    close_fd(fd);
    CHECK(strstr(list_path("dir"), "two/ ") != NULL && strstr(list_path("dir"), "made ") != NULL);
    make_file("tmp/still", "memory");
    EQUAL(access(host_path("root/tmp"), F_OK), -1);
    EQUAL(unlink_path("tmp/still"), 0);
}

void test_grants(const char *directory) {
    snprintf(base, sizeof base, "%s", directory);
    host_directory("one");
    host_directory("one/sub");
    host_directory("two");
    host_file("one/in.txt", "from outside");
    host_file("two/m.py", "granted");

    /* Before: memory has a directory where a grant will come. */
    EQUAL(make_dir("tmp/mine"), 0);
    make_file("tmp/mine/note", "covered");
    int note = open_ok("tmp/mine/note", 0, R);
    uint64_t used = __eryx_vfs_used();
    mock_grant(host_path("one"), "/data");
    __eryx_vfs_reset();
    granted_directory();
    foreign_names();
    permissions_of_the_embedder();
    flags_of_the_embedder();
    links_of_the_embedder();
    descriptors();
    as_many_as_there_are();
    int in = open_ok("data/in.txt", 0, R), folder = open_ok("data", OPEN_DIRECTORY, R);
    int saved = guest_dup(1);
    int both = open_ok("data/in.txt", 0, RW);
    void *mapped;
    EQUAL(__eryx_vfs_map(&mapped, 100, both, 0, MAP_OF_FILE | MAP_WRITTEN_BACK), 0);
    EQUAL(memcmp(mapped, "from outside\0", 13), 0);
    memcpy(mapped, "F", 1);
    EQUAL(__eryx_vfs_sync_map(mapped), 0);
    CHECK(holds("data/in.txt", "From outside"));
    memcpy(mapped, "f", 1);
    EQUAL(__eryx_vfs_sync_map(mapped), 0);
    EQUAL(close_fd(both), 0);

    mock_grant(host_path("two"), "lib/python/pkg/");
    mock_grant(host_path("two"), "./data/inner");
    mock_grant(host_path("two"), "/tmp/mine");
    mock_grant(host_path("two"), "../escape");
    __eryx_vfs_reset();
    /* What was open outside is dead, the streams and memory files live. */
    EQUAL(write_text(in, "x"), E_BADF);
    EQUAL(__eryx_vfs_sync_map(mapped), E_BADF);
    EQUAL(__eryx_vfs_remap(&mapped, 200), E_BADF);
    EQUAL(__eryx_vfs_unmap(mapped, 200), 0);
    EQUAL(open_in(folder, "in.txt", 0, R, 0, &(int){0}), E_NOENT);
    EQUAL(close_fd(in), 0);
    EQUAL(close_fd(folder), 0);
    EQUAL(write_text(saved, "x"), 0);
    EQUAL(close_fd(saved), 0);
    CHECK(strcmp(read_text(note), "covered") == 0);
    CHECK(holds("data/in.txt", "from outside"));
    nested_and_covering();
    as_root();

    mock_no_grants();
    __eryx_vfs_reset();
    CHECK(lists("/", "./ ../ tmp/ home/ dev/ lib/ top.txt "));
    CHECK(lists("lib/python", "./ ../ empty.py "));
    EQUAL(exists("data"), E_NOENT);
    EQUAL(make_dir("new"), E_ROFS);
    CHECK(holds("tmp/mine/note", "covered"));
    close_fd(note);
    EQUAL(mock_open_count(), 0);
    CHECK(__eryx_vfs_used() <= used + 1024);
}
