// What Swift needs of librdkafka beyond its own header: a poll loop that fills `clvd_record`s, callbacks that only
// note what happened, and produce calls without variadic arguments.
#ifndef CLVD_RDKAFKA_H
#define CLVD_RDKAFKA_H

#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>
#include <stddef.h>
#include <stdint.h>

#include "CEvent.h"

#ifdef __cplusplus
extern "C" {
#endif

/// A line of librdkafka's log. May come from any of its threads.
typedef void (*clvd_log)(void *context, int level, const char *facility, const char *text);

/// What one client's callbacks share. Set as the opaque of its configuration, so it must not move and must outlive
/// the client. Callbacks run inside polls of one thread, except `log`.
typedef struct clvd_client {
    clvd_log log;
    void *log_context;

    // Consumer: a rebalance that waits for the application's answer.
    rd_kafka_resp_err_t rebalance;                  ///< NO_ERROR: none; ASSIGN_PARTITIONS, REVOKE_PARTITIONS or another
    rd_kafka_topic_partition_list_t *partitions;    ///< of the rebalance

    // Producer: delivery reports.
    uint64_t delivered;
    uint64_t failed;
    rd_kafka_resp_err_t first_failure;

    // The last error of the client as a whole (all brokers down, authentication …).
    rd_kafka_resp_err_t error;
    char error_text[256];
    uint64_t error_count;
} clvd_client;

/// Hooks the callbacks of a consumer (`is_consumer`) or a producer into a configuration.
void clvd_client_install(clvd_client *client, rd_kafka_conf_t *conf, int is_consumer);

/// The input topics by name; handles are cached as messages bring them.
typedef struct clvd_topics {
    const char *const *names;
    const rd_kafka_topic_t **handles;
    int32_t count;
} clvd_topics;

/// What one poll brought.
typedef struct clvd_batch {
    clvd_record *records;             ///< room for `capacity`
    rd_kafka_message_t **messages;    ///< the same; owned until `clvd_batch_release`
    uint32_t capacity;
    uint32_t count;
    uint32_t ends;                    ///< partitions that were read to their end, in `end_partition`
    int32_t end_topic[256];
    int32_t end_partition[256];
    int64_t end_offset[256];          ///< where that is
    rd_kafka_resp_err_t error;        ///< of the consumer; polling stopped at it
    char error_text[256];
} clvd_batch;

/// Messages of the partitions that are held, from when they are fetched until it is their turn: partitions that are
/// behind proceed side by side in the time of their records, not by whose fetch came first. As far as some megabytes
/// reach; what waits is out of reach for the client's own limits.
typedef struct clvd_backlog clvd_backlog;

/// - wait_ms: how long partitions that have messages wait for one that is behind and has none at hand; 0: records come
///   as they arrive.
clvd_backlog *clvd_backlog_new(int wait_ms);
/// A partition is assigned, to be read from an offset; `topic` is its index among the topics. What waited of it is gone.
void clvd_backlog_hold(clvd_backlog *backlog, int32_t topic, int32_t partition, int64_t offset);
/// A partition is given up.
void clvd_backlog_drop(clvd_backlog *backlog, int32_t topic, int32_t partition);
/// All are given up.
void clvd_backlog_clear(clvd_backlog *backlog);
void clvd_backlog_free(clvd_backlog *backlog);

/// Waits up to `timeout_ms` for a first message and takes what is there, up to the capacity or some megabytes. Stops at
/// a rebalance or an error. The batch must have been released before.
void clvd_poll(
    rd_kafka_t *rk, clvd_client *client, clvd_topics *topics, clvd_backlog *backlog, int timeout_ms, clvd_batch *batch);
void clvd_batch_release(clvd_batch *batch);

/// Looks up a header of a record by its NUL-terminated name; the last of that name counts. Fits
/// `clvd_header_lookup`.
const uint8_t *clvd_find_header(const void *headers, const char *name, uint32_t *length);

/// A record to produce. Key and value are not copied: they must stay until the record is delivered.
typedef struct clvd_outgoing {
    const void *key;
    const void *value;                ///< NULL: tombstone
    size_t key_length;
    size_t value_length;
    rd_kafka_topic_t *topic;
} clvd_outgoing;

/// Hands records to the producer, waiting while its queue is full. `scratch` has room for `count`.
rd_kafka_resp_err_t clvd_produce(
    rd_kafka_t *rk, const clvd_outgoing *records, size_t count, rd_kafka_message_t *scratch);

/// A header by name and text.
typedef struct clvd_header {
    const char *name;
    const char *text;
} clvd_header;

/// Produces one record with headers. Key and value are copied.
rd_kafka_resp_err_t clvd_produce_with_headers(
    rd_kafka_t *rk, const clvd_outgoing *record, const clvd_header *headers, size_t count);

/// Produces one record with a timestamp (ms) into a partition (or `RD_KAFKA_PARTITION_UA`). Key and value are copied.
rd_kafka_resp_err_t clvd_produce_at(
    rd_kafka_t *rk, const clvd_outgoing *record, int32_t partition, int64_t timestamp_ms);

#ifdef __cplusplus
}
#endif
#endif
