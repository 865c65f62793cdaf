// A compiled mapping: JSON pointers as a trie of keys, each leaf a numbered slot.
#pragma once

#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

namespace clvd {

/// Whether `length` bytes are equal. Names are short: two loads from each end of them are cheaper than a call.
inline bool same_bytes(const void *a, const void *b, size_t length) {
    auto *p = static_cast<const uint8_t *>(a), *q = static_cast<const uint8_t *>(b);
    auto differ = [&](auto word) {
        auto load = [](const uint8_t *at) {
            decltype(word) value;
            std::memcpy(&value, at, sizeof value);
            return value;
        };
        size_t last = length - sizeof word;
        return (load(p) ^ load(q)) | (load(p + last) ^ load(q + last));
    };
    if (length >= 8 && length <= 16) return differ(uint64_t{}) == 0;
    if (length >= 4 && length < 8) return differ(uint32_t{}) == 0;
    return std::memcmp(p, q, length) == 0;
}

/// The place in the mapping that the walk through a document has reached. A null `Node *` is a part that the mapping does
/// not use.
struct Node {
    struct Child {
        std::string key;
        std::unique_ptr<Node> node;
    };
    struct Selector {
        std::string member, value;
        std::unique_ptr<Node> node;
    };

    int16_t slot = -1;         ///< leaf: where its value goes
    int16_t items = -1;        ///< the array of items, as the n-th alternative
    bool single = false;       ///< the array may hold one element only
    std::vector<Child> children;
    std::vector<Selector> selectors;

    const Node *find(const uint8_t *key, size_t length) const {
        if (table_.empty()) return nullptr;
        for (uint32_t at = hash(key, length) & mask_;; at = (at + 1) & mask_) {
            const Entry &entry = table_[at];
            if (entry.node == nullptr) return nullptr;
            if (entry.length == length && same_bytes(entry.key, key, length)) return entry.node;
        }
    }

    Node *child(const std::string &key) {
        for (auto &child : children) {
            if (child.key == key) return child.node.get();
        }
        if (children.size() == maximum_children) return nullptr;
        children.push_back({key, std::make_unique<Node>()});
        rebuild();
        return children.back().node.get();
    }

    Node *selected(const std::string &member, const std::string &value) {
        for (auto &selector : selectors) {
            if (selector.member == member && selector.value == value) return selector.node.get();
        }
        selectors.push_back({member, value, std::make_unique<Node>()});
        return selectors.back().node.get();
    }

    bool is_leaf() const { return slot >= 0; }
    bool is_inner() const { return items >= 0 || single || !children.empty() || !selectors.empty(); }

private:
    static constexpr size_t maximum_children = 200;

    /// A child, without the way through the list of them.
    struct Entry {
        const char *key;
        size_t length;
        const Node *node;  // nullptr: free
    };

    std::vector<Entry> table_;
    uint32_t mask_ = 0;

    /// Length and three bytes tell the keys of one object apart nearly always, without reading past the key.
    static uint32_t hash(const uint8_t *key, size_t length) {
        if (length == 0) return 0;
        uint32_t mix = key[0] | uint32_t{key[length - 1]} << 8 | uint32_t{key[length > 1 ? length - 2 : 0]} << 16 |
                       static_cast<uint32_t>(length) << 24;
        return (mix * 0x9E3779B1u) >> 16;
    }

    void rebuild() {
        uint32_t size = 8;
        while (size < children.size() * 4) size *= 2;
        mask_ = size - 1;
        table_.assign(size, Entry());
        for (const Child &child : children) {
            auto *key = reinterpret_cast<const uint8_t *>(child.key.data());
            uint32_t at = hash(key, child.key.size()) & mask_;
            while (table_[at].node != nullptr) at = (at + 1) & mask_;
            table_[at] = {child.key.data(), child.key.size(), child.node.get()};
        }
    }
};

/// Follows `pointer` from `root`, making nodes as needed. nullptr: malformed.
inline Node *follow(Node *root, const char *pointer) {
    Node *node = root;
    const char *p = pointer;
    if (*p == '\0') return nullptr;
    while (*p != '\0') {
        if (*p++ != '/') return nullptr;
        std::string token;
        for (; *p != '\0' && *p != '/'; ++p) {
            if (*p != '~') {
                token += *p;
            } else if (p[1] == '0' || p[1] == '1') {
                token += *++p == '0' ? '~' : '/';
            } else {
                return nullptr;
            }
        }
        if (node->is_leaf()) return nullptr;
        if (token.size() > 2 && token.front() == '[' && token.back() == ']') {
            size_t equals = token.find('=');
            if (equals == std::string::npos || equals < 2) return nullptr;
            // Selectors are compared with the document's bytes as they stand, between quotes.
            if (token.find_first_of("\"\\") != std::string::npos) return nullptr;
            node = node->selected(token.substr(1, equals - 1), token.substr(equals + 1, token.size() - equals - 2));
        } else {
            node = node->child(token);
        }
        if (node == nullptr) return nullptr;
    }
    return node;
}

/// What was found at a pointer.
enum class Kind : uint8_t {
    absent,
    null,      // everything up to here counts as absent
    boolean,
    number,    // as written in the document
    string,    // without quotes, nothing to unescape
    escaped,   // without quotes, with escapes
    text,      // a column
    array,     // as written; of binary encodings the number of its elements
    object,
    instant,   // milliseconds since 1970, in digits
};

/// The values a document gave to the slots of a mapping. The first value at a pointer wins.
struct Slots {
    std::vector<Kind> kinds;
    std::vector<const uint8_t *> data;
    std::vector<uint32_t> lengths;

    size_t count() const { return kinds.size(); }
    void add() {
        kinds.push_back(Kind::absent);
        data.push_back(nullptr);
        lengths.push_back(0);
    }
    void clear() { std::memset(kinds.data(), 0, kinds.size()); }
    void set(int16_t slot, Kind kind, const uint8_t *bytes, uint32_t length) {
        if (kinds[slot] != Kind::absent) return;
        kinds[slot] = kind;
        data[slot] = bytes;
        lengths[slot] = length;
    }
};

}  // namespace clvd
