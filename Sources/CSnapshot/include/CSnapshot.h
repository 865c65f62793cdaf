// Writes a snapshot folder: files from raw memory, their checksums, a manifest, all of it atomic. The same code
// runs in-process or in a forked child, so everything below the plan uses async-signal-safe calls only: no
// malloc, no stdio, no locks. Linux, glibc 2.34 or newer (`_Fork`, `close_range`).
#ifndef CLVD_SNAPSHOT_H
#define CLVD_SNAPSHOT_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/// Length of a checksum: XXH3-128 in lower-case hex, high half first as `xxh128sum` prints it.
#define CLVD_CHECKSUM_LENGTH 32

/// Memory that goes into a file.
typedef struct clvd_region {
    const void *bytes;
    size_t length;
} clvd_region;

/// A file of the snapshot: the concatenation of its regions. The name needs no JSON escaping.
typedef struct clvd_snapshot_file {
    const char *name;
    const clvd_region *regions;
    size_t region_count;
} clvd_snapshot_file;

/// The system calls of a write, so that a simulation can replace them. They return 0 or an errno. A forked child calls
/// them too, so they must be async-signal-safe unless the caller never forks.
typedef struct clvd_file_calls {
    void *context;
    int (*make_folder)(void *context, int directory, const char *name);
    int (*open_folder)(void *context, int directory, const char *name, int *descriptor);
    int (*create)(void *context, int directory, const char *name, int *descriptor);
    int (*write)(void *context, int descriptor, const void *bytes, size_t length, size_t *written);
    int (*sync)(void *context, int descriptor);
    int (*close)(void *context, int descriptor);
    /// With `exchange`, the two names change places.
    int (*rename)(void *context, int directory, const char *from, const char *to, int exchange);
    int (*remove)(void *context, int directory, const char *name, int is_folder);
} clvd_file_calls;

/// The calls of the operating system.
extern const clvd_file_calls clvd_system_file_calls;

/// What is to be written. All memory belongs to the caller and must stay valid until the write (or the fork) returns.
typedef struct clvd_snapshot_plan {
    const clvd_file_calls *calls;
    int directory;                    ///< open folder that holds the snapshots
    int lock;                         ///< the lock's descriptor, kept by a child; -1 for none
    const char *temporary_name;       ///< folder written first, inside `directory`
    const char *final_name;           ///< what it is renamed to
    const clvd_snapshot_file *files;
    size_t file_count;
    const char *manifest_name;
    const char *head;                 ///< JSON object without its closing brace; gets `files` and `checksum`
    size_t head_length;
    char *manifest;                   ///< scratch, at least `clvd_snapshot_manifest_capacity` bytes
    size_t manifest_capacity;
} clvd_snapshot_plan;

/// The step at which a write failed.
typedef enum clvd_snapshot_step {
    clvd_snapshot_done = 0,
    clvd_snapshot_make_folder = 1,
    clvd_snapshot_create = 2,
    clvd_snapshot_write_bytes = 3,
    clvd_snapshot_sync = 4,
    clvd_snapshot_rename = 5,
    clvd_snapshot_sync_folder = 6,
    clvd_snapshot_cancelled = 7       ///< the parent asked for it, or has ended
} clvd_snapshot_step;

/// How a write ended.
typedef struct clvd_snapshot_result {
    int32_t step;                     ///< clvd_snapshot_step
    int32_t error;                    ///< errno of the step; 0 when done or cancelled
    int32_t file;                     ///< index of the file, `file_count` for the manifest, -1 for a folder
    int32_t reserved;
    uint64_t bytes;                   ///< written, manifest included
    uint64_t nanoseconds;             ///< from the first step to the last
} clvd_snapshot_result;

/// A child process that writes, and the socket over which it reports and notices the end of its parent.
typedef struct clvd_snapshot_child {
    pid_t pid;
    int channel;
} clvd_snapshot_child;

/// The state of a child.
typedef enum clvd_snapshot_state {
    clvd_snapshot_running = 0,
    clvd_snapshot_reported = 1,       ///< it ended and left a result
    clvd_snapshot_lost = 2            ///< it ended without one; `signal` is the signal that ended it, if any
} clvd_snapshot_state;

/// The most bytes that the manifest of a plan needs.
size_t clvd_snapshot_manifest_capacity(const clvd_snapshot_plan *plan);

/// Writes in this process. Returns 0, or the errno that `result` carries too.
int clvd_snapshot_write(const clvd_snapshot_plan *plan, clvd_snapshot_result *result);

/// Forks a child that writes the memory as it is now. Returns 0 or an errno.
int clvd_snapshot_fork(const clvd_snapshot_plan *plan, clvd_snapshot_child *child);

/// Asks for the state of a child; waits for its end only when `wait` is set. A child that no longer runs has been
/// reaped, and its channel is closed.
clvd_snapshot_state clvd_snapshot_poll(
    clvd_snapshot_child *child, int wait, clvd_snapshot_result *result, int *signal);

/// Kills and reaps a child that still runs; closes its channel.
void clvd_snapshot_kill(clvd_snapshot_child *child);

/// Takes the exclusive lock on a file, creating it, and writes the process id into it. Returns the descriptor,
/// or -1 with the errno in `error`: EWOULDBLOCK when another process holds it, whose id is then in `holder`
/// (0 when unknown). The lock is released when its last descriptor is closed.
int clvd_snapshot_lock(const char *path, int *error, pid_t *holder);

/// Puts the checksum of bytes into `text`, NUL-terminated.
void clvd_snapshot_checksum(const void *bytes, size_t length, char text[CLVD_CHECKSUM_LENGTH + 1]);

/// Puts the checksum of the first `length` bytes of a file into `text`. Returns 0, or the errno of reading, ENODATA
/// when the file is shorter. It reads instead of mapping, so that a disk error is an errno and not a SIGBUS.
int clvd_snapshot_checksum_file(int descriptor, uint64_t length, char text[CLVD_CHECKSUM_LENGTH + 1]);

#ifdef __cplusplus
}
#endif
#endif
