// Names, hashes, and the writing of numbers and strings.
#include <charconv>
#include <cstring>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "CEventParser.h"
#include "Number.hpp"
#include "Time.hpp"

extern "C" {

const char *clvd_status_name(uint8_t status) {
    switch (status) {
    case clvd_status_ok: return "ok";
    case clvd_status_tombstone: return "tombstone";
    case clvd_status_ignored_type: return "ignored_type";
    case clvd_status_invalid_json: return "invalid_json";
    case clvd_status_invalid_utf8: return "invalid_utf8";
    case clvd_status_missing_user: return "missing_user";
    case clvd_status_invalid_user: return "invalid_user";
    case clvd_status_missing_time: return "missing_time";
    case clvd_status_invalid_time: return "invalid_time";
    case clvd_status_time_out_of_range: return "time_out_of_range";
    case clvd_status_future_time: return "future_time";
    case clvd_status_wrong_type: return "wrong_type";
    case clvd_status_missing_type: return "missing_type";
    case clvd_status_negative_amount: return "negative_amount";
    case clvd_status_absurd_amount: return "absurd_amount";
    case clvd_status_unknown_currency: return "unknown_currency";
    case clvd_status_too_large: return "too_large";
    case clvd_status_too_late: return "too_late";
    default: return "unknown";
    }
}

const char *clvd_field_name(uint8_t field) {
    static const char *const names[clvd_field_count] = {
        "record", "event_id", "event_time", "user_id", "event_type", "product_id", "category",
        "price", "quantity", "amount", "currency", "order_id", "session_id"};
    return field < clvd_field_count ? names[field] : "unknown";
}

const char *clvd_event_type_name(uint8_t type) {
#define CLVD_EVENT_TYPE_NAME(name) #name,
    static const char *const names[] = {CLVD_EVENT_TYPES(CLVD_EVENT_TYPE_NAME)};
#undef CLVD_EVENT_TYPE_NAME
    return type < clvd_type_named ? names[type] : "unknown";
}

uint64_t clvd_hash(const uint8_t *data, size_t length) {
    // Fixed for ever: hashes are kept in snapshots.
    constexpr uint64_t seed = 0x636C76645F763101;
    uint64_t hash = XXH3_64bits_withSeed(data, length, seed);
    return hash == 0 ? 1 : hash;
}

bool clvd_parse_time(const uint8_t *text, size_t length, bool zone_required, int64_t *time_ms) {
    return clvd::TimeReader(text, length).read(zone_required, time_ms);
}

bool clvd_parse_number(const uint8_t *text, size_t length, double *value) {
    return clvd::parse_number(text, text + length, true, value);
}

uint32_t clvd_write_number(double value, char *text) {
    // Integers of ordinary size, most quantities and many prices, need no search for the shortest digits.
    if (value == static_cast<double>(static_cast<int32_t>(value < 1e9 && value > -1e9 ? value : 0.5))) {
        return static_cast<uint32_t>(std::to_chars(text, text + 32, static_cast<int32_t>(value)).ptr - text);
    }
    return static_cast<uint32_t>(std::to_chars(text, text + 32, value).ptr - text);
}

/// Length of the UTF-8 sequence at `p`, or 0 when it is not one (RFC 3629).
static size_t sequence(const uint8_t *p, const uint8_t *end) {
    auto follows = [&](size_t count, uint8_t low, uint8_t high) -> size_t {
        if (static_cast<size_t>(end - p) <= count || p[1] < low || p[1] > high) return 0;
        for (size_t i = 2; i <= count; ++i) {
            if ((p[i] & 0xC0) != 0x80) return 0;
        }
        return count + 1;
    };
    uint8_t c = *p;
    if (c >= 0xC2 && c <= 0xDF) return follows(1, 0x80, 0xBF);
    if (c >= 0xE0 && c <= 0xEF) return follows(2, c == 0xE0 ? 0xA0 : 0x80, c == 0xED ? 0x9F : 0xBF);
    if (c >= 0xF0 && c <= 0xF4) return follows(3, c == 0xF0 ? 0x90 : 0x80, c == 0xF4 ? 0x8F : 0xBF);
    return 0;
}

size_t clvd_write_string(const uint8_t *value, size_t length, char *text) {
    static const char hex[] = "0123456789abcdef";
    const uint8_t *end = value + length;
    char *out = text;
    *out++ = '"';
    for (const uint8_t *p = value; p < end;) {
        uint8_t c = *p;
        if (c >= 0x20 && c < 0x80 && c != '"' && c != '\\') {
            *out++ = static_cast<char>(c);
            ++p;
        } else if (c >= 0x80) {
            size_t count = sequence(p, end);
            std::memcpy(out, count > 0 ? reinterpret_cast<const char *>(p) : "\xEF\xBF\xBD", count > 0 ? count : 3);
            out += count > 0 ? count : 3;
            p += count > 0 ? count : 1;
        } else {
            *out++ = '\\';
            switch (c) {
            case '"':
            case '\\': *out++ = static_cast<char>(c); break;
            case '\n': *out++ = 'n'; break;
            case '\r': *out++ = 'r'; break;
            case '\t': *out++ = 't'; break;
            default:
                std::memcpy(out, "u00", 3);
                out += 3;
                *out++ = hex[c >> 4];
                *out++ = hex[c & 15];
            }
            ++p;
        }
    }
    *out++ = '"';
    return static_cast<size_t>(out - text);
}

}  // extern "C"
