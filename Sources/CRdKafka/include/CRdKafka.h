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

/// Receives one line of librdkafka's log. Any of its threads may call it.
typedef void (*clvd_log)(void *context, int level, const char *facility, const char *text);

/// What the callbacks of one client share. It is the opaque pointer of the client's configuration, so it must not move
/// and must outlive the client. Callbacks run inside polls of one thread, except `log`.
typedef struct clvd_client {
    clvd_log log;
    void *log_context;

    // Consumer: a rebalance that the application has not answered yet.
    rd_kafka_resp_err_t rebalance;                  ///< NO_ERROR: none; ASSIGN_PARTITIONS, REVOKE_PARTITIONS or another
    rd_kafka_topic_partition_list_t *partitions;    ///< of the rebalance

    // Producer: delivery reports.
    uint64_t delivered;
    uint64_t failed;
    rd_kafka_resp_err_t first_failure;
    char failed_topic[256];                         ///< of the first failure
    size_t failed_bytes;                            ///< key and value of the largest record that failed like it

    // The last error of the client as a whole (all brokers down, authentication …).
    rd_kafka_resp_err_t error;
    char error_text[256];
    uint64_t error_count;
} clvd_client;

/// Sets the callbacks of a consumer (`is_consumer`) or a producer in a configuration.
void clvd_client_install(clvd_client *client, rd_kafka_conf_t *conf, int is_consumer);

/// The input topics by name. The handle of a topic is cached when its first message arrives.
typedef struct clvd_topics {
    const char *const *names;
    const rd_kafka_topic_t **handles;
    int32_t count;
} clvd_topics;

/// Where the offsets of a partition do not follow one another.
typedef struct clvd_jump {
    int64_t expected;
    int64_t found;                    ///< below `expected`: a record came again
    int32_t topic;
    int32_t partition;
} clvd_jump;

/// What one poll brought.
typedef struct clvd_batch {
    clvd_record *records;             ///< room for `capacity`
    rd_kafka_message_t **messages;    ///< the same; owned until `clvd_batch_release`
    uint32_t capacity;
    uint32_t count;
    uint32_t ends;                    ///< partitions that were read to their end, in `end_partition`
    int32_t end_topic[256];
    int32_t end_partition[256];
    int64_t end_offset[256];          ///< offset of that end
    rd_kafka_resp_err_t error;        ///< of the consumer; polling stopped at it. Its reader clears it.
    int32_t error_topic;              ///< of the partition that the error is about; -1: of none
    int32_t error_partition;
    int64_t error_offset;
    char error_text[256];
    clvd_jump jump;                   ///< the largest one, and one backwards before all others. Its reader clears it.
    uint64_t jumps;                   ///< how many; cleared likewise
    uint64_t skipped;                 ///< offsets without a record; cleared likewise
} clvd_batch;

/// Time alignment: holds fetched messages of the assigned partitions and returns them in the order of their timestamps
/// over all partitions, not in the order in which they were fetched. It holds a few megabytes at most, which the client's
/// own limits do not count.
typedef struct clvd_alignment clvd_alignment;

/// - wait_ms: longest wait for the next message of a partition whose log has one; 0: messages are not put in order.
/// - holds: a message is held back for `wait_ms` after it has come, unless each partition has one here: what is about to
///   come of another partition may be earlier.
clvd_alignment *clvd_alignment_new(int wait_ms, int holds);
/// Adds an assigned partition that is read from an offset; `topic` is its index among the topics. Messages held for it
/// are discarded.
void clvd_alignment_add(clvd_alignment *alignment, int32_t topic, int32_t partition, int64_t offset);
/// Has a partition wait (`holds`) or go on, from an offset. Messages held for it are discarded, and while it waits what
/// comes of it. The others go on in the order of their timestamps, as if it were not assigned; when it goes on, its
/// messages are the earlier ones.
void clvd_alignment_hold(clvd_alignment *alignment, int32_t topic, int32_t partition, int64_t offset, int holds);
/// Removes a revoked partition and its messages.
void clvd_alignment_remove(clvd_alignment *alignment, int32_t topic, int32_t partition);
/// Removes all partitions.
void clvd_alignment_clear(clvd_alignment *alignment);
void clvd_alignment_free(clvd_alignment *alignment);

/// A partition that a batch has stopped because it cannot be read.
typedef struct clvd_stop {
    int32_t topic;
    int32_t partition;
    int64_t batch;                    ///< first offset of the batch
    int64_t next;                     ///< the first one that was not read: the batch's, or one inside it
    rd_kafka_resp_err_t error;
    char text[256];
} clvd_stop;

/// Tells a stop that was not told yet. Until it is ended, nothing that comes of its partition is taken.
/// - Returns: 0 when there is none.
int clvd_alignment_take_stop(clvd_alignment *alignment, clvd_stop *stop);
/// Ends a stop. The partition has to be read on where `next` was, or after `last`.
/// - last: last offset of the batch, if it is to be stepped over: one unreadable record with that offset takes its place;
///   -1: it is read again.
void clvd_alignment_end_stop(clvd_alignment *alignment, int32_t topic, int32_t partition, int64_t last);

/// Waits up to `timeout_ms` for a first message, then fills the batch with the messages available, up to its capacity or
/// a few megabytes. Stops at a rebalance or an error. The batch must have been released before.
void clvd_poll(
    rd_kafka_t *rk, clvd_client *client, clvd_topics *topics, clvd_alignment *alignment, int timeout_ms,
    clvd_batch *batch);
void clvd_batch_release(clvd_batch *batch);

/// A poll that hands nothing out and waits for nothing, so that the group does not take this member for stuck. A message
/// that comes waits in the alignment; a rebalance or an error is for the next poll to report. The records of the batch
/// stay as they are.
void clvd_keep_alive(rd_kafka_t *rk, clvd_topics *topics, clvd_alignment *alignment, clvd_batch *batch);

/// Stops fetching of a partition, or goes on.
rd_kafka_resp_err_t clvd_pause(rd_kafka_t *rk, const char *topic, int32_t partition, int pauses);
/// Has a partition be read on from an offset: of what was fetched before, nothing comes any more.
rd_kafka_resp_err_t clvd_seek(rd_kafka_t *rk, const char *topic, int32_t partition, int64_t offset, int timeout_ms);

/// Looks up a header of a record by its NUL-terminated name; of several, the last one counts. A `clvd_header_lookup`.
const uint8_t *clvd_find_header(const void *headers, const char *name, uint32_t *length);

/// The same, telling a header without a value from none.
/// - Returns: whether there is one; `value` is NULL when it has no value.
int clvd_find_header_or_null(const void *headers, const char *name, const uint8_t **value, uint32_t *length);

/// A record to produce. Key and value are not copied: they must stay valid until the record is delivered.
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

/// Produces one record with `count` headers, to a partition (or `RD_KAFKA_PARTITION_UA`) and with a timestamp (ms; 0: now).
/// Key and value are copied.
rd_kafka_resp_err_t clvd_produce_one(
    rd_kafka_t *rk, const clvd_outgoing *record, const clvd_header *headers, size_t count, int32_t partition,
    int64_t timestamp_ms);

/// What the headers of a record that is passed on say. Texts are copied; NULL: no such header.
typedef struct clvd_forwarded_headers {
    const char *origin;     ///< `clvd.origin`
    const char *passed_on;  ///< `clvd.from`
    const char *mark;       ///< name of a header whose value is 1
    const void *original_key;
    size_t original_key_length;
    int has_original_key;   ///< whether `clvd.key` says what the key was: `original_key`, or none at all (NULL)
} clvd_forwarded_headers;

/// Passes a record on with another key. The key is copied, the value is not: it must stay valid until the record is
/// delivered. The partition is chosen by the key.
/// - headers: those that it came with, or NULL; they are copied.
rd_kafka_resp_err_t clvd_produce_forwarded(
    rd_kafka_t *rk, const clvd_outgoing *record, int64_t timestamp_ms, const rd_kafka_headers_t *headers,
    const clvd_forwarded_headers *ours);

#ifdef __cplusplus
}
#endif
#endif
