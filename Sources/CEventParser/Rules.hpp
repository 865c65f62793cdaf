// Rules of a mapping that go beyond places: which records count, what is written in another way than clvd reads it, what
// stands for a missing value. They work on slots, between the encoding and the mapping, so that both know nothing of
// them, and formats without rules pay nothing.
#pragma once

#include "Parser.hpp"

/// Whether the record counts. Fills the slots that are made of others.
inline bool clvd_parser::apply_rules() {
    for (const auto &condition : rules.conditions) {
        if (!holds(condition)) {
            fault = Fault();
            fault.status = clvd_status_filtered;
            return false;
        }
    }
    rules.begin(slots);
    for (const auto &derived : rules.derived) derive(derived);
    for (const auto &constant : rules.defaults) {
        slots.set(constant.slot, Kind::text, constant.bytes(), constant.length());
    }
    for (clvd_field field : rules.nonzero) pass_zeros(sources[field]);
    if (!rules.negative_is_refund) return true;
    rules.is_negative = false;
    take_sign(sources[clvd_field_amount]);
    take_sign(sources[clvd_field_quantity]);
    for (size_t i = 0; i < items.size(); ++i) {
        ItemTotal &total = totals[i];
        if (total.amount < 0 || (total.amount == 0 && total.quantity < 0)) {
            total.amount = -total.amount;
            rules.is_negative = true;
        }
        total.quantity = std::fabs(total.quantity);
    }
    return true;
}

/// A negative purchase is a refund, where a mapping says so.
inline bool clvd_parser::turn(clvd_event *event) {
    if (!rules.negative_is_refund || !rules.is_negative) return true;
    if (event->type == clvd_type_purchase) event->type = clvd_type_refund;
    if (event->type == clvd_type_refund || event->type == clvd_type_return) return true;
    reject(clvd_status_negative_amount, clvd_field_amount, Reason::negative_other);
    return false;
}

/// What is wrong with a record that holds a batch is the batch. A filter sees only what is around it.
inline void clvd_parser::blame_batch() {
    if (fault.status < clvd_status_first_rejection && fault.status != clvd_status_filtered) return;
    for (int16_t slot : rules.batches) {
        if (slots.kinds[slot] != Kind::array) continue;
        reject(clvd_status_wrong_type, clvd_field_none, Reason::batch, slot);
        return;
    }
}

/// The items' part of the rules. Whether the quantity was negative, and has lost its sign.
inline bool clvd_parser::apply_item_rules() {
    rules.begin(slots);
    for (const auto &derived : rules.derived_of_items) derive(derived);
    return rules.negative_is_refund && unsign(item_sources[clvd_field_quantity]);
}

inline bool clvd_parser::holds(const clvd::Condition &condition) {
    clvd_text text = {nullptr, 0};
    int16_t slot = condition.slot;
    bool is_there = present(slot);
    bool comparable = is_there && (slots.kinds[slot] == Kind::boolean || slots.kinds[slot] == Kind::number);
    if (comparable) {
        text = {slots.data[slot], slots.lengths[slot]};
    } else if (is_there) {
        comparable = characters({slot, 0}, &text);
    }
    bool listed = !is_there && condition.null_listed;
    for (const std::string &value : condition.values) {
        listed |= comparable && value.size() == text.length && std::memcmp(value.data(), text.data, text.length) == 0;
    }
    return listed != condition.negated;
}

inline void clvd_parser::derive(const clvd::Derived &derived) {
    int16_t from = derived.from, to = derived.to;
    slots.kinds[to] = slots.kinds[from];
    slots.data[to] = slots.data[from];
    slots.lengths[to] = slots.lengths[from];
    if (!present(from)) return;
    if (derived.has_constant) {
        bool is_false = slots.lengths[from] == 5 && std::memcmp(slots.data[from], "false", 5) == 0;
        slots.kinds[to] = is_false ? Kind::absent : Kind::text;
        slots.data[to] = reinterpret_cast<const uint8_t *>(derived.constant.data());
        slots.lengths[to] = static_cast<uint32_t>(derived.constant.size());
        return;
    }
    clvd_text text;
    if (!characters(slots.kinds[from] == Kind::number ? Kind::text : slots.kinds[from],
                    {slots.data[from], slots.lengths[from]}, &text)) {
        return;
    }
    if (derived.whole) shorten(to);
    double value;
    if (derived.decimal_comma && slots.kinds[from] != Kind::number) {
        clvd_text point = rules.with_point(text);
        if (point.data == nullptr) {
            if (fault.status == clvd_status_ok) {
                reject(clvd_status_wrong_type, derived.field, Reason::not_a_number, from);
            }
            return;
        }
        slots.kinds[to] = Kind::text;
        slots.data[to] = point.data;
        slots.lengths[to] = point.length;
        text = point;
    }
    if (derived.divisor != 1 && (slots.kinds[to] == Kind::number || slots.kinds[to] == Kind::text || numeric_strings) &&
        clvd::parse_number(text.data, text.data + text.length, false, &value) && std::isfinite(value)) {
        clvd_text quotient = rules.written(value / derived.divisor);
        slots.kinds[to] = Kind::text;
        slots.data[to] = quotient.data;
        slots.lengths[to] = quotient.length;
    }
}

/// `17850.0` is 17850.
inline void clvd_parser::shorten(int16_t slot) {
    const uint8_t *p = slots.data[slot], *end = p + slots.lengths[slot];
    const uint8_t *point = static_cast<const uint8_t *>(std::memchr(p, '.', slots.lengths[slot]));
    if (point == nullptr || point + 1 == end || !clvd::is_integer(p, static_cast<uint32_t>(point - p))) return;
    for (const uint8_t *q = point + 1; q < end; ++q) {
        if (*q != '0') return;
    }
    slots.lengths[slot] = static_cast<uint32_t>(point - p);
}

/// The number at a slot; false where there is none.
inline bool clvd_parser::peek(int16_t slot, double *value) {
    Kind kind = slots.kinds[slot];
    if (kind != Kind::number && kind != Kind::text && !(kind == Kind::string && numeric_strings)) return false;
    return clvd::parse_number(slots.data[slot], slots.data[slot] + slots.lengths[slot], false, value);
}

/// Zeros before a number that is not zero count as absent.
inline void clvd_parser::pass_zeros(const std::vector<Source> &places) {
    double value;
    for (size_t i = 0; i < places.size(); ++i) {
        if (!present(places[i].slot) || (peek(places[i].slot, &value) && value == 0)) continue;
        for (size_t j = 0; j < i; ++j) slots.kinds[places[j].slot] = Kind::absent;
        return;
    }
}

inline void clvd_parser::take_sign(const std::vector<Source> &places) {
    if (unsign(places)) rules.is_negative = true;
}

/// Takes the sign from the number that counts among `places`; whether it was less than 0.
inline bool clvd_parser::unsign(const std::vector<Source> &places) {
    const Source *source = pick(places);
    double value;
    if (source == nullptr || !peek(source->slot, &value) || !(value < 0)) return false;
    ++slots.data[source->slot];
    --slots.lengths[source->slot];
    return true;
}

inline bool clvd_parser::is_placeholder(int16_t slot) {
    Kind kind = slots.kinds[slot];
    clvd_text text = {slots.data[slot], slots.lengths[slot]};
    return kind != Kind::boolean && characters(kind, text, &text) && placeholders.contains(text);
}

/// A slot that is made of the one of `pointer`.
inline int16_t clvd_parser::derived_slot(
    Node *from, clvd_field field, const char *pointer, const clvd_rule &rule) {
    if (!(rule.divisor > 0) || !std::isfinite(rule.divisor)) return -1;
    int16_t origin = slot(from, pointer, false);
    int16_t made = origin < 0 ? int16_t{-1} : new_slot(pointer);
    if (made < 0) return -1;
    bool is_constant = rule.constant != nullptr;
    (from == &root ? rules.derived : rules.derived_of_items).push_back(
        {origin, made, field, is_constant, rule.decimal_comma, rule.whole, rule.divisor,
         is_constant ? rule.constant : ""});
    rules.any = true;
    if (from != &root) rules.any_of_items = true;
    return made;
}
