/* The contents of a memory file: a table of blocks. Growing never copies what is there (but for small
 * files, whose only block grows by doubling), and a hole takes no memory. */
#include <string.h>

#include "state.h"

/* The bytes that block `number` has; past them it reads as zeros. */
static uint32_t block_length(const struct file *file, uint64_t number) {
    if (number >= file->table || file->blocks[number] == NULL) {
        return 0;
    }
    return number == 0 ? file->head : BLOCK_SIZE;
}

size_t file_read(const struct file *file, uint64_t offset, uint8_t *buffer, size_t length) {
    if (offset >= file->size) {
        return 0;
    }
    if (length > file->size - offset) {
        length = (size_t)(file->size - offset);
    }
    for (size_t done = 0; done < length;) {
        uint64_t number = (offset + done) / BLOCK_SIZE;
        uint32_t within = (uint32_t)((offset + done) % BLOCK_SIZE);
        size_t part = BLOCK_SIZE - within;
        if (part > length - done) {
            part = length - done;
        }
        uint32_t present = block_length(file, number);
        size_t real = within >= present ? 0 : present - within;
        if (real > part) {
            real = part;
        }
        if (real != 0) {
            memcpy(buffer + done, file->blocks[number] + within, real);
        }
        if (part > real) {
            memset(buffer + done + real, 0, part - real);
        }
        done += part;
    }
    return length;
}

static int table_grow(struct file *file, uint64_t number) {
    if (number < file->table) {
        return 0;
    }
    uint64_t table = file->table == 0 ? 1 : file->table;
    while (table <= number) {
        table *= 2;
    }
    uint8_t **blocks = quota_take(table * sizeof *blocks);
    if (blocks == NULL) {
        return E_NOSPC;
    }
    if (file->table != 0) {
        memcpy(blocks, file->blocks, file->table * sizeof *blocks);
    }
    quota_give(file->blocks, file->table * sizeof *blocks);
    file->blocks = blocks;
    file->table = (uint32_t)table;
    return 0;
}

/* Makes block `number` at least `length` bytes long. */
static int block_grow(struct file *file, uint64_t number, uint32_t length) {
    if (table_grow(file, number) != 0) {
        return E_NOSPC;
    }
    uint32_t present = block_length(file, number);
    if (present >= length) {
        return 0;
    }
    uint32_t wanted = number == 0 ? 256 : BLOCK_SIZE;
    while (wanted < length) {
        wanted *= 2;
    }
    uint8_t *block = quota_take(wanted);
    if (block == NULL) {
        return E_NOSPC;
    }
    if (number == 0) {
        if (present != 0) {
            memcpy(block, file->blocks[0], present);
        }
        quota_give(file->blocks[0], present);
        file->head = wanted;
    }
    file->blocks[number] = block;
    return 0;
}

int file_write(struct file *file, uint64_t offset, const uint8_t *buffer, size_t length, size_t *done) {
    *done = 0;
    if (length == 0) {
        return 0;
    }
    if (offset >= FILE_LIMIT) {
        return E_FBIG;
    }
    if (length > FILE_LIMIT - offset) {
        length = (size_t)(FILE_LIMIT - offset);
    }
    while (*done < length) {
        uint64_t number = (offset + *done) / BLOCK_SIZE;
        uint32_t within = (uint32_t)((offset + *done) % BLOCK_SIZE);
        size_t part = BLOCK_SIZE - within;
        if (part > length - *done) {
            part = length - *done;
        }
        if (block_grow(file, number, within + (uint32_t)part) != 0) {
            /* What was written before the memory ended counts, as on any disk. */
            return *done == 0 ? E_NOSPC : 0;
        }
        memcpy(file->blocks[number] + within, buffer + *done, part);
        *done += part;
        if (file->size < offset + *done) {
            file->size = offset + *done;
        }
    }
    return 0;
}

int file_resize(struct file *file, uint64_t size) {
    if (size > FILE_LIMIT) {
        return E_FBIG;
    }
    if (size < file->size) {
        uint64_t keep = (size + BLOCK_SIZE - 1) / BLOCK_SIZE;
        for (uint64_t number = keep; number < file->table; number++) {
            quota_give(file->blocks[number], block_length(file, number));
            file->blocks[number] = NULL;
        }
        if (keep == 0) {
            file->head = 0;
        } else {
            /* A later extension must read as zeros. */
            uint32_t present = block_length(file, keep - 1);
            uint32_t within = (uint32_t)(size - (keep - 1) * BLOCK_SIZE);
            if (present > within) {
                memset(file->blocks[keep - 1] + within, 0, present - within);
            }
        }
    }
    file->size = size;
    return 0;
}

int file_allocate(struct file *file, uint64_t offset, uint64_t length) {
    if (offset > FILE_LIMIT || length > FILE_LIMIT - offset) {
        return E_FBIG;
    }
    uint64_t end = offset + length;
    for (uint64_t number = offset / BLOCK_SIZE; number * BLOCK_SIZE < end; number++) {
        uint64_t rest = end - number * BLOCK_SIZE;
        if (block_grow(file, number, rest > BLOCK_SIZE ? BLOCK_SIZE : (uint32_t)rest) != 0) {
            return E_NOSPC;
        }
    }
    if (file->size < end) {
        file->size = end;
    }
    return 0;
}

void file_free(struct file *file) {
    for (uint64_t number = 0; number < file->table; number++) {
        quota_give(file->blocks[number], block_length(file, number));
    }
    quota_give(file->blocks, file->table * sizeof *file->blocks);
}
