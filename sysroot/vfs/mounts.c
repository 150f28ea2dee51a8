/* The directories that the embedder grants, and where they appear in the tree.
 *
 * A grant for `/a/b` becomes a directory node `b` with the embedder's directory as its layer, in a
 * directory node `a` that is made when it is missing (over the image's `a`, which shows through). A
 * grant for `/` or `.` becomes the last layer of the root: it serves the names that neither the
 * image nor the memory tree has there. */
#include <stdlib.h>
#include <string.h>

#include "state.h"

struct node *overlay_of_image(uint32_t image) {
    uint32_t parent = image_node(image)->parent;
    if (image == 0) {
        return &vfs.root;
    }
    struct node *above = overlay_of_image(parent);
    if (above == NULL) {
        return NULL;
    }
    const struct image_node *node = image_node(image);
    struct node *child =
        directory_find(above, (const char *)image_bytes(node->name), node->name_length);
    return child != NULL && child->kind == NODE_DIRECTORY && child->u.directory.image == image ? child
                                                                                              : NULL;
}

struct node *overlay_of_outer(struct mount *mount, const char *path) {
    struct node *node = mount->node;
    while (node != NULL && *path != '\0') {
        size_t length = strcspn(path, "/");
        node = directory_find(node, path, length);
        if (node == NULL || node->kind != NODE_DIRECTORY || node->u.directory.mount != mount) {
            return NULL;
        }
        path += length;
        path += strspn(path, "/");
    }
    return node;
}

/* The layers that `name` has below `parent`, when no node stands there. */
static int inherit_layers(struct directory *child, const struct directory *parent, const char *name,
                          size_t length) {
    if (parent->image != NO_IMAGE) {
        uint32_t image = image_find(parent->image, name, length);
        if (image != NO_IMAGE) {
            /* A file of the image is hidden, its directory shows through. */
            child->image = image_node(image)->kind == IMAGE_DIRECTORY ? image : NO_IMAGE;
            return 0;
        }
    }
    if (parent->mount != NULL) {
        size_t above = strlen(parent->outer);
        child->outer = malloc(above + 1 + length + 1);
        if (child->outer == NULL) {
            return E_NOMEM;
        }
        char *end = child->outer;
        if (above != 0) {
            memcpy(end, parent->outer, above);
            end[above] = '/';
            end += above + 1;
        }
        memcpy(end, name, length);
        end[length] = '\0';
        child->mount = parent->mount;
    }
    return 0;
}

/* The directory node `name` in `parent`; `last` when the grant itself goes there. */
static struct node *granted_directory(struct node *parent, const char *name, size_t length, bool last) {
    struct entry *entry = directory_entry(parent, name, length);
    struct node *old = entry == NULL ? NULL : entry->node;
    if (old != NULL && old->kind == NODE_DIRECTORY && (!last || old->u.directory.granted)) {
        return old;
    }
    struct node *node = node_new(NODE_DIRECTORY);
    if (node == NULL) {
        return NULL;
    }
    node->u.directory.pinned = node->u.directory.granted = true;
    if (!last && old == NULL && inherit_layers(&node->u.directory, &parent->u.directory, name, length) != 0) {
        node_release(node);
        return NULL;
    }
    if (old != NULL) {
        /* The name keeps its place; what it meant comes back at the next reset. */
        node->u.directory.covered = old;
        node->u.directory.parent = parent;
        node->links = 1;
        entry->node = node;
    } else if (directory_insert(parent, name, length, node) != 0) {
        node_release(node);
        return NULL;
    }
    return node;
}

static int mount_at(int32_t fd, const char *path) {
    struct node *node = &vfs.root;
    while (*path != '\0') {
        size_t length = strcspn(path, "/");
        const char *rest = path + length + strspn(path + length, "/");
        bool dot = length == 1 && path[0] == '.';
        if (length > NAME_LIMIT || (length == 2 && path[0] == '.' && path[1] == '.')) {
            /* Not a place in the tree: such a grant cannot be shown. */
            return 0;
        }
        if (length != 0 && !dot) {
            /* "a/." names `a`. */
            bool last = *rest == '\0' || strcmp(rest, ".") == 0;
            node = granted_directory(node, path, length, last);
            if (node == NULL) {
                return E_NOMEM;
            }
        }
        path = rest;
    }
    struct mount *mount = calloc(1, sizeof *mount);
    char *outer = calloc(1, 1);
    if (mount == NULL || outer == NULL) {
        free(mount);
        free(outer);
        return E_NOMEM;
    }
    *mount = (struct mount){.next = vfs.mounts, .node = node, .fd = fd};
    vfs.mounts = mount;
    /* Of two grants for one path the later wins. */
    free(node->u.directory.outer);
    node->u.directory.outer = outer;
    node->u.directory.mount = mount;
    return 0;
}

/* Asks for a directory that is there: whether the embedder looks at its rights or at the name first,
 * only where names can be made it says that this one exists. Nothing is made. */
bool mount_writable(struct mount *mount) {
    if (mount->writable == 0) {
        mount->writable = outer_path_create_directory(mount->fd, ".", 1) == E_EXIST ? 1 : -1;
    }
    return mount->writable > 0;
}

int mounts_read(void) {
    static char name[PATH_LIMIT + 1];
    for (int32_t fd = ROOT_FD;; fd++) {
        struct wasi_prestat stat;
        if (outer_fd_prestat_get(fd, &stat) != 0) {
            break;
        }
        if (stat.tag != 0 || stat.name_length > PATH_LIMIT ||
            outer_fd_prestat_dir_name(fd, (uint8_t *)name, stat.name_length) != 0) {
            continue;
        }
        name[stat.name_length] = '\0';
        if (mount_at(fd, name) != 0) {
            mounts_forget();
            return E_NOMEM;
        }
    }
    vfs.mounted = true;
    return 0;
}

static void unmount(struct node *node) {
    struct directory *directory = &node->u.directory;
    for (uint32_t i = 0; i < directory->count; i++) {
        struct entry *entry = &directory->entries[i];
        struct node *child = entry->node;
        if (child == NULL || child->kind != NODE_DIRECTORY) {
            continue;
        }
        unmount(child);
        if (!child->u.directory.granted) {
            continue;
        }
        child->u.directory.removed = true;
        child->u.directory.parent = NULL;
        if (child->u.directory.covered != NULL) {
            entry->node = child->u.directory.covered;
            child->u.directory.covered = NULL;
            child->links--;
            if (entry->node->kind == NODE_DIRECTORY) {
                unmount(entry->node);
            }
        } else {
            directory_remove(node, entry);
        }
        node_release(child);
    }
    free(directory->outer);
    directory->outer = NULL;
    directory->mount = NULL;
}

void mounts_forget(void) {
    unmount(&vfs.root);
    while (vfs.mounts != NULL) {
        struct mount *mount = vfs.mounts;
        vfs.mounts = mount->next;
        free(mount);
    }
    vfs.mounted = false;
}
