#define _GNU_SOURCE
#include "include/CSnapshot.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static int make_folder(void *context, int directory, const char *name) {
    (void)context;
    return mkdirat(directory, name, 0750) ? errno : 0;
}

static int open_folder(void *context, int directory, const char *name, int *descriptor) {
    (void)context;
    *descriptor = openat(directory, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return *descriptor < 0 ? errno : 0;
}

static int create(void *context, int directory, const char *name, int *descriptor) {
    (void)context;
    *descriptor = openat(directory, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0640);
    return *descriptor < 0 ? errno : 0;
}

static int write_bytes(void *context, int descriptor, const void *bytes, size_t length, size_t *written) {
    (void)context;
    ssize_t n = write(descriptor, bytes, length);
    *written = n > 0 ? (size_t)n : 0;
    return n < 0 ? errno : 0;
}

static int sync_descriptor(void *context, int descriptor) {
    (void)context;
    return fsync(descriptor) ? errno : 0;
}

static int close_descriptor(void *context, int descriptor) {
    (void)context;
    return close(descriptor) ? errno : 0;
}

static int rename_entry(void *context, int directory, const char *from, const char *to, int exchange) {
    (void)context;
    return renameat2(directory, from, directory, to, exchange ? RENAME_EXCHANGE : 0) ? errno : 0;
}

static int remove_entry(void *context, int directory, const char *name, int is_folder) {
    (void)context;
    return unlinkat(directory, name, is_folder ? AT_REMOVEDIR : 0) ? errno : 0;
}

const clvd_file_calls clvd_system_file_calls = {
    .make_folder = make_folder, .open_folder = open_folder, .create = create, .write = write_bytes,
    .sync = sync_descriptor, .close = close_descriptor, .rename = rename_entry, .remove = remove_entry,
};
