// A Protobuf message and a mapping as one program: for each field that the mapping asks for, what it is and where it goes.
// All other fields are passed over.
#pragma once

#include <algorithm>
#include <charconv>
#include <map>
#include <tuple>

#include "ProtobufSchema.hpp"
#include "SchemaProgram.hpp"

namespace clvd {

struct ProtobufProgram {
    using Field = ProtobufSchema::Field;
    using Message = ProtobufSchema::Message;

    static constexpr uint32_t none = UINT32_MAX;

    enum class Form : uint8_t { single, array, map, passed };

    /// What to do with a value of a field.
    struct Step {
        Form form = Form::single;
        ProtobufType type = ProtobufType::int32;
        ProtobufKnown known = ProtobufKnown::none;  // a message that is read as one value
        uint8_t wire = 0;              // how the value is written
        bool is_instant = false;       // the slot is of an event's time
        bool is_null = false;          // whatever its number
        bool is_only = false;          // the array may hold one element only
        int16_t slot = -1;
        int16_t items = -1;            // the array of items, as the n-th alternative
        uint32_t plan = none;          // of a message
        uint32_t cell = none;          // of an array: its count; of a message that is one value: its parts
        uint32_t element = none;       // of an array of items: the step of an item
        uint32_t first_special = 0, special_count = 0;
        uint32_t first_wipe = 0, wipe_count = 0;    // what else the oneof has held
        const ProtobufSchema::Enum *symbols = nullptr;
        const Field *field = nullptr;  // of a map: its key; else of the default
        const Node *node = nullptr;
    };

    /// Elements of an array, or values of a map, that the mapping asks for in particular.
    struct Special {
        uint32_t step;
        const Node *node = nullptr;    // of a map: which child of the mapping
        int64_t index = -1;            // of an array: its place, or
        const Field *field = nullptr;  // the field of the element
        const ProtobufSchema::Enum *symbols = nullptr;
        const std::string *value = nullptr;  // that must have this value
        uint32_t cell = none;          // whether there was one
        uint32_t first_wipe = 0, wipe_count = 0;
    };

    /// A message: its fields by number, and the values of those that are not written.
    struct Plan {
        std::vector<std::pair<uint32_t, uint32_t>> fields;  // number, step
        std::vector<std::pair<int16_t, const Field *>> defaults;
    };

    /// What is taken back when a value is replaced as a whole.
    struct Wipe {
        enum { slot, cell, items } what;
        uint32_t index;
    };

    static constexpr uint32_t cells_of_value = 5;

    std::vector<Plan> plans;
    std::vector<Step> steps;
    std::vector<Special> specials;
    std::vector<Wipe> wipes;
    std::vector<uint64_t> cells;   // state of the record that is being read
    uint32_t first_item_wipe = 0, item_wipe_count = 0;
    uint32_t start = none;

    /// Throws `SchemaError`. The program uses the mapping of `parser` and the schema, which must not change any more.
    ProtobufProgram(const clvd_parser &parser, const ProtobufSchema &schema, uint32_t message)
        : parser_(parser), schema_(schema) {
        start = plan(message, &parser.root);
        cells.resize(cell_count_);
        for (const auto &wanted : wanted_wipes_) {
            auto [first, count] = make_wipes(wanted.nodes);
            if (wanted.is_special) {
                specials[wanted.index].first_wipe = first, specials[wanted.index].wipe_count = count;
            } else {
                steps[wanted.index].first_wipe = first, steps[wanted.index].wipe_count = count;
            }
        }
        std::tie(first_item_wipe, item_wipe_count) = make_wipes({parser.item_root()});
        plans_.clear();
        cells_of_.clear();
        wanted_wipes_.clear();
    }
    ProtobufProgram(const ProtobufProgram &) = delete;
    ProtobufProgram &operator=(const ProtobufProgram &) = delete;

private:
    struct WantedWipe {
        bool is_special;
        uint32_t index;
        std::vector<const Node *> nodes;
    };

    const clvd_parser &parser_;
    const ProtobufSchema &schema_;
    std::map<std::pair<uint32_t, const Node *>, uint32_t> plans_;
    std::map<const Node *, std::vector<uint32_t>> cells_of_;
    std::vector<WantedWipe> wanted_wipes_;
    uint32_t cell_count_ = 0;

    uint32_t new_cells(const Node *node, uint32_t count) {
        for (uint32_t i = 0; i < count; ++i) cells_of_[node].push_back(cell_count_ + i);
        cell_count_ += count;
        return cell_count_ - count;
    }

    /// The node for a field: under its name in the schema, or under that in JSON.
    static const Node *child(const Node *node, const Field &field) {
        auto find = [&](const std::string &name) {
            return node->find(reinterpret_cast<const uint8_t *>(name.data()), name.size());
        };
        const Node *found = find(field.name);
        return found != nullptr ? found : find(field.json_name);
    }

    /// The plan for a message at `node` of the mapping.
    uint32_t plan(uint32_t index, const Node *node) {
        auto [known, is_new] = plans_.emplace(std::make_pair(index, node), static_cast<uint32_t>(plans.size()));
        uint32_t own = known->second;
        if (!is_new) return own;
        if (own == 100'000) throw SchemaError{"it is too large for this mapping"};
        plans.emplace_back();
        const Message &message = schema_.messages[index];
        if (message.is_missing) {
            throw SchemaError{"the mapping needs " + message.name + ", whose file is not at hand"};
        }
        Plan made;
        std::map<int32_t, std::vector<const Node *>> choices;
        for (const Field &field : message.fields) {
            const Node *at = place(message, field, node);
            if (at != nullptr && field.choice >= 0) choices[field.choice].push_back(at);
        }
        for (const Field &field : message.fields) {
            const Node *at = place(message, field, node);
            bool replaces = field.choice >= 0 && choices.count(field.choice) != 0;
            if (at == nullptr && !replaces) continue;
            uint32_t step = at == nullptr ? pass(field) : compile(field, at);
            if (replaces) {
                // The same member once more adds to what it is.
                std::vector<const Node *> others = choices[field.choice];
                if (message.known != ProtobufKnown::value) {
                    others.erase(std::remove(others.begin(), others.end(), at), others.end());
                }
                wanted_wipes_.push_back({false, step, std::move(others)});
            }
            steps[step].is_null = message.known == ProtobufKnown::value && field.type == ProtobufType::enumeration;
            made.fields.emplace_back(field.number, step);
            bool has_default = at != nullptr && at->slot >= 0 && field.default_kind != Kind::absent;
            if (has_default) made.defaults.emplace_back(at->slot, &field);
        }
        std::sort(made.fields.begin(), made.fields.end());
        plans[own] = std::move(made);
        return own;
    }

    /// Where the mapping has a field of a message at `node`. A message that is one value has its field where it is itself.
    static const Node *place(const Message &message, const Field &field, const Node *node) {
        switch (message.known) {
        case ProtobufKnown::wrapper:
            if (node->is_inner()) break;
            return field.number == 1 ? node : nullptr;
        case ProtobufKnown::structure:
        case ProtobufKnown::list: return field.number == 1 ? node : nullptr;
        case ProtobufKnown::value: return node;
        default: break;
        }
        return child(node, field);
    }

    static uint8_t wire(ProtobufType type) {
        switch (type) {
        case ProtobufType::fixed64:
        case ProtobufType::sfixed64:
        case ProtobufType::float64: return 1;
        case ProtobufType::string:
        case ProtobufType::bytes:
        case ProtobufType::message: return 2;
        case ProtobufType::group: return 3;
        case ProtobufType::fixed32:
        case ProtobufType::sfixed32:
        case ProtobufType::float32: return 5;
        default: return 0;
        }
    }

    Step basic(const Field &field, const Node *node) const {
        Step step;
        step.type = field.type;
        step.wire = wire(field.type);
        step.field = &field;
        step.node = node;
        if (field.type == ProtobufType::enumeration) step.symbols = &schema_.enums[field.target];
        return step;
    }

    uint32_t add(const Step &step) {
        steps.push_back(step);
        return static_cast<uint32_t>(steps.size() - 1);
    }

    uint32_t pass(const Field &field) {
        Step step = basic(field, nullptr);
        step.form = Form::passed;
        return add(step);
    }

    uint32_t compile(const Field &field, const Node *node) {
        if (field.is_map) return map(field, node);
        return field.is_repeated ? array(field, node) : value(field, node);
    }

    uint32_t value(const Field &field, const Node *node) {
        Step step = basic(field, node);
        step.slot = node->slot;
        if (field.type != ProtobufType::message && field.type != ProtobufType::group) return add(step);
        ProtobufKnown known = schema_.messages[field.target].known;
        bool is_one = known == ProtobufKnown::timestamp || known == ProtobufKnown::decimal || known == ProtobufKnown::money;
        if (is_one && !node->is_inner()) {
            step.known = known;
            step.is_instant = is_of_time(parser_, node->slot);
            step.cell = new_cells(node, cells_of_value);
        } else {
            step.plan = plan(field.target, node);
            // What is one value is no object.
            bool is_value = known == ProtobufKnown::value || known == ProtobufKnown::list ||
                            (known == ProtobufKnown::wrapper && !node->is_inner());
            if (is_value) step.slot = -1;
        }
        return add(step);
    }

    uint32_t map(const Field &field, const Node *node) {
        const Message &entry = schema_.messages[field.target];
        const Field *key = ProtobufSchema::field(entry, 1), *content = ProtobufSchema::field(entry, 2);
        if (key == nullptr || content == nullptr) throw SchemaError{"a map has no key or no value"};
        Step step = basic(*key, node);
        step.form = Form::map;
        step.type = ProtobufType::message;
        step.wire = 2;
        step.slot = node->slot;
        std::vector<Special> own;
        for (const auto &child : node->children) {
            Special special{value(*content, child.node.get())};
            special.node = child.node.get();
            own.push_back(special);
        }
        add_specials(own, &step);
        return add(step);
    }

    uint32_t array(const Field &field, const Node *node) {
        Step step = basic(field, node);
        step.form = Form::array;
        step.slot = node->slot;
        step.is_only = node->single;
        step.cell = new_cells(node, 1);
        std::vector<Special> own;
        if (node->items >= 0) {
            step.items = node->items;
            step.element = value(field, parser_.item_root());
        } else {
            add_elements(field, *node, &own);
        }
        add_specials(own, &step);
        return add(step);
    }

    void add_specials(const std::vector<Special> &own, Step *step) {
        step->first_special = static_cast<uint32_t>(specials.size());
        step->special_count = static_cast<uint32_t>(own.size());
        for (const Special &special : own) {
            if (special.node != nullptr) {
                wanted_wipes_.push_back({true, static_cast<uint32_t>(specials.size()), {special.node}});
            }
            specials.push_back(special);
        }
    }

    /// Elements by their places go before those by the value of a field.
    void add_elements(const Field &field, const Node &node, std::vector<Special> *own) {
        for (const auto &child : node.children) {
            int64_t index = 0;
            auto end = child.key.data() + child.key.size();
            auto read = std::from_chars(child.key.data(), end, index);
            if (read.ec != std::errc() || read.ptr != end || std::to_string(index) != child.key) continue;
            Special special{value(field, child.node.get())};
            special.index = index;
            own->push_back(special);
        }
        if (field.type != ProtobufType::message) return;
        for (const auto &selector : node.selectors) {
            for (const Field &member : schema_.messages[field.target].fields) {
                bool is_named = member.name == selector.member || member.json_name == selector.member;
                bool is_text = member.type == ProtobufType::string || member.type == ProtobufType::enumeration;
                if (!is_named || !is_text || member.is_repeated) continue;
                Special special{value(field, selector.node.get())};
                special.field = &member;
                if (member.type == ProtobufType::enumeration) special.symbols = &schema_.enums[member.target];
                special.value = &selector.value;
                special.cell = new_cells(&node, 1);
                own->push_back(special);
                break;
            }
        }
    }

    // MARK: Wipes

    std::pair<uint32_t, uint32_t> make_wipes(const std::vector<const Node *> &nodes) {
        auto first = static_cast<uint32_t>(wipes.size());
        for (const Node *node : nodes) add_wipes(*node);
        return {first, static_cast<uint32_t>(wipes.size()) - first};
    }

    void add_wipes(const Node &node) {
        if (node.slot >= 0) wipes.push_back({Wipe::slot, static_cast<uint32_t>(node.slot)});
        if (node.items >= 0) wipes.push_back({Wipe::items, static_cast<uint32_t>(node.items)});
        auto cells = cells_of_.find(&node);
        if (cells != cells_of_.end()) {
            for (uint32_t cell : cells->second) wipes.push_back({Wipe::cell, cell});
        }
        for (const auto &child : node.children) add_wipes(*child.node);
        for (const auto &selector : node.selectors) add_wipes(*selector.node);
    }
};

}  // namespace clvd
