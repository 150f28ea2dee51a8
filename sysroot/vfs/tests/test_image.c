/* The embedded tree: reading it, and that nothing can change it. The tree itself is made by
 * build/tests/vfs.rs with the same code as any other image. */
#include "mock.h"
#include "tests.h"

#define IMAGE_TIME (UINT64_C(315532800) * 1000000000)

static void reading(void) {
    int crossings = mock_crossings;
    CHECK(holds("lib/os.py", "import sys\n"));
    CHECK(holds("/lib/python/../os.py", "import sys\n"));
    CHECK(holds("lib/python/empty.py", ""));
    CHECK(holds("lib/link", "import sys\n"));
    CHECK(holds("lib/absolute/os.py", "import sys\n"));
    EQUAL(open_error("lib/loop", 0, R), E_LOOP);
    EQUAL(open_error("lib/none", 0, R), E_NOENT);
    EQUAL(open_error("lib/none", OPEN_CREATE, W), E_ROFS);
    EQUAL(open_error("lib/os.py", OPEN_CREATE, R), 0);
    EQUAL(open_error("lib/os.py", OPEN_CREATE | OPEN_EXCLUSIVE, W), E_EXIST);
    EQUAL(open_error("lib/os.py", 0, RW), E_ROFS);
    EQUAL(open_error("lib/os.py", OPEN_TRUNCATE, R), E_ROFS);
    EQUAL(open_error("lib/os.py", OPEN_DIRECTORY, R), E_NOTDIR);
    EQUAL(open_error("lib/os.py/x", 0, R), E_NOTDIR);
    EQUAL(open_error("lib/os.py/", 0, R), E_NOTDIR);
    EQUAL(open_error("lib/python", 0, W), E_ISDIR);
    EQUAL(make_dir("lib/new"), E_ROFS);
    EQUAL(make_dir("lib/python"), E_EXIST);
    EQUAL(unlink_path("lib/os.py"), E_ROFS);
    EQUAL(unlink_path("lib/python"), E_ISDIR);
    EQUAL(remove_dir("lib/python"), E_ROFS);
    EQUAL(rename_path("lib/os.py", "tmp/os.py"), E_ROFS);
    /* Every name of a directory with many, and those that are not there beside each. */
    for (int i = 0; i < 500; i++) {
        char path[64];
        snprintf(path, sizeof path, "lib/many/m%d.py", i);
        EQUAL(exists(path), 0);
        snprintf(path, sizeof path, "lib/many/m%d", i);
        EQUAL(exists(path), E_NOENT);
        snprintf(path, sizeof path, "lib/many/m%d.pyc", i);
        EQUAL(exists(path), E_NOENT);
    }
    EQUAL(mock_crossings, crossings); /* the embedder was asked nothing */
}

static void descriptors(void) {
    int fd = open_ok("lib/os.py", 0, R);
    EQUAL(write_text(fd, "x"), E_BADF);
    EQUAL(resize(fd, 0), E_INVAL);
    EQUAL(__eryx_wasi_fd_allocate(fd, 0, 1), E_BADF);
    EQUAL(__eryx_wasi_fd_filestat_set_times(fd, 0, 0, SET_MODIFIED), E_ROFS);
    EQUAL(seek_to(fd, -4, FROM_END), 7);
    CHECK(strcmp(read_text(fd), "sys\n") == 0);
    EQUAL(seek_to(fd, 100, FROM_START), 100);
    CHECK(strcmp(read_text(fd), "") == 0);
    struct wasi_filestat stat = stat_fd(fd);
    EQUAL(stat.size, 11);
    EQUAL(stat.modified, IMAGE_TIME);
    EQUAL(stat.type, TYPE_REGULAR);
    EQUAL((uint32_t)stat.links, 1);
    EQUAL(stat.inode, inode_of("lib/os.py"));
    CHECK(stat.inode != inode_of("lib/python"));
    close_fd(fd);
}

static void listing(void) {
    CHECK(lists("lib", "./ ../ absolute@ link@ loop@ many/ os.py python/ "));
    CHECK(lists("lib/python", "./ ../ empty.py "));
    CHECK(lists("/", "./ ../ tmp/ home/ dev/ lib/ top.txt "));
    CHECK(lists("dev", "./ ../ null "));
    int fd = open_ok("lib/many", OPEN_DIRECTORY, R);
    char all[16384];
    strcpy(all, list_fd(fd, 65536));
    CHECK(strstr(all, " m499.py ") != NULL);
    for (size_t size = 40; size < 3000; size += 97) {
        CHECK(strcmp(list_fd(fd, size), all) == 0);
    }
    uint8_t buffer[100];
    size_t used;
    struct wasi_dirent entry;
    EQUAL(__eryx_wasi_fd_readdir(fd, buffer, sizeof buffer, 0, &used), 0);
    memcpy(&entry, buffer, sizeof entry);
    EQUAL(entry.inode, inode_of("lib/many"));
    memcpy(&entry, buffer + 25, sizeof entry);
    EQUAL(entry.inode, inode_of("lib"));
    memcpy(&entry, buffer + 25 + 26, sizeof entry);
    EQUAL(entry.inode, inode_of("lib/many/m0.py"));
    close_fd(fd);
}

/* /home/sandbox lies over a directory of the image that has a file: it shows through, read-only. */
static void shining_through(void) {
    CHECK(holds("home/sandbox/given.txt", "given"));
    EQUAL(unlink_path("home/sandbox/given.txt"), E_ROFS);
    make_file("tmp/f", "");
    EQUAL(rename_path("tmp/f", "home/sandbox/given.txt"), E_ROFS);
    EQUAL(unlink_path("tmp/f"), 0);
    make_file("home/sandbox/own", "mine");
    CHECK(lists("home/sandbox", "./ ../ own given.txt "));
    EQUAL(unlink_path("home/sandbox/own"), 0);
}

void test_image(void) {
    reading();
    descriptors();
    listing();
    shining_through();
}
