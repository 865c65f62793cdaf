#define _GNU_SOURCE
#include "internal.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

// Inlined, so that a forked child calls into no library but libc's system call wrappers.
#define XXH_INLINE_ALL
#include <xxhash.h>

/// Bytes that are hashed and written at a time, while they are in the cache. Between two such pieces the child checks
/// whether its parent has ended.
enum { chunk_bytes = 1 << 20 };
/// Regions smaller than this are gathered into one write.
enum { gather_bytes = 64 << 10 };

/// A file being written.
typedef struct output {
    const clvd_file_calls *calls;
    int descriptor;
    int channel;
    uint64_t bytes;
    XXH3_state_t hash;
    size_t gathered;
    uint8_t gather[gather_bytes];
} output;

void clvd_snapshot_format_checksum(uint64_t high, uint64_t low, char text[CLVD_CHECKSUM_LENGTH + 1]) {
    static const char digits[] = "0123456789abcdef";
    for (int i = 0; i < 16; i++) {
        text[i] = digits[(high >> (60 - 4 * i)) & 15];
        text[16 + i] = digits[(low >> (60 - 4 * i)) & 15];
    }
    text[CLVD_CHECKSUM_LENGTH] = 0;
}

static void format_checksum(XXH128_hash_t hash, char text[CLVD_CHECKSUM_LENGTH + 1]) {
    clvd_snapshot_format_checksum(hash.high64, hash.low64, text);
}

void clvd_snapshot_checksum(const void *bytes, size_t length, char text[CLVD_CHECKSUM_LENGTH + 1]) {
    format_checksum(XXH3_128bits(bytes, length), text);
}

/// The parent sends nothing. When the channel is readable, the parent has closed it, on purpose or by ending.
static int is_cancelled(int channel) {
    if (channel < 0) return 0;
    struct pollfd p = {.fd = channel, .events = POLLIN};
    return poll(&p, 1, 0) > 0;
}

/// Returns 0, an errno, or -1 when cancelled.
static int put(output *out, const uint8_t *bytes, size_t length) {
    while (length > 0) {
        if (is_cancelled(out->channel)) return -1;
        size_t chunk = length < chunk_bytes ? length : chunk_bytes;
        XXH3_128bits_update(&out->hash, bytes, chunk);
        for (size_t done = 0; done < chunk;) {
            size_t n = 0;
            int error = out->calls->write(out->calls->context, out->descriptor, bytes + done, chunk - done, &n);
            if (error && error != EINTR) return error;
            if (!error && n == 0) return ENOSPC;
            done += n;
        }
        out->bytes += chunk;
        bytes += chunk;
        length -= chunk;
    }
    return 0;
}

static int flush_gathered(output *out) {
    size_t length = out->gathered;
    out->gathered = 0;
    return put(out, out->gather, length);
}

static int put_region(output *out, const clvd_region *region) {
    if (region->length >= gather_bytes) {
        int error = flush_gathered(out);
        return error ? error : put(out, region->bytes, region->length);
    }
    if (out->gathered + region->length > gather_bytes) {
        int error = flush_gathered(out);
        if (error) return error;
    }
    if (region->length > 0) memcpy(out->gather + out->gathered, region->bytes, region->length);
    out->gathered += region->length;
    return 0;
}

static int sync_descriptor(const clvd_file_calls *calls, int descriptor) {
    int error;
    do error = calls->sync(calls->context, descriptor);
    while (error == EINTR);
    return error;
}

static int fail(clvd_snapshot_result *result, clvd_snapshot_step step, int error) {
    result->step = error < 0 ? clvd_snapshot_cancelled : step;
    result->error = error < 0 ? 0 : error;
    return error;
}

/// Writes one file durably. `out->bytes` and `out->hash` describe it afterwards.
static int write_file(
    const clvd_file_calls *calls, int folder, int channel, const clvd_snapshot_file *file, output *out,
    clvd_snapshot_result *result) {
    out->calls = calls;
    out->channel = channel;
    out->bytes = 0;
    out->gathered = 0;
    XXH3_128bits_reset(&out->hash);
    int error = calls->create(calls->context, folder, file->name, &out->descriptor);
    if (error) return fail(result, clvd_snapshot_create, error);
    for (size_t i = 0; i < file->region_count && !error; i++) error = put_region(out, &file->regions[i]);
    if (!error) error = flush_gathered(out);
    clvd_snapshot_step step = clvd_snapshot_write_bytes;
    if (!error) {
        step = clvd_snapshot_sync;
        error = sync_descriptor(calls, out->descriptor);
    }
    // NFS reports what it could not write at close.
    int closing = calls->close(calls->context, out->descriptor);
    if (closing && !error && closing != EINTR) error = closing;
    result->bytes += out->bytes;
    return error ? fail(result, step, error) : 0;
}

// MARK: Manifest

typedef struct text {
    char *bytes;
    size_t length;
    size_t capacity;
} text;

/// The capacity was computed from the same plan. Exceeding it is a bug, which ends the child.
static void append(text *t, const char *bytes, size_t length) {
    if (length > t->capacity - t->length) __builtin_trap();
    memcpy(t->bytes + t->length, bytes, length);
    t->length += length;
}

static void append_string(text *t, const char *string) { append(t, string, strlen(string)); }

static void append_number(text *t, uint64_t number) {
    char digits[20];
    size_t i = sizeof digits;
    do digits[--i] = (char)('0' + number % 10);
    while (number /= 10);
    append(t, digits + i, sizeof digits - i);
}

// The most bytes that an entry and the end of the manifest need, without names, numbers and checksums.
enum {
    entry_bytes = sizeof ",{\"name\":\"\",\"bytes\":,\"xxh128\":\"\"}",
    trailer_bytes = sizeof ",\"files\":[],\"checksum\":\"\"}\n",
};

size_t clvd_snapshot_manifest_capacity(const clvd_snapshot_plan *plan) {
    size_t capacity = plan->head_length + trailer_bytes + CLVD_CHECKSUM_LENGTH;
    for (size_t i = 0; i < plan->file_count; i++)
        capacity += strlen(plan->files[i].name) + entry_bytes + 20 + CLVD_CHECKSUM_LENGTH;
    return capacity;
}

static void append_entry(text *manifest, const char *name, output *out, int is_first) {
    char checksum[CLVD_CHECKSUM_LENGTH + 1];
    format_checksum(XXH3_128bits_digest(&out->hash), checksum);
    append_string(manifest, is_first ? "{\"name\":\"" : ",{\"name\":\"");
    append_string(manifest, name);
    append_string(manifest, "\",\"bytes\":");
    append_number(manifest, out->bytes);
    append_string(manifest, ",\"xxh128\":\"");
    append_string(manifest, checksum);
    append_string(manifest, "\"}");
}

/// The checksum covers every byte before it.
static void close_manifest(text *manifest) {
    append_string(manifest, "],\"checksum\":\"");
    char checksum[CLVD_CHECKSUM_LENGTH + 1];
    clvd_snapshot_checksum(manifest->bytes, manifest->length, checksum);
    append_string(manifest, checksum);
    append_string(manifest, "\"}\n");
}

// MARK: The whole

static int write_contents(
    const clvd_snapshot_plan *plan, int folder, int channel, clvd_snapshot_result *result) {
    output out;
    text manifest = {plan->manifest, 0, plan->manifest_capacity};
    append(&manifest, plan->head, plan->head_length);
    append_string(&manifest, ",\"files\":[");
    int error;
    for (size_t i = 0; i < plan->file_count; i++) {
        result->file = (int32_t)i;
        if ((error = write_file(plan->calls, folder, channel, &plan->files[i], &out, result))) return error;
        append_entry(&manifest, plan->files[i].name, &out, i == 0);
    }
    close_manifest(&manifest);
    clvd_region region = {manifest.bytes, manifest.length};
    clvd_snapshot_file file = {plan->manifest_name, &region, 1};
    result->file = (int32_t)plan->file_count;
    if ((error = write_file(plan->calls, folder, channel, &file, &out, result))) return error;
    result->file = -1;
    error = sync_descriptor(plan->calls, folder);
    return error ? fail(result, clvd_snapshot_sync_folder, error) : 0;
}

static void remove_temporary(const clvd_snapshot_plan *plan, int folder) {
    const clvd_file_calls *calls = plan->calls;
    for (size_t i = 0; i < plan->file_count; i++) calls->remove(calls->context, folder, plan->files[i].name, 0);
    calls->remove(calls->context, folder, plan->manifest_name, 0);
    calls->remove(calls->context, plan->directory, plan->temporary_name, 1);
}

/// An older snapshot of the same name is replaced atomically; it keeps the temporary name.
static int rename_over(const clvd_snapshot_plan *plan) {
    const clvd_file_calls *calls = plan->calls;
    int error = calls->rename(calls->context, plan->directory, plan->temporary_name, plan->final_name, 0);
    if (error != EEXIST && error != ENOTEMPTY) return error;
    return calls->rename(calls->context, plan->directory, plan->temporary_name, plan->final_name, 1);
}

static int write_folder(const clvd_snapshot_plan *plan, int channel, clvd_snapshot_result *result) {
    const clvd_file_calls *calls = plan->calls;
    result->file = -1;
    int error = calls->make_folder(calls->context, plan->directory, plan->temporary_name);
    if (error) return fail(result, clvd_snapshot_make_folder, error);
    int folder = -1;
    if ((error = calls->open_folder(calls->context, plan->directory, plan->temporary_name, &folder))) {
        calls->remove(calls->context, plan->directory, plan->temporary_name, 1);
        return fail(result, clvd_snapshot_make_folder, error);
    }
    error = write_contents(plan, folder, channel, result);
    if (!error && (error = rename_over(plan))) fail(result, clvd_snapshot_rename, error);
    if (error) {
        remove_temporary(plan, folder);
    } else if ((error = sync_descriptor(calls, plan->directory))) {
        fail(result, clvd_snapshot_sync_folder, error);
    }
    calls->close(calls->context, folder);
    return error;
}

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

int clvd_snapshot_write_watched(const clvd_snapshot_plan *plan, int channel, clvd_snapshot_result *result) {
    memset(result, 0, sizeof *result);
    uint64_t start = now_ns();
    int error = write_folder(plan, channel, result);
    result->nanoseconds = now_ns() - start;
    return error;
}

int clvd_snapshot_write(const clvd_snapshot_plan *plan, clvd_snapshot_result *result) {
    return clvd_snapshot_write_watched(plan, -1, result);
}
