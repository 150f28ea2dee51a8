/* From a descriptor and a path to a place in the tree.
 *
 * Memory and image are walked here, name by name, links included. From the point where the path
 * enters a directory of the embedder, what is left is handed to the embedder in one piece: it follows
 * its own links, and they never lead out of what it granted. Only `..` is answered here, since it may
 * lead back into our tree. The root is its own parent, so nothing leads out of the tree. */
#include <string.h>

#include "state.h"

enum spot_kind { SPOT_NODE, SPOT_IMAGE, SPOT_OUTER };

struct walk {
    enum spot_kind kind;
    struct node *node;
    uint32_t image;
    struct found *found; /* holds the outer path while kind is SPOT_OUTER */
    const char *rest;
    size_t rest_length;
    uint32_t links;
    char buffer[PATH_LIMIT + 1]; /* what is left of the path once a link has been followed */
};

const char *outer_path(const struct found *found) {
    return found->base < found->path_length ? found->path + found->base : ".";
}

size_t outer_length(const struct found *found) {
    return found->base < found->path_length ? found->path_length - found->base : 1;
}

static void at_node(struct walk *walk, struct node *node) {
    walk->kind = SPOT_NODE;
    walk->node = node;
}

static void at_image(struct walk *walk, uint32_t image) {
    walk->kind = SPOT_IMAGE;
    walk->image = image;
}

static int append_outer(struct found *found, const char *name, size_t length) {
    size_t slash = found->path_length != 0;
    if (found->path_length + slash + length > PATH_LIMIT) {
        return E_NAMETOOLONG;
    }
    if (slash) {
        found->path[found->path_length++] = '/';
        /* A base that ended here now ends after the slash: what follows is relative to it. */
        if (found->base + 1 == found->path_length) {
            found->base++;
        }
    }
    memcpy(found->path + found->path_length, name, length);
    found->path_length += (uint32_t)length;
    found->path[found->path_length] = '\0';
    return 0;
}

static int enter_outer(struct walk *walk, struct mount *mount, const char *path) {
    struct found *found = walk->found;
    walk->kind = SPOT_OUTER;
    found->mount = mount;
    found->fd = mount->fd;
    found->base = 0;
    found->path_length = 0;
    found->path[0] = '\0';
    return *path == '\0' ? 0 : append_outer(found, path, strlen(path));
}

/* Puts a link's target in front of what is left. */
static int follow(struct walk *walk, const char *target, size_t length) {
    if (++walk->links > LINK_LIMIT) {
        return E_LOOP;
    }
    if (length == 0) {
        return E_NOENT;
    }
    if (length + 1 + walk->rest_length > PATH_LIMIT) {
        return E_NAMETOOLONG;
    }
    size_t slash = walk->rest_length != 0;
    memmove(walk->buffer + length + slash, walk->rest, walk->rest_length);
    memcpy(walk->buffer, target, length);
    if (slash) {
        walk->buffer[length] = '/';
    }
    walk->rest = walk->buffer;
    walk->rest_length += length + slash;
    return 0;
}

/* The last name of the outer path is a link: goes on with its target, then `..`. */
static int up_through_link(struct walk *walk, uint32_t parent_length) {
    struct found *found = walk->found;
    char target[PATH_LIMIT + 1];
    size_t used = 0;
    int error = outer_path_readlink(found->fd, outer_path(found), outer_length(found), (uint8_t *)target,
                                    PATH_LIMIT, &used);
    if (error != 0) {
        return error;
    }
    if (used != 0 && target[0] == '/') {
        return E_NOTCAPABLE; /* as the embedder answers */
    }
    if (used + 3 > PATH_LIMIT) {
        return E_NAMETOOLONG;
    }
    memcpy(target + used, "/..", 3);
    found->path_length = parent_length;
    found->path[parent_length] = '\0';
    return follow(walk, target, used + 3);
}

bool is_utf8(const char *text, size_t length) {
    const uint8_t *at = (const uint8_t *)text, *end = at + length;
    while (at < end) {
        uint8_t first = *at++;
        if (first < 0x80) {
            continue;
        }
        int more = first >= 0xf0 ? 3 : first >= 0xe0 ? 2 : 1;
        if (first < 0xc2 || first > 0xf4 || end - at < more) {
            return false;
        }
        /* The second byte excludes long forms, surrogates and what is beyond U+10FFFF. */
        uint8_t low = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
        uint8_t high = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
        for (; more > 0; more--, at++) {
            if (*at < low || *at > high) {
                return false;
            }
            low = 0x80;
            high = 0xbf;
        }
    }
    return true;
}

static int up_from_outer(struct walk *walk) {
    struct found *found = walk->found;
    if (!is_utf8(found->path, found->path_length)) {
        return E_NOENT;
    }
    if (found->base >= found->path_length) {
        /* At the open directory itself: its name is known below the mount only. */
        found->base = 0;
        found->fd = found->mount->fd;
    }
    struct wasi_filestat stat;
    int error = outer_path_filestat_get(found->fd, 0, outer_path(found), outer_length(found), &stat);
    if (error != 0) {
        return error;
    }
    uint32_t parent = found->path_length;
    while (parent != 0 && found->path[parent - 1] != '/') {
        parent--;
    }
    parent -= parent != 0;
    if (stat.type == TYPE_LINK) {
        error = up_through_link(walk, parent);
    } else if (stat.type == TYPE_DIRECTORY) {
        found->path_length = parent;
        found->path[parent] = '\0';
    } else {
        error = E_NOTDIR;
    }
    if (error != 0) {
        return error;
    }
    if (found->base > found->path_length) {
        found->base = 0;
        found->fd = found->mount->fd;
    }
    struct node *node = overlay_of_outer(found->mount, found->path);
    if (node != NULL) {
        at_node(walk, node);
    }
    return 0;
}

static int go_up(struct walk *walk) {
    if (walk->kind == SPOT_OUTER) {
        return up_from_outer(walk);
    }
    if (walk->kind == SPOT_IMAGE) {
        uint32_t parent = image_node(walk->image)->parent;
        struct node *overlay = overlay_of_image(parent);
        if (overlay != NULL) {
            at_node(walk, overlay);
        } else {
            at_image(walk, parent);
        }
        return 0;
    }
    if (walk->node == &vfs.root) {
        return 0;
    }
    if (walk->node->u.directory.parent == NULL) {
        return E_NOENT;
    }
    at_node(walk, walk->node->u.directory.parent);
    return 0;
}

static int start(struct walk *walk, int32_t fd, bool absolute) {
    struct description *description;
    int error = fd_get(fd, &description);
    if (error != 0) {
        return error;
    }
    if (absolute) {
        at_node(walk, &vfs.root);
        return 0;
    }
    switch (description->kind) {
    case OPEN_NODE:
        at_node(walk, description->node);
        return description->node->kind == NODE_DIRECTORY ? 0 : E_NOTDIR;
    case OPEN_IMAGE:
        at_image(walk, description->image);
        return image_type(description->image) == TYPE_DIRECTORY ? 0 : E_NOTDIR;
    case OPEN_OUTER:
        if (description->mount == NULL) {
            return E_NOTDIR;
        }
        error = enter_outer(walk, description->mount, description->path);
        walk->found->fd = description->fd;
        walk->found->base = walk->found->path_length;
        return error;
    case OPEN_PIPE:
        return E_NOTDIR;
    case OPEN_DEAD:
        break;
    }
    return E_BADF;
}

/* Looks `name` up where the walk stands; fills in the kind, node and image of `found`. */
static int look_up(struct walk *walk, const char *name, size_t length) {
    struct found *found = walk->found;
    found->kind = FOUND_MISSING;
    found->parent = NULL;
    uint32_t directory = NO_IMAGE;
    if (walk->kind == SPOT_NODE) {
        struct directory *here = &walk->node->u.directory;
        if (here->removed) {
            return E_NOENT;
        }
        int refused = node_allows(walk->node, MAY_EXECUTE);
        if (refused != 0) {
            return refused;
        }
        found->parent = walk->node;
        found->node = directory_find(walk->node, name, length);
        if (found->node != NULL) {
            found->kind = FOUND_NODE;
            return 0;
        }
        directory = here->image;
    } else if (walk->kind == SPOT_IMAGE) {
        directory = walk->image;
    }
    if (directory != NO_IMAGE) {
        found->image = image_find(directory, name, length);
        if (found->image != NO_IMAGE) {
            found->kind = FOUND_IMAGE;
            return 0;
        }
    }
    if (walk->kind == SPOT_NODE && walk->node->u.directory.mount != NULL && !walk->node->u.directory.writable) {
        int error = enter_outer(walk, walk->node->u.directory.mount, walk->node->u.directory.outer);
        if (error != 0) {
            return error;
        }
    }
    if (walk->kind == SPOT_OUTER) {
        found->kind = FOUND_OUTER;
        return append_outer(found, name, length);
    }
    return 0;
}

static bool found_link(const struct found *found, const char **target, size_t *length) {
    if (found->kind == FOUND_NODE && found->node->kind == NODE_LINK) {
        *target = found->node->u.link.target;
        *length = found->node->u.link.length;
        return true;
    }
    if (found->kind == FOUND_IMAGE && image_type(found->image) == TYPE_LINK) {
        const struct image_node *node = image_node(found->image);
        *target = (const char *)image_bytes(node->start);
        *length = node->count;
        return true;
    }
    return false;
}

/* Makes what was found the place to go on from; it must be a directory. */
static int descend(struct walk *walk) {
    struct found *found = walk->found;
    if (found->kind == FOUND_MISSING) {
        return E_NOENT;
    }
    if (found->kind == FOUND_NODE) {
        at_node(walk, found->node);
        return found->node->kind == NODE_DIRECTORY ? 0 : E_NOTDIR;
    }
    if (found->kind == FOUND_IMAGE) {
        at_image(walk, found->image);
        return image_type(found->image) == TYPE_DIRECTORY ? 0 : E_NOTDIR;
    }
    return 0;
}

/* The path named a directory without a last name. */
static int finish_bare(struct walk *walk) {
    struct found *found = walk->found;
    found->bare = true;
    found->parent = NULL;
    found->name_length = 0;
    if (walk->kind == SPOT_NODE) {
        found->kind = FOUND_NODE;
        found->node = walk->node;
    } else if (walk->kind == SPOT_IMAGE) {
        found->kind = FOUND_IMAGE;
        found->image = walk->image;
    } else {
        found->kind = FOUND_OUTER;
        found->slash = true;
    }
    return 0;
}

/* The last name was found, or is missing: checks what a trailing slash demands. */
static int finish_named(struct found *found, const char *name, size_t length) {
    memcpy(found->name, name, length);
    found->name[length] = '\0';
    found->name_length = (uint32_t)length;
    if (found->slash && ((found->kind == FOUND_NODE && found->node->kind != NODE_DIRECTORY) ||
                         (found->kind == FOUND_IMAGE && image_type(found->image) != TYPE_DIRECTORY))) {
        return E_NOTDIR;
    }
    return 0;
}

static size_t skip_slashes(struct walk *walk) {
    size_t count = 0;
    while (count < walk->rest_length && walk->rest[count] == '/') {
        count++;
    }
    walk->rest += count;
    walk->rest_length -= count;
    return count;
}

static int walk_all(struct walk *walk, bool follow_last) {
    struct found *found = walk->found;
    for (;;) {
        skip_slashes(walk);
        if (walk->rest_length == 0) {
            return finish_bare(walk);
        }
        const char *name = walk->rest;
        const char *end = memchr(name, '/', walk->rest_length);
        size_t length = end == NULL ? walk->rest_length : (size_t)(end - name);
        walk->rest += length;
        walk->rest_length -= length;
        if (length > NAME_LIMIT) {
            return E_NAMETOOLONG;
        }
        if (length == 1 && name[0] == '.') {
            continue;
        }
        if (length == 2 && name[0] == '.' && name[1] == '.') {
            int error = go_up(walk);
            if (error != 0) {
                return error;
            }
            continue;
        }
        int error = look_up(walk, name, length);
        if (error != 0) {
            return error;
        }
        const char *after = walk->rest;
        size_t after_length = walk->rest_length;
        found->slash = skip_slashes(walk) != 0;
        bool last = walk->rest_length == 0;
        const char *target;
        size_t target_length;
        if (found_link(found, &target, &target_length) && (!last || follow_last || found->slash)) {
            /* The slashes go along: a link to a file must not pass for a directory. */
            walk->rest = after;
            walk->rest_length = after_length;
            error = follow(walk, target, target_length);
            if (error != 0) {
                return error;
            }
            if (target[0] == '/') {
                at_node(walk, &vfs.root);
            }
            continue;
        }
        if (last) {
            return finish_named(found, name, length);
        }
        error = descend(walk);
        if (error != 0) {
            return error;
        }
    }
}

int path_resolve(int32_t fd, const char *path, size_t length, bool follow_last, struct found *found) {
    if (length > PATH_LIMIT) {
        return E_NAMETOOLONG;
    }
    if (memchr(path, '\0', length) != NULL) {
        return E_INVAL;
    }
    struct walk walk;
    walk.found = found;
    walk.rest = path;
    walk.rest_length = length;
    walk.links = 0;
    found->bare = found->slash = found->foreign = false;
    found->base = found->path_length = 0;
    int error = start(&walk, fd, length != 0 && path[0] == '/');
    if (error == 0 && length == 0) {
        error = E_NOENT;
    }
    if (error == 0) {
        error = walk_all(&walk, follow_last);
    }
    if (error == 0 && found->kind == FOUND_OUTER && !is_utf8(found->path, found->path_length)) {
        /* The embedder would trap, and cannot have such a name. */
        found->kind = FOUND_MISSING;
        found->parent = NULL;
        found->foreign = true;
    }
    if (error == 0 && found->kind == FOUND_OUTER && found->slash && found->path_length > found->base) {
        /* The embedder must see the slash, too. */
        found->path[found->path_length++] = '/';
        found->path[found->path_length] = '\0';
    }
    return error;
}

/* Whether a new name may be made where nothing was found. */
int found_may_create(const struct found *found) {
    if (found->foreign) {
        return E_ILSEQ;
    }
    if (found->parent == NULL || !found->parent->u.directory.writable) {
        return E_ROFS;
    }
    return found->parent->u.directory.removed ? E_NOENT : node_allows(found->parent, MAY_WRITE | MAY_EXECUTE);
}
