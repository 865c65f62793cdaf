// Values that an encoding writes into digits, as the mapping reads them.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

namespace clvd {

/// Values that are written into text, where they stay until the next batch.
class NumberTexts {
public:
    static constexpr size_t longest = 64;

    struct Mark {
        size_t block, used;
    };

    void clear() { mark_ = {0, 0}; }
    Mark mark() const { return mark_; }
    void rewind(Mark mark) { mark_ = mark; }

    /// `longest` bytes to write into.
    char *room() {
        if (mark_.block < blocks_.size() && mark_.used + longest > size) mark_ = {mark_.block + 1, 0};
        if (mark_.block == blocks_.size()) blocks_.push_back(std::make_unique<char[]>(size));
        return blocks_[mark_.block].get() + mark_.used;
    }

    /// Keeps what was written from `room()` to `end`, and returns its length.
    size_t keep(const char *end) {
        size_t length = static_cast<size_t>(end - (blocks_[mark_.block].get() + mark_.used));
        mark_.used += length;
        return length;
    }

private:
    static constexpr size_t size = 1 << 14;

    std::vector<std::unique_ptr<char[]>> blocks_;
    Mark mark_ = {0, 0};
};

}  // namespace clvd
