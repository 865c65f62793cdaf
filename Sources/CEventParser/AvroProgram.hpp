// An Avro schema and a mapping as one program: for each value of a record, what it is and where it goes.
#pragma once

#include <map>

#include "AvroSchema.hpp"
#include "SchemaProgram.hpp"

namespace clvd {

struct AvroProgram {
    /// What to do with a value. A step without a slot, and without parts that have one, passes it over.
    struct Step {
        AvroType type = AvroType::null;
        AvroLogical logical = AvroLogical::none;
        bool is_instant = false;          // the slot is of an event's time, and the schema knows the unit
        bool has_empty_elements = false;  // of an array or map
        bool is_skipped = false;          // the mapping asks for nothing in it
        int16_t slot = -1;
        int16_t items = -1;               // the array of items, as the n-th alternative
        bool single = false;              // the array may hold one element only
        uint32_t size = 0, scale = 0;
        uint32_t first = 0, count = 0;    // of `parts`: fields, branches, or the one element
        uint32_t first_special = 0, special_count = 0;  // of `specials`
        const AvroSchema::Type *schema = nullptr;
        const Node *node = nullptr;
    };

    /// Elements of an array, or values of a map, that the mapping asks for in particular.
    struct Special {
        uint32_t step;
        const Node *node;           // of a map: which child of the mapping
        int64_t index = -1;         // of an array: its place, or
        uint32_t field = 0;         // the field of the element
        const std::string *value = nullptr;  // that must have this value
    };

    std::vector<Step> steps;
    std::vector<uint32_t> parts;
    std::vector<Special> specials;
    uint32_t start = 0;

    /// Throws `SchemaError`. The program uses `parser`'s mapping, which must not change any more.
    AvroProgram(const clvd_parser &parser, const clvd_schema_part *parts, size_t count) : parser_(parser) {
        uint32_t root = 0;
        for (size_t i = 0; i < count; ++i) {
            root = schema_.add(reinterpret_cast<const char *>(parts[i].text.data), parts[i].text.length);
        }
        start = compile(root, &parser.root);
        known_.clear();
    }
    AvroProgram(const AvroProgram &) = delete;
    AvroProgram &operator=(const AvroProgram &) = delete;

private:
    const clvd_parser &parser_;
    AvroSchema schema_;
    std::map<std::pair<uint32_t, const Node *>, uint32_t> known_;

    /// The step for values of `type` at `node` of the mapping. A type within itself leads to a step that is there.
    uint32_t compile(uint32_t type, const Node *node) {
        auto [known, is_new] = known_.emplace(std::make_pair(type, node), static_cast<uint32_t>(steps.size()));
        uint32_t index = known->second;
        if (!is_new) return index;
        if (index == 1'000'000) throw SchemaError{"it is too large for this mapping"};
        const AvroSchema::Type &schema = schema_.types[type];
        Step step;
        step.type = schema.type;
        step.logical = schema.logical;
        step.size = schema.size;
        step.scale = schema.scale;
        step.schema = &schema;
        step.node = node;
        step.is_skipped = node == nullptr;
        if (node != nullptr) {
            step.slot = node->slot;
            step.is_instant = is_of_time(parser_, node->slot) && schema.logical != AvroLogical::none;
        }
        steps.push_back(step);
        std::vector<uint32_t> own;
        std::vector<Special> special;
        switch (schema.type) {
        case AvroType::record:
            for (size_t i = 0; i < schema.parts.size(); ++i) own.push_back(compile(schema.parts[i], child(node, schema.names[i])));
            break;
        case AvroType::choice:
            for (uint32_t part : schema.parts) own.push_back(compile(part, node));
            break;
        case AvroType::map:
            own.push_back(compile(schema.parts[0], nullptr));
            if (node == nullptr) break;
            for (const auto &child : node->children) {
                special.push_back({compile(schema.parts[0], child.node.get()), child.node.get()});
            }
            break;
        case AvroType::array:
            if (node != nullptr && node->items >= 0) {
                step.items = node->items;
                own.push_back(compile(schema.parts[0], parser_.item_root()));
            } else {
                own.push_back(compile(schema.parts[0], nullptr));
                if (node != nullptr) add_elements(schema.parts[0], *node, &special);
            }
            step.single = node != nullptr && node->single;
            break;
        default: break;
        }
        if (schema.type == AvroType::array || schema.type == AvroType::map) {
            step.has_empty_elements = schema_.is_empty(schema.parts[0]);
        }
        step.first = static_cast<uint32_t>(parts.size());
        step.count = static_cast<uint32_t>(own.size());
        step.first_special = static_cast<uint32_t>(specials.size());
        step.special_count = static_cast<uint32_t>(special.size());
        parts.insert(parts.end(), own.begin(), own.end());
        specials.insert(specials.end(), special.begin(), special.end());
        steps[index] = step;
        return index;
    }

    static const Node *child(const Node *node, const std::string &name) {
        return node == nullptr ? nullptr : node->find(reinterpret_cast<const uint8_t *>(name.data()), name.size());
    }

    /// Elements by their places go before those by the value of a member.
    void add_elements(uint32_t element, const Node &node, std::vector<Special> *special) {
        for (const auto &child : node.children) {
            int64_t index = 0;
            auto end = child.key.data() + child.key.size();
            auto read = std::from_chars(child.key.data(), end, index);
            if (read.ec == std::errc() && read.ptr == end && std::to_string(index) == child.key) {
                special->push_back({compile(element, child.node.get()), nullptr, index});
            }
        }
        for (const auto &selector : node.selectors) {
            const AvroSchema::Type *record = &schema_.types[element];
            for (uint32_t part : schema_.types[element].parts) {
                if (record->type == AvroType::choice && schema_.types[part].type == AvroType::record) {
                    record = &schema_.types[part];
                }
            }
            if (record->type != AvroType::record) continue;
            for (size_t i = 0; i < record->names.size(); ++i) {
                if (record->names[i] != selector.member) continue;
                special->push_back(
                    {compile(element, selector.node.get()), nullptr, -1, static_cast<uint32_t>(i), &selector.value});
            }
        }
    }
};

}  // namespace clvd
