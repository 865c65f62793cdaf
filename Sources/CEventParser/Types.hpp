// Names of event types: the table of those that a mapping knows, and a count of those that it does not.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <unordered_map>
#include <vector>

#include "CEventParser.h"
#include "Mapping.hpp"

namespace clvd {

/// A source's names of event types. Names are compared exactly, or *loosely*: without case (of ASCII letters), spaces,
/// underscores and hyphens.
class TypeTable {
public:
    struct Entry {
        std::string name;  // folded when names are loose
        uint8_t type;
    };

    void set_loose(bool loose) { loose_ = loose; }

    /// False: the name is there already, is nothing but spaces, or is one of too many.
    bool add(const std::string &name, uint8_t type) {
        if (entries_.size() >= 10000) return false;
        std::string key = loose_ ? folded(name) : name;
        if (key.empty() || (!entries_.empty() && exactly(text(key)) != nullptr)) return false;
        entries_.push_back({key, type});
        if (entries_.size() * 4 > table_.size()) {
            table_.assign(table_.empty() ? 64 : table_.size() * 2, UINT16_MAX);
            for (size_t i = 0; i < entries_.size(); ++i) place(i);
        } else {
            place(entries_.size() - 1);
        }
        return true;
    }

    const Entry *find(clvd_text name) const {
        if (entries_.empty()) return nullptr;
        if (!loose_) return exactly(name);
        uint8_t key[longest];
        return exactly(fold(name, key));
    }

private:
    /// Of a longer name that is compared loosely only so much counts, and then it is not in the table.
    static constexpr uint32_t longest = 256;

    std::vector<Entry> entries_;
    std::vector<uint16_t> table_;  // open addressing over the entries
    bool loose_ = false;

    const Entry *exactly(clvd_text name) const {
        size_t mask = table_.size() - 1;
        for (size_t at = hash(name) & mask;; at = (at + 1) & mask) {
            uint16_t index = table_[at];
            if (index == UINT16_MAX) return nullptr;
            const Entry &entry = entries_[index];
            if (entry.name.size() == name.length && same_bytes(entry.name.data(), name.data, name.length)) {
                return &entry;
            }
        }
    }

    void place(size_t index) {
        size_t mask = table_.size() - 1;
        size_t at = hash(text(entries_[index].name)) & mask;
        while (table_[at] != UINT16_MAX) at = (at + 1) & mask;
        table_[at] = static_cast<uint16_t>(index);
    }

    static clvd_text text(const std::string &name) {
        return {reinterpret_cast<const uint8_t *>(name.data()), static_cast<uint32_t>(name.size())};
    }

    static clvd_text fold(clvd_text name, uint8_t *key) {
        uint32_t length = 0;
        for (uint32_t i = 0; i < name.length && length < longest; ++i) {
            uint8_t c = name.data[i];
            if (c == ' ' || c == '_' || c == '-' || c == '\t') continue;
            key[length++] = c >= 'A' && c <= 'Z' ? c | 0x20 : c;
        }
        return {key, length};
    }

    static std::string folded(const std::string &name) {
        uint8_t key[longest];
        uint32_t length = fold(text(name), key).length;
        // A name cut short would stand for others.
        return length == longest ? std::string() : std::string(reinterpret_cast<char *>(key), length);
    }

    /// Length, both ends and the middle tell the names of one table apart nearly always.
    static size_t hash(clvd_text name) {
        if (name.length == 0) return 0;
        const uint8_t *p = name.data;
        uint32_t n = name.length;
        uint32_t mix = (p[0] | uint32_t{p[n - 1]} << 8 | uint32_t{p[n / 2]} << 16 | n << 24) * 0x9E3779B1u;
        return (mix + p[n / 4] * 0x85EBCA6Bu + p[n - 1 - n / 4] * 0xC2B2AE35u) >> 12;
    }
};

/// Counts names in bounded memory: the first of them one by one, the further ones together.
class NameTally {
public:
    /// Nothing is counted while one is there: a record that is decoded once more is no further record.
    class Pause {
    public:
        explicit Pause(NameTally &tally) : tally_(tally), most_(tally.most_) { tally.most_ = 0; }
        ~Pause() { tally_.most_ = most_; }
        Pause(const Pause &) = delete;
        Pause &operator=(const Pause &) = delete;

    private:
        NameTally &tally_;
        uint32_t most_;
    };

    void begin(uint32_t most) { most_ = most; }

    void add(clvd_text name) {
        if (most_ != 0) count(name);
    }

    bool get(uint32_t index, clvd_text *name, uint64_t *count) const {
        if (index >= names_.size()) return false;
        const auto &entry = *names_[index];
        *name = {reinterpret_cast<const uint8_t *>(entry.first.data()), static_cast<uint32_t>(entry.first.size())};
        *count = entry.second;
        return true;
    }

    uint64_t further() const { return further_; }

private:
    static constexpr uint32_t longest = 128;

    uint32_t most_ = 0;  // 0: nothing is counted
    uint64_t further_ = 0;
    std::unordered_map<std::string, uint64_t> counts_;
    std::vector<const std::pair<const std::string, uint64_t> *> names_;  // in the order of their first records

    void count(clvd_text name) {
        uint32_t length = name.length;
        if (length > longest) {
            length = longest;
            while (length > 0 && (name.data[length] & 0xC0) == 0x80) --length;
        }
        std::string key(reinterpret_cast<const char *>(name.data), length);
        auto found = counts_.find(key);
        if (found != counts_.end()) {
            ++found->second;
        } else if (names_.size() == most_) {
            ++further_;
        } else {
            names_.push_back(&*counts_.emplace(std::move(key), 1).first);
        }
    }
};

}  // namespace clvd
