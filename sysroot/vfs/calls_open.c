/* path_open: the one call that makes descriptors. */
#include <stdlib.h>
#include <string.h>

#include "state.h"

struct request {
    int32_t lookup;
    int32_t oflags;
    int32_t flags;
    uint32_t mode;
    uint64_t rights;
    uint64_t inheriting;
};

static int open_outer(const struct found *found, const struct request *request, struct description *opened) {
    opened->path = malloc(found->path_length + (size_t)1);
    if (opened->path == NULL) {
        return E_NOMEM;
    }
    memcpy(opened->path, found->path, found->path_length);
    size_t length = found->path_length;
    while (length != 0 && opened->path[length - 1] == '/') {
        length--;
    }
    opened->path[length] = '\0';
    opened->kind = OPEN_OUTER;
    opened->mount = found->mount;
    opened->rights = request->rights; /* the embedder's word counts; ours is for `__eryx_vfs_writers` */
    return open_outside(found->fd, request->lookup, outer_path(found), outer_length(found), request->oflags,
                        request->rights, request->inheriting, request->flags, &opened->fd);
}

static int open_directory(const struct request *request, struct description *opened) {
    if (request->oflags & (OPEN_CREATE | OPEN_TRUNCATE) || request->rights & RIGHT_WRITE) {
        return E_ISDIR;
    }
    opened->rights = request->rights & RIGHTS_DIRECTORY;
    opened->inheriting = request->inheriting & RIGHTS_ALL;
    return 0;
}

static int open_image(uint32_t image, const struct request *request, struct description *opened) {
    opened->kind = OPEN_IMAGE;
    opened->image = image;
    switch (image_type(image)) {
    case TYPE_DIRECTORY:
        return open_directory(request, opened);
    case TYPE_LINK:
        return request->oflags & OPEN_DIRECTORY ? E_NOTDIR : E_LOOP;
    default:
        break;
    }
    if (request->oflags & OPEN_DIRECTORY) {
        return E_NOTDIR;
    }
    if (request->oflags & OPEN_TRUNCATE || request->rights & RIGHT_WRITE) {
        return E_ROFS;
    }
    opened->rights = request->rights & RIGHTS_FILE;
    return 0;
}

static int open_node(struct node *node, const struct request *request, struct description *opened) {
    int error = 0;
    opened->kind = OPEN_NODE;
    if (node->kind == NODE_DIRECTORY) {
        error = open_directory(request, opened);
    } else if (request->oflags & OPEN_DIRECTORY) {
        error = E_NOTDIR;
    } else if (node->kind == NODE_LINK) {
        error = E_LOOP;
    } else {
        opened->rights = request->rights & RIGHTS_FILE;
        if (node->kind == NODE_FILE && request->oflags & OPEN_TRUNCATE) {
            error = file_resize(&node->u.file, 0);
            node_touch(node);
        }
    }
    if (error == 0) {
        opened->node = node;
        node->uses++;
    }
    return error;
}

/* Whoever makes a file may use it as asked, whatever permissions it gets; this is for one that is
 * there. */
static int open_allowed(const struct node *node, const struct request *request) {
    uint32_t wanted = 0;
    if (request->rights & (node->kind == NODE_DIRECTORY ? RIGHT_READDIR : RIGHT_READ)) {
        wanted |= MAY_READ;
    }
    if (node->kind != NODE_DIRECTORY && (request->rights & RIGHT_WRITE || request->oflags & OPEN_TRUNCATE)) {
        wanted |= MAY_WRITE;
    }
    return node_allows(node, wanted);
}

static int create_file(struct found *found, const struct request *request, struct description *opened) {
    int error = found_may_create(found);
    if (error != 0) {
        return error;
    }
    if (found->slash) {
        return E_ISDIR;
    }
    struct node *node = node_new(NODE_FILE);
    if (node == NULL) {
        return E_NOSPC;
    }
    node->mode = mode_of_creation(request->mode);
    error = directory_insert(found->parent, found->name, found->name_length, node);
    if (error != 0) {
        node_release(node);
        return error;
    }
    node_touch(found->parent);
    return open_node(node, request, opened);
}

static int open_found(struct found *found, const struct request *request, struct description *opened) {
    bool create = request->oflags & OPEN_CREATE;
    if (found->kind == FOUND_OUTER) {
        return open_outer(found, request, opened);
    }
    if (found->kind == FOUND_MISSING) {
        return create ? create_file(found, request, opened) : E_NOENT;
    }
    if (create && request->oflags & OPEN_EXCLUSIVE) {
        return E_EXIST;
    }
    if (found->kind == FOUND_IMAGE) {
        return open_image(found->image, request, opened);
    }
    int error = open_allowed(found->node, request);
    return error != 0 ? error : open_node(found->node, request, opened);
}

int32_t __eryx_wasi_path_open(int32_t fd, int32_t lookup, const char *path, size_t length, int32_t oflags,
                              uint64_t rights, uint64_t inheriting, int32_t flags, int32_t *opened) {
    const int32_t both = OPEN_CREATE | OPEN_DIRECTORY;
    if ((oflags & ~15) != 0 || (flags & ~FLAG_ALL) != 0 || (oflags & both) == both) {
        return E_INVAL;
    }
    /* An exclusive creation must not go through a link, whatever the caller says. */
    bool exclusive = oflags & OPEN_CREATE && oflags & OPEN_EXCLUSIVE;
    struct found found;
    int error = path_resolve(fd, path, length, lookup & LOOKUP_FOLLOW && !exclusive, &found);
    int32_t slot;
    if (error == 0) {
        error = fd_slot(&slot);
    }
    if (error != 0) {
        return error;
    }
    struct description *description = description_new(OPEN_DEAD);
    if (description == NULL) {
        return E_NOMEM;
    }
    description->flags = (uint16_t)flags;
    const struct request request = {
        .lookup = lookup & LOOKUP_FOLLOW,
        .oflags = oflags,
        .flags = flags,
        .mode = lookup & LOOKUP_MODE ? (uint32_t)lookup >> LOOKUP_MODE_SHIFT & 07777 : 0666,
        .rights = rights,
        .inheriting = inheriting,
    };
    error = open_found(&found, &request, description);
    if (error != 0) {
        description_release(description);
        return error;
    }
    vfs.fds[slot] = description;
    fd_inherit(slot, false);
    *opened = slot;
    return 0;
}
