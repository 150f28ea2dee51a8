/* What stat tells, and setting times. Reading does not change the access time (as with `noatime`): it
 * would ask the embedder for the time at every read. All directories have one link (as on btrfs). */
#include <string.h>

#include "state.h"

void node_stat(struct node *node, struct wasi_filestat *stat) {
    uint32_t mode = node->mode;
    memset(stat, 0, sizeof *stat);
    stat->accessed = node->accessed;
    stat->modified = node->modified;
    stat->changed = node->changed;
    if (node->kind == NODE_DIRECTORY && node->u.directory.mount != NULL) {
        /* The times are the embedder's; the identity is ours, so that it agrees with readdir. */
        struct directory *directory = &node->u.directory;
        struct wasi_filestat outer;
        const char *path = *directory->outer == '\0' ? "." : directory->outer;
        if (outer_path_filestat_get(directory->mount->fd, LOOKUP_FOLLOW, path, strlen(path), &outer) == 0) {
            *stat = outer;
        }
        mode = mode_of_outer(TYPE_DIRECTORY, directory->mount);
    }
    stat->device = DEVICE_MEMORY;
    stat->inode = node->inode;
    stat->type = node_type(node);
    stat->links = node->kind == NODE_DIRECTORY ? !node->u.directory.removed : node->links;
    if (node->kind == NODE_FILE) {
        stat->size = node->u.file.size;
    } else if (node->kind == NODE_LINK) {
        stat->size = node->u.link.length;
    }
    stat_add_mode(stat, mode);
}

void image_stat(uint32_t image, struct wasi_filestat *stat) {
    const struct image_node *node = image_node(image);
    memset(stat, 0, sizeof *stat);
    stat->device = DEVICE_IMAGE;
    stat->inode = image + UINT64_C(1);
    stat->type = image_type(image);
    stat->links = 1;
    stat->size = node->kind == IMAGE_DIRECTORY ? 0 : node->count;
    stat->accessed = stat->modified = stat->changed = image_time();
    stat_add_mode(stat, image_mode(image));
}

int node_set_times(struct node *node, uint64_t accessed, uint64_t modified, int32_t flags) {
    if ((flags & SET_ACCESSED && flags & SET_ACCESSED_NOW) ||
        (flags & SET_MODIFIED && flags & SET_MODIFIED_NOW) || (flags & ~15) != 0) {
        return E_INVAL;
    }
    if (node->kind == NODE_DIRECTORY && !node->u.directory.writable) {
        return E_ROFS;
    }
    uint64_t now = vfs_now();
    if (flags & SET_ACCESSED) {
        node->accessed = accessed;
    } else if (flags & SET_ACCESSED_NOW) {
        node->accessed = now;
    }
    if (flags & SET_MODIFIED) {
        node->modified = modified;
    } else if (flags & SET_MODIFIED_NOW) {
        node->modified = now;
    }
    node->changed = now;
    return 0;
}
