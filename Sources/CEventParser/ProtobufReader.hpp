// The walk through the bytes of a Protobuf record (protobuf.dev, "Encoding"): each field that the mapping asks for is read,
// the others are passed over, and none is trusted. Later values replace earlier ones, and parts of a message add up.
#pragma once

#include "ProtobufBytes.hpp"
#include "ProtobufProgram.hpp"

namespace clvd {

class ProtobufReader : private ProtobufBytes {
public:
    ProtobufReader(clvd_parser &parser, ProtobufProgram &program) : parser_(parser), program_(program) {}

    /// What is wrong with the bytes, or nullptr; `position()` is where.
    const char *read(const uint8_t *bytes, uint32_t length) {
        start_ = p_ = bytes;
        end_ = bytes + length;
        if (!program_.cells.empty()) {
            std::memset(program_.cells.data(), 0, program_.cells.size() * sizeof program_.cells[0]);
        }
        fields(program_.plans[program_.start], 0, 0);
        return fault_;
    }

    uint32_t position() const { return static_cast<uint32_t>(p_ - start_); }

private:
    using Field = ProtobufSchema::Field;
    using Form = ProtobufProgram::Form;
    using Plan = ProtobufProgram::Plan;
    using Special = ProtobufProgram::Special;
    using Step = ProtobufProgram::Step;
    using Wipe = ProtobufProgram::Wipe;

    clvd_parser &parser_;
    ProtobufProgram &program_;

    // MARK: Messages

    bool fields(const Plan &plan, uint32_t group, int depth) {
        if (depth > maximum_depth) return fail("nested deeper than 100");
        for (const auto &[slot, field] : plan.defaults) {
            if (parser_.slots.kinds[slot] == Kind::absent) put(slot, *field);
        }
        size_t expected = 0;
        while (p_ != end_) {
            uint32_t number, wire;
            if (!tag(&number, &wire)) return false;
            if (wire == 4) return number == group ? true : fail("a group ends that has not begun");
            const Step *step = find(plan, number, &expected);
            // What is written otherwise than its type is written counts as unknown.
            bool is_packed = step != nullptr && step->form == Form::array && wire == 2 && is_scalar(*step);
            if (step == nullptr || (wire != step->wire && !is_packed)) {
                if (!skip(number, wire)) return false;
            } else if (!field(*step, number, is_packed, depth)) {
                return false;
            }
        }
        return group == 0 ? true : ends_early();
    }

    /// Fields mostly come in the order of their numbers.
    const Step *find(const Plan &plan, uint32_t number, size_t *expected) const {
        for (size_t i = *expected; i < plan.fields.size() && i < *expected + 2; ++i) {
            if (plan.fields[i].first != number) continue;
            *expected = i;
            return &program_.steps[plan.fields[i].second];
        }
        auto found = std::lower_bound(plan.fields.begin(), plan.fields.end(), std::make_pair(number, 0u));
        if (found == plan.fields.end() || found->first != number) return nullptr;
        *expected = static_cast<size_t>(found - plan.fields.begin());
        return &program_.steps[found->second];
    }

    static bool is_scalar(const Step &step) { return step.wire != 2 && step.wire != 3; }

    bool field(const Step &step, uint32_t number, bool is_packed, int depth) {
        switch (step.form) {
        case Form::single: return value(step, number, depth);
        case Form::map: return within([&] { return entry(step, depth); });
        case Form::array:
            if (!is_packed) return element(step, number, depth);
            return within([&] {
                while (p_ != end_) {
                    if (!element(step, number, depth)) return false;
                }
                return true;
            });
        default: break;
        }
        if (step.type == ProtobufType::enumeration && step.symbols->is_closed) {
            const uint8_t *before = p_;
            uint64_t bits;
            if (!varint(&bits)) return false;
            if (step.symbols->names.count(static_cast<int32_t>(bits)) == 0) return true;
            p_ = before;
        }
        wipe(step.first_wipe, step.wipe_count);
        return skip(number, step.wire);
    }

    void wipe(uint32_t first, uint32_t count) {
        for (uint32_t i = first; i < first + count; ++i) {
            const Wipe &wipe = program_.wipes[i];
            switch (wipe.what) {
            case Wipe::slot: parser_.slots.kinds[wipe.index] = Kind::absent; break;
            case Wipe::cell: program_.cells[wipe.index] = 0; break;
            case Wipe::items: parser_.totals[wipe.index] = clvd_parser::ItemTotal(); break;
            }
        }
    }

    // MARK: Values

    bool value(const Step &step, uint32_t number, int depth) {
        if (step.type == ProtobufType::enumeration) return symbol(step);
        wipe(step.first_wipe, step.wipe_count);
        switch (step.type) {
        case ProtobufType::message: return within([&] { return message(step, depth); });
        case ProtobufType::group:
            if (step.plan == ProtobufProgram::none) return skip_group(number);
            if (!fields(program_.plans[step.plan], number, depth + 1)) return false;
            set(step, Kind::object, "{}", 2);
            return true;
        case ProtobufType::string:
        case ProtobufType::bytes: return text(step);
        case ProtobufType::fixed32: return number_of<uint32_t>(step);
        case ProtobufType::fixed64: return number_of<uint64_t>(step);
        case ProtobufType::sfixed32: return number_of<int32_t>(step);
        case ProtobufType::sfixed64: return number_of<int64_t>(step);
        case ProtobufType::float32: return number_of<float>(step);
        case ProtobufType::float64: return number_of<double>(step);
        default: return integer(step);
        }
    }

    void set(const Step &step, Kind kind, const void *data, size_t length) {
        if (step.slot >= 0) replace(step.slot, kind, data, length);
    }

    void replace(int16_t slot, Kind kind, const void *data, size_t length) {
        parser_.slots.kinds[slot] = kind;
        parser_.slots.data[slot] = static_cast<const uint8_t *>(data);
        parser_.slots.lengths[slot] = static_cast<uint32_t>(length);
    }

    /// The value of a field that is not written.
    void put(int16_t slot, const Field &field) {
        replace(slot, field.default_kind, field.default_text.data(), field.default_text.size());
    }

    /// A number as the mapping reads it: in decimal digits, written where they stay as long as the batch.
    template <class Number>
    void set_number(const Step &step, Kind kind, Number number) {
        if (step.slot < 0) return;
        char *text = parser_.numbers.room();
        set(step, kind, text, parser_.numbers.keep(std::to_chars(text, text + NumberTexts::longest, number).ptr));
    }

    template <class Number>
    bool number_of(const Step &step) {
        Number number;
        if (!fixed(&number)) return false;
        set_number(step, Kind::number, number);
        return true;
    }

    bool integer(const Step &step) {
        uint64_t bits;
        if (!varint(&bits)) return false;
        auto low = static_cast<uint32_t>(bits);
        switch (step.type) {
        case ProtobufType::boolean: set(step, Kind::boolean, bits != 0 ? "true" : "false", bits != 0 ? 4 : 5); break;
        case ProtobufType::int32: set_number(step, Kind::number, static_cast<int32_t>(low)); break;
        case ProtobufType::int64: set_number(step, Kind::number, static_cast<int64_t>(bits)); break;
        case ProtobufType::uint32: set_number(step, Kind::number, low); break;
        case ProtobufType::sint32:
            set_number(step, Kind::number, static_cast<int32_t>(low >> 1 ^ (0 - (low & 1))));
            break;
        case ProtobufType::sint64:
            set_number(step, Kind::number, static_cast<int64_t>(bits >> 1 ^ (0 - (bits & 1))));
            break;
        default: set_number(step, Kind::number, bits); break;
        }
        return true;
    }

    bool symbol(const Step &step) {
        uint64_t bits;
        if (!varint(&bits)) return false;
        auto number = static_cast<int32_t>(bits);
        auto found = step.symbols->names.find(number);
        bool is_known = found != step.symbols->names.end();
        if (!is_known && step.symbols->is_closed) return true;
        wipe(step.first_wipe, step.wipe_count);
        if (step.is_null) {
            set(step, Kind::null, "null", 4);
        } else if (is_known) {
            set(step, Kind::string, found->second.data(), found->second.size());
        } else {
            set_number(step, Kind::number, number);
        }
        return true;
    }

    bool text(const Step &step) {
        uint32_t count;
        if (!length(&count)) return false;
        const uint8_t *text = p_;
        p_ += count;
        if (step.slot < 0) return true;
        if (!simdjson::validate_utf8(reinterpret_cast<const char *>(text), count)) return fail("invalid UTF-8");
        // Mappings rely on it that there is no NUL in a `string`.
        bool has_nul = std::memchr(text, 0, count) != nullptr;
        set(step, has_nul ? Kind::text : Kind::string, text, count);
        return true;
    }

    /// A message up to `end_`.
    bool message(const Step &step, int depth) {
        if (step.known != ProtobufKnown::none) return whole(step);
        if (!fields(program_.plans[step.plan], 0, depth + 1)) return false;
        set(step, Kind::object, "{}", 2);
        return true;
    }

    // MARK: Messages that are one value

    /// Keeps the fields 1 to 3, which come in several parts where the message does, and makes a value of them.
    bool whole(const Step &step) {
        uint64_t *cell = &program_.cells[step.cell];
        while (p_ != end_) {
            uint32_t number, wire, count;
            if (!tag(&number, &wire)) return false;
            if (number <= 3 && wire == 0) {
                if (!varint(&cell[number - 1])) return false;
            } else if (number == 1 && wire == 2) {
                if (!length(&count)) return false;
                cell[3] = reinterpret_cast<uintptr_t>(p_);
                cell[4] = count;
                p_ += count;
            } else if (!skip(number, wire)) {
                return false;
            }
        }
        if (step.slot < 0) return true;
        switch (step.known) {
        case ProtobufKnown::timestamp: return timestamp(step, static_cast<int64_t>(cell[0]), static_cast<int32_t>(cell[1]));
        case ProtobufKnown::money: {
            auto nanos = static_cast<int32_t>(cell[2]);
            write(step, static_cast<__int128>(static_cast<int64_t>(cell[1])) * 1'000'000'000 + nanos, 9);
            return true;
        }
        default: break;
        }
        auto scale = static_cast<int32_t>(cell[2]);
        char *text = parser_.numbers.room();
        char *end = write_decimal(
            reinterpret_cast<const uint8_t *>(static_cast<uintptr_t>(cell[3])), static_cast<uint32_t>(cell[4]), scale, text);
        set(step, Kind::number, text, parser_.numbers.keep(end));
        return true;
    }

    void write(const Step &step, __int128 value, uint32_t scale) {
        char *text = parser_.numbers.room();
        set(step, Kind::number, text, parser_.numbers.keep(write_scaled(value, scale, text)));
    }

    /// For the time of the event, milliseconds; elsewhere the text that JSON has.
    bool timestamp(const Step &step, int64_t seconds, int32_t nanos) {
        if (nanos < 0 || nanos > 999'999'999) return fail("the nanos of a timestamp are not below a second");
        if (step.is_instant) {
            int64_t ms;
            if (__builtin_mul_overflow(seconds, int64_t{1000}, &ms)) ms = seconds < 0 ? INT64_MIN : INT64_MAX - 999;
            set_number(step, Kind::instant, ms + nanos / 1'000'000);
            return true;
        }
        if (seconds < -62'135'596'800 || seconds > 253'402'300'799) return fail("a timestamp is not in the years 1 to 9999");
        char *text = parser_.numbers.room();
        set(step, Kind::string, text, parser_.numbers.keep(write_time(seconds, static_cast<uint32_t>(nanos), text)));
        return true;
    }

    // MARK: Arrays and maps

    bool element(const Step &step, uint32_t number, int depth) {
        uint64_t index = program_.cells[step.cell]++;
        if (step.is_only && index == 1) return fail("more than one event in this record; send one event per record");
        if (step.items >= 0) {
            wipe(program_.first_item_wipe, program_.item_wipe_count);
            parser_.begin_item();
            auto mark = parser_.numbers.mark();
            if (!value(program_.steps[step.element], number, depth)) return false;
            parser_.end_item(step.items);
            // Of later items nothing is kept but sums.
            if (index > 0 && parser_.fault.status == clvd_status_ok) parser_.numbers.rewind(mark);
        } else {
            const Step *chosen = choose(step, index);
            if (chosen == nullptr ? !skip(number, step.wire) : !value(*chosen, number, depth)) return false;
        }
        count(step);
        return true;
    }

    /// The number of elements so far, written again into the same place.
    void count(const Step &step) {
        if (step.slot < 0) return;
        constexpr size_t longest = 20;
        bool is_there = parser_.slots.kinds[step.slot] == Kind::array;
        char *text = is_there ? reinterpret_cast<char *>(const_cast<uint8_t *>(parser_.slots.data[step.slot]))
                              : parser_.numbers.room();
        char *end = std::to_chars(text, text + longest, program_.cells[step.cell]).ptr;
        if (!is_there) parser_.numbers.keep(text + longest);
        set(step, Kind::array, text, static_cast<size_t>(end - text));
    }

    /// The step for element `index`: by its place, else by the value of a field, of which the first element counts.
    const Step *choose(const Step &step, uint64_t index) {
        for (uint32_t i = 0; i < step.special_count; ++i) {
            const Special &special = program_.specials[step.first_special + i];
            if (special.index >= 0 && static_cast<uint64_t>(special.index) == index) return &program_.steps[special.step];
        }
        for (uint32_t i = 0; i < step.special_count; ++i) {
            const Special &special = program_.specials[step.first_special + i];
            if (special.value == nullptr || program_.cells[special.cell] != 0 || !holds(special)) continue;
            program_.cells[special.cell] = 1;
            return &program_.steps[special.step];
        }
        return nullptr;
    }

    /// Looks ahead into the message that comes next. What is malformed is found again by the walk itself.
    bool holds(const Special &special) {
        const uint8_t *here = p_, *outer = end_;
        const std::string *found = &special.field->default_text;
        std::string_view text = *found;
        within([&] {
            while (p_ != end_) {
                uint32_t number, wire, count;
                uint64_t bits;
                if (!tag(&number, &wire)) return false;
                bool is_it = number == special.field->number;
                if (is_it && wire == 2 && special.symbols == nullptr) {
                    if (!length(&count)) return false;
                    text = {reinterpret_cast<const char *>(p_), count};
                    p_ += count;
                } else if (is_it && wire == 0 && special.symbols != nullptr) {
                    if (!varint(&bits)) return false;
                    auto symbol = special.symbols->names.find(static_cast<int32_t>(bits));
                    if (symbol != special.symbols->names.end()) text = symbol->second;
                } else if (!skip(number, wire)) {
                    return false;
                }
            }
            return true;
        });
        p_ = here;
        end_ = outer;
        fault_ = nullptr;
        return text == *special.value;
    }

    /// An entry of a map up to `end_`, which replaces one with the same key.
    bool entry(const Step &step, int depth) {
        const uint8_t *here = p_;
        char digits[24];
        std::string_view key = step.field->default_text;
        while (p_ != end_) {
            uint32_t number, wire;
            if (!tag(&number, &wire)) return false;
            bool is_key = number == 1 && wire == key_wire(*step.field);
            if (!(is_key ? read_key(*step.field, digits, &key) : skip(number, wire))) return false;
        }
        set(step, Kind::object, "{}", 2);
        const Node *node = step.node->find(reinterpret_cast<const uint8_t *>(key.data()), key.size());
        for (uint32_t i = 0; node != nullptr && i < step.special_count; ++i) {
            const Special &special = program_.specials[step.first_special + i];
            if (special.node != node) continue;
            wipe(special.first_wipe, special.wipe_count);
            p_ = here;
            return content(program_.steps[special.step], depth);
        }
        return true;
    }

    bool content(const Step &step, int depth) {
        bool is_there = false;
        while (p_ != end_) {
            uint32_t number, wire;
            if (!tag(&number, &wire)) return false;
            bool is_it = number == 2 && wire == step.wire;
            if (!(is_it ? value(step, number, depth) : skip(number, wire))) return false;
            is_there |= is_it;
        }
        if (is_there) return true;
        if (step.type == ProtobufType::message) return message(step, depth);
        if (step.slot >= 0) put(step.slot, *step.field);
        return true;
    }
};

}  // namespace clvd
