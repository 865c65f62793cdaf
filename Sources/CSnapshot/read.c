#define _GNU_SOURCE
#include "internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

enum { chunk_bytes = 1 << 20 };

int clvd_snapshot_checksum_file(int descriptor, uint64_t length, char text[CLVD_CHECKSUM_LENGTH + 1]) {
    uint8_t *chunk = malloc(chunk_bytes);
    if (!chunk) return ENOMEM;
    posix_fadvise(descriptor, 0, 0, POSIX_FADV_SEQUENTIAL);
    XXH3_state_t hash;
    XXH3_128bits_reset(&hash);
    int error = 0;
    for (uint64_t done = 0; done < length && !error;) {
        size_t wanted = length - done < chunk_bytes ? (size_t)(length - done) : chunk_bytes;
        ssize_t n = pread(descriptor, chunk, wanted, (off_t)done);
        if (n > 0) {
            XXH3_128bits_update(&hash, chunk, (size_t)n);
            done += (uint64_t)n;
        } else if (n == 0) {
            error = ENODATA;
        } else if (errno != EINTR) {
            error = errno;
        }
    }
    free(chunk);
    XXH128_hash_t digest = XXH3_128bits_digest(&hash);
    if (!error) clvd_snapshot_format_checksum(digest.high64, digest.low64, text);
    return error;
}
