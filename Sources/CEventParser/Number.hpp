// Numbers by the grammar of RFC 8259.
#pragma once

#include <charconv>
#include <cstdint>
#include <limits>
#include <system_error>

namespace clvd {

inline bool is_digit(uint8_t c) { return static_cast<uint8_t>(c - '0') < 10; }

/// End of the JSON number at `p`, or nullptr. `p` must be followed by some byte that belongs to no number.
inline const uint8_t *scan_number(const uint8_t *p) {
    if (*p == '-') ++p;
    if (*p == '0') {
        ++p;
    } else {
        if (!is_digit(*p)) return nullptr;
        while (is_digit(*p)) ++p;
    }
    if (*p == '.') {
        if (!is_digit(*++p)) return nullptr;
        while (is_digit(*p)) ++p;
    }
    if ((*p | 0x20) == 'e') {
        ++p;
        if (*p == '+' || *p == '-') ++p;
        if (!is_digit(*p)) return nullptr;
        while (is_digit(*p)) ++p;
    }
    return p;
}

/// Reads a number. `strict` asks for the grammar of JSON; otherwise a leading `+`, leading zeros and a missing integer
/// part (`.5`) are accepted, as files write them. Numbers too large for a double become infinite, too small ones 0.
inline bool parse_number(const uint8_t *p, const uint8_t *end, bool strict, double *value) {
    static const double powers[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                    1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
    if (!strict && p < end && *p == '+') {
        ++p;
        if (p < end && *p == '-') return false;
    }
    const uint8_t *start = p;
    bool negative = p < end && *p == '-';
    if (negative) ++p;
    uint64_t mantissa = 0;
    int digits = 0;           // significant ones
    int64_t magnitude = 0;    // decimal exponent of the first significant digit, plus one
    const uint8_t *integer = p;
    for (; p < end && is_digit(*p); ++p) {
        if (digits > 0 || *p != '0') {
            if (++digits <= 19) mantissa = mantissa * 10 + (*p - '0');
            ++magnitude;
        }
    }
    int64_t integer_digits = p - integer;
    if (strict && (integer_digits == 0 || (integer_digits > 1 && *integer == '0'))) return false;
    int64_t fraction_digits = 0;
    if (p < end && *p == '.') {
        const uint8_t *fraction = ++p;
        for (; p < end && is_digit(*p); ++p) {
            if (digits > 0 || *p != '0') {
                if (++digits <= 19) mantissa = mantissa * 10 + (*p - '0');
            } else {
                --magnitude;
            }
        }
        fraction_digits = p - fraction;
        if (fraction_digits == 0) return false;
    }
    if (integer_digits + fraction_digits == 0) return false;
    int64_t exponent = 0;
    if (p < end && (*p | 0x20) == 'e') {
        ++p;
        bool down = p < end && *p == '-';
        if (p < end && (*p == '+' || *p == '-')) ++p;
        if (p == end || !is_digit(*p)) return false;
        for (; p < end && is_digit(*p); ++p) {
            if (exponent < 1'000'000'000) exponent = exponent * 10 + (*p - '0');
        }
        if (down) exponent = -exponent;
    }
    if (p != end) return false;

    int64_t scale = exponent - fraction_digits;
    if (digits <= 19 && mantissa <= (uint64_t{1} << 53) && scale >= -22 && scale <= 22) {
        // Both factors are exact, so one rounding gives the nearest double (Clinger 1990).
        double exact = static_cast<double>(mantissa);
        exact = scale < 0 ? exact / powers[-scale] : exact * powers[scale];
        *value = negative ? -exact : exact;
        return true;
    }
    double parsed = 0;
    auto result = std::from_chars(reinterpret_cast<const char *>(start), reinterpret_cast<const char *>(end), parsed);
    if (result.ec == std::errc::result_out_of_range) {
        parsed = magnitude + exponent > 0 ? std::numeric_limits<double>::infinity() : 0;
        if (negative) parsed = -parsed;
    } else if (result.ec != std::errc() || result.ptr != reinterpret_cast<const char *>(end)) {
        // A form that only the lenient grammar knows (`.5`, `007`) and that needs more than 53 bits.
        return false;
    }
    *value = parsed;
    return true;
}

}  // namespace clvd
