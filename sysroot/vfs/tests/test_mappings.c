/* Mappings: memory of their own, filled from files and written back. */
#include "tests.h"

void test_mappings(void) {
    void *address;
    make_file("tmp/file", "0123456789");
    int fd = open_ok("tmp/file", 0, RW), reading = open_ok("tmp/file", 0, R);
    EQUAL(__eryx_vfs_map(&address, 100000, -1, 0, 0), 0);
    char *bytes = address;
    CHECK(bytes[0] == 0 && bytes[99999] == 0);
    bytes[99999] = 1;
    EQUAL(__eryx_vfs_remap(&address, 200000), 0);
    bytes = address;
    CHECK(bytes[99999] == 1 && bytes[199999] == 0);
    EQUAL(__eryx_vfs_unmap(address, 200000), 0);

    EQUAL(__eryx_vfs_map(&address, 4096, fd, 0, MAP_OF_FILE | MAP_WRITTEN_BACK), 0);
    bytes = address;
    EQUAL(memcmp(bytes, "0123456789\0", 11), 0);
    EQUAL(close_fd(fd), 0);
    bytes[3] = 'x';
    bytes[20] = 'y';
    EQUAL(__eryx_vfs_sync_map(address), 0);
    CHECK(holds("tmp/file", "012x456789"));
    bytes[4] = 'z';
    EQUAL(__eryx_vfs_unmap(address, 10), 0);
    CHECK(holds("tmp/file", "012x456789"));
    EQUAL(__eryx_vfs_unmap(address, 4096), 0);
    CHECK(holds("tmp/file", "012xz56789"));

    /* Private ones are not written back; what cannot be written is not shared for writing. */
    EQUAL(__eryx_vfs_map(&address, 4, reading, 2, MAP_OF_FILE), 0);
    bytes = address;
    EQUAL(memcmp(bytes, "2xz5", 4), 0);
    bytes[0] = '!';
    EQUAL(__eryx_vfs_unmap(address, 4), 0);
    CHECK(holds("tmp/file", "012xz56789"));
    EQUAL(__eryx_vfs_map(&address, 4, reading, 0, MAP_OF_FILE | MAP_WRITTEN_BACK), E_ACCES);
    EQUAL(__eryx_vfs_map(&address, 0, reading, 0, MAP_OF_FILE), E_INVAL);
    EQUAL(__eryx_vfs_map(&address, 4, 500, 0, MAP_OF_FILE), E_BADF);
    EQUAL(__eryx_vfs_map(&address, 4, ROOT, 0, MAP_OF_FILE), E_ACCES);
    EQUAL(__eryx_vfs_remap(&address, 4), E_INVAL);
    EQUAL(__eryx_vfs_unmap(&address, 4), 0);
    int image = open_ok("lib/os.py", 0, R);
    EQUAL(__eryx_vfs_map(&address, 11, image, 0, MAP_OF_FILE), 0);
    EQUAL(memcmp(address, "import sys\n", 11), 0);
    EQUAL(__eryx_vfs_unmap(address, 11), 0);
    close_fd(image);
    close_fd(reading);
    EQUAL(unlink_path("tmp/file"), 0);
}
