/* What the parts of the layer share. All state lies in `vfs`, which starts as zeros and is set up at
 * the first call: libc's own constructors may call in before any constructor of ours could run. */
#ifndef ERYX_VFS_STATE_H
#define ERYX_VFS_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wasi.h"

#define PATH_LIMIT 4096
#define NAME_LIMIT 255
#define LINK_LIMIT 40
#define FD_LIMIT 1024
#define ROOT_FD 3
#define NO_IMAGE UINT32_MAX
#define BLOCK_SIZE 65536u
#define FILE_LIMIT (UINT64_C(1) << 32)
#define DEFAULT_QUOTA (UINT64_C(256) << 20)
#define MASK_SET 01000u /* all state starts as zeros: the bit above the nine says that a mask was set */
#define DEVICE_IMAGE UINT64_C(0x65727978)
#define DEVICE_MEMORY UINT64_C(0x65727979)

enum node_kind { NODE_DIRECTORY, NODE_FILE, NODE_LINK, NODE_NULL };

/* A directory that the embedder granted. */
struct mount {
    struct mount *next;
    struct node *node;
    int32_t fd;
    int32_t writable; /* whether names can be made in it: 0 unknown, 1 yes, -1 no */
};

/* One name in a memory directory; a free slot has no node. */
struct entry {
    struct node *node;
    char *name;
    uint32_t length;
    uint32_t hash;
    /* Never used twice in one directory: it is the readdir cookie. */
    uint64_t sequence;
};

/* A directory has up to three layers, looked through in this order: its own entries, a directory of
 * the image, a directory of the embedder. */
struct directory {
    struct node *parent; /* NULL: the root, or removed */
    struct entry *entries;
    uint32_t *index; /* open addressing over `entries`: slot + 1, or 0 */
    uint32_t count;
    uint32_t capacity;
    uint32_t live;
    uint64_t sequence;
    uint32_t image;
    struct mount *mount;
    char *outer;          /* the path below `mount`, "" for the granted directory itself */
    struct node *covered; /* what a grant hides, until the next reset */
    bool writable;
    bool pinned;  /* part of the fixed tree or of the way to a grant: not to be moved or removed */
    bool granted; /* made for a grant: goes at the next reset */
    bool removed;
};

/* Contents in blocks of 64 KiB, absent ones being holes; the first block is as small as it can be. */
struct file {
    uint8_t **blocks;
    uint32_t table;
    uint32_t head; /* bytes allocated for the first block */
    uint64_t size;
};

struct node {
    enum node_kind kind;
    uint32_t links; /* names that lead here */
    uint32_t uses;  /* open files that stand here */
    uint32_t mode;  /* permissions, 07777 */
    uint64_t inode;
    uint64_t accessed;
    uint64_t modified;
    uint64_t changed;
    union {
        struct directory directory;
        struct file file;
        struct {
            char *target;
            uint32_t length;
        } link;
    } u;
};

enum description_kind { OPEN_DEAD, OPEN_OUTER, OPEN_NODE, OPEN_IMAGE, OPEN_PIPE };

/* What two descriptions, or more after dup, read from and write to. */
#define PIPE_SIZE 65536u
#define PIPE_ATOMIC 4096u
struct pipe {
    uint32_t readers;
    uint32_t writers;
    uint32_t start;
    uint32_t used;
    uint64_t inode;
    uint64_t time;
    uint8_t bytes[PIPE_SIZE];
};

/* An open file: what dup shares. */
struct description {
    uint32_t uses;
    enum description_kind kind;
    uint16_t flags;
    int32_t fd;          /* OPEN_OUTER: the embedder's descriptor */
    struct mount *mount; /* OPEN_OUTER: where it was opened, NULL for 0, 1, 2 and sockets */
    char *path;          /* OPEN_OUTER: path below `mount`, for going up from a directory */
    struct node *node;
    struct pipe *pipe;
    uint32_t image;
    uint8_t lock; /* flock: LOCKED_SHARED or LOCKED_ALONE */
    uint64_t lock_device, lock_inode;
    uint64_t offset;
    uint64_t rights;
    uint64_t inheriting;
};

struct vfs {
    bool ready;
    bool mounted;
    struct node root;
    struct mount *mounts;
    struct description *fds[FD_LIMIT];
    uint64_t inodes;
    uint64_t used;
    uint64_t quota;
    bool quota_set;
    bool exempt; /* while setting up: a full quota must not make every call fail */
    uint32_t mask;
    uint8_t inherited[FD_LIMIT / 8]; /* descriptors without FD_CLOEXEC */
};

extern struct vfs vfs;

/* setup.c */
int vfs_setup(void); /* before anything else in every call; E_NOMEM when it cannot be done yet */
uint64_t vfs_now(void);

void description_forget(struct description *description); /* when it is of a grant, or a socket */

/* memory.c: allocation under the quota; everything comes zeroed. */
void *quota_take(uint64_t size);
void quota_give(void *memory, uint64_t size);

/* tree.c */
struct node *node_new(enum node_kind kind);
void node_release(struct node *node); /* frees it when neither a name nor an open file is left */
struct entry *directory_entry(const struct node *directory, const char *name, size_t length);
struct node *directory_find(const struct node *directory, const char *name, size_t length);
int directory_insert(struct node *directory, const char *name, size_t length, struct node *node);
void directory_remove(struct node *directory, struct entry *entry);
void node_touch(struct node *node); /* contents changed now */
uint8_t node_type(const struct node *node);

/* blocks.c */
size_t file_read(const struct file *file, uint64_t offset, uint8_t *buffer, size_t length);
int file_write(struct file *file, uint64_t offset, const uint8_t *buffer, size_t length, size_t *done);
int file_resize(struct file *file, uint64_t size);
int file_allocate(struct file *file, uint64_t offset, uint64_t length);
void file_free(struct file *file);

/* image.c */
enum image_kind { IMAGE_DIRECTORY = 1, IMAGE_FILE = 2, IMAGE_LINK = 3 };
enum { IMAGE_EXECUTABLE = 1 };
struct image_node {
    uint32_t name;
    uint16_t name_length;
    uint8_t kind;
    uint8_t flags;
    uint32_t parent;
    uint32_t start; /* directory: first child; file, link: offset of the bytes */
    uint32_t count; /* directory: number of children; file, link: number of bytes */
};
const struct image_node *image_node(uint32_t index);
const uint8_t *image_bytes(uint32_t offset);
uint64_t image_time(void);
uint32_t image_find(uint32_t directory, const char *name, size_t length);
uint8_t image_type(uint32_t index);
uint32_t image_mode(uint32_t index);
void image_check(void);

/* mounts.c */
bool mount_writable(struct mount *mount);
int mounts_read(void);
void mounts_forget(void);
struct node *overlay_of_image(uint32_t image);
struct node *overlay_of_outer(struct mount *mount, const char *path);

/* path.c */
enum found_kind { FOUND_MISSING, FOUND_NODE, FOUND_IMAGE, FOUND_OUTER };
struct found {
    enum found_kind kind;
    bool bare;  /* the path ends in `.`, `..` or `/`: it names a directory, not an entry */
    bool slash; /* it ends in a slash */
    struct node *parent; /* holder of the last name; NULL: a directory of the image */
    struct node *node;
    uint32_t image;
    uint32_t name_length;
    char name[NAME_LIMIT + 1];
    /* FOUND_OUTER: what to ask the embedder for, and where that lies below the mount. */
    struct mount *mount;
    bool foreign; /* FOUND_MISSING in a directory of the embedder, whose names are UTF-8: this one is not */
    int32_t fd;
    uint32_t base;
    uint32_t path_length;
    char path[PATH_LIMIT + 2];
};
bool is_utf8(const char *text, size_t length);
int path_resolve(int32_t fd, const char *path, size_t length, bool follow, struct found *found);
const char *outer_path(const struct found *found);
size_t outer_length(const struct found *found);
int found_may_create(const struct found *found);

/* fdtable.c */
int fd_get(int32_t fd, struct description **description);
int fd_slot(int32_t *fd); /* the lowest free number; E_MFILE */
int fd_slot_from(int32_t lowest, int32_t *fd);
int open_outside(int32_t fd, int32_t lookup, const char *path, size_t length, int32_t oflags, uint64_t rights,
                 uint64_t inheriting, int32_t flags, int32_t *opened); /* the embedder's path_open; E_MFILE, too */
struct description *description_new(enum description_kind kind);
void description_release(struct description *description);
int fd_copy(int32_t fd, int32_t to); /* guest errno; `to` must be in range */

bool fd_inherited(int32_t fd);
void fd_inherit(int32_t fd, bool inherited);

/* modes.c: what the owner of all files may do */
enum { MAY_EXECUTE = 1, MAY_WRITE = 2, MAY_READ = 4 };
uint32_t mode_of_creation(uint32_t mode); /* less what umask takes away */
int node_allows(const struct node *node, uint32_t wanted); /* E_ACCES */
uint32_t mode_of_outer(uint8_t type, struct mount *mount); /* `mount` NULL: a stream of the embedder */
void stat_add_mode(struct wasi_filestat *stat, uint32_t mode);

/* mapping.c */
void mappings_forget(void); /* files of grants that only mappings hold */

/* pipe.c */
int pipe_read(struct description *description, const struct wasi_iovec *vectors, size_t count, size_t *done);
int pipe_write(struct description *description, const struct wasi_iovec *vectors, size_t count, size_t *done);
void pipe_stat(const struct description *description, struct wasi_filestat *stat);
void pipe_release(struct description *description);
/* How many bytes can be read or written without waiting; NOTHING_YET when only waiting would help. */
#define NOTHING_YET UINT64_MAX
uint64_t pipe_ready(const struct description *description, bool write);

/* calls_fd.c: for files of memory and image */
int description_read_at(const struct description *description, const struct wasi_iovec *vectors, size_t count,
                        uint64_t offset, size_t *done);
int description_write_at(const struct description *description, const struct wasi_iovec *vectors, size_t count,
                         uint64_t offset, size_t *done);

/* stat.c */
void node_stat(struct node *node, struct wasi_filestat *stat);
void image_stat(uint32_t image, struct wasi_filestat *stat);
int node_set_times(struct node *node, uint64_t accessed, uint64_t modified, int32_t flags);

#endif
