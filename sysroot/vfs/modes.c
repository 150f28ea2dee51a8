/* Permissions. All files belong to one ordinary user, who is also the only one: what the owner's
 * three bits refuse for files and directories in memory is refused, the others are kept and told.
 *
 * preview1 has no field for them. They travel to our libc in the high half of a filestat's number of
 * links, with the kind of file for those that preview1 has no word for. */
#include <string.h>

#include "eryx_public.h"
#include "state.h"

#define KIND_PIPE 0010000

void stat_add_mode(struct wasi_filestat *stat, uint32_t mode) {
    stat->links = (stat->links & UINT32_MAX) | (uint64_t)mode << 32;
}

uint32_t mode_of_creation(uint32_t mode) {
    uint32_t mask = (vfs.mask & MASK_SET) != 0 ? vfs.mask & 0777 : 022;
    return mode & 07777 & ~mask;
}

int node_allows(const struct node *node, uint32_t wanted) {
    return wanted & ~(node->mode >> 6) & 7 ? E_ACCES : 0;
}

/* The embedder tells no permissions: they are made up from what it allows. */
uint32_t mode_of_outer(uint8_t type, struct mount *mount) {
    if (mount == NULL) {
        return type == TYPE_CHARACTER_DEVICE ? 0620 : type == TYPE_UNKNOWN ? KIND_PIPE | 0600 : 0600;
    }
    if (type == TYPE_LINK) {
        return 0777;
    }
    return (type == TYPE_DIRECTORY ? 0755u : 0644u) & (mount_writable(mount) ? 0777u : 0555u);
}

static int change(struct node *node, uint32_t mode) {
    if (node->kind == NODE_LINK) {
        return E_NOTSUP;
    }
    if (node->kind == NODE_NULL) {
        return E_PERM;
    }
    if (node->kind == NODE_DIRECTORY && !node->u.directory.writable) {
        return E_ROFS;
    }
    node->mode = mode & 07777;
    node->changed = vfs_now();
    return 0;
}

/* The embedder has no call for it. Programs that copy files copy permissions, and fail when they
 * cannot: so it is as with file systems that keep none, mounted `quiet`. */
static int change_outer(struct mount *mount) {
    return mount != NULL && !mount_writable(mount) ? E_ROFS : 0;
}

int32_t __eryx_vfs_chmod(int32_t fd, int32_t lookup, const char *path, size_t length, uint32_t mode) {
    struct found found;
    struct wasi_filestat stat;
    int error = path_resolve(fd, path, length, lookup & LOOKUP_FOLLOW, &found);
    if (error != 0) {
        return error;
    }
    switch (found.kind) {
    case FOUND_OUTER:
        error = outer_path_filestat_get(found.fd, lookup, outer_path(&found), outer_length(&found), &stat);
        return error != 0 ? error : change_outer(found.mount);
    case FOUND_NODE:
        return change(found.node, mode);
    case FOUND_IMAGE:
        return E_ROFS;
    case FOUND_MISSING:
        break;
    }
    return E_NOENT;
}

int32_t __eryx_vfs_fchmod(int32_t fd, uint32_t mode) {
    struct description *description;
    int error = fd_get(fd, &description);
    if (error != 0) {
        return error;
    }
    switch (description->kind) {
    case OPEN_OUTER:
        return change_outer(description->mount);
    case OPEN_NODE:
        return change(description->node, mode);
    case OPEN_IMAGE:
        return E_ROFS;
    default:
        return 0;
    }
}

static int access_node(const struct node *node, uint32_t wanted) {
    if (node->kind == NODE_DIRECTORY && wanted & MAY_WRITE) {
        struct mount *mount = node->u.directory.mount;
        if (!node->u.directory.writable && (mount == NULL || !mount_writable(mount))) {
            return E_ROFS;
        }
    }
    if (node->kind == NODE_LINK) {
        return 0;
    }
    return node_allows(node, wanted);
}

/* What the embedder allows besides what it says: a file is opened for it, and closed. */
static int access_outer(const struct found *found, int32_t lookup, uint32_t wanted) {
    struct wasi_filestat stat;
    int error = outer_path_filestat_get(found->fd, lookup, outer_path(found), outer_length(found), &stat);
    if (error != 0 || wanted == 0) {
        return error;
    }
    if (wanted & MAY_WRITE && !mount_writable(found->mount)) {
        return E_ROFS;
    }
    if (stat.type != TYPE_REGULAR) {
        return wanted & MAY_EXECUTE && stat.type != TYPE_DIRECTORY ? E_ACCES : 0;
    }
    if (wanted & MAY_EXECUTE) {
        return E_ACCES;
    }
    uint64_t rights = (wanted & MAY_READ ? RIGHT_READ : 0) | (wanted & MAY_WRITE ? RIGHT_WRITE : 0);
    int32_t opened;
    error = open_outside(found->fd, lookup, outer_path(found), outer_length(found), 0, rights, 0, 0, &opened);
    if (error == 0) {
        outer_fd_close(opened);
    }
    return error == E_MFILE ? 0 : error == E_PERM || error == E_NOTCAPABLE ? E_ACCES : error;
}

int32_t __eryx_vfs_access(int32_t fd, int32_t lookup, const char *path, size_t length, uint32_t wanted) {
    struct found found;
    int error = path_resolve(fd, path, length, lookup & LOOKUP_FOLLOW, &found);
    if (error != 0) {
        return error;
    }
    switch (found.kind) {
    case FOUND_OUTER:
        return access_outer(&found, lookup, wanted);
    case FOUND_NODE:
        return access_node(found.node, wanted);
    case FOUND_IMAGE:
        if (wanted & MAY_WRITE) {
            return E_ROFS;
        }
        return wanted & ~(image_mode(found.image) >> 6) & 7 ? E_ACCES : 0;
    case FOUND_MISSING:
        break;
    }
    return E_NOENT;
}

static void space(struct __eryx_space *out, bool read_only, bool known) {
    uint64_t quota = vfs.quota_set ? vfs.quota : DEFAULT_QUOTA;
    uint64_t left = vfs.used < quota ? quota - vfs.used : 0;
    memset(out, 0, sizeof *out);
    out->block = 4096;
    out->name = NAME_LIMIT;
    out->read_only = read_only;
    if (known) {
        out->blocks = quota / out->block;
        out->free = left / out->block;
        out->files = quota / sizeof(struct node);
        out->files_free = left / sizeof(struct node);
    }
}

/* How much space an embedder's directory has is not told: zeros, as for file systems without a size. */
int32_t __eryx_vfs_space(int32_t fd, const char *path, size_t length, struct __eryx_space *out) {
    struct found found;
    int error = path_resolve(fd, path, length, true, &found);
    if (error != 0) {
        return error;
    }
    struct wasi_filestat stat;
    switch (found.kind) {
    case FOUND_OUTER:
        error = outer_path_filestat_get(found.fd, LOOKUP_FOLLOW, outer_path(&found), outer_length(&found), &stat);
        if (error == 0) {
            space(out, !mount_writable(found.mount), false);
        }
        return error;
    case FOUND_NODE:
        if (found.node->kind == NODE_DIRECTORY && found.node->u.directory.mount != NULL) {
            space(out, !mount_writable(found.node->u.directory.mount), false);
        } else {
            bool read_only = found.node->kind == NODE_DIRECTORY && !found.node->u.directory.writable;
            space(out, read_only, !read_only);
        }
        return 0;
    case FOUND_IMAGE:
        space(out, true, false);
        return 0;
    case FOUND_MISSING:
        break;
    }
    return E_NOENT;
}

int32_t __eryx_vfs_fspace(int32_t fd, struct __eryx_space *out) {
    struct description *description;
    int error = fd_get(fd, &description);
    if (error != 0) {
        return error;
    }
    if (description->kind == OPEN_OUTER) {
        space(out, description->mount != NULL && !mount_writable(description->mount), false);
    } else {
        space(out, description->kind == OPEN_IMAGE, description->kind != OPEN_IMAGE);
    }
    return 0;
}
