// One pass over a JSON document that validates all of it and picks the values a mapping asks for.
//
// simdjson's first stage (chosen for the processor at run time) checks UTF-8 and the quoting of strings and finds the
// structural characters; this walk checks the grammar between them. simdjson's on-demand front end does not check the
// parts that are not read, and its DOM builds a tape that is not needed.
#pragma once

#include <simdjson.h>

#include <cstdint>
#include <cstring>
#include <memory>
#include <string>

#include "Mapping.hpp"
#include "Number.hpp"

namespace clvd {

enum class JsonError : uint8_t {
    none,
    empty,
    not_an_object,
    an_array,
    unclosed_string,
    control_character,
    trailing_bytes,
    too_deep,
    bad_value,
    bad_number,
    bad_escape,
    bad_structure,
    invalid_utf8,
    several_events,
    no_memory,
};

/// Four hexadecimal digits, or -1.
inline int32_t hex4(const uint8_t *p, const uint8_t *end) {
    if (end - p < 4) return -1;
    int32_t value = 0;
    for (int i = 0; i < 4; ++i) {
        uint8_t c = p[i], lower = c | 0x20;
        int digit = is_digit(c) ? c - '0' : lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
        if (digit < 0) return -1;
        value = value << 4 | digit;
    }
    return value;
}

/// Writes the unescaped string to `out` (room for the escaped length) unless that is null. Returns the end of the
/// output, or nullptr at a bad escape or a lone surrogate. `*length` is the unescaped length.
inline bool unescape(const uint8_t *p, const uint8_t *end, uint8_t *out, uint32_t *length) {
    uint32_t n = 0;
    auto put = [&](uint32_t byte) {
        if (out != nullptr) out[n] = static_cast<uint8_t>(byte);
        ++n;
    };
    while (p < end) {
        if (*p != '\\') {
            put(*p++);
            continue;
        }
        if (++p == end) return false;
        switch (*p++) {
        case '"': put('"'); break;
        case '\\': put('\\'); break;
        case '/': put('/'); break;
        case 'b': put('\b'); break;
        case 'f': put('\f'); break;
        case 'n': put('\n'); break;
        case 'r': put('\r'); break;
        case 't': put('\t'); break;
        case 'u': {
            int32_t unit = hex4(p, end);
            if (unit < 0 || (unit >= 0xDC00 && unit <= 0xDFFF)) return false;
            p += 4;
            uint32_t scalar = static_cast<uint32_t>(unit);
            if (unit >= 0xD800 && unit <= 0xDBFF) {
                if (end - p < 6 || p[0] != '\\' || p[1] != 'u') return false;
                int32_t low = hex4(p + 2, end);
                if (low < 0xDC00 || low > 0xDFFF) return false;
                scalar = 0x10000 + (static_cast<uint32_t>(unit - 0xD800) << 10) + static_cast<uint32_t>(low - 0xDC00);
                p += 6;
            }
            if (scalar < 0x80) {
                put(scalar);
            } else if (scalar < 0x800) {
                put(0xC0 | scalar >> 6), put(0x80 | (scalar & 0x3F));
            } else if (scalar < 0x10000) {
                put(0xE0 | scalar >> 12), put(0x80 | (scalar >> 6 & 0x3F)), put(0x80 | (scalar & 0x3F));
            } else {
                put(0xF0 | scalar >> 18), put(0x80 | (scalar >> 12 & 0x3F));
                put(0x80 | (scalar >> 6 & 0x3F)), put(0x80 | (scalar & 0x3F));
            }
            break;
        }
        default: return false;
        }
    }
    *length = n;
    return true;
}

/// `Sink` receives items: `begin_item(alternative)` and `end_item(alternative)` around each element.
template <class Sink>
class Document {
public:
    static constexpr int maximum_depth = 128;

    /// Reads `length` bytes; after an error `position()` is its place.
    JsonError read(const uint8_t *bytes, uint32_t length, const Node *root, Slots *slots, Sink *sink) {
        bytes_ = bytes;
        slots_ = slots;
        sink_ = sink;
        position_ = 0;
        if (length == 0) return JsonError::empty;
        if (!reserve(length)) return JsonError::no_memory;
        if (auto code = stage1_->stage1(bytes, length, simdjson::stage1_mode::regular)) {
            return classify(code, length);
        }
        uint32_t count = stage1_->n_structural_indexes;
        uint32_t *indexes = stage1_->structural_indexes.get();
        if (count == 0) return JsonError::empty;
        position_ = indexes[0];
        if (bytes[position_] == '[' && count > 1 && bytes[indexes[1]] == '{') return JsonError::an_array;
        if (bytes[position_] != '{') return JsonError::not_an_object;
        position_ = indexes[count - 1];
        // A document that ends in `}` has a byte after each of its scalars, so that no scan runs past the end.
        if (bytes[position_] != '}') return bytes[position_] == ']' || bytes[position_] == ','
            ? JsonError::bad_structure : trailing(indexes, count);
        // Where the walk reads on after the last index it meets this brace, which is not allowed there.
        indexes[count] = indexes[0];
        next_ = indexes;
        escapes_ = std::memchr(bytes, '\\', length) != nullptr;
        error_ = JsonError::none;
        if (!value(root, 0)) return error_;
        if (next_ != indexes + count) {
            position_ = *next_;
            return JsonError::trailing_bytes;
        }
        return JsonError::none;
    }

    uint32_t position() const { return position_; }

private:
    std::unique_ptr<simdjson::internal::dom_parser_implementation> stage1_;
    size_t capacity_ = 0;
    const uint8_t *bytes_ = nullptr;
    const uint32_t *next_ = nullptr;  // the structural index to be read next
    Slots *slots_ = nullptr;
    Sink *sink_ = nullptr;
    std::string key_;                 // unescaped key
    uint32_t position_ = 0;
    bool escapes_ = false;            // somewhere in the document
    JsonError error_ = JsonError::none;

    bool reserve(uint32_t length) {
        if (length <= capacity_) return true;
        size_t wanted = capacity_ < 16384 ? 16384 : capacity_;
        while (wanted < length) wanted *= 2;
        simdjson::error_code code;
        if (stage1_ == nullptr) {
            code = simdjson::get_active_implementation()->create_dom_parser_implementation(wanted, 1, stage1_);
        } else {
            code = stage1_->set_capacity(wanted);
        }
        capacity_ = code == simdjson::SUCCESS ? wanted : 0;
        return code == simdjson::SUCCESS;
    }

    JsonError classify(simdjson::error_code code, uint32_t length) const {
        switch (code) {
        case simdjson::EMPTY: return JsonError::empty;
        case simdjson::MEMALLOC:
        case simdjson::CAPACITY: return JsonError::no_memory;
        default: break;
        }
        if (!simdjson::validate_utf8(reinterpret_cast<const char *>(bytes_), length)) return JsonError::invalid_utf8;
        return code == simdjson::UNCLOSED_STRING ? JsonError::unclosed_string : JsonError::control_character;
    }

    /// The document begins with `{` and does not end with `}`: cut short, or followed by something.
    JsonError trailing(const uint32_t *indexes, uint32_t count) const {
        int64_t depth = 0;
        for (uint32_t i = 0; i < count; ++i) {
            uint8_t c = bytes_[indexes[i]];
            depth += (c == '{' || c == '[') - (c == '}' || c == ']');
            if (depth == 0) return i + 1 < count ? JsonError::trailing_bytes : JsonError::bad_structure;
        }
        return JsonError::bad_structure;
    }

    bool fail(JsonError error, const uint8_t *at) {
        error_ = error;
        position_ = static_cast<uint32_t>(at - bytes_);
        return false;
    }

    /// The closing quote of the string before the next structural index: only white space stands between.
    const uint8_t *closing_quote() const {
        const uint8_t *p = bytes_ + *next_ - 1;
        while (*p != '"') --p;
        return p;
    }

    static bool ends_scalar(uint8_t c) {
        return c == ',' || c == '}' || c == ']' || c == ' ' || c == '\n' || c == '\r' || c == '\t' || c == ':';
    }

    bool value(const Node *node, int depth) {
        const uint8_t *p = bytes_ + *next_++;
        int slot = node == nullptr ? -1 : node->slot;
        switch (*p) {
        case '"': return string(p, slot);
        case '{': {
            const uint8_t *start = p;
            if (!object(node, depth, p)) return false;
            return set(slot, Kind::object, start, bytes_ + next_[-1] + 1);
        }
        case '[': {
            const uint8_t *start = p;
            if (!array(node, depth, p)) return false;
            return set(slot, Kind::array, start, bytes_ + next_[-1] + 1);
        }
        case 't': return atom(p, "true", 4, slot, Kind::boolean);
        case 'f': return atom(p, "false", 5, slot, Kind::boolean);
        case 'n': return atom(p, "null", 4, slot, Kind::null);
        default: break;
        }
        if (*p != '-' && !is_digit(*p)) return fail(JsonError::bad_value, p);
        const uint8_t *end = scan_number(p);
        if (end == nullptr || !ends_scalar(*end)) return fail(JsonError::bad_number, p);
        return set(slot, Kind::number, p, end);
    }

    bool set(int slot, Kind kind, const uint8_t *start, const uint8_t *end) {
        if (slot >= 0) slots_->set(static_cast<int16_t>(slot), kind, start, static_cast<uint32_t>(end - start));
        return true;
    }

    bool atom(const uint8_t *p, const char *text, size_t length, int slot, Kind kind) {
        // Compared byte by byte: a shorter word may stand at the end of the document, before its last brace.
        for (size_t i = 0; i < length; ++i) {
            if (p[i] != static_cast<uint8_t>(text[i])) return fail(JsonError::bad_value, p);
        }
        if (!ends_scalar(p[length])) return fail(JsonError::bad_value, p);
        return set(slot, kind, p, p + length);
    }

    bool string(const uint8_t *p, int slot) {
        if (slot < 0 && !escapes_) return true;
        const uint8_t *start = p + 1, *end = closing_quote();
        if (escapes_ && std::memchr(start, '\\', static_cast<size_t>(end - start)) != nullptr) {
            uint32_t length;
            if (!unescape(start, end, nullptr, &length)) return fail(JsonError::bad_escape, p);
            return set(slot, Kind::escaped, start, end);
        }
        return set(slot, Kind::string, start, end);
    }

    /// The child for the key at `p`; `*ok` false at a bad escape.
    const Node *child(const Node *node, const uint8_t *p, bool *ok) {
        if (node == nullptr && !escapes_) return nullptr;
        const uint8_t *start = p + 1, *end = closing_quote();
        size_t length = static_cast<size_t>(end - start);
        if (escapes_ && std::memchr(start, '\\', length) != nullptr) {
            uint32_t unescaped = 0;
            *ok = unescape(start, end, nullptr, &unescaped);
            if (!*ok || node == nullptr || unescaped > maximum_key) return nullptr;
            key_.resize(length);
            auto *out = reinterpret_cast<uint8_t *>(&key_[0]);
            unescape(start, end, out, &unescaped);
            return node->find(out, unescaped);
        }
        return node == nullptr ? nullptr : node->find(start, length);
    }

    bool object(const Node *node, int depth, const uint8_t *p) {
        if (depth == maximum_depth) return fail(JsonError::too_deep, p);
        if (bytes_[*next_] == '}') {
            ++next_;
            return true;
        }
        for (;;) {
            const uint8_t *key = bytes_ + *next_++;
            if (*key != '"') return fail(JsonError::bad_structure, key);
            bool ok = true;
            const Node *member = child(node, key, &ok);
            if (!ok) return fail(JsonError::bad_escape, key);
            const uint8_t *colon = bytes_ + *next_++;
            if (*colon != ':') return fail(JsonError::bad_structure, colon);
            if (!value(member, depth + 1)) return false;
            const uint8_t *after = bytes_ + *next_++;
            if (*after == '}') return true;
            if (*after != ',') return fail(JsonError::bad_structure, after);
        }
    }

    bool array(const Node *node, int depth, const uint8_t *p) {
        if (depth == maximum_depth) return fail(JsonError::too_deep, p);
        if (bytes_[*next_] == ']') {
            ++next_;
            return true;
        }
        for (uint32_t index = 0;; ++index) {
            if (node == nullptr) {
                if (!value(nullptr, depth + 1)) return false;
            } else if (node->items >= 0) {
                sink_->begin_item();
                if (!value(sink_->item_root(), depth + 1)) return false;
                sink_->end_item(node->items);
            } else {
                if (node->single && index == 1) return fail(JsonError::several_events, bytes_ + *next_);
                if (!value(element(node, index), depth + 1)) return false;
            }
            const uint8_t *after = bytes_ + *next_++;
            if (*after == ']') return true;
            if (*after != ',') return fail(JsonError::bad_structure, after);
        }
    }

    /// The mapping for element `index`: by position, else by the selectors.
    const Node *element(const Node *node, uint32_t index) const {
        if (!node->children.empty()) {
            char text[10];
            auto end = std::to_chars(text, text + sizeof text, index).ptr;
            auto *found = node->find(reinterpret_cast<uint8_t *>(text), static_cast<size_t>(end - text));
            if (found != nullptr) return found;
        }
        return node->selectors.empty() || bytes_[*next_] != '{' ? nullptr : select(node->selectors);
    }

    /// Looks ahead into the object that comes next for a member that a selector names. Whatever is malformed here
    /// ends the search, and is found again by the walk itself.
    const Node *select(const std::vector<Node::Selector> &selectors) const {
        const uint32_t *at = next_ + 1;
        while (bytes_[at[0]] == '"' && bytes_[at[1]] == ':') {
            if (bytes_[at[2]] == '"') {
                for (const auto &selector : selectors) {
                    if (quoted(at[0], selector.member) && quoted(at[2], selector.value)) return selector.node.get();
                }
            }
            at += 2;
            for (int depth = 0;; ++at) {
                uint8_t c = bytes_[*at];
                if (at > next_ && *at <= *next_) return nullptr;  // the sentinel after the last index
                if (depth == 0 && (c == ',' || c == '}')) break;
                depth += (c == '{' || c == '[') - (c == '}' || c == ']');
            }
            if (bytes_[*at] == '}') return nullptr;
            ++at;
        }
        return nullptr;
    }

    /// Whether the string that opens at `open` is `text` (names of selectors need no escapes).
    bool quoted(uint32_t open, const std::string &text) const {
        auto *p = bytes_ + open + 1;
        for (char c : text) {
            if (*p++ != static_cast<uint8_t>(c)) return false;
        }
        return *p == '"';
    }

    static constexpr uint32_t maximum_key = 1024;
};

}  // namespace clvd
