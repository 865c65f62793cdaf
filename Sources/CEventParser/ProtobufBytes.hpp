// The elements that Protobuf's bytes are made of (protobuf.dev, "Encoding"): read or passed over, and never trusted.
#pragma once

#include <charconv>
#include <cstdint>
#include <cstring>
#include <string_view>

#include "ProtobufSchema.hpp"

namespace clvd {

class ProtobufBytes {
protected:
    /// As deep as libprotobuf reads.
    static constexpr int maximum_depth = 100;

    const uint8_t *start_ = nullptr, *p_ = nullptr;
    const uint8_t *end_ = nullptr;     // of the innermost message that has its length
    const char *fault_ = nullptr;

    bool fail(const char *fault) {
        fault_ = fault;
        return false;
    }

    bool ends_early() { return fail("the record ends early"); }

    size_t left() const { return static_cast<size_t>(end_ - p_); }

    bool varint(uint64_t *value) {
        uint64_t bits = 0;
        for (unsigned shift = 0; shift < 64; shift += 7) {
            if (p_ == end_) return ends_early();
            uint8_t byte = *p_++;
            if (shift == 63 && byte > 1) break;
            bits |= uint64_t{byte & 0x7Fu} << shift;
            if (byte < 0x80) {
                *value = bits;
                return true;
            }
        }
        return fail("an integer has more than 64 bits");
    }

    bool length(uint32_t *length) {
        uint64_t value;
        if (!varint(&value)) return false;
        if (value > left()) return ends_early();
        *length = static_cast<uint32_t>(value);
        return true;
    }

    bool tag(uint32_t *number, uint32_t *wire) {
        uint64_t value;
        if (!varint(&value)) return false;
        if (value > UINT32_MAX || value < 8) return fail("no field has this number");
        *number = static_cast<uint32_t>(value >> 3);
        *wire = static_cast<uint32_t>(value & 7);
        return true;
    }

    template <class Number>
    bool fixed(Number *number) {
        if (left() < sizeof *number) return ends_early();
        std::memcpy(number, p_, sizeof *number);  // little-endian, as this machine
        p_ += sizeof *number;
        return true;
    }

    /// Runs `body` on the bytes of a length that comes first.
    template <class Body>
    bool within(Body body) {
        uint32_t count;
        if (!length(&count)) return false;
        const uint8_t *outer = end_;
        end_ = p_ + count;
        if (!body()) return false;
        end_ = outer;
        return true;
    }

    // MARK: Passing over

    bool skip(uint32_t number, uint32_t wire) {
        uint64_t bits;
        uint32_t count;
        switch (wire) {
        case 0: return varint(&bits);
        case 1: return pass(8);
        case 2: return length(&count) && pass(count);
        case 3: return skip_group(number);
        case 4: return fail("a group ends that has not begun");
        case 5: return pass(4);
        default: return fail("a field is of no known wire type");
        }
    }

    bool pass(uint32_t count) {
        if (count > left()) return ends_early();
        p_ += count;
        return true;
    }

    bool skip_group(uint32_t number) {
        uint32_t open[maximum_depth];
        int depth = 0;
        open[depth++] = number;
        while (depth > 0) {
            uint32_t wire;
            if (!tag(&number, &wire)) return false;
            if (wire == 3) {
                if (depth == maximum_depth) return fail("nested deeper than 100");
                open[depth++] = number;
            } else if (wire == 4) {
                if (open[--depth] != number) return fail("a group ends that has not begun");
            } else if (!skip(number, wire)) {
                return false;
            }
        }
        return true;
    }

    // MARK: Keys of maps

    static uint32_t key_wire(const ProtobufSchema::Field &field) {
        switch (field.type) {
        case ProtobufType::string: return 2;
        case ProtobufType::fixed32:
        case ProtobufType::sfixed32: return 5;
        case ProtobufType::fixed64:
        case ProtobufType::sfixed64: return 1;
        default: return 0;
        }
    }

    /// The key of an entry as JSON writes it. `digits` has room for a number.
    bool read_key(const ProtobufSchema::Field &field, char *digits, std::string_view *key) {
        uint64_t bits = 0;
        uint32_t count, word;
        if (field.type == ProtobufType::string) {
            if (!length(&count)) return false;
            *key = {reinterpret_cast<const char *>(p_), count};
            p_ += count;
            return true;
        }
        auto number = [&](auto value) {
            *key = {digits, static_cast<size_t>(std::to_chars(digits, digits + 24, value).ptr - digits)};
            return true;
        };
        switch (key_wire(field)) {
        case 5:
            if (!fixed(&word)) return false;
            bits = word;
            break;
        case 1:
            if (!fixed(&bits)) return false;
            break;
        default:
            if (!varint(&bits)) return false;
        }
        auto low = static_cast<uint32_t>(bits);
        switch (field.type) {
        case ProtobufType::boolean: *key = bits != 0 ? "true" : "false"; return true;
        case ProtobufType::uint64:
        case ProtobufType::fixed64: return number(bits);
        case ProtobufType::uint32:
        case ProtobufType::fixed32: return number(low);
        case ProtobufType::sint32: return number(static_cast<int32_t>(low >> 1 ^ (0 - (low & 1))));
        case ProtobufType::sint64: return number(static_cast<int64_t>(bits >> 1 ^ (0 - (bits & 1))));
        case ProtobufType::int32:
        case ProtobufType::sfixed32: return number(static_cast<int32_t>(low));
        default: return number(static_cast<int64_t>(bits));
        }
    }
};

}  // namespace clvd
