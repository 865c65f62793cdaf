#include "Parser.hpp"

#include <new>

static bool is_of_items(clvd_field field) {
    return field == clvd_field_product_id || field == clvd_field_category || field == clvd_field_price ||
           field == clvd_field_quantity;
}

extern "C" {

clvd_parser *clvd_parser_create(void) { return new (std::nothrow) clvd_parser; }

void clvd_parser_destroy(clvd_parser *parser) { delete parser; }

bool clvd_parser_add_source(clvd_parser *parser, clvd_field field, const char *pointer, clvd_time_unit unit) {
    if (field <= clvd_field_none || field >= clvd_field_count) return false;
    return guarded([&] {
        int16_t slot = parser->slot(&parser->root, pointer, false);
        if (slot < 0) return false;
        parser->sources[field].push_back({slot, static_cast<uint8_t>(unit)});
        return true;
    });
}

bool clvd_parser_add_ruled_source(
    clvd_parser *parser, clvd_field field, const char *pointer, clvd_time_unit unit, const clvd_rule *rule) {
    if (field <= clvd_field_none || field >= clvd_field_count) return false;
    return guarded([&] {
        int16_t slot = parser->derived_slot(&parser->root, field, pointer, *rule);
        if (slot < 0) return false;
        parser->sources[field].push_back({slot, static_cast<uint8_t>(unit)});
        return true;
    });
}

bool clvd_parser_add_ruled_item_source(
    clvd_parser *parser, clvd_field field, const char *pointer, const clvd_rule *rule) {
    if (!is_of_items(field)) return false;
    return guarded([&] {
        int16_t slot = parser->derived_slot(&parser->item_root_, field, pointer, *rule);
        if (slot < 0) return false;
        parser->item_sources[field].push_back({slot, 0});
        parser->item_slots.push_back(parser->rules.derived_of_items.back().from);
        parser->item_slots.push_back(slot);
        return true;
    });
}

bool clvd_parser_add_default(clvd_parser *parser, clvd_field field, const char *text) {
    if (field <= clvd_field_none || field >= clvd_field_count || *text == '\0') return false;
    return guarded([&] {
        int16_t slot = parser->new_slot("default");
        if (slot < 0) return false;
        parser->rules.defaults.push_back({slot, text});
        parser->rules.any = true;
        parser->sources[field].push_back({slot, clvd_time_iso8601});
        return true;
    });
}

bool clvd_parser_set_nonzero(clvd_parser *parser, clvd_field field) {
    if (field <= clvd_field_none || field >= clvd_field_count) return false;
    return guarded([&] {
        parser->rules.nonzero.push_back(field);
        return parser->rules.any = true;
    });
}

void clvd_parser_set_negative_refunds(clvd_parser *parser) {
    parser->rules.any = parser->rules.any_of_items = parser->rules.negative_is_refund = true;
}

bool clvd_parser_add_condition(clvd_parser *parser, const char *pointer, bool negated) {
    return guarded([&] {
        int16_t slot = parser->slot(&parser->root, pointer, true);
        if (slot < 0) return false;
        parser->rules.conditions.push_back({slot, negated, false, {}});
        return parser->rules.any = true;
    });
}

bool clvd_parser_add_condition_value(clvd_parser *parser, const char *text) {
    if (parser->rules.conditions.empty()) return false;
    return guarded([&] {
        clvd::Condition &condition = parser->rules.conditions.back();
        if (text == nullptr) {
            condition.null_listed = true;
        } else {
            condition.values.push_back(text);
        }
        return true;
    });
}

bool clvd_parser_add_batch(clvd_parser *parser, const char *pointer) {
    return guarded([&] {
        int16_t slot = parser->slot(&parser->root, pointer, true);
        if (slot < 0) return false;
        parser->rules.batches.push_back(slot);
        return parser->rules.any = true;
    });
}

bool clvd_parser_add_placeholder(clvd_parser *parser, const char *word) {
    return guarded([&] { return parser->placeholders.add(word); });
}

void clvd_parser_set_joins_always(clvd_parser *parser) { parser->joins_always = true; }

void clvd_parser_set_guests_ignored(clvd_parser *parser) { parser->guests_ignored = true; }

bool clvd_parser_add_header(clvd_parser *parser, clvd_field field, const char *name) {
    if ((field != clvd_field_event_id && field != clvd_field_event_time) || *name == '\0') return false;
    return guarded([&] {
        parser->headers[field] = name;
        return true;
    });
}

void clvd_parser_set_header_lookup(clvd_parser *parser, clvd_header_lookup lookup) { parser->lookup = lookup; }

bool clvd_parser_add_items(clvd_parser *parser, const char *pointer) {
    if (parser->items.size() == clvd::maximum_alternatives) return false;
    return guarded([&] {
        clvd::Node *node = clvd::follow(&parser->root, pointer);
        if (node == nullptr || node->is_inner() || node->is_leaf()) return false;
        int16_t slot = parser->slot(&parser->root, pointer, true);
        if (slot < 0) return false;
        node->items = static_cast<int16_t>(parser->items.size());
        parser->items.push_back(slot);
        return true;
    });
}

bool clvd_parser_add_item_source(clvd_parser *parser, clvd_field field, const char *pointer) {
    if (!is_of_items(field)) return false;
    return guarded([&] {
        int16_t slot = parser->slot(&parser->item_root_, pointer, false);
        if (slot < 0) return false;
        parser->item_sources[field].push_back({slot, 0});
        parser->item_slots.push_back(slot);
        return true;
    });
}

bool clvd_parser_add_single(clvd_parser *parser, const char *pointer) {
    return guarded([&] {
        clvd::Node *node = clvd::follow(&parser->root, pointer);
        if (node == nullptr || node->is_leaf()) return false;
        node->single = true;
        return true;
    });
}

bool clvd_parser_add_type(clvd_parser *parser, const char *name, uint8_t type) {
    if (type >= clvd_type_count && type != CLVD_TYPE_IGNORED) return false;
    return guarded([&] { return parser->types.add(name, type); });
}

void clvd_parser_set_types(clvd_parser *parser, clvd_unknown_type unknown, uint8_t default_type) {
    parser->unknown = unknown;
    parser->default_type = default_type;
}

void clvd_parser_set_loose_names(clvd_parser *parser, bool loose) { parser->types.set_loose(loose); }

void clvd_parser_count_unknown_types(clvd_parser *parser, uint32_t most) { parser->unknown_types.begin(most); }

bool clvd_parser_unknown_type(const clvd_parser *parser, uint32_t index, clvd_text *name, uint64_t *count) {
    return parser->unknown_types.get(index, name, count);
}

void clvd_parser_count_currencies(clvd_parser *parser, uint32_t most) { parser->currencies.begin(most); }

bool clvd_parser_currency(const clvd_parser *parser, uint32_t index, clvd_text *code, uint64_t *count) {
    return parser->currencies.get(index, code, count);
}

void clvd_parser_pause_tallies(clvd_parser *parser, bool paused) {
    parser->unknown_types.set_paused(paused);
    parser->currencies.set_paused(paused);
}

uint64_t clvd_parser_further_unknown_types(const clvd_parser *parser) { return parser->unknown_types.further(); }

void clvd_parser_set_numeric_strings(clvd_parser *parser, bool accepted) { parser->numeric_strings = accepted; }

void clvd_parser_set_orders(clvd_parser *parser, clvd_order_rules rules) { parser->orders = rules; }

bool clvd_parser_set_limits(clvd_parser *parser, const clvd_limits *limits) {
    bool sound = limits->max_record_bytes > 0 && limits->max_record_bytes <= (1u << 30) &&
                 limits->max_user_bytes > 0 && limits->max_user_bytes <= 4096 && limits->max_amount > 0 &&
                 std::isfinite(limits->max_amount) && limits->max_quantity > 0 &&
                 std::isfinite(limits->max_quantity) && limits->min_time_ms < limits->end_time_ms &&
                 limits->min_time_ms >= clvd::least_time_ms && limits->end_time_ms <= clvd::end_of_time_ms;
    if (sound) parser->limits = *limits;
    return sound;
}

bool clvd_parser_set_currency(clvd_parser *parser, const char *base, const char *assumed) {
    uint32_t base_code = clvd::currency_code(base), assumed_code = clvd::currency_code(assumed);
    if (base_code == 0 || assumed_code == 0) return false;
    parser->base_currency = base_code;
    parser->assumed_currency = assumed_code;
    return true;
}

bool clvd_parser_add_rate(clvd_parser *parser, const char *currency, double rate) {
    uint32_t code = clvd::currency_code(currency);
    if (code == 0 || !(rate > 0) || !std::isfinite(rate)) return false;
    return guarded([&] {
        parser->rates.push_back({code, rate});
        return true;
    });
}

/// The status of a record for which memory was not sufficient: too large.
static void refuse(clvd_parser *parser, const clvd_record *record, clvd_event *event) {
    parser->reset(record, event);
    parser->reject(clvd_status_too_large, clvd_field_none, clvd::Reason::too_large, -1, record->value_length);
    parser->finish(event);
}

uint32_t clvd_parser_decode(clvd_parser *parser, const clvd_record *records, uint32_t count, clvd_event *events) {
    // Room for one more record, which `clvd_parser_explain` needs.
    bool reserved = parser->reserve_arena(size_t{count} + 1);
    parser->arena_used = 0;
    uint32_t decoded = 0;
    for (uint32_t i = 0; i < count; ++i) {
        bool fits = reserved && guarded([&] {
            parser->decode_json(&records[i], &events[i]);
            return true;
        });
        if (!fits) refuse(parser, &records[i], &events[i]);
        events[i].record = i;
        decoded += events[i].status == clvd_status_ok;
    }
    return decoded;
}

clvd_status clvd_parser_decode_row(
    clvd_parser *parser, const clvd_text *slots, const clvd_record *record, clvd_event *event) {
    parser->decode_row(slots, record, event);
    return static_cast<clvd_status>(event->status);
}

uint32_t clvd_parser_slot_count(const clvd_parser *parser) { return static_cast<uint32_t>(parser->slots.count()); }

int32_t clvd_parser_find_slot(const clvd_parser *parser, const char *pointer) {
    for (size_t i = 0; i < parser->pointers.size(); ++i) {
        if (parser->pointers[i] == pointer) return static_cast<int32_t>(i);
    }
    return -1;
}

}  // extern "C"
