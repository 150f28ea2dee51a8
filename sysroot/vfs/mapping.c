/* Mappings. WebAssembly has one memory and nothing that notices a write: a mapping is memory of its
 * own, filled from the file when it is made. What is shared and may be written goes back to the file
 * at msync, and when the mapping ends. Two mappings of one file do not see each other, nor does what
 * reads the file see a mapping before it was written back. */
#include <stdlib.h>
#include <string.h>

#include "eryx_public.h"
#include "state.h"

#define ALIGNMENT 4096u

struct mapping {
    struct mapping *next;
    uint8_t *bytes;
    uint64_t length;
    uint64_t offset;
    struct description *file; /* NULL: of no file */
    bool written_back;
};

static struct mapping *mappings;

static int pread_file(struct description *file, uint8_t *buffer, size_t length, uint64_t offset, size_t *done) {
    struct wasi_iovec vector = {buffer, length};
    *done = 0;
    if (file->kind == OPEN_DEAD) {
        return E_BADF;
    }
    if (file->kind == OPEN_OUTER) {
        return outer_fd_pread(file->fd, &vector, 1, offset, done);
    }
    return description_read_at(file, &vector, 1, offset, done);
}

static int fill(struct mapping *mapping, uint64_t from) {
    int error = 0;
    while (error == 0 && mapping->file != NULL && from < mapping->length) {
        size_t done;
        error = pread_file(mapping->file, mapping->bytes + from, (size_t)(mapping->length - from),
                           mapping->offset + from, &done);
        if (done == 0) {
            break;
        }
        from += done;
    }
    return error;
}

/* Nothing is written beyond the end of the file. */
static int write_back(struct mapping *mapping) {
    if (mapping->file == NULL || !mapping->written_back) {
        return 0;
    }
    struct description *file = mapping->file;
    uint64_t size = 0;
    int error = 0;
    if (file->kind == OPEN_DEAD) {
        return E_BADF;
    }
    if (file->kind == OPEN_OUTER) {
        struct wasi_filestat stat;
        error = outer_fd_filestat_get(file->fd, &stat);
        size = stat.size;
    } else {
        size = file->node->u.file.size;
    }
    for (uint64_t at = 0; error == 0 && at < mapping->length && mapping->offset + at < size;) {
        uint64_t part = mapping->length - at;
        part = part < size - mapping->offset - at ? part : size - mapping->offset - at;
        struct wasi_iovec vector = {mapping->bytes + at, (size_t)part};
        size_t done = 0;
        error = file->kind == OPEN_OUTER ? outer_fd_pwrite(file->fd, &vector, 1, mapping->offset + at, &done)
                                         : description_write_at(file, &vector, 1, mapping->offset + at, &done);
        if (done == 0) {
            break;
        }
        at += done;
    }
    return error;
}

static void end(struct mapping *mapping) {
    if (mapping->file != NULL) {
        if (mapping->file->kind == OPEN_OUTER && mapping->file->uses == 1) {
            outer_fd_close(mapping->file->fd);
        }
        description_release(mapping->file);
    }
    free(mapping->bytes);
    free(mapping);
}

static uint8_t *take(uint64_t length) {
    if (length > SIZE_MAX - ALIGNMENT) {
        return NULL;
    }
    size_t whole = ((size_t)length + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    uint8_t *bytes = aligned_alloc(ALIGNMENT, whole);
    if (bytes != NULL) {
        memset(bytes, 0, whole);
    }
    return bytes;
}

int32_t __eryx_vfs_map(void **address, uint64_t length, int32_t fd, uint64_t offset, int32_t how) {
    struct description *file = NULL;
    int error = vfs_setup();
    if (error != 0) {
        return error;
    }
    if (length == 0) {
        return E_INVAL;
    }
    if ((how & MAP_OF_FILE) != 0) {
        error = fd_get(fd, &file);
        if (error != 0) {
            return error;
        }
        bool regular = file->kind == OPEN_OUTER  ? file->mount != NULL
                       : file->kind == OPEN_NODE ? file->node->kind == NODE_FILE
                                                 : file->kind == OPEN_IMAGE && image_type(file->image) == TYPE_REGULAR;
        uint64_t wanted = how & MAP_WRITTEN_BACK ? RIGHT_READ | RIGHT_WRITE : RIGHT_READ;
        if (!regular || (file->rights & wanted) != wanted) {
            return E_ACCES;
        }
    }
    struct mapping *mapping = calloc(1, sizeof *mapping);
    uint8_t *bytes = take(length);
    if (mapping == NULL || bytes == NULL) {
        free(mapping);
        free(bytes);
        return E_NOMEM;
    }
    *mapping = (struct mapping){
        .bytes = bytes,
        .length = length,
        .offset = offset,
        .file = file,
        .written_back = (how & MAP_WRITTEN_BACK) != 0,
    };
    if (file != NULL) {
        file->uses++;
    }
    error = fill(mapping, 0);
    if (error != 0) {
        end(mapping);
        return error;
    }
    mapping->next = mappings;
    mappings = mapping;
    *address = bytes;
    return 0;
}

static struct mapping **find(const void *address) {
    struct mapping **at = &mappings;
    while (*at != NULL && ((const uint8_t *)address < (*at)->bytes ||
                           (const uint8_t *)address >= (*at)->bytes + (*at)->length)) {
        at = &(*at)->next;
    }
    return at;
}

/* A part of a mapping that is given back stays until the rest is. */
int32_t __eryx_vfs_unmap(void *address, uint64_t length) {
    struct mapping *mapping = *find(address);
    if (length == 0) {
        return E_INVAL;
    }
    if (mapping == NULL || mapping->bytes != address || length < mapping->length) {
        return 0;
    }
    *find(address) = mapping->next;
    write_back(mapping);
    end(mapping);
    return 0;
}

void mappings_forget(void) {
    for (struct mapping *mapping = mappings; mapping != NULL; mapping = mapping->next) {
        description_forget(mapping->file);
    }
}

int32_t __eryx_vfs_sync_map(void *address) {
    struct mapping *mapping = *find(address);
    return mapping == NULL ? E_NOMEM : write_back(mapping);
}

int32_t __eryx_vfs_remap(void **address, uint64_t length) {
    struct mapping *mapping = *find(*address);
    if (mapping == NULL || mapping->bytes != *address || length == 0) {
        return E_INVAL;
    }
    uint8_t *bytes = take(length);
    if (bytes == NULL) {
        return E_NOMEM;
    }
    uint64_t former = mapping->length, kept = length < former ? length : former;
    memcpy(bytes, mapping->bytes, (size_t)kept);
    free(mapping->bytes);
    mapping->bytes = bytes;
    mapping->length = length;
    *address = bytes;
    return fill(mapping, kept);
}
