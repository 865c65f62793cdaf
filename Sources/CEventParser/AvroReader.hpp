// The walk through the bytes of an Avro record (Apache Avro 1.12, "Binary Encoding"): each value is read or passed over,
// and none of it is trusted.
#pragma once

#include "AvroProgram.hpp"

namespace clvd {

class AvroReader {
public:
    AvroReader(clvd_parser &parser, const AvroProgram &program) : parser_(parser), program_(program) {}

    /// What is wrong with the bytes, or nullptr; `position()` is where.
    const char *read(const uint8_t *bytes, uint32_t length) {
        start_ = p_ = bytes;
        end_ = bytes + length;
        empty_left_ = length;
        if (value(program_.steps[program_.start], 0) && p_ != end_) fail("bytes follow the record");
        return fault_;
    }

    uint32_t position() const { return static_cast<uint32_t>(p_ - start_); }

private:
    using Step = AvroProgram::Step;

    clvd_parser &parser_;
    const AvroProgram &program_;
    const uint8_t *start_ = nullptr, *p_ = nullptr, *end_ = nullptr;
    uint32_t empty_left_ = 0;  // elements that may still come without bytes of their own
    const char *fault_ = nullptr;

    bool fail(const char *fault) {
        fault_ = fault;
        return false;
    }

    bool ends_early() { return fail("the record ends early"); }

    size_t left() const { return static_cast<size_t>(end_ - p_); }

    bool varint(int64_t *value) {
        uint64_t bits = 0;
        for (unsigned shift = 0; shift < 64; shift += 7) {
            if (p_ == end_) return ends_early();
            uint8_t byte = *p_++;
            if (shift == 63 && byte > 1) break;
            bits |= uint64_t{byte & 0x7Fu} << shift;
            if (byte < 0x80) {
                *value = static_cast<int64_t>(bits >> 1 ^ (0 - (bits & 1)));
                return true;
            }
        }
        return fail("an integer has more than 64 bits");
    }

    bool length(uint32_t *length) {
        int64_t value;
        if (!varint(&value)) return false;
        if (value < 0) return fail("a length is negative");
        if (static_cast<uint64_t>(value) > left()) return ends_early();
        *length = static_cast<uint32_t>(value);
        return true;
    }

    bool pick(uint32_t count, const char *fault, uint32_t *index) {
        int64_t value;
        if (!varint(&value)) return false;
        if (value < 0 || value >= int64_t{count}) return fail(fault);
        *index = static_cast<uint32_t>(value);
        return true;
    }

    const Step &part(const Step &step, uint32_t index) const {
        return program_.steps[program_.parts[step.first + index]];
    }

    bool value(const Step &step, int depth) {
        switch (step.type) {
        case AvroType::null: set(step, Kind::null, "null", 4); return true;
        case AvroType::boolean: return boolean(step);
        case AvroType::integer: return integer(step);
        case AvroType::float32: return floating<float>(step);
        case AvroType::float64: return floating<double>(step);
        case AvroType::string:
        case AvroType::fixed: return bytes(step);
        case AvroType::enumeration: {
            uint32_t index;
            if (!pick(static_cast<uint32_t>(step.schema->names.size()), "an enum has no such symbol", &index)) return false;
            const std::string &symbol = step.schema->names[index];
            set(step, Kind::string, symbol.data(), symbol.size());
            return true;
        }
        default: break;
        }
        if (depth == Document<clvd_parser>::maximum_depth) return fail("nested deeper than 128");
        switch (step.type) {
        case AvroType::choice: {
            uint32_t index;
            return pick(step.count, "a union has no such branch", &index) && value(part(step, index), depth + 1);
        }
        case AvroType::record:
            for (uint32_t i = 0; i < step.count; ++i) {
                if (!value(part(step, i), depth + 1)) return false;
            }
            set(step, Kind::object, "{}", 2);
            return true;
        default: return blocks(step, depth);
        }
    }

    // MARK: Scalars

    bool wants(const Step &step) const { return step.slot >= 0 && parser_.slots.kinds[step.slot] == Kind::absent; }

    void set(const Step &step, Kind kind, const void *data, size_t length) {
        if (step.slot < 0) return;
        parser_.slots.set(step.slot, kind, static_cast<const uint8_t *>(data), static_cast<uint32_t>(length));
    }

    /// A number as the mapping reads it: in decimal digits, written where they stay as long as the batch.
    template <class Number>
    void set_number(const Step &step, Kind kind, Number number) {
        if (!wants(step)) return;
        char *text = parser_.numbers.room();
        set(step, kind, text, parser_.numbers.keep(std::to_chars(text, text + NumberTexts::longest, number).ptr));
    }

    bool boolean(const Step &step) {
        if (p_ == end_) return ends_early();
        if (*p_ > 1) return fail("a boolean is neither 0 nor 1");
        bool is_true = *p_++ == 1;
        set(step, Kind::boolean, is_true ? "true" : "false", is_true ? 4 : 5);
        return true;
    }

    bool integer(const Step &step) {
        int64_t value;
        if (!varint(&value)) return false;
        if (!step.is_instant) {
            set_number(step, Kind::number, value);
            return true;
        }
        // Milliseconds, downwards; what is too large for them is out of range in any case.
        int64_t divisor = step.logical == AvroLogical::microseconds ? 1000
            : step.logical == AvroLogical::nanoseconds              ? 1'000'000
                                                                    : 1;
        value = value / divisor - (value % divisor < 0);
        if (step.logical == AvroLogical::date && __builtin_mul_overflow(value, int64_t{86'400'000}, &value)) {
            value = INT64_MAX;
        }
        set_number(step, Kind::instant, value);
        return true;
    }

    /// A float is written with the digits that tell it from other floats: 19.99, not 19.989999771118164.
    template <class Number>
    bool floating(const Step &step) {
        if (left() < sizeof(Number)) return ends_early();
        Number number;
        std::memcpy(&number, p_, sizeof number);  // little-endian, as this machine
        p_ += sizeof number;
        set_number(step, Kind::number, number);
        return true;
    }

    bool bytes(const Step &step) {
        uint32_t count = step.size;
        if (step.type == AvroType::string && !length(&count)) return false;
        if (count > left()) return ends_early();
        const uint8_t *text = p_;
        if (wants(step)) {
            if (step.logical == AvroLogical::decimal) {
                char *digits = parser_.numbers.room();
                set(step, Kind::number, digits, parser_.numbers.keep(write_decimal(text, count, step.scale, digits)));
            } else if (step.logical == AvroLogical::uuid && step.type == AvroType::fixed) {
                uuid(step, text);
            } else {
                auto *characters = reinterpret_cast<const char *>(text);
                if (!simdjson::validate_utf8(characters, count)) return fail("invalid UTF-8");
                // Mappings rely on it that there is no NUL in a `string`.
                bool has_nul = std::memchr(text, 0, count) != nullptr;
                set(step, has_nul ? Kind::text : Kind::string, text, count);
            }
        }
        p_ += count;
        return true;
    }

    void uuid(const Step &step, const uint8_t *bytes) {
        char *text = parser_.numbers.room(), *out = text;
        for (int i = 0; i < 16; ++i) {
            if (i == 4 || i == 6 || i == 8 || i == 10) *out++ = '-';
            *out++ = "0123456789abcdef"[bytes[i] >> 4];
            *out++ = "0123456789abcdef"[bytes[i] & 15];
        }
        set(step, Kind::string, text, parser_.numbers.keep(out));
    }

    // MARK: Arrays and maps

    /// Both come in blocks, each with its number of entries; a negative one is followed by the block's size in bytes.
    bool blocks(const Step &step, int depth) {
        uint64_t entries = 0;
        for (;;) {
            int64_t count, size = -1;
            if (!varint(&count)) return false;
            if (count == 0) break;
            if (count < 0) {
                if (!varint(&size)) return false;
                if (size < 0 || static_cast<uint64_t>(size) > left()) return fail("a block ends after the record");
                count = count == INT64_MIN ? INT64_MAX : -count;
            }
            if (step.is_skipped && size >= 0) {
                p_ += size;
                continue;
            }
            bool is_empty = step.has_empty_elements && step.type == AvroType::array;
            if (static_cast<uint64_t>(count) > (is_empty ? empty_left_ : left())) return ends_early();
            if (is_empty) empty_left_ -= static_cast<uint32_t>(count);
            for (int64_t i = 0; i < count; ++i, ++entries) {
                if (!(step.type == AvroType::map ? entry(step, depth) : element(step, entries, depth))) return false;
            }
        }
        if (step.type == AvroType::map) {
            set(step, Kind::object, "{}", 2);
        } else {
            set_number(step, Kind::array, entries);
        }
        return true;
    }

    bool entry(const Step &step, int depth) {
        uint32_t count;
        if (!length(&count)) return false;
        const Node *node = step.node == nullptr ? nullptr : step.node->find(p_, count);
        p_ += count;
        for (uint32_t i = 0; node != nullptr && i < step.special_count; ++i) {
            const auto &special = program_.specials[step.first_special + i];
            if (special.node == node) return value(program_.steps[special.step], depth + 1);
        }
        return value(part(step, 0), depth + 1);
    }

    bool element(const Step &step, uint64_t index, int depth) {
        if (step.items < 0) {
            if (step.single && index == 1) return fail("more than one event in this record; send one event per record");
            return value(program_.steps[chosen(step, index)], depth + 1);
        }
        parser_.begin_item();
        auto mark = parser_.numbers.mark();
        if (!value(part(step, 0), depth + 1)) return false;
        parser_.end_item(step.items);
        // Of later items nothing is kept but sums.
        if (index > 0 && parser_.fault.status == clvd_status_ok) parser_.numbers.rewind(mark);
        return true;
    }

    /// The step for element `index`: by its place, else by the value of a member.
    uint32_t chosen(const Step &step, uint64_t index) {
        const auto *special = program_.specials.data() + step.first_special;
        uint32_t selectors = 0;
        for (uint32_t i = 0; i < step.special_count; ++i) {
            if (special[i].index >= 0 && static_cast<uint64_t>(special[i].index) == index) return special[i].step;
            selectors += special[i].value != nullptr;
        }
        uint32_t usual = program_.parts[step.first];
        if (selectors == 0) return usual;
        const uint8_t *here = p_;
        uint32_t found = selected(program_.steps[usual], special, step.special_count, usual);
        // What is malformed is found again by the walk itself.
        p_ = here;
        fault_ = nullptr;
        return found;
    }

    /// Looks ahead into the record that comes next.
    uint32_t selected(const Step &element, const AvroProgram::Special *special, uint32_t count, uint32_t usual) {
        const Step *record = branch(element);
        if (record == nullptr || record->type != AvroType::record) return usual;
        uint32_t allowance = empty_left_;
        for (uint32_t field = 0; field < record->count; ++field) {
            const uint8_t *before = p_;
            const Step *text = branch(part(*record, field));
            uint32_t length_ = 0;
            bool is_text = text != nullptr && text->type == AvroType::string && length(&length_);
            for (uint32_t i = 0; is_text && i < count; ++i) {
                const std::string *value = special[i].value;
                if (value != nullptr && special[i].field == field && value->size() == length_ &&
                    std::memcmp(value->data(), p_, length_) == 0) {
                    empty_left_ = allowance;
                    return special[i].step;
                }
            }
            p_ = before;
            fault_ = nullptr;
            if (!value(part(*record, field), 100)) break;
        }
        empty_left_ = allowance;
        return usual;
    }

    /// The step of the branch that a union takes; the step itself when it is no union.
    const Step *branch(const Step &step) {
        if (step.type != AvroType::choice) return &step;
        uint32_t index;
        return pick(step.count, "", &index) ? &part(step, index) : nullptr;
    }
};

}  // namespace clvd
