/* Reading the embedded tree where it lies. The format is written by build/src/image.rs, whose
 * documentation is its definition; everything is little-endian and aligned, so that a record is read
 * by pointing at it. */
#include <string.h>

#include "state.h"

/* A data symbol of the image library, placed by the linker. */
extern const unsigned char __eryx_image[];

struct image_header {
    char magic[8];
    uint32_t nodes;
    uint32_t bytes;
    uint64_t modified;
};

_Static_assert(sizeof(struct image_header) == 24, "format of the image");
_Static_assert(sizeof(struct image_node) == 20, "format of the image");

void image_check(void) {
    /* Only a component that was linked wrongly can fail here, and it could not run anything. */
    if (memcmp(__eryx_image, "ERYXIMG1", 8) != 0) {
        __builtin_trap();
    }
}

const struct image_node *image_node(uint32_t index) {
    return (const struct image_node *)(const void *)(__eryx_image + sizeof(struct image_header)) + index;
}

const uint8_t *image_bytes(uint32_t offset) {
    return __eryx_image + offset;
}

uint64_t image_time(void) {
    return ((const struct image_header *)(const void *)__eryx_image)->modified;
}

uint8_t image_type(uint32_t index) {
    switch (image_node(index)->kind) {
    case IMAGE_DIRECTORY:
        return TYPE_DIRECTORY;
    case IMAGE_LINK:
        return TYPE_LINK;
    default:
        return TYPE_REGULAR;
    }
}

/* As an installed system has them, so that copies of them can be changed: that they cannot be changed
 * here is told as of any read-only file system. */
uint32_t image_mode(uint32_t index) {
    const struct image_node *node = image_node(index);
    switch (node->kind) {
    case IMAGE_DIRECTORY:
        return 0755;
    case IMAGE_LINK:
        return 0777;
    default:
        return node->flags & IMAGE_EXECUTABLE ? 0755 : 0644;
    }
}

/* The children of a directory stand together, sorted by their bytes. */
uint32_t image_find(uint32_t directory, const char *name, size_t length) {
    const struct image_node *node = image_node(directory);
    uint32_t low = node->start, high = node->start + node->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        const struct image_node *child = image_node(middle);
        size_t common = child->name_length < length ? child->name_length : length;
        int order = memcmp(image_bytes(child->name), name, common);
        if (order == 0 && child->name_length == length) {
            return middle;
        }
        if (order < 0 || (order == 0 && child->name_length < length)) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return NO_IMAGE;
}
