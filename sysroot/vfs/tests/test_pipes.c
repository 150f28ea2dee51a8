/* Pipes within the guest. */
#include "mock.h"
#include "tests.h"

int guest_dup(int fd);

static int transfer(int fd, bool write, void *bytes, size_t length, size_t *done) {
    struct wasi_iovec vector = {bytes, length};
    *done = 0;
    return write ? __eryx_wasi_fd_write(fd, &vector, 1, done) : __eryx_wasi_fd_read(fd, &vector, 1, done);
}

static int poll_one(int fd, uint8_t tag, bool with_clock, size_t *ready) {
    struct wasi_subscription list[2];
    struct wasi_event events[2];
    memset(list, 0, sizeof list);
    list[0].tag = tag;
    list[0].u.fd = fd;
    list[1].tag = EVENT_CLOCK;
    *ready = 0;
    int error = __eryx_wasi_poll_oneoff(list, events, with_clock ? 2 : 1, ready);
    return error != 0 || *ready == 0 ? error : events[0].type == tag ? 0 : -1;
}

void test_pipes(void) {
    static uint8_t bytes[70000], back[70000];
    uint64_t used = __eryx_vfs_used();
    int fds[2];
    size_t done;
    for (size_t i = 0; i < sizeof bytes; i++) {
        bytes[i] = (uint8_t)(i * 7 + i / 256);
    }
    EQUAL(__eryx_vfs_pipe(fds, 0), 0);
    EQUAL(fds[0], 4);
    EQUAL(fds[1], 5);
    EQUAL(stat_fd(fds[0]).links >> 32, 0010600);
    EQUAL(stat_fd(fds[0]).inode, stat_fd(fds[1]).inode);
    EQUAL(transfer(fds[0], true, bytes, 1, &done), E_BADF);
    EQUAL(transfer(fds[1], false, back, 1, &done), E_BADF);
    EQUAL(transfer(fds[0], false, back, 1, &done), E_DEADLK);
    EQUAL(transfer(fds[0], false, back, 0, &done), 0);
    size_t ready;
    EQUAL(poll_one(fds[0], EVENT_READ, false, &ready), E_DEADLK);
    EQUAL(poll_one(fds[1], EVENT_WRITE, false, &ready), 0);
    EQUAL(ready, 1);
    for (int round = 0; round < 5; round++) {
        EQUAL(transfer(fds[1], true, bytes, 30000, &done), 0);
        EQUAL(done, 30000);
        EQUAL(poll_one(fds[0], EVENT_READ, true, &ready), 0);
        EQUAL(transfer(fds[0], false, back, sizeof back, &done), 0);
        EQUAL(done, 30000);
        EQUAL(memcmp(bytes, back, done), 0);
    }
    /* More than there is room for. */
    EQUAL(transfer(fds[1], true, bytes, sizeof bytes, &done), 0);
    EQUAL(done, 65536);
    EQUAL(transfer(fds[1], true, bytes, 1, &done), E_DEADLK);
    EQUAL(poll_one(fds[1], EVENT_WRITE, false, &ready), E_DEADLK);
    EQUAL(__eryx_wasi_fd_fdstat_set_flags(fds[1], FLAG_NONBLOCK), 0);
    EQUAL(transfer(fds[1], true, bytes, 1, &done), E_AGAIN);
    EQUAL(transfer(fds[0], false, back, 100, &done), 0);
    EQUAL(transfer(fds[1], true, bytes, 4096, &done), E_AGAIN);
    EQUAL(transfer(fds[1], true, bytes, 5000, &done), 0);
    EQUAL(done, 100);
    EQUAL(transfer(fds[0], false, back, sizeof back, &done), 0);
    EQUAL(done, 65536);
    EQUAL(memcmp(back, bytes + 100, 65436), 0);
    EQUAL(__eryx_wasi_fd_fdstat_set_flags(fds[0], FLAG_NONBLOCK), 0);
    EQUAL(transfer(fds[0], false, back, 1, &done), E_AGAIN);
    EQUAL(__eryx_wasi_fd_seek(fds[0], 0, FROM_START, &(uint64_t){0}), E_SPIPE);
    EQUAL(__eryx_wasi_fd_tell(fds[0], &(uint64_t){0}), E_SPIPE);
    EQUAL(__eryx_wasi_fd_filestat_set_size(fds[1], 0), E_INVAL);
    int folder;
    EQUAL(open_in(fds[0], "x", 0, R, 0, &folder), E_NOTDIR);
    EQUAL(__eryx_wasi_fd_readdir(fds[0], back, 100, 0, &done), E_NOTDIR);
    /* The last writer goes: what is there can be read, then the end. */
    int second = guest_dup(fds[1]);
    EQUAL(transfer(second, true, bytes, 3, &done), 0);
    EQUAL(close_fd(fds[1]), 0);
    EQUAL(transfer(fds[0], false, back, 10, &done), 0);
    EQUAL(done, 3);
    EQUAL(transfer(fds[0], false, back, 10, &done), E_AGAIN);
    EQUAL(close_fd(second), 0);
    EQUAL(transfer(fds[0], false, back, 10, &done), 0);
    EQUAL(done, 0);
    EQUAL(poll_one(fds[0], EVENT_READ, false, &ready), 0);
    EQUAL(close_fd(fds[0]), 0);
    EQUAL(__eryx_vfs_used(), used);

    EQUAL(__eryx_vfs_pipe(fds, FLAG_NONBLOCK), 0);
    EQUAL(close_fd(fds[0]), 0);
    EQUAL(transfer(fds[1], true, bytes, 1, &done), E_PIPE);
    EQUAL(close_fd(fds[1]), 0);
    for (int succeed = 0; succeed < 3; succeed++) {
        mock_allocations = succeed;
        EQUAL(__eryx_vfs_pipe(fds, 0), E_NOMEM);
    }
    mock_allocations = -1;
    EQUAL(__eryx_vfs_used(), used);
}
