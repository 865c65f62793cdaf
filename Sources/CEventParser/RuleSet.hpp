// The rules of a compiled mapping (Rules.hpp applies them), and placeholders of ids.
#pragma once

#include <charconv>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "CEventParser.h"
#include "Mapping.hpp"
#include "Number.hpp"

namespace clvd {

/// Which values a place may have, or, negated, may not.
struct Condition {
    int16_t slot;
    bool negated;
    bool null_listed;
    std::vector<std::string> values;
};

/// A slot that is made of another one.
struct Derived {
    int16_t from, to;
    clvd_field field;
    bool has_constant;
    bool decimal_comma;
    bool whole;
    double divisor;
    std::string constant;
};

struct Constant {
    int16_t slot;
    std::string text;

    const uint8_t *bytes() const { return reinterpret_cast<const uint8_t *>(text.data()); }
    uint32_t length() const { return static_cast<uint32_t>(text.size()); }
};

struct RuleSet {
    bool any = false;               ///< whether there is any rule at all
    bool any_of_items = false;
    bool negative_is_refund = false;
    bool is_negative = false;       ///< of the current record: what a refund is told by
    std::vector<Condition> conditions;
    std::vector<Derived> derived, derived_of_items;
    std::vector<Constant> defaults;
    std::vector<clvd_field> nonzero;
    std::vector<int16_t> batches;

    /// Makes room for all that the rules write for a record or an item.
    void begin(const Slots &slots) {
        size_t needed = 0;
        for (const auto *list : {&derived, &derived_of_items}) {
            for (const Derived &rule : *list) {
                needed += longest_number + (rule.decimal_comma ? slots.lengths[rule.from] : 0);
            }
        }
        if (buffer_.size() < needed) buffer_.resize(needed);
        used_ = 0;
    }

    /// A number with a decimal comma as one with a point: `1.234,5` and `1 234,5` are 1234.5. Points and spaces stand
    /// between groups of three digits, or not at all. No data: it is not written so.
    clvd_text with_point(clvd_text text) {
        uint8_t *start = buffer_.data() + used_, *out = start;
        const uint8_t *p = text.data, *end = p + text.length;
        if (p < end && (*p == '-' || *p == '+')) *out++ = *p++;
        int group = 0;  // digits since the last separator
        bool separated = false;
        const uint8_t *digits = out;
        for (; p < end && *p != ','; ++p) {
            if (is_digit(*p)) {
                *out++ = *p;
                ++group;
                if (separated && group > 3) return {nullptr, 0};
                continue;
            }
            size_t width = separator(p, end);
            if (width == 0 || group == 0 || group > 3 || (separated && group != 3)) return {nullptr, 0};
            separated = true;
            group = 0;
            p += width - 1;
        }
        if (out == digits || (separated && group != 3)) return {nullptr, 0};
        if (p < end) {
            *out++ = '.';
            if (++p == end) return {nullptr, 0};
            for (; p < end; ++p) {
                if (!is_digit(*p)) return {nullptr, 0};
                *out++ = *p;
            }
        }
        used_ += static_cast<size_t>(out - start);
        return {start, static_cast<uint32_t>(out - start)};
    }

    clvd_text written(double value) {
        char *start = reinterpret_cast<char *>(buffer_.data() + used_);
        size_t length = static_cast<size_t>(std::to_chars(start, start + longest_number, value).ptr - start);
        used_ += length;
        return {reinterpret_cast<uint8_t *>(start), static_cast<uint32_t>(length)};
    }

private:
    static constexpr size_t longest_number = 32;

    std::vector<uint8_t> buffer_;
    size_t used_ = 0;

    /// Bytes of a point, a space, or one of the spaces that do not break (U+00A0, U+202F).
    static size_t separator(const uint8_t *p, const uint8_t *end) {
        if (*p == '.' || *p == ' ') return 1;
        if (end - p >= 2 && p[0] == 0xC2 && p[1] == 0xA0) return 2;
        return end - p >= 3 && p[0] == 0xE2 && p[1] == 0x80 && p[2] == 0xAF ? 3 : 0;
    }
};

/// Words that stand where an id is missing ("undefined"), compared without the case of ASCII letters.
class Placeholders {
public:
    bool add(const char *word) {
        size_t length = std::strlen(word);
        if (length == 0 || length > longest || words_.size() == 1000) return false;
        std::string folded;
        for (const char *p = word; *p != '\0'; ++p) folded += static_cast<char>(lower(static_cast<uint8_t>(*p)));
        words_.push_back(folded);
        uint64_t bit = uint64_t{1} << length;
        auto first = static_cast<uint8_t>(folded[0]);
        lengths_[first] |= bit;
        if (first >= 'a' && first <= 'z') lengths_[first - 0x20] |= bit;
        // As JSON writes it, and where nothing but spaces is.
        for (uint8_t c : {'\\', ' ', '\t'}) lengths_[c] = ~uint64_t{0};
        return true;
    }

    /// False for nearly all ids, at the cost of a look-up.
    bool may_be(const uint8_t *text, uint32_t length) const {
        return lengths_[text[0]] >> (length < longest ? length : longest) & 1;
    }

    /// Whether `text` is one of the words, or nothing but spaces.
    bool contains(clvd_text text) const {
        uint32_t spaces = 0;
        while (spaces < text.length && (text.data[spaces] == ' ' || text.data[spaces] == '\t')) ++spaces;
        if (spaces == text.length) return true;
        for (const std::string &word : words_) {
            if (word.size() == text.length && equals(word, text.data)) return true;
        }
        return false;
    }

private:
    static constexpr uint32_t longest = 63;

    std::vector<std::string> words_;
    /// By the first byte, the lengths that a placeholder may have, a bit each.
    uint64_t lengths_[256] = {};

    static uint8_t lower(uint8_t c) { return c >= 'A' && c <= 'Z' ? c | 0x20 : c; }

    static bool equals(const std::string &word, const uint8_t *text) {
        for (size_t i = 0; i < word.size(); ++i) {
            if (static_cast<uint8_t>(word[i]) != lower(text[i])) return false;
        }
        return true;
    }
};

}  // namespace clvd
