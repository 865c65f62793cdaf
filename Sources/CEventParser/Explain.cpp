// Sentences for dead letters: which field, where it was looked for, what was expected and what was found.
#include <cinttypes>
#include <cstdarg>
#include <cstdio>

#include "Schemas.hpp"

namespace {

using clvd::JsonError;
using clvd::Kind;
using clvd::Reason;

/// Appends to a buffer of fixed size; what does not fit is dropped at a character's boundary.
class Sentence {
public:
    Sentence(char *text, uint32_t capacity) : text_(text), capacity_(capacity) {}

    uint32_t length() const { return length_; }

    __attribute__((format(printf, 2, 3))) void add(const char *format, ...) {
        char part[256];
        va_list arguments;
        va_start(arguments, format);
        int length = std::vsnprintf(part, sizeof part, format, arguments);
        va_end(arguments);
        size_t written = length < 0 ? 0 : static_cast<size_t>(length);
        bytes(part, written < sizeof part ? written : sizeof part - 1);
    }

    void bytes(const char *part, size_t length) {
        size_t room = capacity_ - length_;
        if (length > room) length = boundary(part, room);
        std::memcpy(text_ + length_, part, length);
        length_ += static_cast<uint32_t>(length);
    }

    /// A piece of the record: at most 40 bytes, control characters as `?`.
    void excerpt(clvd_text value) {
        constexpr uint32_t most = 40;
        char part[most];
        size_t length = value.length > most ? boundary(reinterpret_cast<const char *>(value.data), most) : value.length;
        for (size_t i = 0; i < length; ++i) {
            uint8_t c = value.data[i];
            part[i] = c < 0x20 || c == 0x7F ? '?' : static_cast<char>(c);
        }
        bytes(part, length);
        if (length < value.length) bytes("…", std::strlen("…"));
    }

private:
    char *text_;
    uint32_t capacity_;
    uint32_t length_ = 0;

    /// The largest cut at or before `at` that splits no UTF-8 sequence.
    static size_t boundary(const char *part, size_t at) {
        while (at > 0 && (part[at] & 0xC0) == 0x80) --at;
        return at;
    }
};

const char *describe(JsonError error) {
    switch (error) {
    case JsonError::empty: return "the record is empty";
    case JsonError::not_an_object: return "an event is a JSON object";
    case JsonError::an_array:
        return "an array of events in one record; send each in a record of its own, or set input.keying: repartition;";
    case JsonError::unclosed_string: return "a string is not closed";
    case JsonError::control_character: return "a control character inside a string";
    case JsonError::trailing_bytes: return "bytes follow the event";
    case JsonError::too_deep: return "nested deeper than 128";
    case JsonError::bad_value: return "not a JSON value";
    case JsonError::bad_number: return "not a JSON number";
    case JsonError::bad_escape: return "a bad escape or lone surrogate in this string";
    case JsonError::bad_structure: return "a comma, colon, quote or bracket is missing";
    case JsonError::several_events: return "more than one event in this record; send one event per record, or set input.keying: repartition";
    case JsonError::no_memory: return "no memory to parse the record";
    default: return "not valid JSON";
    }
}

const char *expectation(const clvd_parser &parser, const clvd::Fault &fault) {
    if (fault.reason == Reason::not_a_number) {
        for (const auto *list : {&parser.rules.derived, &parser.rules.derived_of_items}) {
            for (const auto &rule : *list) {
                if (rule.from == fault.slot && rule.decimal_comma) return "a number with a decimal comma (1.234,56)";
            }
        }
        return "a number";
    }
    if (fault.reason == Reason::not_an_array) return "an array of items";
    if (fault.reason != Reason::not_a_time) return fault.field == clvd_field_currency ? "a string" : "a string or integer";
    for (const auto &source : parser.sources[clvd_field_event_time]) {
        if (source.slot != fault.slot) continue;
        switch (source.unit) {
        case clvd_time_seconds: return "epoch seconds";
        case clvd_time_milliseconds: return "epoch milliseconds";
        case clvd_time_microseconds: return "epoch microseconds";
        case clvd_time_iso8601_utc: return "an ISO 8601 time";
        default: break;
        }
    }
    return "an ISO 8601 time with its zone";
}

void found(Sentence &sentence, const clvd::Fault &fault) {
    switch (fault.kind) {
    case Kind::null: sentence.add("null"); return;
    case Kind::boolean: sentence.excerpt(fault.value); return;
    case Kind::number: sentence.add("number "); sentence.excerpt(fault.value); return;
    case Kind::instant: sentence.add("time "); sentence.excerpt(fault.value); return;
    case Kind::array: sentence.add("an array"); return;
    case Kind::object: sentence.add("an object"); return;
    case Kind::absent: sentence.add("nothing"); return;
    case Kind::string:
    case Kind::escaped:
    case Kind::text:
        sentence.add(fault.kind == Kind::text ? "\"" : "string \"");
        sentence.excerpt(fault.value);
        sentence.add("\"");
        return;
    }
}

/// `field amount (/properties/revenue): `; for a missing field, all places where it was looked for.
void place(Sentence &sentence, const clvd_parser &parser, const clvd::Fault &fault) {
    if (fault.field == clvd_field_none) {
        sentence.add("record: ");
        return;
    }
    sentence.add("field %s", clvd_field_name(static_cast<uint8_t>(fault.field)));
    if (fault.slot >= 0) {
        sentence.add(" (%s)", parser.pointers[fault.slot].c_str());
    } else if (fault.reason == Reason::missing && !parser.sources[fault.field].empty()) {
        const char *separator = " (";
        for (const auto &source : parser.sources[fault.field]) {
            sentence.add("%s%s", separator, parser.pointers[source.slot].c_str());
            separator = ", ";
        }
        sentence.add(")");
    }
    sentence.add(": ");
}

/// A number as people write it: `1,000,000.01`. Far out of range, it has an exponent.
void grouped(Sentence &sentence, double value) {
    char digits[32];
    size_t length = clvd_write_number(value, digits);
    size_t start = digits[0] == '-';
    size_t whole = start;
    while (whole < length && digits[whole] >= '0' && digits[whole] <= '9') ++whole;
    if (std::memchr(digits, 'e', length) != nullptr) whole = start;
    sentence.bytes(digits, start);
    for (size_t i = start; i < length; ++i) {
        if (i > start && i < whole && (whole - i) % 3 == 0) sentence.bytes(",", 1);
        sentence.bytes(digits + i, 1);
    }
}

void currency(Sentence &sentence, uint32_t code) {
    sentence.add("%c%c%c", static_cast<int>(code >> 16 & 255), static_cast<int>(code >> 8 & 255),
                 static_cast<int>(code & 255));
}

/// Elements of an array: a JSON array that is known to be well formed, or their number.
unsigned elements(clvd_text array) {
    if (array.length > 0 && array.data[0] != '[') {
        double count;
        return clvd::parse_number(array.data, array.data + array.length, true, &count) ? static_cast<unsigned>(count) : 0;
    }
    unsigned count = 0;
    int depth = 0;
    bool quoted = false, any = false;
    for (uint32_t i = 0; i < array.length; ++i) {
        uint8_t c = array.data[i];
        if (quoted) {
            i += c == '\\';
            quoted = c != '"';
            continue;
        }
        quoted = c == '"';
        any |= depth == 1 && c != ' ' && c != '\t' && c != '\n' && c != '\r' && c != ']';
        count += depth == 1 && c == ',';
        depth += (c == '[' || c == '{') - (c == ']' || c == '}');
    }
    return count + any;
}

void too_high(Sentence &sentence, const clvd_parser &parser) {
    bool is_quantity = parser.fault.field == clvd_field_quantity;
    grouped(sentence, parser.fault.number);
    sentence.add(" is above the limit of ");
    grouped(sentence, is_quantity ? parser.limits.max_quantity : parser.limits.max_amount);
    if (is_quantity) return;
    sentence.add(" ");
    currency(sentence, parser.base_currency);
}

void json(Sentence &sentence, const clvd::Fault &fault) {
    if (fault.json == JsonError::invalid_utf8) {
        sentence.add("invalid UTF-8");
    } else if (fault.json == JsonError::empty || fault.json == JsonError::no_memory) {
        sentence.add("%s", describe(fault.json));
    } else {
        sentence.add("%s%s at byte %u", fault.status == clvd_status_invalid_json ? "invalid JSON: " : "",
                     describe(fault.json), fault.position);
    }
}

void unknown_currency(Sentence &sentence, const clvd_parser &parser, const clvd::Fault &fault) {
    sentence.add("no rate from ");
    if (fault.slot >= 0) {
        found(sentence, fault);
    } else {
        currency(sentence, parser.assumed_currency);
    }
    sentence.add(" to ");
    currency(sentence, parser.base_currency);
}

/// What a record says of itself, control characters as `?`.
void note(Sentence &sentence, clvd_text text) {
    for (uint32_t i = 0; i < text.length; ++i) {
        char c = static_cast<char>(text.data[i]);
        bool controls = static_cast<uint8_t>(c) < 0x20 || c == 0x7F;
        sentence.bytes(controls ? "?" : &c, 1);
    }
}

/// A record whose values cannot be had.
void undecodable(Sentence &sentence, const clvd_parser &parser, const clvd::Fault &fault) {
    const clvd::Frame &frame = parser.frame;
    if (frame.is_framed && fault.reason != Reason::too_large && fault.reason != Reason::no_frame) {
        sentence.add("Confluent framing, schema id %u: ", frame.schema);
    }
    switch (fault.reason) {
    case Reason::json: json(sentence, fault); break;
    case Reason::too_large:
        sentence.add("%.0f bytes, the limit is %u", fault.number, parser.limits.max_record_bytes);
        break;
    case Reason::body: sentence.add("%s: %s, at byte %u", frame.encoding, frame.detail, fault.position); break;
    case Reason::no_frame:
        sentence.add("no Confluent frame (a byte 0, then the id of its schema); is it of another encoding?");
        break;
    case Reason::no_schema: sentence.add("%s", frame.detail); break;
    case Reason::framed:
        sentence.add(
            "the body is not JSON; is it Avro or Protobuf? (encoding: avro or protobuf in the format, and "
            "input.registry)");
        break;
    default: break;
    }
}

void explain(Sentence &sentence, const clvd_parser &parser) {
    const clvd::Fault &fault = parser.fault;
    if (fault.status < clvd_status_first_rejection) {
        sentence.add("%s", clvd_status_name(static_cast<uint8_t>(fault.status)));
        return;
    }
    if (fault.reason == Reason::noted) return note(sentence, fault.value);
    place(sentence, parser, fault);
    switch (fault.reason) {
    case Reason::none:
    case Reason::noted:
    case Reason::json:
    case Reason::too_large:
    case Reason::body:
    case Reason::no_frame:
    case Reason::no_schema:
    case Reason::framed: undecodable(sentence, parser, fault); break;
    case Reason::missing: sentence.add("missing"); break;
    case Reason::empty: sentence.add("empty"); break;
    case Reason::too_long:
        sentence.add("%.0f bytes long, the limit is %u", fault.number, parser.limits.max_user_bytes);
        break;
    case Reason::holds_nul: sentence.add("holds a NUL character"); break;
    case Reason::not_a_number:
    case Reason::not_text:
    case Reason::not_an_array:
    case Reason::not_a_time:
        sentence.add("expected %s, got ", expectation(parser, fault));
        found(sentence, fault);
        break;
    case Reason::outside_years:
        sentence.add("outside the accepted years, got ");
        found(sentence, fault);
        break;
    case Reason::in_the_future:
        sentence.add("%.3f s later than the record's own timestamp, %.3f s are allowed", fault.number / 1000,
                     static_cast<double>(parser.limits.max_future_skew_ms) / 1000);
        break;
    case Reason::unknown_type:
        found(sentence, fault);
        sentence.add(" is not in the table of event types");
        break;
    case Reason::placeholder:
        found(sentence, fault);
        sentence.add(" stands for a missing id");
        break;
    case Reason::negative_other: sentence.add("negative, and the event is neither a purchase nor a refund"); break;
    case Reason::batch:
        sentence.add("a batch of %u events in one record; send each in a record of its own, or set input.keying: "
                     "repartition", elements(fault.value));
        break;
    case Reason::negative:
        grouped(sentence, fault.number);
        sentence.add(" is negative");
        break;
    case Reason::too_high: too_high(sentence, parser); break;
    case Reason::unknown_currency: unknown_currency(sentence, parser, fault); break;
    }
}

/// Decodes the record once more, for the sentence.
template <class Decode>
uint32_t explain_again(clvd_parser *parser, const clvd_event *event, char *text, uint32_t capacity, Decode decode) {
    Sentence sentence(text, capacity);
    if (event->status == clvd_status_too_late) {
        sentence.add("field event_time: later than the allowed lateness");
        return sentence.length();
    }
    // The strings of the batch stay valid: the arena has room for one more record.
    if (parser->arena == nullptr && !parser->reserve_arena(1)) return 0;
    size_t used = parser->arena_used;
    clvd::NameTally::Pause names(parser->unknown_types), currencies(parser->currencies);
    auto numbers = parser->numbers.mark();
    clvd_event again;
    bool fits = guarded([&] {
        decode(&again);
        return true;
    });
    parser->arena_used = used;
    if (fits) explain(sentence, *parser);
    parser->numbers.rewind(numbers);
    return sentence.length();
}

}  // namespace

extern "C" {

uint32_t clvd_parser_explain(
    clvd_parser *parser, const clvd_record *record, const clvd_event *event, char *text, uint32_t capacity) {
    return explain_again(
        parser, event, text, capacity, [&](clvd_event *again) { parser->decode_json(record, again); });
}

uint32_t clvd_schemas_explain(
    clvd_parser *parser, clvd_schemas *schemas, const clvd_record *record, const clvd_event *event, char *text,
    uint32_t capacity) {
    return explain_again(
        parser, event, text, capacity, [&](clvd_event *again) { schemas->decode(parser, record, again); });
}

uint32_t clvd_parser_explain_row(
    clvd_parser *parser, const clvd_text *slots, const clvd_record *record, const clvd_event *event, char *text,
    uint32_t capacity) {
    Sentence sentence(text, capacity);
    if (event->status == clvd_status_too_late) {
        sentence.add("field event_time: later than the allowed lateness");
        return sentence.length();
    }
    clvd::NameTally::Pause names(parser->unknown_types), currencies(parser->currencies);
    clvd_event again;
    parser->decode_row(slots, record, &again);
    explain(sentence, *parser);
    return sentence.length();
}

}  // extern "C"
