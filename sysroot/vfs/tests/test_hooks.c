/* What the runtime hears of the guest's end, and the number of files that may be written. */
#include "mock.h"
#include "tests.h"

static int32_t told;

static void tell(int32_t status) {
    told = status;
}

void test_hooks(void) {
    __eryx_vfs_on_exit(tell);
    __eryx_wasi_proc_exit(143);
    CHECK(told == 143 && mock_exit_status == 143);
    __eryx_vfs_on_exit(NULL);
    __eryx_wasi_proc_exit(1);
    CHECK(told == 143 && mock_exit_status == 1);

    uint32_t before = __eryx_vfs_writers();
    int read, write, copy;
    CHECK(open_in(ROOT, "tmp/hooks", OPEN_CREATE, RW, 0, &write) == 0);
    CHECK(__eryx_vfs_writers() == before + 1);
    CHECK(open_in(ROOT, "tmp/hooks", 0, RIGHT_READ, 0, &read) == 0);
    CHECK(open_in(ROOT, "lib/os.py", 0, RIGHT_READ, 0, &copy) == 0);
    CHECK(__eryx_vfs_writers() == before + 1);
    CHECK(__eryx_wasi_fd_close(copy) == 0 && __eryx_wasi_fd_close(write) == 0 && __eryx_wasi_fd_close(read) == 0);
    CHECK(__eryx_vfs_writers() == before);
    CHECK(unlink_path("tmp/hooks") == 0);
}
