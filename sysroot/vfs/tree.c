/* The nodes of the memory file system and the tables of its directories.
 *
 * A directory table is an array in order of insertion plus a hash index over it, so that looking up
 * is fast in a directory of many thousand files, and listing is stable while entries come and go: the
 * readdir cookie is the sequence number of an entry, which is never given twice. */
#include <stdlib.h>
#include <string.h>

#include "state.h"

/* `.` and `..` take the cookies 1 and 2. */
#define FIRST_SEQUENCE 3

static uint32_t hash_of(const char *name, size_t length) {
    uint32_t hash = 2166136261u;
    for (size_t i = 0; i < length; i++) {
        hash = (hash ^ (uint8_t)name[i]) * 16777619u;
    }
    return hash;
}

struct node *node_new(enum node_kind kind) {
    struct node *node = quota_take(sizeof *node);
    if (node == NULL) {
        return NULL;
    }
    node->kind = kind;
    node->mode = kind == NODE_DIRECTORY ? 0755 : kind == NODE_LINK ? 0777 : kind == NODE_NULL ? 0666 : 0644;
    node->inode = ++vfs.inodes;
    node->accessed = node->modified = node->changed = vfs_now();
    if (kind == NODE_DIRECTORY) {
        node->u.directory.image = NO_IMAGE;
        node->u.directory.sequence = FIRST_SEQUENCE;
    }
    return node;
}

static uint64_t table_size(uint32_t capacity) {
    return (uint64_t)capacity * (sizeof(struct entry) + 2 * sizeof(uint32_t));
}

void node_release(struct node *node) {
    if (node->links != 0 || node->uses != 0) {
        return;
    }
    switch (node->kind) {
    case NODE_DIRECTORY:
        quota_give(node->u.directory.entries, table_size(node->u.directory.capacity));
        free(node->u.directory.outer);
        break;
    case NODE_FILE:
        file_free(&node->u.file);
        break;
    case NODE_LINK:
        quota_give(node->u.link.target, node->u.link.length + UINT64_C(1));
        break;
    case NODE_NULL:
        break;
    }
    quota_give(node, sizeof *node);
}

struct entry *directory_entry(const struct node *node, const char *name, size_t length) {
    const struct directory *directory = &node->u.directory;
    if (directory->capacity == 0) {
        return NULL;
    }
    uint32_t hash = hash_of(name, length), mask = 2 * directory->capacity - 1;
    for (uint32_t at = hash & mask; directory->index[at] != 0; at = (at + 1) & mask) {
        struct entry *entry = &directory->entries[directory->index[at] - 1];
        if (entry->node != NULL && entry->hash == hash && entry->length == length &&
            memcmp(entry->name, name, length) == 0) {
            return entry;
        }
    }
    return NULL;
}

struct node *directory_find(const struct node *directory, const char *name, size_t length) {
    struct entry *entry = directory_entry(directory, name, length);
    return entry == NULL ? NULL : entry->node;
}

static void index_slot(struct directory *directory, uint32_t slot) {
    uint32_t mask = 2 * directory->capacity - 1;
    uint32_t at = directory->entries[slot].hash & mask;
    while (directory->index[at] != 0) {
        at = (at + 1) & mask;
    }
    directory->index[at] = slot + 1;
}

/* Makes room for one more entry; drops the slots of removed ones, which keeps the order. */
static int directory_grow(struct directory *directory) {
    uint32_t capacity = 8;
    while (capacity <= directory->live + directory->live / 2) {
        capacity *= 2;
    }
    struct entry *entries = quota_take(table_size(capacity));
    if (entries == NULL) {
        return E_NOSPC;
    }
    struct directory old = *directory;
    directory->entries = entries;
    directory->index = (uint32_t *)(entries + capacity);
    directory->capacity = capacity;
    directory->count = 0;
    for (uint32_t i = 0; i < old.count; i++) {
        if (old.entries[i].node != NULL) {
            entries[directory->count] = old.entries[i];
            index_slot(directory, directory->count++);
        }
    }
    quota_give(old.entries, table_size(old.capacity));
    return 0;
}

int directory_insert(struct node *node, const char *name, size_t length, struct node *child) {
    struct directory *directory = &node->u.directory;
    if (child->links == UINT32_MAX) {
        return E_MLINK;
    }
    char *copy = quota_take(length + 1);
    if (copy == NULL) {
        return E_NOSPC;
    }
    if (directory->count == directory->capacity && directory_grow(directory) != 0) {
        quota_give(copy, length + 1);
        return E_NOSPC;
    }
    memcpy(copy, name, length);
    directory->entries[directory->count] = (struct entry){
        .node = child,
        .name = copy,
        .length = (uint32_t)length,
        .hash = hash_of(name, length),
        .sequence = directory->sequence++,
    };
    index_slot(directory, directory->count++);
    directory->live++;
    child->links++;
    if (child->kind == NODE_DIRECTORY) {
        child->u.directory.parent = node;
    }
    return 0;
}

/* Leaves a slot without a node behind; the node itself loses a name but is not freed. */
void directory_remove(struct node *node, struct entry *entry) {
    entry->node->links--;
    quota_give(entry->name, entry->length + UINT64_C(1));
    entry->name = NULL;
    entry->node = NULL;
    node->u.directory.live--;
}

void node_touch(struct node *node) {
    node->modified = node->changed = vfs_now();
}

uint8_t node_type(const struct node *node) {
    switch (node->kind) {
    case NODE_DIRECTORY:
        return TYPE_DIRECTORY;
    case NODE_LINK:
        return TYPE_LINK;
    case NODE_NULL:
        return TYPE_CHARACTER_DEVICE;
    case NODE_FILE:
        break;
    }
    return TYPE_REGULAR;
}
