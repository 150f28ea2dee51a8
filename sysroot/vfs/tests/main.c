/* Runs all parts; the argument is an empty directory of the build machine. Links against an
 * allocator that fails on demand. */
#include <stdio.h>
#include <stdlib.h>

#include "mock.h"
#include "tests.h"

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);

static int refused(void) {
    return mock_allocations >= 0 && mock_allocations-- <= 0 && (mock_allocations = 0, 1);
}

void *__wrap_malloc(size_t size) {
    return refused() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size) {
    return refused() ? NULL : __real_calloc(count, size);
}

int main(int count, char **arguments) {
    if (count != 2) {
        return 2;
    }
    /* The very first call finds no memory; the next one starts afresh. */
    struct wasi_filestat stat;
    for (int succeed = 0; succeed < 10; succeed++) {
        mock_allocations = succeed;
        int error = stat_path("tmp", true, &stat);
        CHECK(error == 0 || error == E_NOMEM);
    }
    mock_allocations = -1;
    test_image();
    test_memory();
    test_descriptors();
    test_hooks();
    test_modes();
    test_pipes();
    test_mappings();
    test_grants(arguments[1]);
    puts("ok");
    return 0;
}
