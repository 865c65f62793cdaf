// Turns JSON, Avro and Protobuf records and CSV rows into `clvd_event`s by a compiled mapping.
//
// A parser is built once with the setters below and then decodes batches. It belongs to one thread at a time.
// Nothing here throws or aborts: setters return false when they refuse, records always get a status.
#ifndef CLVD_EVENT_PARSER_H
#define CLVD_EVENT_PARSER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "CEvent.h"

#ifdef __cplusplus
extern "C" {
#endif

/// The fields of an event that a mapping fills. `clvd_event.rejected_field` holds the one a rejection is about.
typedef enum clvd_field {
    clvd_field_none = 0,  ///< the record as a whole
    clvd_field_event_id = 1,
    clvd_field_event_time = 2,
    clvd_field_user_id = 3,
    clvd_field_event_type = 4,
    clvd_field_product_id = 5,
    clvd_field_category = 6,
    clvd_field_price = 7,
    clvd_field_quantity = 8,
    clvd_field_amount = 9,
    clvd_field_currency = 10,
    clvd_field_order_id = 11,
    clvd_field_session_id = 12,
    clvd_field_anonymous_id = 13,  ///< an id of the same customer before it was known
    clvd_field_previous_id = 14,   ///< the other id of an event of type `alias`
    clvd_field_count = 15
} clvd_field;

/// How a source of `event_time` is written. Epochs are numbers or numeric strings.
typedef enum clvd_time_unit {
    clvd_time_iso8601 = 0,      ///< `2024-02-29T12:00:00.5+01:00`, `2024-02-29 12:00:00 UTC`; the zone is required
    clvd_time_iso8601_utc = 1,  ///< the same; UTC when no zone is given, and a date alone is its midnight
    clvd_time_seconds = 2,
    clvd_time_milliseconds = 3,
    clvd_time_microseconds = 4
} clvd_time_unit;

/// What happens to an event type that is not in the table of types.
typedef enum clvd_unknown_type {
    clvd_unknown_type_other = 0,   ///< becomes `clvd_type_other`
    clvd_unknown_type_ignore = 1,  ///< `clvd_status_ignored_type`
    clvd_unknown_type_reject = 2   ///< `clvd_status_missing_type`
} clvd_unknown_type;

/// In a table of types: the source's events of this name are ignored.
#define CLVD_TYPE_IGNORED 255
/// For `clvd_parser_set_types`: no default type, an event without a type is rejected.
#define CLVD_TYPE_REQUIRED 254

/// What a record may hold.
typedef struct clvd_limits {
    uint32_t max_record_bytes;      ///< at most 1 GiB
    uint32_t max_user_bytes;        ///< at most 4,096; also the limit of an event id
    double max_amount;              ///< largest amount and price, in the base currency
    double max_quantity;
    int64_t min_time_ms;            ///< first accepted event time, at least 1,000: state has seconds, 0 is never
    int64_t end_time_ms;            ///< first event time no longer accepted, at most 2^32 seconds
    int64_t max_future_skew_ms;     ///< against the record's own timestamp; negative: not checked
} clvd_limits;

/// Looks a header up by its NUL-terminated name: its bytes and length, or NULL when the record has none.
typedef const uint8_t *(*clvd_header_lookup)(const void *headers, const char *name, uint32_t *length);

/// A piece of text inside a buffer of the caller; `data` is NULL when absent.
typedef struct clvd_text {
    const uint8_t *data;
    uint32_t length;
} clvd_text;

typedef struct clvd_parser clvd_parser;

/// An empty mapping with generous limits, or NULL without memory.
clvd_parser *clvd_parser_create(void);
void clvd_parser_destroy(clvd_parser *parser);

/// Adds a place where `field` may be found; places are tried in the order they were added, JSON null and the empty
/// string count as absent. `pointer` is an RFC 6901 JSON pointer, to which one form of token is added:
/// `[name=value]` enters the first objects of an array whose string member `name` equals `value`
/// (`/event_params/[key=ga_session_id]/value/int_value`). `unit` matters for `clvd_field_event_time` only.
/// False: malformed pointer, too many places, or one place inside another.
bool clvd_parser_add_source(clvd_parser *parser, clvd_field field, const char *pointer, clvd_time_unit unit);

/// How the value at a place is written, where that is not how clvd reads it.
typedef struct clvd_rule {
    const char *constant;   ///< what stands for anything that is there (but `false`), or NULL
    double divisor;         ///< of a number; 1 for none
    bool decimal_comma;     ///< a number in text has a decimal comma: `1.234,56`
    bool whole;             ///< an id with nothing but zeros after a point is the integer: `17850.0`
} clvd_rule;
/// `clvd_parser_add_source` for a place with a rule. False also for a divisor that is not positive.
bool clvd_parser_add_ruled_source(
    clvd_parser *parser, clvd_field field, const char *pointer, clvd_time_unit unit, const clvd_rule *rule);
bool clvd_parser_add_ruled_item_source(
    clvd_parser *parser, clvd_field field, const char *pointer, const clvd_rule *rule);
/// What `field` is where none of its places holds anything. After its last place.
bool clvd_parser_add_default(clvd_parser *parser, clvd_field field, const char *text);
/// A zero at a place of `field` does not count when a later place has something else. Its places have rules.
bool clvd_parser_set_nonzero(clvd_parser *parser, clvd_field field);
/// A purchase with a negative amount or quantity is a refund. The places of both have rules.
void clvd_parser_set_negative_refunds(clvd_parser *parser);

/// Begins a condition: records whose value at `pointer` is none of the values that `clvd_parser_add_condition_value`
/// adds (NULL: nothing there, or JSON null) are `clvd_status_filtered`; with `negated`, those whose value is one of
/// them. After all other places.
bool clvd_parser_add_condition(clvd_parser *parser, const char *pointer, bool negated);
bool clvd_parser_add_condition_value(clvd_parser *parser, const char *text);

/// A record that is no event and has an array at `pointer` is rejected as a batch. After all other places.
bool clvd_parser_add_batch(clvd_parser *parser, const char *pointer);

/// Adds a word that counts as no id, whatever its case ("undefined"), in `user_id`, `event_id`, `order_id` and
/// `session_id`. With the first one, so do ids of nothing but spaces. 1 to 63 bytes.
bool clvd_parser_add_placeholder(clvd_parser *parser, const char *word);
/// Every event with an `anonymous_id` says that it is the customer's; else only those of type `identify` do.
void clvd_parser_set_joins_always(clvd_parser *parser);
/// Records without a user are `clvd_status_filtered`, not rejected.
void clvd_parser_set_guests_ignored(clvd_parser *parser);

/// Adds a header that stands in for `event_id` or `event_time` (ISO 8601) when the body has none.
bool clvd_parser_add_header(clvd_parser *parser, clvd_field field, const char *name);
void clvd_parser_set_header_lookup(clvd_parser *parser, clvd_header_lookup lookup);

/// Adds a place where the array of an order's items may be found; the first that holds items counts.
bool clvd_parser_add_items(clvd_parser *parser, const char *pointer);
/// Adds a place inside an item for `product_id`, `category`, `price` or `quantity`. Before the first
/// `clvd_parser_add_items`.
bool clvd_parser_add_item_source(clvd_parser *parser, clvd_field field, const char *pointer);

/// Records in which the array at `pointer` holds more than one element are rejected (`clvd_status_wrong_type`):
/// a record is one event, and the rest would be lost silently.
bool clvd_parser_add_single(clvd_parser *parser, const char *pointer);

/// Adds a source's name of an event type. `type` is a `clvd_event_type` or `CLVD_TYPE_IGNORED`.
bool clvd_parser_add_type(clvd_parser *parser, const char *name, uint8_t type);
/// `default_type` is used when an event has no type, or `CLVD_TYPE_REQUIRED`.
void clvd_parser_set_types(clvd_parser *parser, clvd_unknown_type unknown, uint8_t default_type);

/// Whether names of types are compared without case, spaces, underscores and hyphens (`order_completed` is
/// `Order Completed`). Before the first `clvd_parser_add_type`.
void clvd_parser_set_loose_names(clvd_parser *parser, bool loose);

/// Counts, from now on, the names of event types that are not in the table: of at most `most` names one by one.
void clvd_parser_count_unknown_types(clvd_parser *parser, uint32_t most);
/// The `index`-th of these names (its first 128 bytes) and how many records have brought it; false beyond the last.
bool clvd_parser_unknown_type(const clvd_parser *parser, uint32_t index, clvd_text *name, uint64_t *count);
/// Records with further names.
uint64_t clvd_parser_further_unknown_types(const clvd_parser *parser);

/// The same for the currencies of events with money: those that they name, or that are assumed.
void clvd_parser_count_currencies(clvd_parser *parser, uint32_t most);
bool clvd_parser_currency(const clvd_parser *parser, uint32_t index, clvd_text *code, uint64_t *count);
/// Stops and resumes the counting of names and currencies: a record that is decoded once more is no further record.
void clvd_parser_pause_tallies(clvd_parser *parser, bool paused);

/// Whether numeric fields may be written as strings (`"19.90"`), as some sources do.
void clvd_parser_set_numeric_strings(clvd_parser *parser, bool accepted);

/// What the records of orders are.
typedef struct clvd_order_rules {
    bool whole;              ///< a record is a whole order, not a line of one
    bool from_session;       ///< purchases without an order id belong to the order of their session
    bool refund_from_items;  ///< a refund that names priced items gives back those, and at most its amount
} clvd_order_rules;
void clvd_parser_set_orders(clvd_parser *parser, clvd_order_rules rules);
bool clvd_parser_set_limits(clvd_parser *parser, const clvd_limits *limits);
/// Currency of all results; `assumed` is taken when an event names none. Three letters each.
bool clvd_parser_set_currency(clvd_parser *parser, const char *base, const char *assumed);
/// One unit of `currency` is worth `rate` units of the base currency.
bool clvd_parser_add_rate(clvd_parser *parser, const char *currency, double rate);

/// A record with this header is no event: `wrong_type: events.csv, row 7: …` names the status and the reason. `clvd replay`
/// gives it to rows of a file that it cannot write as an event. For encodings of documents.
#define CLVD_REFUSAL_HEADER "clvd.refused"

/// Decodes `count` records into `events` (same indices). Strings of the events point into the records, their headers
/// or the parser's arena, and stay valid until the next call with this parser.
/// Returns how many events have `clvd_status_ok`.
uint32_t clvd_parser_decode(clvd_parser *parser, const clvd_record *records, uint32_t count, clvd_event *events);

/// Decodes one row of columns. `slots` has `clvd_parser_slot_count` entries, each at the index
/// `clvd_parser_find_slot` gives for the pointer it stands for; every value is untyped text and the empty one is absent.
/// `record` gives offset, partition, headers, and in `value` the bytes of the whole row (for size and UTF-8), or NULL
/// for a tombstone. Strings point to the text of the slots. `event->record` is left to the caller.
clvd_status clvd_parser_decode_row(
    clvd_parser *parser, const clvd_text *slots, const clvd_record *record, clvd_event *event);
uint32_t clvd_parser_slot_count(const clvd_parser *parser);
/// -1 when no source has this pointer.
int32_t clvd_parser_find_slot(const clvd_parser *parser, const char *pointer);

/// Writes a sentence that says why `event` was rejected (UTF-8, no NUL, truncated to `capacity`) and returns its length.
/// The record is decoded once more for it.
uint32_t clvd_parser_explain(
    clvd_parser *parser, const clvd_record *record, const clvd_event *event, char *text, uint32_t capacity);
/// The same for a row.
uint32_t clvd_parser_explain_row(
    clvd_parser *parser, const clvd_text *slots, const clvd_record *record, const clvd_event *event, char *text,
    uint32_t capacity);

// MARK: Schemas

/// An encoding whose records need the schema that they were written with.
typedef enum clvd_encoding {
    clvd_encoding_avro = 0,
    clvd_encoding_protobuf = 1
} clvd_encoding;

/// The schemas that records were written with, each compiled for one mapping.
typedef struct clvd_schemas clvd_schemas;

typedef struct clvd_schema_options {
    clvd_encoding encoding;
    bool framed;                 ///< records begin with a schema registry's frame, which names their schema
    bool single;                 ///< all have the schema that is added as 0, whatever their frames say
    const char *message;         ///< Protobuf: full name of the message that all records are, or NULL: frames say it
    const char *import_folder;   ///< Protobuf: where imported files are that no part has, or NULL
} clvd_schema_options;

/// A schema, or one that it refers to. Protobuf: `name` is that by which it is imported, or of its file; it may be empty.
typedef struct clvd_schema_part {
    clvd_text name;
    clvd_text text;
} clvd_schema_part;

/// `parser` has its whole mapping, and lives longer. NULL without memory.
clvd_schemas *clvd_schemas_create(const clvd_parser *parser, const clvd_schema_options *options);
void clvd_schemas_destroy(clvd_schemas *schemas);
/// Makes the last of `parts` known as schema `id`; those before it declare what it refers to. False: it is not usable,
/// with the reason in `error` (a sentence, NUL-terminated).
bool clvd_schemas_add(
    clvd_schemas *schemas, uint32_t id, const clvd_schema_part *parts, uint32_t count, char *error,
    size_t error_capacity);
/// Records with this schema are rejected (`clvd_status_wrong_type`), for this reason.
bool clvd_schemas_refuse(clvd_schemas *schemas, uint32_t id, const char *reason);
/// Whether a schema was added or refused.
bool clvd_schemas_knows(const clvd_schemas *schemas, uint32_t id);
/// Whether a record has a schema that is not known (neither added nor refused), and which. `index` is where to begin, and
/// becomes that of the record.
bool clvd_schemas_unknown(
    const clvd_schemas *schemas, const clvd_record *records, uint32_t count, uint32_t *index, uint32_t *id);

/// As `clvd_parser_decode`. A record that is not valid in its encoding is rejected as `clvd_status_wrong_type`, and so is
/// one of an unknown schema. Bytes beyond a record are never read.
uint32_t clvd_schemas_decode(
    clvd_parser *parser, clvd_schemas *schemas, const clvd_record *records, uint32_t count, clvd_event *events);
/// As `clvd_parser_explain`.
uint32_t clvd_schemas_explain(
    clvd_parser *parser, clvd_schemas *schemas, const clvd_record *record, const clvd_event *event, char *text,
    uint32_t capacity);

/// Name of a status as it stands in dead letters and metrics (`invalid_json`), static.
const char *clvd_status_name(uint8_t status);
/// Name of a field as formats write it (`event_time`), static.
const char *clvd_field_name(uint8_t field);
/// Name of an engine event type (`add_to_cart`), static.
const char *clvd_event_type_name(uint8_t type);

/// The hash of all `_hash` fields: XXH3-64 with a fixed seed, and never 0.
uint64_t clvd_hash(const uint8_t *data, size_t length);

/// Parses an ISO 8601 time. True when `text` is one and, where `zone_required`, names its zone.
bool clvd_parse_time(const uint8_t *text, size_t length, bool zone_required, int64_t *time_ms);
/// Parses a number by the grammar of JSON; beyond the range of double it is infinite. Without `strict`, the forms that
/// columns may have are taken as well (`+1`, `.5`, `007`). False: not a number.
bool clvd_parse_number(const uint8_t *text, size_t length, bool strict, double *value);
/// Writes the shortest text that reads back as `value` (finite), a JSON number. At most 32 bytes; returns the length.
uint32_t clvd_write_number(double value, char *text);

// MARK: Files

/// Reads a plain or gzip file as a stream of bytes. gzip is recognised by its first bytes; members that follow one
/// another are joined.
typedef struct clvd_file clvd_file;

/// NULL on failure, with the reason in `error` (a sentence, NUL-terminated).
clvd_file *clvd_file_open(const char *path, char *error, size_t error_capacity);
/// Up to `capacity` bytes; 0 at the end; -1 on failure, with the reason from `clvd_file_error`.
int64_t clvd_file_read(clvd_file *file, uint8_t *buffer, size_t capacity);
const char *clvd_file_error(const clvd_file *file);
/// Bytes of the file itself (compressed, if it is) read so far, and in all (-1 when not a regular file).
int64_t clvd_file_position(const clvd_file *file);
int64_t clvd_file_size(const clvd_file *file);
void clvd_file_close(clvd_file *file);

/// Writes a plain or gzip file. NULL on failure, with errno.
typedef struct clvd_output clvd_output;
clvd_output *clvd_output_open(const char *path, bool compressed);
/// False on failure, with errno.
bool clvd_output_write(clvd_output *output, const uint8_t *bytes, size_t count);
/// Writes what is still buffered and frees the output. False on failure, with errno: the file is incomplete.
bool clvd_output_close(clvd_output *output);

#ifdef __cplusplus
}
#endif
#endif
