// The parser: a compiled mapping, and the state of the record and batch at hand.
#pragma once

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "CEventParser.h"
#include "Document.hpp"
#include "Mapping.hpp"
#include "Number.hpp"
#include "Time.hpp"

namespace clvd {

enum class Reason : uint8_t {
    none,
    json,
    too_large,
    missing,
    empty,
    too_long,
    holds_nul,
    not_a_number,
    not_text,
    not_an_array,
    not_a_time,
    outside_years,
    in_the_future,
    unknown_type,
    negative,
    too_high,
    unknown_currency,
};

struct Source {
    int16_t slot;
    uint8_t unit;
};

/// Why a record was rejected, kept for `clvd_parser_explain`.
struct Fault {
    clvd_status status = clvd_status_ok;
    clvd_field field = clvd_field_none;
    Reason reason = Reason::none;
    JsonError json = JsonError::none;
    int16_t slot = -1;
    uint32_t position = 0;   // in the document
    double number = 0;
    // The offending value: slots of items are overwritten by the next item.
    Kind kind = Kind::absent;
    clvd_text value = {nullptr, 0};
};

struct TypeEntry {
    std::string name;
    uint8_t type;
};

struct Rate {
    uint32_t code;
    double rate;
};

/// What the elements of one items array add up to.
struct ItemTotal {
    uint32_t count;
    bool priced;
    double amount, units, price, quantity;
    Kind product_kind, category_kind;
    clvd_text product, category;
    int16_t product_slot, category_slot;
};

constexpr size_t maximum_alternatives = 8;

/// Three ASCII letters in upper case, or 0.
inline uint32_t currency_code(const uint8_t *text, size_t length) {
    if (length != 3) return 0;
    uint32_t code = 0;
    for (size_t i = 0; i < 3; ++i) {
        uint8_t upper = text[i] & 0xDF;
        if (upper < 'A' || upper > 'Z') return 0;
        code = code << 8 | upper;
    }
    return code;
}

inline uint32_t currency_code(const char *text) {
    return text == nullptr ? 0 : currency_code(reinterpret_cast<const uint8_t *>(text), std::strlen(text));
}

inline bool is_integer(const uint8_t *p, uint32_t length) {
    const uint8_t *end = p + length;
    if (p < end && *p == '-') ++p;
    if (p == end) return false;
    for (; p < end; ++p) {
        if (!is_digit(*p)) return false;
    }
    return true;
}

}  // namespace clvd

struct clvd_parser {
    using Fault = clvd::Fault;
    using ItemTotal = clvd::ItemTotal;
    using JsonError = clvd::JsonError;
    using Kind = clvd::Kind;
    using Node = clvd::Node;
    using Rate = clvd::Rate;
    using Reason = clvd::Reason;
    using Slots = clvd::Slots;
    using Source = clvd::Source;
    using TypeEntry = clvd::TypeEntry;

    // MARK: Mapping

    Node root;
    Node item_root_;
    std::vector<std::string> pointers;           // of each slot, for messages and columns
    std::vector<Source> sources[clvd_field_count];
    std::vector<Source> item_sources[clvd_field_count];
    std::vector<int16_t> item_slots;
    std::vector<int16_t> items;                  // slot of each alternative
    std::string headers[clvd_field_count];
    clvd_header_lookup lookup = nullptr;
    std::vector<TypeEntry> types;
    std::vector<uint16_t> type_table;            // open addressing over `types`
    clvd_unknown_type unknown = clvd_unknown_type_other;
    uint8_t default_type = CLVD_TYPE_REQUIRED;
    bool numeric_strings = false;
    clvd_limits limits;
    uint32_t base_currency = 'U' << 16 | 'S' << 8 | 'D';
    uint32_t assumed_currency = base_currency;
    std::vector<Rate> rates;

    // MARK: State of one record

    clvd::Document<clvd_parser> document;
    Slots slots;
    ItemTotal totals[clvd::maximum_alternatives];
    Fault fault;
    std::vector<uint8_t> scratch;                // an unescaped string that is only hashed or compared

    // MARK: State of one batch

    uint8_t *arena = nullptr;                    // unescaped users and event ids
    size_t arena_capacity = 0;
    size_t arena_used = 0;

    clvd_parser() {
        limits.max_record_bytes = 1 << 20;
        limits.max_user_bytes = 255;
        limits.max_amount = 1e7;
        limits.max_quantity = 1e6;
        limits.min_time_ms = 0;
        limits.end_time_ms = 4133980800000;  // 2101-01-01
        limits.max_future_skew_ms = -1;
    }
    ~clvd_parser() { std::free(arena); }
    clvd_parser(const clvd_parser &) = delete;
    clvd_parser &operator=(const clvd_parser &) = delete;

    // MARK: Called by the walk

    const Node *item_root() const { return &item_root_; }

    void begin_item() {
        for (int16_t slot : item_slots) slots.kinds[slot] = Kind::absent;
    }

    void end_item(int16_t alternative) {
        ItemTotal &total = totals[alternative];
        if (fault.status != clvd_status_ok) return;
        double price = 0, quantity = 1;
        bool has_price = false, has_quantity = false;
        if (!money(item_sources[clvd_field_price], clvd_field_price, &price, &has_price)) return;
        if (!money(item_sources[clvd_field_quantity], clvd_field_quantity, &quantity, &has_quantity)) return;
        if (!has_quantity) quantity = 1;
        if (total.count == 0) {
            total.price = price;
            total.quantity = 0;
            first(item_sources[clvd_field_product_id], &total.product_kind, &total.product, &total.product_slot);
            first(item_sources[clvd_field_category], &total.category_kind, &total.category, &total.category_slot);
        }
        ++total.count;
        total.priced |= has_price;
        total.amount += price * quantity;
        total.quantity += quantity;
    }

    // MARK: Values

    bool present(int16_t slot) const {
        Kind kind = slots.kinds[slot];
        if (kind <= Kind::null) return false;
        bool textual = kind == Kind::string || kind == Kind::escaped || kind == Kind::text;
        return !textual || slots.lengths[slot] > 0;
    }

    /// The first place that holds something, or nullptr.
    const Source *pick(const std::vector<Source> &places) const {
        for (const Source &source : places) {
            if (present(source.slot)) return &source;
        }
        return nullptr;
    }

    void first(const std::vector<Source> &places, Kind *kind, clvd_text *value, int16_t *slot) const {
        const Source *source = pick(places);
        *kind = source == nullptr ? Kind::absent : slots.kinds[source->slot];
        if (source == nullptr) return;
        *value = {slots.data[source->slot], slots.lengths[source->slot]};
        *slot = source->slot;
    }

    /// Notes a fault; false, so that callers can return it.
    bool reject(clvd_status status, clvd_field field, Reason reason, int16_t slot = -1, double number = 0) {
        fault.status = status;
        fault.field = field;
        fault.reason = reason;
        fault.slot = slot;
        fault.number = number;
        if (slot >= 0) {
            fault.kind = slots.kinds[slot];
            fault.value = {slots.data[slot], slots.lengths[slot]};
        }
        return false;
    }

    bool number(const Source &source, clvd_field field, double *value) {
        int16_t slot = source.slot;
        Kind kind = slots.kinds[slot];
        bool text = kind == Kind::text || (kind == Kind::string && numeric_strings);
        const uint8_t *data = slots.data[slot];
        if ((kind == Kind::number || text) && clvd::parse_number(data, data + slots.lengths[slot], !text, value)) {
            return true;
        }
        return reject(clvd_status_wrong_type, field, Reason::not_a_number, slot);
    }

    /// A number that must not be negative. An infinite one is too high whatever the limit.
    bool money(const std::vector<Source> &places, clvd_field field, double *value, bool *found) {
        const Source *source = pick(places);
        *found = source != nullptr;
        if (source == nullptr) return true;
        if (!number(*source, field, value)) return false;
        if (*value < 0) return reject(clvd_status_negative_amount, field, Reason::negative, source->slot, *value);
        double limit = field == clvd_field_quantity ? limits.max_quantity : HUGE_VAL;
        if (*value > limit || std::isinf(*value)) {
            return reject(clvd_status_absurd_amount, field, Reason::too_high, source->slot, *value);
        }
        *value += 0.0;  // -0 becomes 0
        return true;
    }

    /// The characters of a string or integer. Escaped ones go to `buffer`, which has room for them.
    bool characters(Kind kind, clvd_text raw, clvd_text *text) {
        switch (kind) {
        case Kind::string:
        case Kind::text: *text = raw; return true;
        case Kind::number:
            *text = raw;
            return clvd::is_integer(raw.data, raw.length);
        case Kind::escaped: {
            if (scratch.size() < raw.length) scratch.resize(raw.length);
            uint32_t length = 0;
            clvd::unescape(raw.data, raw.data + raw.length, scratch.data(), &length);
            *text = {scratch.data(), length};
            return true;
        }
        default: return false;
        }
    }

    bool characters(const Source &source, clvd_text *text) {
        int16_t slot = source.slot;
        return characters(slots.kinds[slot], {slots.data[slot], slots.lengths[slot]}, text);
    }

    /// Copies out of the scratch buffer what outlives the record. The arena has room for two such texts a record.
    const uint8_t *keep(clvd_text text) {
        if (text.data != scratch.data()) return text.data;
        uint8_t *copy = arena + arena_used;
        std::memcpy(copy, text.data, text.length);
        arena_used += text.length;
        return copy;
    }

    static uint64_t hash(clvd_text text) { return clvd_hash(text.data, text.length); }

    bool hashed(clvd_field field, uint64_t *result) {
        const Source *source = pick(sources[field]);
        if (source == nullptr) return true;
        clvd_text text;
        if (!characters(*source, &text)) {
            return reject(clvd_status_wrong_type, field, Reason::not_text, source->slot);
        }
        *result = hash(text);
        return true;
    }

    // MARK: Fields

    const TypeEntry *find_type(clvd_text name) const {
        if (types.empty()) return nullptr;
        size_t mask = type_table.size() - 1;
        for (size_t at = hash(name) & mask;; at = (at + 1) & mask) {
            uint16_t index = type_table[at];
            if (index == UINT16_MAX) return nullptr;
            const TypeEntry &entry = types[index];
            if (entry.name.size() == name.length && std::memcmp(entry.name.data(), name.data, name.length) == 0) {
                return &entry;
            }
        }
    }

    bool resolve_type(clvd_event *event) {
        const Source *source = pick(sources[clvd_field_event_type]);
        if (source == nullptr) {
            if (default_type == CLVD_TYPE_REQUIRED) {
                return reject(clvd_status_missing_type, clvd_field_event_type, Reason::missing);
            }
            event->type = default_type;
            return true;
        }
        clvd_text name;
        if (!characters(*source, &name)) {
            return reject(clvd_status_wrong_type, clvd_field_event_type, Reason::not_text, source->slot);
        }
        const TypeEntry *entry = find_type(name);
        if (entry != nullptr) {
            event->type = entry->type;
            if (entry->type != CLVD_TYPE_IGNORED) return true;
        } else if (unknown == clvd_unknown_type_other) {
            event->type = clvd_type_other;
            return true;
        } else if (unknown == clvd_unknown_type_reject) {
            return reject(clvd_status_missing_type, clvd_field_event_type, Reason::unknown_type, source->slot);
        }
        event->type = clvd_type_other;
        return reject(clvd_status_ignored_type, clvd_field_event_type, Reason::none, source->slot);
    }

    bool resolve_user(clvd_event *event) {
        const Source *source = pick(sources[clvd_field_user_id]);
        if (source == nullptr) {
            // An empty string is a user id gone wrong, not one left out.
            for (const Source &place : sources[clvd_field_user_id]) {
                if (slots.kinds[place.slot] == Kind::string) {
                    return reject(clvd_status_invalid_user, clvd_field_user_id, Reason::empty, place.slot);
                }
            }
            return reject(clvd_status_missing_user, clvd_field_user_id, Reason::missing);
        }
        clvd_text user;
        if (!characters(*source, &user)) {
            return reject(clvd_status_wrong_type, clvd_field_user_id, Reason::not_text, source->slot);
        }
        if (user.length > limits.max_user_bytes) {
            return reject(
                clvd_status_invalid_user, clvd_field_user_id, Reason::too_long, source->slot, user.length);
        }
        if (slots.kinds[source->slot] != Kind::string && std::memchr(user.data, 0, user.length) != nullptr) {
            return reject(clvd_status_invalid_user, clvd_field_user_id, Reason::holds_nul, source->slot);
        }
        event->user = keep(user);
        event->user_length = user.length;
        return true;
    }

    bool header(clvd_field field, const void *record_headers, clvd_text *text) const {
        if (headers[field].empty() || record_headers == nullptr || lookup == nullptr) return false;
        text->data = lookup(record_headers, headers[field].c_str(), &text->length);
        return text->data != nullptr && text->length > 0;
    }

    bool resolve_time(const clvd_record *record, clvd_event *event) {
        const Source *source = pick(sources[clvd_field_event_time]);
        int16_t slot = source == nullptr ? -1 : source->slot;
        clvd_text text;
        if (source == nullptr) {
            if (!header(clvd_field_event_time, record->headers, &text)) {
                return reject(clvd_status_missing_time, clvd_field_event_time, Reason::missing);
            }
            if (!clvd::TimeReader(text.data, text.length).read(true, &event->time_ms)) {
                reject(clvd_status_invalid_time, clvd_field_event_time, Reason::not_a_time);
                fault.kind = Kind::text;
                fault.value = text;
                return false;
            }
        } else {
            Kind kind = slots.kinds[slot];
            if (kind == Kind::number) {
                text = {slots.data[slot], slots.lengths[slot]};
            } else if (!characters(*source, &text)) {
                return reject(clvd_status_wrong_type, clvd_field_event_time, Reason::not_a_time, slot);
            }
            if (!read_time(source->unit, kind, text, &event->time_ms)) {
                return reject(clvd_status_invalid_time, clvd_field_event_time, Reason::not_a_time, slot);
            }
        }
        if (event->time_ms < limits.min_time_ms || event->time_ms >= limits.end_time_ms) {
            return reject(clvd_status_time_out_of_range, clvd_field_event_time, Reason::outside_years, slot);
        }
        if (limits.max_future_skew_ms >= 0 && record->timestamp_ms >= 0 &&
            event->time_ms - record->timestamp_ms > limits.max_future_skew_ms) {
            return reject(
                clvd_status_future_time, clvd_field_event_time, Reason::in_the_future, slot,
                static_cast<double>(event->time_ms - record->timestamp_ms));
        }
        return true;
    }

    /// A time in `unit`; epochs beyond what fits are the largest or smallest there are.
    static bool read_time(uint8_t unit, Kind kind, clvd_text text, int64_t *time_ms) {
        if (unit == clvd_time_iso8601 || unit == clvd_time_iso8601_utc) {
            return kind != Kind::number &&
                   clvd::TimeReader(text.data, text.length).read(unit == clvd_time_iso8601, time_ms);
        }
        if (text.length <= 18 && clvd::is_integer(text.data, text.length)) {
            bool negative = text.data[0] == '-';
            int64_t value = 0;
            for (uint32_t i = negative; i < text.length; ++i) value = value * 10 + (text.data[i] - '0');
            if (unit == clvd_time_seconds) {
                value = value > INT64_MAX / 1000 ? INT64_MAX : value * 1000;
            }
            if (negative) value = -value;
            if (unit == clvd_time_microseconds) value = value / 1000 - (value % 1000 < 0);
            *time_ms = value;
            return true;
        }
        double value;
        if (!clvd::parse_number(text.data, text.data + text.length, kind == Kind::number, &value)) return false;
        if (unit == clvd_time_seconds) value *= 1000;
        if (unit == clvd_time_microseconds) value /= 1000;
        value = std::floor(value);
        *time_ms = value > 9e18 ? INT64_MAX : value < -9e18 ? INT64_MIN : static_cast<int64_t>(value);
        return true;
    }

    /// The factor that turns money of this event into the base currency.
    bool resolve_rate(double *rate) {
        uint32_t code = assumed_currency;
        const Source *source = pick(sources[clvd_field_currency]);
        if (source != nullptr) {
            clvd_text text;
            if (slots.kinds[source->slot] == Kind::number || !characters(*source, &text)) {
                return reject(clvd_status_wrong_type, clvd_field_currency, Reason::not_text, source->slot);
            }
            code = clvd::currency_code(text.data, text.length);
        }
        *rate = 1;
        if (code == base_currency) return true;
        for (const Rate &known : rates) {
            if (known.code != code) continue;
            *rate = known.rate;
            return true;
        }
        return reject(
            clvd_status_unknown_currency, clvd_field_currency, Reason::unknown_currency,
            source == nullptr ? -1 : source->slot);
    }

    const ItemTotal *order_items() const {
        for (size_t i = 0; i < items.size(); ++i) {
            if (totals[i].count > 0) return &totals[i];
        }
        return nullptr;
    }

    bool resolve_money(clvd_event *event) {
        if (fault.status != clvd_status_ok) return false;  // in an item
        for (int16_t slot : items) {
            if (present(slot) && slots.kinds[slot] != Kind::array) {
                return reject(clvd_status_wrong_type, clvd_field_amount, Reason::not_an_array, slot);
            }
        }
        bool has_amount, has_price, has_quantity;
        if (!money(sources[clvd_field_amount], clvd_field_amount, &event->amount, &has_amount) ||
            !money(sources[clvd_field_price], clvd_field_price, &event->price, &has_price) ||
            !money(sources[clvd_field_quantity], clvd_field_quantity, &event->quantity, &has_quantity)) {
            return false;
        }
        const ItemTotal *total = order_items();
        if (total != nullptr) {
            if (!has_price) event->price = total->price, has_price = total->priced;
            if (!has_quantity) event->quantity = total->quantity, has_quantity = true;
        }
        bool is_order = event->type == clvd_type_purchase || event->type == clvd_type_refund;
        if (!has_amount && is_order) {
            if (total != nullptr && total->priced) {
                event->amount = total->amount;
            } else {
                event->amount = event->price * std::fmax(event->quantity, 1);
            }
        }
        if (event->amount == 0 && event->price == 0) return true;
        double rate;
        if (!resolve_rate(&rate)) return false;
        event->amount *= rate;
        event->price *= rate;
        return within(clvd_field_amount, event->amount) && within(clvd_field_price, event->price);
    }

    bool within(clvd_field field, double value) {
        if (value <= limits.max_amount) return true;
        const Source *source = pick(sources[field]);
        return reject(
            clvd_status_absurd_amount, field, Reason::too_high, source == nullptr ? -1 : source->slot, value);
    }

    bool resolve_event_id(const clvd_record *record, clvd_event *event) {
        const Source *source = pick(sources[clvd_field_event_id]);
        clvd_text id;
        if (source == nullptr) {
            if (!header(clvd_field_event_id, record->headers, &id)) return true;
            if (!simdjson::validate_utf8(reinterpret_cast<const char *>(id.data), id.length)) {
                return reject(clvd_status_invalid_utf8, clvd_field_event_id, Reason::not_text);
            }
        } else if (!characters(*source, &id)) {
            return reject(clvd_status_wrong_type, clvd_field_event_id, Reason::not_text, source->slot);
        }
        if (id.length > limits.max_user_bytes) {
            return reject(
                clvd_status_wrong_type, clvd_field_event_id, Reason::too_long,
                source == nullptr ? -1 : source->slot, id.length);
        }
        event->event_id = keep(id);
        event->event_id_length = id.length;
        event->event_id_hash = hash(id);
        return true;
    }

    /// Product and category: the event's own, else those of the first item.
    bool resolve_product(clvd_event *event) {
        if (!hashed(clvd_field_product_id, &event->product_hash) ||
            !hashed(clvd_field_category, &event->category_hash)) {
            return false;
        }
        const ItemTotal *total = order_items();
        if (total == nullptr) return true;
        return item_hash(
                   clvd_field_product_id, total->product_kind, total->product, total->product_slot,
                   &event->product_hash) &&
               item_hash(
                   clvd_field_category, total->category_kind, total->category, total->category_slot,
                   &event->category_hash);
    }

    bool item_hash(clvd_field field, Kind kind, clvd_text raw, int16_t slot, uint64_t *result) {
        if (*result != 0 || kind == Kind::absent) return true;
        clvd_text text;
        if (characters(kind, raw, &text)) {
            *result = hash(text);
            return true;
        }
        reject(clvd_status_wrong_type, field, Reason::not_text, slot);
        fault.kind = kind;
        fault.value = raw;
        return false;
    }

    // MARK: Records

    void resolve(const clvd_record *record, clvd_event *event) {
        Fault of_items = fault;  // a fault inside an item counts only after type, user and time
        fault.status = clvd_status_ok;
        bool ok = resolve_type(event) && resolve_user(event) && resolve_time(record, event);
        if (ok && of_items.status != clvd_status_ok) {
            fault = of_items;
            ok = false;
        }
        if (ok) {
            ok = resolve_money(event) && resolve_event_id(record, event) && resolve_product(event) &&
                 hashed(clvd_field_order_id, &event->order_hash) &&
                 hashed(clvd_field_session_id, &event->session_hash);
        }
    }

    void reset(const clvd_record *record, clvd_event *event) {
        std::memset(event, 0, sizeof *event);
        event->offset = record->offset;
        event->partition = record->partition;
        event->topic = record->topic;
        fault.status = clvd_status_ok;
        for (size_t i = 0; i < items.size(); ++i) totals[i] = ItemTotal();
    }

    void decode_json(const clvd_record *record, clvd_event *event) {
        reset(record, event);
        if (record->value == nullptr) {
            fault.status = clvd_status_tombstone;
        } else if (record->value_length > limits.max_record_bytes) {
            reject(clvd_status_too_large, clvd_field_none, Reason::too_large, -1, record->value_length);
        } else {
            slots.clear();
            JsonError error = document.read(record->value, record->value_length, &root, &slots, this);
            if (error == JsonError::none) {
                resolve(record, event);
            } else {
                reject_document(error);
            }
        }
        finish(event);
    }

    void reject_document(JsonError error) {
        clvd_status status = error == JsonError::invalid_utf8 ? clvd_status_invalid_utf8
            : error == JsonError::several_events              ? clvd_status_wrong_type
            : error == JsonError::no_memory                   ? clvd_status_too_large
                                                              : clvd_status_invalid_json;
        reject(status, clvd_field_none, Reason::json);
        fault.json = error;
        fault.position = document.position();
    }

    void decode_row(const clvd_text *columns, const clvd_record *record, clvd_event *event) {
        reset(record, event);
        for (size_t i = 0; i < slots.count(); ++i) {
            slots.kinds[i] = columns[i].data == nullptr || columns[i].length == 0 ? Kind::absent : Kind::text;
            slots.data[i] = columns[i].data;
            slots.lengths[i] = columns[i].length;
        }
        if (record->value_length > limits.max_record_bytes) {
            reject(clvd_status_too_large, clvd_field_none, Reason::too_large, -1, record->value_length);
        } else if (!simdjson::validate_utf8(reinterpret_cast<const char *>(record->value), record->value_length)) {
            reject(clvd_status_invalid_utf8, clvd_field_none, Reason::json);
            fault.json = JsonError::invalid_utf8;
            fault.position = 0;
        } else {
            resolve(record, event);
        }
        finish(event);
    }

    void finish(clvd_event *event) const {
        event->status = static_cast<uint8_t>(fault.status);
        if (fault.status >= clvd_status_first_rejection) event->reserved = static_cast<uint16_t>(fault.field);
    }

    bool reserve_arena(size_t records) {
        size_t needed = records * 2 * limits.max_user_bytes;
        if (needed <= arena_capacity) return true;
        std::free(arena);
        arena = static_cast<uint8_t *>(std::malloc(needed));
        arena_capacity = arena == nullptr ? 0 : needed;
        return arena != nullptr;
    }

    // MARK: Building

    /// The slot of `pointer`, new or known; -1 when the pointer is malformed or in the way of another.
    int16_t slot(Node *from, const char *pointer, bool inner) {
        Node *node = clvd::follow(from, pointer);
        if (node == nullptr || (node->is_inner() && !inner)) return -1;
        if (node->slot < 0) {
            if (slots.count() >= 1000) return -1;
            node->slot = static_cast<int16_t>(slots.count());
            slots.add();
            pointers.push_back(pointer);
        }
        return node->slot;
    }

    void rebuild_types() {
        size_t size = 16;
        while (size < types.size() * 2) size *= 2;
        type_table.assign(size, UINT16_MAX);
        for (size_t i = 0; i < types.size(); ++i) {
            auto *name = reinterpret_cast<const uint8_t *>(types[i].name.data());
            size_t at = clvd_hash(name, types[i].name.size()) & (size - 1);
            while (type_table[at] != UINT16_MAX) at = (at + 1) & (size - 1);
            type_table[at] = static_cast<uint16_t>(i);
        }
    }
};

/// Runs `body`, which may run out of memory, behind the C boundary.
template <class Body>
bool guarded(Body body) noexcept {
    try {
        return body();
    } catch (...) {
        return false;
    }
}
