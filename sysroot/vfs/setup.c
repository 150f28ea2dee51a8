/* The state and how it comes to life: the fixed part of the tree, descriptors 0 to 3, and the grants
 * of the embedder. */
#include <stdlib.h>
#include <string.h>

#include "eryx_public.h"
#include "state.h"

struct vfs vfs;

uint64_t vfs_now(void) {
    uint64_t now = 0;
    /* A world without a wall clock still has files; their times are then zero. */
    if (outer_clock_time_get(CLOCK_REALTIME_ID, 1000, &now) != 0) {
        return 0;
    }
    return now;
}

/* Makes, or finds, a directory of the fixed tree. The image may have one of the same name: it then
 * shows through. */
static struct node *fixed_directory(struct node *parent, const char *name, bool writable) {
    size_t length = strlen(name);
    struct node *node = directory_find(parent, name, length);
    if (node != NULL) {
        return node;
    }
    node = node_new(NODE_DIRECTORY);
    if (node == NULL) {
        return NULL;
    }
    node->u.directory.writable = writable;
    node->u.directory.pinned = true;
    if (parent->u.directory.image != NO_IMAGE) {
        uint32_t image = image_find(parent->u.directory.image, name, length);
        if (image != NO_IMAGE && image_node(image)->kind == IMAGE_DIRECTORY) {
            node->u.directory.image = image;
        }
    }
    if (directory_insert(parent, name, length, node) != 0) {
        node_release(node);
        return NULL;
    }
    return node;
}

static int fixed_tree(void) {
    struct node *root = &vfs.root;
    if (root->links == 0) {
        image_check();
        root->kind = NODE_DIRECTORY;
        root->links = 1;
        root->inode = ++vfs.inodes;
        root->accessed = root->modified = root->changed = image_time();
        root->mode = 0755;
        root->u.directory.sequence = 3;
        root->u.directory.image = 0;
        root->u.directory.pinned = true;
    }
    struct node *home, *devices, *tmp;
    if ((tmp = fixed_directory(root, "tmp", true)) == NULL || (home = fixed_directory(root, "home", false)) == NULL ||
        fixed_directory(home, "sandbox", true) == NULL ||
        (devices = fixed_directory(root, "dev", false)) == NULL) {
        return E_NOMEM;
    }
    tmp->mode = 01777;
    if (directory_find(devices, "null", 4) == NULL) {
        struct node *null = node_new(NODE_NULL);
        if (null == NULL || directory_insert(devices, "null", 4, null) != 0) {
            if (null != NULL) {
                node_release(null);
            }
            return E_NOMEM;
        }
    }
    return 0;
}

static int first_descriptors(void) {
    for (int32_t fd = 0; fd <= ROOT_FD; fd++) {
        if (vfs.fds[fd] != NULL) {
            continue;
        }
        struct description *description = description_new(fd == ROOT_FD ? OPEN_NODE : OPEN_OUTER);
        if (description == NULL) {
            return E_NOMEM;
        }
        if (fd == ROOT_FD) {
            description->node = &vfs.root;
            vfs.root.uses++;
            description->rights = RIGHTS_DIRECTORY;
            description->inheriting = RIGHTS_ALL;
        } else {
            description->fd = fd;
            fd_inherit(fd, true);
        }
        vfs.fds[fd] = description;
    }
    return 0;
}

int vfs_setup(void) {
    if (vfs.ready && vfs.mounted) {
        return 0;
    }
    vfs.exempt = true;
    int error = vfs.ready ? 0 : fixed_tree();
    if (error == 0 && !vfs.ready) {
        error = first_descriptors();
    }
    if (error == 0) {
        vfs.ready = true;
        error = mounts_read();
    }
    vfs.exempt = false;
    return error;
}

void description_forget(struct description *description) {
    /* 0, 1 and 2 mean the same in every instance, under whatever number they stand now. */
    if (description != NULL && description->kind == OPEN_OUTER &&
        (description->mount != NULL || description->fd > 2)) {
        outer_fd_close(description->fd);
        description->kind = OPEN_DEAD;
        description->mount = NULL;
        free(description->path);
        description->path = NULL;
    }
}

PUBLIC void __eryx_vfs_reset(void) {
    for (int32_t fd = 0; fd < FD_LIMIT; fd++) {
        description_forget(vfs.fds[fd]);
    }
    mappings_forget();
    mounts_forget();
}
