// The parser: a compiled mapping, and the state of the current record and batch. Decoding has two stages with one seam,
// the slots. An encoding (Encoding.hpp) puts the values of a record into the slots of the mapping; the mapping
// (Fields.hpp) makes an event of the slots, and knows nothing of the encoding but the kind of each value.
#pragma once

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "CEventParser.h"
#include "Document.hpp"
#include "Mapping.hpp"
#include "Number.hpp"
#include "NumberTexts.hpp"
#include "RuleSet.hpp"
#include "Time.hpp"
#include "Types.hpp"

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
    placeholder,
    negative,
    negative_other,
    batch,
    avro,
    no_frame,
    no_schema,
    framed,
    too_high,
    unknown_currency,
    noted,             // the record says it itself, by `CLVD_REFUSAL_HEADER`
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
    uint32_t position = 0;   // in the record
    double number = 0;
    // The offending value: slots of items are overwritten by the next item.
    Kind kind = Kind::absent;
    clvd_text value = {nullptr, 0};
};

/// What else is to be said of a record whose bytes are at fault. Beside `Fault`, which is copied for each record.
struct Frame {
    bool is_framed = false;
    uint32_t schema = 0;           // of a framed record
    const char *detail = nullptr;  // what is wrong with the bytes, or the schema
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

/// Times that a state of unsigned 32-bit seconds holds, where 0 stands for never.
constexpr int64_t least_time_ms = 1000;
constexpr int64_t end_of_time_ms = 4294967296000;

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

/// The frame of a schema registry's serializers: a byte 0 and the id of the schema, big-endian.
constexpr uint32_t frame_length = 5;

/// No JSON document begins with 0.
inline bool is_framed(const uint8_t *value, uint32_t length) { return length > frame_length && value[0] == 0; }

inline uint32_t schema_id(const uint8_t *value) {
    return uint32_t{value[1]} << 24 | uint32_t{value[2]} << 16 | uint32_t{value[3]} << 8 | value[4];
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

namespace clvd {

struct AvroProgram;

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
    using TypeTable = clvd::TypeTable;

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
    TypeTable types;
    clvd::NameTally unknown_types;
    clvd::NameTally currencies;
    clvd_unknown_type unknown = clvd_unknown_type_other;
    uint8_t default_type = CLVD_TYPE_REQUIRED;
    bool numeric_strings = false;
    bool guests_ignored = false, joins_always = false;
    clvd::RuleSet rules;
    clvd::Placeholders placeholders;
    clvd_order_rules orders = {};
    clvd_limits limits;
    uint32_t base_currency = 'U' << 16 | 'S' << 8 | 'D';
    uint32_t assumed_currency = base_currency;
    std::vector<Rate> rates;

    // MARK: State of one record

    clvd::Document<clvd_parser> document;
    Slots slots;
    ItemTotal totals[clvd::maximum_alternatives];
    Fault fault;
    clvd::Frame frame;
    std::vector<uint8_t> scratch;                // an unescaped string that is only hashed or compared

    // MARK: State of one batch

    uint8_t *arena = nullptr;                    // unescaped users, aliases and event ids
    size_t arena_capacity = 0;
    size_t arena_used = 0;
    clvd::NumberTexts numbers;                   // of encodings that do not write numbers in digits

    clvd_parser() {
        limits.max_record_bytes = 1 << 20;
        limits.max_user_bytes = 255;
        limits.max_amount = 1e7;
        limits.max_quantity = 1e6;
        limits.min_time_ms = clvd::least_time_ms;
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

    void end_item(int16_t alternative);

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

    /// The first place that holds an id: something that is no placeholder.
    const Source *pick_id(const std::vector<Source> &places) {
        for (const Source &source : places) {
            int16_t slot = source.slot;
            if (present(slot) && !(placeholders.may_be(slots.data[slot], slots.lengths[slot]) && is_placeholder(slot))) {
                return &source;
            }
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

    /// A number that must not be negative, unless only its size matters. An infinite one is too high whatever the limit.
    bool money(
        const std::vector<Source> &places, clvd_field field, double *value, bool *found, bool of_any_sign = false) {
        const Source *source = pick(places);
        *found = source != nullptr;
        if (source == nullptr) return true;
        if (!number(*source, field, value)) return false;
        if (*value < 0) {
            if (!of_any_sign) {
                return reject(clvd_status_negative_amount, field, Reason::negative, source->slot, *value);
            }
            *value = -*value;
        }
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

    /// Copies a text that is needed after the record from the scratch buffer to the arena: at most three per record.
    const uint8_t *keep(clvd_text text) {
        if (text.data != scratch.data()) return text.data;
        uint8_t *copy = arena + arena_used;
        std::memcpy(copy, text.data, text.length);
        arena_used += text.length;
        return copy;
    }

    static uint64_t hash(clvd_text text) { return clvd_hash(text.data, text.length); }

    bool hashed(clvd_field field, uint64_t *result) { return hashed(pick(sources[field]), field, result); }
    bool hashed_id(clvd_field field, uint64_t *result) { return hashed(pick_id(sources[field]), field, result); }

    bool hashed(const Source *source, clvd_field field, uint64_t *result) {
        if (source == nullptr) return true;
        clvd_text text;
        if (!characters(*source, &text)) {
            return reject(clvd_status_wrong_type, field, Reason::not_text, source->slot);
        }
        *result = hash(text);
        return true;
    }

    // MARK: Mapping: slots → event (Fields.hpp)

    bool resolve_type(clvd_event *event);
    bool resolve_alias(clvd_event *event), joins(clvd_event *event);
    bool resolve_user(clvd_event *event);
    bool header(clvd_field field, const void *record_headers, clvd_text *text) const;
    bool resolve_time(const clvd_record *record, clvd_event *event);
    static bool read_time(uint8_t unit, Kind kind, clvd_text text, int64_t *time_ms);
    bool resolve_rate(double *rate);
    const ItemTotal *order_items() const;
    bool resolve_money(clvd_event *event);
    bool within(clvd_field field, double value);
    bool resolve_event_id(const clvd_record *record, clvd_event *event);
    bool resolve_product(clvd_event *event);
    bool item_hash(clvd_field field, Kind kind, clvd_text raw, int16_t slot, uint64_t *result);
    void resolve(const clvd_record *record, clvd_event *event);

    // MARK: Rules: slots → slots (Rules.hpp)

    bool apply_rules();
    bool apply_item_rules();
    bool turn(clvd_event *event);
    void blame_batch();
    bool is_placeholder(int16_t slot);
    bool holds(const clvd::Condition &condition);
    void derive(const clvd::Derived &derived);
    void shorten(int16_t slot);
    bool peek(int16_t slot, double *value);
    void pass_zeros(const std::vector<Source> &places);
    void take_sign(const std::vector<Source> &places);
    bool unsign(const std::vector<Source> &places);

    // MARK: Encodings: bytes → slots (Encoding.hpp)

    // Each encoding fills `slots` and then calls `resolve`; another one is one more function here.
    void decode_json(const clvd_record *record, clvd_event *event);
    void reject_document(JsonError error);
    bool reject_noted(const clvd_record *record);
    void blame_frame(const clvd_record *record);
    void decode_avro(const clvd::AvroProgram &program, uint32_t skipped, const clvd_record *record, clvd_event *event);
    void decode_row(const clvd_text *columns, const clvd_record *record, clvd_event *event);

    // MARK: Records

    void reset(const clvd_record *record, clvd_event *event) {
        std::memset(event, 0, sizeof *event);
        event->offset = record->offset;
        event->partition = record->partition;
        event->topic = record->topic;
        fault.status = clvd_status_ok;
        for (size_t i = 0; i < items.size(); ++i) totals[i] = ItemTotal();
    }

    void finish(clvd_event *event) const {
        event->status = static_cast<uint8_t>(fault.status);
        if (fault.status >= clvd_status_first_rejection) event->rejected_field = static_cast<uint8_t>(fault.field);
    }

    bool reserve_arena(size_t records) {
        size_t needed = records * 3 * limits.max_user_bytes;
        if (needed <= arena_capacity) return true;
        std::free(arena);
        arena = static_cast<uint8_t *>(std::malloc(needed));
        arena_capacity = arena == nullptr ? 0 : needed;
        return arena != nullptr;
    }

    // MARK: Building

    /// The slot of `pointer`, new or known; -1 when the pointer is malformed or lies inside another one.
    int16_t slot(Node *from, const char *pointer, bool inner) {
        Node *node = clvd::follow(from, pointer);
        if (node == nullptr || (node->is_inner() && !inner)) return -1;
        if (node->slot < 0) node->slot = new_slot(pointer);
        return node->slot;
    }

    /// -1 when there are too many.
    int16_t new_slot(const char *pointer) {
        if (slots.count() >= 1000) return -1;
        slots.add();
        pointers.push_back(pointer);
        return static_cast<int16_t>(slots.count() - 1);
    }

    int16_t derived_slot(Node *from, clvd_field field, const char *pointer, const clvd_rule &rule);
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

#include "Rules.hpp"
#include "Fields.hpp"
#include "Encoding.hpp"
