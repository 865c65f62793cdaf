// The fixed-size records that travel from the edge into the engine. Plain data, no ownership: the
// pointers stay valid until the batch they came in is released.
#ifndef CLVD_EVENT_H
#define CLVD_EVENT_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/// One record as the source delivered it (a Kafka message or a line of a file).
typedef struct clvd_record {
    const uint8_t *key;      ///< NULL when absent
    const uint8_t *value;    ///< NULL for a tombstone
    uint32_t key_length;
    uint32_t value_length;
    int64_t offset;
    int64_t timestamp_ms;    ///< the broker's or producer's record timestamp; -1 when unknown
    int32_t partition;
    int32_t topic;           ///< index into the configured list of input topics
    const void *headers;     ///< rd_kafka_headers_t*, or NULL
    uint32_t unreadable;     ///< how many offsets that cannot be read this stands for; `offset` is the last; 0: a record
} clvd_record;

/// What became of a record in the decoder. Everything from `clvd_status_first_rejection` on is a dead letter. Snapshots
/// count by code, and have room for 32.
typedef enum clvd_status {
    clvd_status_ok = 0,
    clvd_status_tombstone = 1,
    clvd_status_ignored_type = 2,
    clvd_status_filtered = 3,            ///< the mapping's filter leaves it out
    clvd_status_message = 4,             ///< no event: one partition tells another of ids; set where topics are read
    clvd_status_first_rejection = 14,
    clvd_status_too_many_events = 14,    ///< set by the engine: the customer has had its events of the day
    clvd_status_unreadable = 15,         ///< stands for a batch that cannot be read and is stepped over
    clvd_status_invalid_json = 16,
    clvd_status_invalid_utf8 = 17,
    clvd_status_missing_user = 18,
    clvd_status_invalid_user = 19,       ///< empty, too long, or NUL inside
    clvd_status_missing_time = 20,
    clvd_status_invalid_time = 21,       ///< not parsable in the configured unit
    clvd_status_time_out_of_range = 22,  ///< outside the configured years
    clvd_status_future_time = 23,        ///< later than the record's own timestamp plus the allowed skew
    clvd_status_wrong_type = 24,         ///< a mapped field has the wrong JSON type
    clvd_status_missing_type = 25,
    clvd_status_negative_amount = 26,
    clvd_status_absurd_amount = 27,      ///< not finite or above the configured limit
    clvd_status_unknown_currency = 28,
    clvd_status_too_large = 29,          ///< record longer than the configured limit
    clvd_status_too_late = 30,           ///< set by the engine, never by the decoder
    clvd_status_skipped = 31             ///< set by the list of records that an operator wants to be stepped over
} clvd_status;

/// The event types the engine knows, in the order of their codes. Mappings translate a source's names into these.
/// Codes are kept in snapshots: a new type goes to the end.
#define CLVD_EVENT_TYPES(TYPE) \
    TYPE(other)                \
    TYPE(page_view)            \
    TYPE(search)               \
    TYPE(view)                 \
    TYPE(click)                \
    TYPE(wishlist)             \
    TYPE(add_to_cart)          \
    TYPE(remove_from_cart)     \
    TYPE(checkout)             \
    TYPE(purchase)             \
    TYPE(refund)               \
    TYPE(session)              \
    TYPE(message) /* a mail or push that was opened or clicked */ \
    TYPE(return)               \
    TYPE(user_deleted)         \
    TYPE(identify) /* says that two ids are of one customer: one of a guest and the customer's */ \
    TYPE(alias)    /* the same of any two ids, by order of the sender */

#define CLVD_EVENT_TYPE_CODE(name) clvd_type_##name,
typedef enum clvd_event_type {
    CLVD_EVENT_TYPES(CLVD_EVENT_TYPE_CODE)
    clvd_type_named,      ///< number of the types above
    clvd_type_count = 64  ///< codes are below this
} clvd_event_type;
#undef CLVD_EVENT_TYPE_CODE

/// What is to be known of the money of an event, a bit each.
typedef enum clvd_event_flag {
    clvd_flag_whole_order = 1,  ///< the record is all of its order: a later one of the same order takes its place
    clvd_flag_no_money = 2,     ///< a purchase, refund or return that names no amount, no price and no priced items
    clvd_flag_passed_on = 4     ///< passed on by another partition: whose it is stands in `alias`
} clvd_event_flag;

/// A decoded record. `status` says which of the other fields mean anything.
typedef struct clvd_event {
    int64_t offset;
    int32_t partition;
    int32_t topic;
    int64_t time_ms;                ///< event time, UTC epoch milliseconds
    int64_t ahead_ms;               ///< how much later that is than the record's own timestamp, up to a day, beyond
                                    ///< which that is no clock; 0: not later
    const uint8_t *user;            ///< UTF-8, not NUL-terminated
    const uint8_t *event_id;        ///< UTF-8; NULL when absent
    uint32_t user_length;
    uint32_t event_id_length;
    uint64_t event_id_hash;         ///< 0 when absent
    uint64_t order_hash;            ///< 0 when absent; of the session where orders are told by sessions
    uint64_t session_hash;          ///< 0 when absent
    uint64_t category_hash;         ///< 0 when absent
    uint64_t product_hash;          ///< 0 when absent
    double amount;                  ///< money in the configured currency; 0 when absent
    double price;                   ///< unit price in the configured currency; 0 when absent
    double quantity;                ///< 0 when absent
    uint8_t type;                   ///< clvd_event_type
    uint8_t status;                 ///< clvd_status
    uint8_t rejected_field;         ///< clvd_field that a rejection is about; 0: the record as a whole
    uint8_t flags;                  ///< clvd_event_flag
    uint32_t record;                ///< index of the source record in its batch
    const uint8_t *alias;           ///< UTF-8; another id of the customer, to be joined to `user`; NULL: none
    uint32_t alias_length;
    uint8_t hops;                   ///< how often the event was passed on
} clvd_event;

#ifdef __cplusplus
}
#endif
#endif
