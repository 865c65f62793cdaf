// The mapping stage: the slots of a record become the fields of an event. The same for every encoding.
#pragma once

#include "Parser.hpp"

inline void clvd_parser::end_item(int16_t alternative) {
    ItemTotal &total = totals[alternative];
    if (fault.status != clvd_status_ok) return;
    bool is_negative = rules.any_of_items && apply_item_rules();
    if (fault.status != clvd_status_ok) return;
    double price = 0, quantity = 1;
    bool has_price = false, has_quantity = false;
    if (!money(item_sources[clvd_field_price], clvd_field_price, &price, &has_price)) return;
    if (!money(item_sources[clvd_field_quantity], clvd_field_quantity, &quantity, &has_quantity)) return;
    if (!has_quantity) quantity = 1;
    if (is_negative) quantity = -quantity;
    if (total.count == 0) {
        total.price = price;
        total.quantity = 0;
        first(item_sources[clvd_field_product_id], &total.product_kind, &total.product, &total.product_slot);
        first(item_sources[clvd_field_category], &total.category_kind, &total.category, &total.category_slot);
    }
    ++total.count;
    total.priced |= has_price;
    total.amount += price * quantity;
    total.quantity += quantity;
}

inline bool clvd_parser::resolve_type(clvd_event *event) {
    const Source *source = pick(sources[clvd_field_event_type]);
    if (source == nullptr) {
        if (default_type == CLVD_TYPE_REQUIRED) {
            return reject(clvd_status_missing_type, clvd_field_event_type, Reason::missing);
        }
        event->type = default_type;
        return true;
    }
    clvd_text name;
    if (!characters(*source, &name)) {
        return reject(clvd_status_wrong_type, clvd_field_event_type, Reason::not_text, source->slot);
    }
    const TypeTable::Entry *entry = types.find(name);
    if (entry != nullptr) {
        event->type = entry->type;
        if (entry->type != CLVD_TYPE_IGNORED) return true;
    } else if (unknown_types.add(name); unknown == clvd_unknown_type_other) {
        event->type = clvd_type_other;
        return true;
    } else if (unknown == clvd_unknown_type_reject) {
        return reject(clvd_status_missing_type, clvd_field_event_type, Reason::unknown_type, source->slot);
    }
    event->type = clvd_type_other;
    return reject(clvd_status_ignored_type, clvd_field_event_type, Reason::none, source->slot);
}

inline bool clvd_parser::resolve_user(clvd_event *event) {
    const Source *source = pick_id(sources[clvd_field_user_id]);
    if (source == nullptr) {
        if (guests_ignored) return reject(clvd_status_filtered, clvd_field_user_id, Reason::none);
        // What stands in its place says more than that nothing does.
        for (const Source &place : sources[clvd_field_user_id]) {
            if (slots.kinds[place.slot] <= Kind::null) continue;
            Reason reason = present(place.slot) ? Reason::placeholder : Reason::empty;
            return reject(clvd_status_missing_user, clvd_field_user_id, reason, place.slot);
        }
        return reject(clvd_status_missing_user, clvd_field_user_id, Reason::missing);
    }
    clvd_text user;
    if (!characters(*source, &user)) {
        return reject(clvd_status_wrong_type, clvd_field_user_id, Reason::not_text, source->slot);
    }
    if (user.length > limits.max_user_bytes) {
        return reject(
            clvd_status_invalid_user, clvd_field_user_id, Reason::too_long, source->slot, user.length);
    }
    if (slots.kinds[source->slot] != Kind::string && std::memchr(user.data, 0, user.length) != nullptr) {
        return reject(clvd_status_invalid_user, clvd_field_user_id, Reason::holds_nul, source->slot);
    }
    event->user = keep(user);
    event->user_length = user.length;
    return true;
}

static inline bool is_identify(const clvd_event *event) {
    return event->type == clvd_type_identify || event->type == clvd_type_alias;
}

/// The other id of an event that says whose it is. What cannot be an id joins nothing.
inline bool clvd_parser::resolve_alias(clvd_event *event) {
    if (!joins_always && !is_identify(event)) return true;
    clvd_field field = event->type == clvd_type_alias ? clvd_field_previous_id : clvd_field_anonymous_id;
    const Source *source = pick_id(sources[field]);
    clvd_text id;
    if (source != nullptr && characters(*source, &id) && id.length <= limits.max_user_bytes &&
        std::memchr(id.data, 0, id.length) == nullptr) {
        event->alias = keep(id);
        event->alias_length = id.length;
        return true;
    }
    return !is_identify(event) || reject(clvd_status_ignored_type, field, Reason::none);
}

/// An id is not joined to itself. An event that was to say no more is ignored then.
inline bool clvd_parser::joins(clvd_event *event) {
    if (event->alias == nullptr || event->alias_length != event->user_length ||
        std::memcmp(event->alias, event->user, event->user_length) != 0) {
        return true;
    }
    event->alias = nullptr;
    event->alias_length = 0;
    return !is_identify(event) || reject(clvd_status_ignored_type, clvd_field_anonymous_id, Reason::none);
}

inline bool clvd_parser::header(clvd_field field, const void *record_headers, clvd_text *text) const {
    if (headers[field].empty() || record_headers == nullptr || lookup == nullptr) return false;
    text->data = lookup(record_headers, headers[field].c_str(), &text->length);
    return text->data != nullptr && text->length > 0;
}

inline bool clvd_parser::resolve_time(const clvd_record *record, clvd_event *event) {
    const Source *source = pick(sources[clvd_field_event_time]);
    int16_t slot = source == nullptr ? -1 : source->slot;
    clvd_text text;
    if (source == nullptr) {
        if (!header(clvd_field_event_time, record->headers, &text)) {
            return reject(clvd_status_missing_time, clvd_field_event_time, Reason::missing);
        }
        if (!clvd::TimeReader(text.data, text.length).read(true, &event->time_ms)) {
            reject(clvd_status_invalid_time, clvd_field_event_time, Reason::not_a_time);
            fault.kind = Kind::text;
            fault.value = text;
            return false;
        }
    } else {
        Kind kind = slots.kinds[slot];
        if (kind == Kind::number) {
            text = {slots.data[slot], slots.lengths[slot]};
        } else if (!characters(*source, &text)) {
            if (kind != Kind::instant) {
                return reject(clvd_status_wrong_type, clvd_field_event_time, Reason::not_a_time, slot);
            }
            text = {slots.data[slot], slots.lengths[slot]};
            static const Source milliseconds = {-1, clvd_time_milliseconds};
            source = &milliseconds;
        }
        if (!read_time(source->unit, kind, text, &event->time_ms)) {
            return reject(clvd_status_invalid_time, clvd_field_event_time, Reason::not_a_time, slot);
        }
    }
    if (event->time_ms < limits.min_time_ms || event->time_ms >= limits.end_time_ms) {
        return reject(clvd_status_time_out_of_range, clvd_field_event_time, Reason::outside_years, slot);
    }
    if (limits.max_future_skew_ms >= 0 && record->timestamp_ms >= 0 &&
        event->time_ms - record->timestamp_ms > limits.max_future_skew_ms) {
        return reject(
            clvd_status_future_time, clvd_field_event_time, Reason::in_the_future, slot,
            static_cast<double>(event->time_ms - record->timestamp_ms));
    }
    // Where event times are later than that after the timestamps of records, these are no clock.
    constexpr int64_t most_ahead_ms = 86400000;
    if (record->timestamp_ms >= 0 && event->time_ms > record->timestamp_ms &&
        event->time_ms - record->timestamp_ms <= most_ahead_ms) {
        event->ahead_ms = event->time_ms - record->timestamp_ms;
    }
    return true;
}

/// A time in `unit`; epochs beyond what fits are the largest or smallest there are.
inline bool clvd_parser::read_time(uint8_t unit, Kind kind, clvd_text text, int64_t *time_ms) {
    if (unit == clvd_time_iso8601 || unit == clvd_time_iso8601_utc) {
        return kind != Kind::number &&
               clvd::TimeReader(text.data, text.length).read(unit == clvd_time_iso8601, time_ms);
    }
    if (text.length <= 18 && clvd::is_integer(text.data, text.length)) {
        bool negative = text.data[0] == '-';
        int64_t value = 0;
        for (uint32_t i = negative; i < text.length; ++i) value = value * 10 + (text.data[i] - '0');
        if (unit == clvd_time_seconds) {
            value = value > INT64_MAX / 1000 ? INT64_MAX : value * 1000;
        }
        if (negative) value = -value;
        if (unit == clvd_time_microseconds) value = value / 1000 - (value % 1000 < 0);
        *time_ms = value;
        return true;
    }
    double value;
    if (!clvd::parse_number(text.data, text.data + text.length, kind == Kind::number, &value)) return false;
    if (unit == clvd_time_seconds) value *= 1000;
    if (unit == clvd_time_microseconds) value /= 1000;
    value = std::floor(value);
    *time_ms = value > 9e18 ? INT64_MAX : value < -9e18 ? INT64_MIN : static_cast<int64_t>(value);
    return true;
}

/// The factor that turns money of this event into the base currency.
inline bool clvd_parser::resolve_rate(double *rate) {
    uint32_t code = assumed_currency;
    const Source *source = pick(sources[clvd_field_currency]);
    if (source != nullptr) {
        clvd_text text;
        if (slots.kinds[source->slot] == Kind::number || !characters(*source, &text)) {
            return reject(clvd_status_wrong_type, clvd_field_currency, Reason::not_text, source->slot);
        }
        code = clvd::currency_code(text.data, text.length);
        if (code == 0) currencies.add(text);
    }
    if (code != 0) {
        uint8_t letters[] = {
            static_cast<uint8_t>(code >> 16), static_cast<uint8_t>(code >> 8), static_cast<uint8_t>(code)};
        currencies.add({letters, 3});
    }
    *rate = 1;
    if (code == base_currency) return true;
    for (const Rate &known : rates) {
        if (known.code != code) continue;
        *rate = known.rate;
        return true;
    }
    return reject(
        clvd_status_unknown_currency, clvd_field_currency, Reason::unknown_currency,
        source == nullptr ? -1 : source->slot);
}

inline const clvd::ItemTotal *clvd_parser::order_items() const {
    for (size_t i = 0; i < items.size(); ++i) {
        if (totals[i].count > 0) return &totals[i];
    }
    return nullptr;
}

inline bool clvd_parser::resolve_money(clvd_event *event) {
    if (fault.status != clvd_status_ok) return false;  // in an item
    for (int16_t slot : items) {
        if (present(slot) && slots.kinds[slot] != Kind::array) {
            return reject(clvd_status_wrong_type, clvd_field_amount, Reason::not_an_array, slot);
        }
    }
    // What is given back is as much with a minus sign, which some sources write.
    bool gives_back = event->type == clvd_type_refund || event->type == clvd_type_return;
    bool has_amount, has_price, has_quantity;
    if (!money(sources[clvd_field_amount], clvd_field_amount, &event->amount, &has_amount, gives_back) ||
        !money(sources[clvd_field_price], clvd_field_price, &event->price, &has_price, gives_back) ||
        !money(sources[clvd_field_quantity], clvd_field_quantity, &event->quantity, &has_quantity, gives_back)) {
        return false;
    }
    const ItemTotal *total = order_items();
    if (total != nullptr) {
        if (!has_price) event->price = total->price, has_price = total->priced;
        if (!has_quantity) event->quantity = total->quantity, has_quantity = true;
    }
    bool are_priced = total != nullptr && total->priced;
    if (!has_amount && (gives_back || event->type == clvd_type_purchase)) {
        if (are_priced) {
            event->amount = total->amount;
        } else if (has_price) {
            event->amount = has_quantity ? event->price * event->quantity : event->price;
        } else {
            event->flags |= clvd_flag_no_money;
        }
    } else if (gives_back && are_priced && orders.refund_from_items) {
        event->amount = std::fmin(event->amount, total->amount);
    }
    if (event->amount == 0 && event->price == 0) return true;
    double rate;
    if (!resolve_rate(&rate)) return false;
    event->amount *= rate;
    event->price *= rate;
    return within(clvd_field_amount, event->amount) && within(clvd_field_price, event->price);
}

inline bool clvd_parser::within(clvd_field field, double value) {
    if (value <= limits.max_amount) return true;
    const Source *source = pick(sources[field]);
    return reject(
        clvd_status_absurd_amount, field, Reason::too_high, source == nullptr ? -1 : source->slot, value);
}

inline bool clvd_parser::resolve_event_id(const clvd_record *record, clvd_event *event) {
    const Source *source = pick_id(sources[clvd_field_event_id]);
    clvd_text id;
    if (source == nullptr) {
        if (!header(clvd_field_event_id, record->headers, &id)) return true;
        if (!simdjson::validate_utf8(reinterpret_cast<const char *>(id.data), id.length)) {
            return reject(clvd_status_invalid_utf8, clvd_field_event_id, Reason::not_text);
        }
    } else if (!characters(*source, &id)) {
        return reject(clvd_status_wrong_type, clvd_field_event_id, Reason::not_text, source->slot);
    }
    if (id.length > limits.max_user_bytes) {
        return reject(
            clvd_status_wrong_type, clvd_field_event_id, Reason::too_long,
            source == nullptr ? -1 : source->slot, id.length);
    }
    event->event_id = keep(id);
    event->event_id_length = id.length;
    event->event_id_hash = hash(id);
    return true;
}

/// Product and category: the event's own, else those of the first item.
inline bool clvd_parser::resolve_product(clvd_event *event) {
    if (!hashed(clvd_field_product_id, &event->product_hash) ||
        !hashed(clvd_field_category, &event->category_hash)) {
        return false;
    }
    const ItemTotal *total = order_items();
    if (total == nullptr) return true;
    return item_hash(
               clvd_field_product_id, total->product_kind, total->product, total->product_slot,
               &event->product_hash) &&
           item_hash(
               clvd_field_category, total->category_kind, total->category, total->category_slot,
               &event->category_hash);
}

inline bool clvd_parser::item_hash(clvd_field field, Kind kind, clvd_text raw, int16_t slot, uint64_t *result) {
    if (*result != 0 || kind == Kind::absent) return true;
    clvd_text text;
    if (characters(kind, raw, &text)) {
        *result = hash(text);
        return true;
    }
    reject(clvd_status_wrong_type, field, Reason::not_text, slot);
    fault.kind = kind;
    fault.value = raw;
    return false;
}

inline void clvd_parser::resolve(const clvd_record *record, clvd_event *event) {
    if (rules.any && !apply_rules()) return blame_batch();
    Fault of_items = fault;  // a fault inside an item counts only after type, user and time
    fault.status = clvd_status_ok;
    bool ok = resolve_type(event) && (!rules.any || turn(event)) && resolve_alias(event) && resolve_user(event) &&
              joins(event) && resolve_time(record, event);
    if (ok && of_items.status != clvd_status_ok) {
        fault = of_items;
        ok = false;
    }
    if (ok) {
        ok = resolve_money(event) && resolve_event_id(record, event) && resolve_product(event) &&
             hashed_id(clvd_field_order_id, &event->order_hash) &&
             hashed_id(clvd_field_session_id, &event->session_hash);
    }
    if (orders.whole) event->flags |= clvd_flag_whole_order;
    bool is_purchase = event->type == clvd_type_purchase;
    if (orders.from_session && is_purchase && event->order_hash == 0) event->order_hash = event->session_hash;
    if (rules.any) blame_batch();
}
