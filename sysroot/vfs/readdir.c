/* Listing a directory of up to three layers.
 *
 * A cookie says where to go on: its low two bits name the layer, the rest is the place in it. Layer 0
 * is `.` (1), `..` (2) and our own entries (their sequence numbers), layer 1 the image's directory
 * (the number of children done), layer 2 the embedder's (its cookie). Names of an upper layer hide
 * those below. A directory that is the embedder's alone keeps the embedder's own cookies. */
#include <stdlib.h>
#include <string.h>

#include "state.h"

enum { LAYER_OWN, LAYER_IMAGE, LAYER_OUTER };
#define OUTER_CHUNK 4096

struct listing {
    uint8_t *buffer;
    size_t size;
    size_t used;
};

static uint64_t cookie_of(uint64_t place, uint64_t layer) {
    return place << 2 | layer;
}

static void put(struct listing *listing, const void *bytes, size_t length) {
    size_t room = listing->size - listing->used;
    if (length > room) {
        length = room;
    }
    if (length != 0) {
        memcpy(listing->buffer + listing->used, bytes, length);
        listing->used += length;
    }
}

/* Says whether there is room for more; a truncated last entry is how WASI tells there is none. */
static bool emit(struct listing *listing, uint64_t next, uint64_t inode, const void *name, size_t length,
                 uint8_t type) {
    struct wasi_dirent header;
    memset(&header, 0, sizeof header);
    header.next = next;
    header.inode = inode;
    header.name_length = (uint32_t)length;
    header.type = type;
    put(listing, &header, sizeof header);
    put(listing, name, length);
    return listing->used < listing->size;
}

static bool list_dots(struct listing *listing, uint64_t place, uint64_t self, uint64_t parent) {
    if (place < 1 && !emit(listing, cookie_of(1, LAYER_OWN), self, ".", 1, TYPE_DIRECTORY)) {
        return false;
    }
    return place >= 2 || emit(listing, cookie_of(2, LAYER_OWN), parent, "..", 2, TYPE_DIRECTORY);
}

static bool list_own(struct listing *listing, const struct node *node, uint64_t place) {
    const struct directory *directory = &node->u.directory;
    uint32_t low = 0, high = directory->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (directory->entries[middle].sequence <= place) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    for (; low < directory->count; low++) {
        const struct entry *entry = &directory->entries[low];
        if (entry->node != NULL && !emit(listing, cookie_of(entry->sequence, LAYER_OWN), entry->node->inode,
                                         entry->name, entry->length, node_type(entry->node))) {
            return false;
        }
    }
    return true;
}

/* `over` holds the names that hide ours, or is NULL. */
static bool list_image(struct listing *listing, uint32_t image, uint64_t place, const struct node *over) {
    const struct image_node *directory = image_node(image);
    for (; place < directory->count; place++) {
        uint32_t index = directory->start + (uint32_t)place;
        const struct image_node *child = image_node(index);
        const char *name = (const char *)image_bytes(child->name);
        if (over != NULL && directory_find(over, name, child->name_length) != NULL) {
            continue;
        }
        if (!emit(listing, cookie_of(place + 1, LAYER_IMAGE), index + UINT64_C(1), name, child->name_length,
                  image_type(index))) {
            return false;
        }
    }
    return true;
}

static bool hidden(const struct node *over, const char *name, size_t length) {
    uint32_t image = over->u.directory.image;
    return (length == 1 && name[0] == '.') || (length == 2 && name[0] == '.' && name[1] == '.') ||
           directory_find(over, name, length) != NULL ||
           (image != NO_IMAGE && image_find(image, name, length) != NO_IMAGE);
}

/* One chunk of the embedder's listing. `*more` says whether to ask again, from `*place`. */
static int list_chunk(struct listing *listing, const struct node *over, int32_t fd, uint64_t *place,
                      bool *more) {
    uint8_t chunk[OUTER_CHUNK];
    size_t filled = 0;
    *more = false;
    int error = outer_fd_readdir(fd, chunk, sizeof chunk, *place, &filled);
    if (error != 0) {
        return error;
    }
    size_t at = 0;
    struct wasi_dirent header;
    while (filled - at >= sizeof header) {
        memcpy(&header, chunk + at, sizeof header);
        const char *name = (const char *)chunk + at + sizeof header;
        if (header.name_length > filled - at - sizeof header) {
            break;
        }
        at += sizeof header + header.name_length;
        *place = header.next;
        if (header.next >> 62 != 0) {
            return E_OVERFLOW;
        }
        if (!hidden(over, name, header.name_length) &&
            !emit(listing, cookie_of(header.next, LAYER_OUTER), header.inode, name, header.name_length,
                  header.type)) {
            return 0;
        }
    }
    /* A full chunk means that the embedder had more; one without a whole entry cannot be. */
    *more = filled == sizeof chunk && at != 0;
    return 0;
}

static int list_outer(struct listing *listing, const struct node *node, uint64_t place) {
    const struct directory *directory = &node->u.directory;
    int32_t fd = directory->mount->fd;
    int32_t opened = -1;
    if (*directory->outer != '\0') {
        int error = open_outside(fd, LOOKUP_FOLLOW, directory->outer, strlen(directory->outer), OPEN_DIRECTORY,
                                 RIGHT_READ | RIGHT_READDIR, 0, 0, &opened);
        if (error != 0) {
            return error == E_NOENT || error == E_NOTDIR ? 0 : error;
        }
        fd = opened;
    }
    bool more = true;
    int error = 0;
    while (error == 0 && more) {
        error = list_chunk(listing, node, fd, &place, &more);
    }
    if (opened >= 0) {
        outer_fd_close(opened);
    }
    return error;
}

static int list_node(struct listing *listing, const struct node *node, uint64_t cookie) {
    const struct directory *directory = &node->u.directory;
    uint64_t place = cookie >> 2, layer = cookie & 3;
    if (layer == LAYER_OWN) {
        const struct node *parent = directory->parent == NULL ? node : directory->parent;
        if (!list_dots(listing, place, node->inode, parent->inode) || !list_own(listing, node, place)) {
            return 0;
        }
        place = 0;
    }
    if (layer <= LAYER_IMAGE && directory->image != NO_IMAGE) {
        if (!list_image(listing, directory->image, place, node)) {
            return 0;
        }
    }
    if (directory->mount != NULL) {
        return list_outer(listing, node, layer == LAYER_OUTER ? place : 0);
    }
    return 0;
}

static void list_pure_image(struct listing *listing, uint32_t image, uint64_t cookie) {
    uint64_t place = cookie >> 2;
    if ((cookie & 3) == LAYER_OWN) {
        uint32_t parent = image_node(image)->parent;
        struct node *overlay = overlay_of_image(parent);
        uint64_t inode = overlay == NULL ? parent + UINT64_C(1) : overlay->inode;
        if (!list_dots(listing, place, image + UINT64_C(1), inode)) {
            return;
        }
        place = 0;
    }
    list_image(listing, image, place, NULL);
}

int32_t __eryx_wasi_fd_readdir(int32_t fd, uint8_t *buffer, size_t length, uint64_t cookie, size_t *used) {
    struct description *description;
    int error = fd_get(fd, &description);
    if (error != 0) {
        return error;
    }
    if (description->kind == OPEN_OUTER) {
        return outer_fd_readdir(description->fd, buffer, length, cookie, used);
    }
    struct listing listing = {buffer, length, 0};
    *used = 0;
    if ((cookie & 3) > LAYER_OUTER) {
        return E_INVAL;
    }
    if (description->kind == OPEN_IMAGE) {
        if (image_type(description->image) != TYPE_DIRECTORY) {
            return E_NOTDIR;
        }
        list_pure_image(&listing, description->image, cookie);
    } else {
        if (description->kind == OPEN_PIPE || description->node->kind != NODE_DIRECTORY) {
            return E_NOTDIR;
        }
        if (!description->node->u.directory.removed) {
            error = list_node(&listing, description->node, cookie);
        }
    }
    *used = listing.used;
    return error;
}
