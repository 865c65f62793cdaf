// Names, hashes, and the writing of numbers and strings.
#include <charconv>

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
    case clvd_status_filtered: return "filtered";
    case clvd_status_invalid_json: return "invalid_json";
    case clvd_status_message: return "message";
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
    case clvd_status_too_many_events: return "too_many_events";
    case clvd_status_skipped: return "skipped";
    case clvd_status_unreadable: return "unreadable";
    default: return "unknown";
    }
}

const char *clvd_field_name(uint8_t field) {
    static const char *const names[clvd_field_count] = {
        "record", "event_id", "event_time", "user_id", "event_type", "product_id", "category",
        "price", "quantity", "amount", "currency", "order_id", "session_id", "anonymous_id",
        "previous_id"};
    return field < clvd_field_count ? names[field] : "unknown";
}

const char *clvd_event_type_name(uint8_t type) {
#define CLVD_EVENT_TYPE_NAME(name) #name,
    static const char *const names[] = {CLVD_EVENT_TYPES(CLVD_EVENT_TYPE_NAME)};
#undef CLVD_EVENT_TYPE_NAME
    return type < clvd_type_named ? names[type] : "unknown";
}

uint64_t clvd_hash(const uint8_t *data, size_t length) {
    // This seed must never change: snapshots contain hashes.
    constexpr uint64_t seed = 0x636C76645F763101;
    uint64_t hash = XXH3_64bits_withSeed(data, length, seed);
    return hash == 0 ? 1 : hash;
}

bool clvd_parse_time(const uint8_t *text, size_t length, bool zone_required, int64_t *time_ms) {
    return clvd::TimeReader(text, length).read(zone_required, time_ms);
}

bool clvd_parse_number(const uint8_t *text, size_t length, bool strict, double *value) {
    return clvd::parse_number(text, text + length, strict, value);
}

uint32_t clvd_write_number(double value, char *text) {
    // Integers of ordinary size (most quantities, many prices) are written without searching for the shortest digits.
    if (value == static_cast<double>(static_cast<int32_t>(value < 1e9 && value > -1e9 ? value : 0.5))) {
        return static_cast<uint32_t>(std::to_chars(text, text + 32, static_cast<int32_t>(value)).ptr - text);
    }
    return static_cast<uint32_t>(std::to_chars(text, text + 32, value).ptr - text);
}

}  // extern "C"
