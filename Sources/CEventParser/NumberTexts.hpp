// Values that an encoding writes into digits, as the mapping reads them.
#pragma once

#include <charconv>
#include <cmath>
#include <cstddef>
#include <cstdint>
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

/// Writes an integer with a decimal point before its last `scale` digits (at most 38), and returns the end of it.
inline char *write_scaled(__int128 value, uint32_t scale, char *out) {
    char digits[48];  // backwards
    uint32_t length = 0;
    auto size = value < 0 ? -static_cast<unsigned __int128>(value) : static_cast<unsigned __int128>(value);
    for (; size != 0 || length <= scale; size /= 10) digits[length++] = static_cast<char>('0' + static_cast<int>(size % 10));
    if (value < 0) *out++ = '-';
    for (uint32_t i = length; i-- > 0;) {
        *out++ = digits[i];
        if (i == scale && i > 0) *out++ = '.';
    }
    return out;
}

/// The same of an integer in two's complement, big-endian. `out` has room for `NumberTexts::longest`.
inline char *write_decimal(const uint8_t *bytes, uint32_t count, int64_t scale, char *out) {
    bool is_negative = count > 0 && bytes[0] >= 0x80;
    uint8_t sign = is_negative ? 0xFF : 0;
    while (count > 0 && *bytes == sign) ++bytes, --count;
    if (count > 15 || scale < 0 || scale > 38) {
        // More digits than money has: a double will do.
        double value = is_negative ? -1 : 0;
        for (uint32_t i = 0; i < count; ++i) value = value * 256 + bytes[i];
        return std::to_chars(out, out + NumberTexts::longest, value / std::pow(10, static_cast<double>(scale))).ptr;
    }
    __int128 value = is_negative ? -1 : 0;
    for (uint32_t i = 0; i < count; ++i) value = value * 256 + bytes[i];
    return write_scaled(value, static_cast<uint32_t>(scale), out);
}

/// Writes a time of the years 1 to 9999 as JSON has it: `2024-02-29T12:00:00.500Z`.
inline char *write_time(int64_t seconds, uint32_t nanos, char *out) {
    auto put = [&](int64_t value, int digits) {
        for (int i = digits; i-- > 0; value /= 10) out[i] = static_cast<char>('0' + value % 10);
        out += digits;
    };
    int64_t of_day = seconds % 86'400, days = seconds / 86'400;
    if (of_day < 0) of_day += 86'400, --days;
    // From 0000-03-01 on: eras of 400 years, in which years begin in March (Howard Hinnant, "civil_from_days").
    days += 719'468;
    int64_t era = days / 146'097, day = days % 146'097;
    int64_t year = (day - day / 1'460 + day / 36'524 - day / 146'096) / 365;
    day -= 365 * year + year / 4 - year / 100;
    int64_t month = (5 * day + 2) / 153;
    put(era * 400 + year + (month >= 10), 4);
    *out++ = '-';
    put(month < 10 ? month + 3 : month - 9, 2);
    *out++ = '-';
    put(day - (153 * month + 2) / 5 + 1, 2);
    *out++ = 'T';
    put(of_day / 3'600, 2);
    *out++ = ':';
    put(of_day / 60 % 60, 2);
    *out++ = ':';
    put(of_day % 60, 2);
    if (nanos != 0) {
        *out++ = '.';
        if (nanos % 1'000'000 == 0) {
            put(nanos / 1'000'000, 3);
        } else if (nanos % 1'000 == 0) {
            put(nanos / 1'000, 6);
        } else {
            put(nanos, 9);
        }
    }
    *out++ = 'Z';
    return out;
}

}  // namespace clvd
