/* The calls that make, change and describe names. */
#include <string.h>

#include "eryx_public.h"
#include "state.h"

int32_t __eryx_wasi_path_create_directory(int32_t fd, const char *path, size_t length) {
    return __eryx_vfs_mkdir(fd, path, length, 0777);
}

int32_t __eryx_vfs_mkdir(int32_t fd, const char *path, size_t length, uint32_t mode) {
    struct found found;
    int error = path_resolve(fd, path, length, false, &found);
    if (error != 0) {
        return error;
    }
    if (found.kind == FOUND_OUTER) {
        return found.bare ? E_EXIST
                          : outer_path_create_directory(found.fd, outer_path(&found), outer_length(&found));
    }
    if (found.kind != FOUND_MISSING) {
        return E_EXIST;
    }
    error = found_may_create(&found);
    if (error != 0) {
        return error;
    }
    struct node *node = node_new(NODE_DIRECTORY);
    if (node == NULL) {
        return E_NOSPC;
    }
    node->u.directory.writable = true;
    node->mode = mode_of_creation(mode);
    error = directory_insert(found.parent, found.name, found.name_length, node);
    if (error != 0) {
        node_release(node);
        return error;
    }
    node_touch(found.parent);
    return 0;
}

int32_t __eryx_wasi_path_filestat_get(int32_t fd, int32_t lookup, const char *path, size_t length,
                                      struct wasi_filestat *stat) {
    struct found found;
    int error = path_resolve(fd, path, length, lookup & LOOKUP_FOLLOW, &found);
    if (error != 0) {
        return error;
    }
    switch (found.kind) {
    case FOUND_OUTER:
        error = outer_path_filestat_get(found.fd, lookup, outer_path(&found), outer_length(&found), stat);
        if (error == 0) {
            stat_add_mode(stat, mode_of_outer(stat->type, found.mount));
        }
        return error;
    case FOUND_NODE:
        node_stat(found.node, stat);
        return 0;
    case FOUND_IMAGE:
        image_stat(found.image, stat);
        return 0;
    case FOUND_MISSING:
        break;
    }
    return E_NOENT;
}

int32_t __eryx_wasi_path_filestat_set_times(int32_t fd, int32_t lookup, const char *path, size_t length,
                                            uint64_t accessed, uint64_t modified, int32_t flags) {
    struct found found;
    int error = path_resolve(fd, path, length, lookup & LOOKUP_FOLLOW, &found);
    if (error != 0) {
        return error;
    }
    switch (found.kind) {
    case FOUND_OUTER:
        return outer_path_filestat_set_times(found.fd, lookup, outer_path(&found), outer_length(&found),
                                             accessed, modified, flags);
    case FOUND_NODE:
        return node_set_times(found.node, accessed, modified, flags);
    case FOUND_IMAGE:
        return E_ROFS;
    case FOUND_MISSING:
        break;
    }
    return E_NOENT;
}

int32_t __eryx_wasi_path_link(int32_t old_fd, int32_t lookup, const char *old_path, size_t old_length,
                              int32_t new_fd, const char *new_path, size_t new_length) {
    struct found from, to;
    int error = path_resolve(old_fd, old_path, old_length, lookup & LOOKUP_FOLLOW, &from);
    if (error == 0) {
        error = path_resolve(new_fd, new_path, new_length, false, &to);
    }
    if (error != 0) {
        return error;
    }
    if (from.kind == FOUND_MISSING) {
        return E_NOENT;
    }
    if (to.foreign) {
        return from.kind == FOUND_OUTER ? E_ILSEQ : E_XDEV;
    }
    if (from.kind == FOUND_OUTER && to.kind == FOUND_OUTER && from.mount == to.mount) {
        return outer_path_link(from.fd, lookup, outer_path(&from), outer_length(&from), to.fd,
                               outer_path(&to), outer_length(&to));
    }
    if (to.kind == FOUND_NODE || to.kind == FOUND_IMAGE) {
        return E_EXIST;
    }
    if (from.kind == FOUND_NODE && from.node->kind == NODE_DIRECTORY) {
        return E_PERM;
    }
    if (to.kind == FOUND_OUTER || from.kind != FOUND_NODE) {
        return E_XDEV;
    }
    error = found_may_create(&to);
    if (error == 0 && to.slash) {
        error = E_NOENT;
    }
    if (error == 0) {
        error = directory_insert(to.parent, to.name, to.name_length, from.node);
    }
    if (error == 0) {
        from.node->changed = vfs_now();
        node_touch(to.parent);
    }
    return error;
}

int32_t __eryx_wasi_path_readlink(int32_t fd, const char *path, size_t length, uint8_t *buffer, size_t size,
                                  size_t *used) {
    struct found found;
    int error = path_resolve(fd, path, length, false, &found);
    if (error != 0) {
        return error;
    }
    const uint8_t *target;
    size_t target_length;
    if (found.kind == FOUND_OUTER) {
        return outer_path_readlink(found.fd, outer_path(&found), outer_length(&found), buffer, size, used);
    }
    if (found.kind == FOUND_MISSING) {
        return E_NOENT;
    }
    if (found.kind == FOUND_NODE && found.node->kind == NODE_LINK) {
        target = (const uint8_t *)found.node->u.link.target;
        target_length = found.node->u.link.length;
    } else if (found.kind == FOUND_IMAGE && image_type(found.image) == TYPE_LINK) {
        target = image_bytes(image_node(found.image)->start);
        target_length = image_node(found.image)->count;
    } else {
        return E_INVAL;
    }
    *used = target_length < size ? target_length : size;
    if (*used != 0) {
        memcpy(buffer, target, *used);
    }
    return 0;
}

int32_t __eryx_wasi_path_symlink(const char *target, size_t target_length, int32_t fd, const char *path,
                                 size_t length) {
    struct found found;
    int error = path_resolve(fd, path, length, false, &found);
    if (error != 0) {
        return error;
    }
    if (found.kind == FOUND_OUTER && !is_utf8(target, target_length)) {
        return E_ILSEQ;
    }
    if (found.kind == FOUND_OUTER) {
        return outer_path_symlink(target, target_length, found.fd, outer_path(&found), outer_length(&found));
    }
    if (target_length == 0) {
        return E_NOENT;
    }
    if (target_length > PATH_LIMIT) {
        return E_NAMETOOLONG;
    }
    if (memchr(target, '\0', target_length) != NULL) {
        return E_INVAL;
    }
    if (found.kind != FOUND_MISSING) {
        return E_EXIST;
    }
    error = found_may_create(&found);
    if (error != 0) {
        return error;
    }
    if (found.slash) {
        return E_NOENT;
    }
    struct node *node = node_new(NODE_LINK);
    char *copy = quota_take(target_length + UINT64_C(1));
    if (node == NULL || copy == NULL) {
        quota_give(copy, target_length + UINT64_C(1));
        quota_give(node, sizeof *node);
        return E_NOSPC;
    }
    memcpy(copy, target, target_length);
    node->u.link.target = copy;
    node->u.link.length = (uint32_t)target_length;
    error = directory_insert(found.parent, found.name, found.name_length, node);
    if (error != 0) {
        node_release(node);
        return error;
    }
    node_touch(found.parent);
    return 0;
}

/* Takes the name away; whoever has the node open keeps it. */
static void forget_name(struct found *found) {
    struct entry *entry = directory_entry(found->parent, found->name, found->name_length);
    directory_remove(found->parent, entry);
    node_touch(found->parent);
    if (found->node->kind == NODE_DIRECTORY) {
        found->node->u.directory.parent = NULL;
        found->node->u.directory.removed = true;
    } else {
        found->node->changed = vfs_now();
    }
    node_release(found->node);
}

/* Whether an existing name may be taken away. */
static int may_remove(const struct found *found) {
    if (found->kind == FOUND_IMAGE) {
        return E_ROFS;
    }
    if (found->node->kind == NODE_DIRECTORY && found->node->u.directory.pinned) {
        return E_BUSY;
    }
    return found->parent->u.directory.writable ? node_allows(found->parent, MAY_WRITE) : E_ROFS;
}

int32_t __eryx_wasi_path_remove_directory(int32_t fd, const char *path, size_t length) {
    struct found found;
    int error = path_resolve(fd, path, length, false, &found);
    if (error != 0) {
        return error;
    }
    if (found.bare) {
        return E_INVAL;
    }
    if (found.kind == FOUND_OUTER) {
        return outer_path_remove_directory(found.fd, outer_path(&found), outer_length(&found));
    }
    if (found.kind == FOUND_MISSING) {
        return E_NOENT;
    }
    if (found.kind == FOUND_IMAGE ? image_type(found.image) != TYPE_DIRECTORY
                                  : found.node->kind != NODE_DIRECTORY) {
        return E_NOTDIR;
    }
    error = may_remove(&found);
    if (error == 0 && found.node->u.directory.live != 0) {
        error = E_NOTEMPTY;
    }
    if (error == 0) {
        forget_name(&found);
    }
    return error;
}

int32_t __eryx_wasi_path_unlink_file(int32_t fd, const char *path, size_t length) {
    struct found found;
    int error = path_resolve(fd, path, length, false, &found);
    if (error != 0) {
        return error;
    }
    if (found.bare) {
        return E_ISDIR;
    }
    if (found.kind == FOUND_OUTER) {
        return outer_path_unlink_file(found.fd, outer_path(&found), outer_length(&found));
    }
    if (found.kind == FOUND_MISSING) {
        return E_NOENT;
    }
    if (found.kind == FOUND_IMAGE ? image_type(found.image) == TYPE_DIRECTORY
                                  : found.node->kind == NODE_DIRECTORY) {
        return E_ISDIR;
    }
    error = may_remove(&found);
    if (error == 0) {
        forget_name(&found);
    }
    return error;
}

static bool is_inside(const struct node *node, const struct node *directory) {
    while (node != NULL && node != directory) {
        node = node->u.directory.parent;
    }
    return node == directory;
}

/* Whether `from` may take the place of `to`, both being in memory or `to` missing. */
static int may_replace(const struct found *from, const struct found *to) {
    bool directory = from->node->kind == NODE_DIRECTORY;
    if (directory && is_inside(to->parent, from->node)) {
        return E_INVAL;
    }
    if (to->kind == FOUND_MISSING) {
        int error = found_may_create(to);
        return error == 0 && to->slash && !directory ? E_NOTDIR : error;
    }
    int error = may_remove(to);
    if (error != 0) {
        return error;
    }
    if (to->node->kind != NODE_DIRECTORY) {
        return directory ? E_NOTDIR : 0;
    }
    if (!directory) {
        return E_ISDIR;
    }
    return to->node->u.directory.live == 0 ? 0 : E_NOTEMPTY;
}

/* Puts `from`'s node under `to`'s name. Nothing has changed when this fails. */
static int replace(struct found *from, struct found *to) {
    if (to->kind == FOUND_MISSING) {
        int error = directory_insert(to->parent, to->name, to->name_length, from->node);
        if (error != 0) {
            return error;
        }
    } else {
        struct entry *entry = directory_entry(to->parent, to->name, to->name_length);
        struct node *old = entry->node;
        entry->node = from->node;
        from->node->links++;
        old->links--;
        if (old->kind == NODE_DIRECTORY) {
            old->u.directory.parent = NULL;
            old->u.directory.removed = true;
        }
        node_release(old);
    }
    /* Inserting may have moved the table: the entry is looked up only now. */
    directory_remove(from->parent, directory_entry(from->parent, from->name, from->name_length));
    if (from->node->kind == NODE_DIRECTORY) {
        from->node->u.directory.parent = to->parent;
    }
    from->node->changed = vfs_now();
    node_touch(from->parent);
    node_touch(to->parent);
    return 0;
}

int32_t __eryx_wasi_path_rename(int32_t old_fd, const char *old_path, size_t old_length, int32_t new_fd,
                                const char *new_path, size_t new_length) {
    struct found from, to;
    int error = path_resolve(old_fd, old_path, old_length, false, &from);
    if (error == 0 && from.kind == FOUND_MISSING) {
        error = E_NOENT;
    }
    if (error == 0) {
        error = path_resolve(new_fd, new_path, new_length, false, &to);
    }
    if (error != 0) {
        return error;
    }
    if (from.bare || to.bare) {
        return E_BUSY;
    }
    if (to.foreign) {
        return from.kind == FOUND_OUTER ? E_ILSEQ : E_XDEV;
    }
    if (from.kind == FOUND_OUTER && to.kind == FOUND_OUTER && from.mount == to.mount) {
        return outer_path_rename(from.fd, outer_path(&from), outer_length(&from), to.fd, outer_path(&to),
                                 outer_length(&to));
    }
    if (from.kind == FOUND_OUTER || to.kind == FOUND_OUTER) {
        return E_XDEV;
    }
    error = may_remove(&from);
    if (error != 0) {
        return error;
    }
    if (to.kind == FOUND_NODE && to.node == from.node) {
        return 0; /* two names of one file: POSIX wants nothing done */
    }
    error = may_replace(&from, &to);
    return error != 0 ? error : replace(&from, &to);
}
