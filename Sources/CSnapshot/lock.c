#define _GNU_SOURCE
#include "include/CSnapshot.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

static pid_t read_holder(int descriptor) {
    char text[32] = {0};
    ssize_t n = pread(descriptor, text, sizeof text - 1, 0);
    return n > 0 ? (pid_t)strtol(text, NULL, 10) : 0;
}

int clvd_snapshot_lock(const char *path, int *error, pid_t *holder) {
    *error = 0;
    *holder = 0;
    int descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0640);
    if (descriptor < 0) {
        *error = errno;
        return -1;
    }
    int failed;
    do failed = flock(descriptor, LOCK_EX | LOCK_NB);
    while (failed && errno == EINTR);
    if (failed) {
        *error = errno;
        *holder = read_holder(descriptor);
        close(descriptor);
        return -1;
    }
    // The id is only information for people. The lock works without it, so a full disk is no error here.
    char text[32];
    int length = snprintf(text, sizeof text, "%d\n", (int)getpid());
    if (ftruncate(descriptor, 0) || pwrite(descriptor, text, (size_t)length, 0) != length) *holder = 0;
    return descriptor;
}
