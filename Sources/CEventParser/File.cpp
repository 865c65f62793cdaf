// Plain and gzip files as one stream of bytes. Uses zlib's inflate and not gzread, which does not notice that a file was
// cut short.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <new>

#include "CEventParser.h"

struct clvd_file {
    int descriptor = -1;
    bool compressed = false;
    bool in_member = false;     // between a gzip header and its trailer
    int64_t position = 0;       // bytes read from the file
    int64_t size = -1;
    z_stream inflater = {};
    uint8_t input[1 << 16];
    char path[1024];
    char error[1400];
};

namespace {

/// Fills the empty input buffer. False on an I/O error.
bool refill(clvd_file *file) {
    ssize_t count;
    do {
        count = ::read(file->descriptor, file->input, sizeof file->input);
    } while (count < 0 && errno == EINTR);
    if (count < 0) {
        std::snprintf(
            file->error, sizeof file->error, "%s: cannot read at byte %lld: %s", file->path,
            static_cast<long long>(file->position), std::strerror(errno));
        return false;
    }
    file->position += count;
    file->inflater.next_in = file->input;
    file->inflater.avail_in = static_cast<uInt>(count);
    return true;
}

long long consumed(const clvd_file *file) { return static_cast<long long>(file->position - file->inflater.avail_in); }

int64_t read_plain(clvd_file *file, uint8_t *buffer, size_t capacity) {
    if (file->inflater.avail_in == 0 && !refill(file)) return -1;
    size_t count = file->inflater.avail_in < capacity ? file->inflater.avail_in : capacity;
    std::memcpy(buffer, file->inflater.next_in, count);
    file->inflater.next_in += count;
    file->inflater.avail_in -= static_cast<uInt>(count);
    return static_cast<int64_t>(count);
}

int64_t read_gzip(clvd_file *file, uint8_t *buffer, size_t capacity) {
    z_stream &inflater = file->inflater;
    inflater.next_out = buffer;
    inflater.avail_out = static_cast<uInt>(capacity < (1u << 30) ? capacity : (1u << 30));
    uInt room = inflater.avail_out;
    while (inflater.avail_out == room) {
        if (inflater.avail_in == 0) {
            if (!refill(file)) return -1;
            if (inflater.avail_in == 0) {
                if (!file->in_member) return 0;
                std::snprintf(
                    file->error, sizeof file->error,
                    "%s: the gzip data ends early, at byte %lld; the file was cut short (copy it again)", file->path,
                    consumed(file));
                return -1;
            }
        }
        if (!file->in_member) {
            inflateReset(&inflater);
            file->in_member = true;
        }
        int code = inflate(&inflater, Z_NO_FLUSH);
        if (code == Z_STREAM_END) {
            file->in_member = false;
        } else if (code != Z_OK && code != Z_BUF_ERROR) {
            std::snprintf(
                file->error, sizeof file->error, "%s: the gzip data is damaged at byte %lld (%s)", file->path,
                consumed(file), inflater.msg != nullptr ? inflater.msg : zError(code));
            return -1;
        }
    }
    return static_cast<int64_t>(room - inflater.avail_out);
}

}  // namespace

extern "C" {

clvd_file *clvd_file_open(const char *path, char *error, size_t error_capacity) {
    auto *file = new (std::nothrow) clvd_file;
    if (file == nullptr) {
        std::snprintf(error, error_capacity, "%s: no memory to open it", path);
        return nullptr;
    }
    std::snprintf(file->path, sizeof file->path, "%s", path);
    file->error[0] = '\0';
    file->descriptor = ::open(path, O_RDONLY | O_CLOEXEC);
    struct stat status;
    if (file->descriptor < 0 || ::fstat(file->descriptor, &status) != 0) {
        std::snprintf(error, error_capacity, "%s: cannot open: %s", path, std::strerror(errno));
        clvd_file_close(file);
        return nullptr;
    }
    if (S_ISDIR(status.st_mode)) {
        std::snprintf(error, error_capacity, "%s: is a folder, not a file of events", path);
        clvd_file_close(file);
        return nullptr;
    }
    if (S_ISREG(status.st_mode)) file->size = status.st_size;
    if (!refill(file)) {
        std::snprintf(error, error_capacity, "%s", file->error);
        clvd_file_close(file);
        return nullptr;
    }
    file->compressed = file->inflater.avail_in >= 2 && file->input[0] == 0x1F && file->input[1] == 0x8B;
    // 15 bits of window, and 16 for the gzip wrapper.
    if (file->compressed && inflateInit2(&file->inflater, 15 + 16) != Z_OK) {
        file->compressed = false;
        std::snprintf(error, error_capacity, "%s: no memory to decompress it", path);
        clvd_file_close(file);
        return nullptr;
    }
    return file;
}

int64_t clvd_file_read(clvd_file *file, uint8_t *buffer, size_t capacity) {
    if (capacity == 0) return 0;
    return file->compressed ? read_gzip(file, buffer, capacity) : read_plain(file, buffer, capacity);
}

const char *clvd_file_error(const clvd_file *file) { return file->error; }

int64_t clvd_file_position(const clvd_file *file) { return consumed(file); }

int64_t clvd_file_size(const clvd_file *file) { return file->size; }

void clvd_file_close(clvd_file *file) {
    if (file == nullptr) return;
    if (file->compressed) inflateEnd(&file->inflater);
    if (file->descriptor >= 0) ::close(file->descriptor);
    delete file;
}

// zlib's own writer does both kinds: its mode T writes plain text.
clvd_output *clvd_output_open(const char *path, bool compressed) {
    errno = 0;
    gzFile file = gzopen(path, compressed ? "wbe" : "wbeT");
    if (file == nullptr) {
        if (errno == 0) errno = ENOMEM;
        return nullptr;
    }
    gzbuffer(file, 1 << 17);
    return reinterpret_cast<clvd_output *>(file);
}

bool clvd_output_write(clvd_output *output, const uint8_t *bytes, size_t count) {
    return gzwrite(reinterpret_cast<gzFile>(output), bytes, static_cast<unsigned>(count)) == static_cast<int>(count);
}

bool clvd_output_close(clvd_output *output) { return gzclose(reinterpret_cast<gzFile>(output)) == Z_OK; }

}  // extern "C"
