#include "include/CRdKafka.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

/// Bytes of messages that are kept back to be put in order, or little more.
static const size_t most_waiting = 32 << 20;
/// What librdkafka keeps of a message beside its bytes, about.
static const size_t overhead = 256;
/// Enough for a full batch of usual records; few of the largest ones.
static const size_t most_bytes = 16 << 20;

typedef struct waiting {
    rd_kafka_message_t *message;    ///< a record or the word that the log ends here
    int64_t time;                   ///< of the record, ms; -1: none; the end of a log is said at once
} waiting;

/// Messages of a partition, in the order of its log: a ring.
typedef struct queue {
    int32_t topic;
    int32_t partition;
    int64_t next;                   ///< offset after the newest that was fetched
    int64_t missing_since;          ///< ms, since when others wait for it to have some; 0: they do not
    waiting *items;
    size_t first;
    size_t count;
    size_t capacity;                ///< 0 or a power of two
} queue;

struct clvd_backlog {
    int wait_ms;
    queue *queues;
    size_t count;
    size_t latest;                  ///< queue of the latest message, as they come in runs
    size_t *heap;                   ///< those that have messages, the one with the earliest at the top
    size_t heap_count;
    size_t records;
    size_t bytes;
};

clvd_backlog *clvd_backlog_new(int wait_ms) {
    clvd_backlog *backlog = calloc(1, sizeof *backlog);
    backlog->wait_ms = wait_ms;
    return backlog;
}

static size_t size_of(const rd_kafka_message_t *m) { return m->err ? 0 : m->len + m->key_len + overhead; }

static int64_t now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

// MARK: Heap

static waiting *head(const queue *q) { return &q->items[q->first & (q->capacity - 1)]; }

static int precedes(const clvd_backlog *b, size_t x, size_t y) {
    int64_t s = head(&b->queues[x])->time, t = head(&b->queues[y])->time;
    return s != t ? s < t : x < y;
}

static void sink(clvd_backlog *b, size_t i) {
    for (size_t child; (child = 2 * i + 1) < b->heap_count; i = child) {
        if (child + 1 < b->heap_count && precedes(b, b->heap[child + 1], b->heap[child])) child++;
        if (!precedes(b, b->heap[child], b->heap[i])) return;
        size_t other = b->heap[i];
        b->heap[i] = b->heap[child];
        b->heap[child] = other;
    }
}

static void rise(clvd_backlog *b, size_t i) {
    for (; i && precedes(b, b->heap[i], b->heap[(i - 1) / 2]); i = (i - 1) / 2) {
        size_t other = b->heap[i];
        b->heap[i] = b->heap[(i - 1) / 2];
        b->heap[(i - 1) / 2] = other;
    }
}

/// After partitions came or went.
static void rebuild(clvd_backlog *b) {
    b->latest = 0;
    b->heap_count = 0;
    for (size_t i = 0; i < b->count; i++)
        if (b->queues[i].count) {
            b->heap[b->heap_count] = i;
            rise(b, b->heap_count++);
        }
}

// MARK: Partitions

static queue *find(clvd_backlog *b, int32_t topic, int32_t partition) {
    for (size_t n = 0; n < b->count; n++) {
        size_t i = b->latest + n < b->count ? b->latest + n : b->latest + n - b->count;
        if (b->queues[i].partition != partition || b->queues[i].topic != topic) continue;
        b->latest = i;
        return &b->queues[i];
    }
    return NULL;
}

static void empty(clvd_backlog *b, queue *q) {
    for (; q->count; q->count--, q->first++) {
        rd_kafka_message_t *m = head(q)->message;
        b->bytes -= size_of(m);
        b->records -= !m->err;
        rd_kafka_message_destroy(m);
    }
}

void clvd_backlog_drop(clvd_backlog *b, int32_t topic, int32_t partition) {
    queue *q = find(b, topic, partition);
    if (!q) return;
    empty(b, q);
    free(q->items);
    *q = b->queues[--b->count];
    rebuild(b);
}

void clvd_backlog_hold(clvd_backlog *b, int32_t topic, int32_t partition, int64_t offset) {
    clvd_backlog_drop(b, topic, partition);
    b->queues = realloc(b->queues, (b->count + 1) * sizeof *b->queues);
    b->heap = realloc(b->heap, (b->count + 1) * sizeof *b->heap);
    b->queues[b->count++] = (queue){.topic = topic, .partition = partition, .next = offset};
}

void clvd_backlog_clear(clvd_backlog *b) {
    for (size_t i = 0; i < b->count; i++) {
        empty(b, &b->queues[i]);
        free(b->queues[i].items);
    }
    b->count = 0;
    rebuild(b);
}

void clvd_backlog_free(clvd_backlog *b) {
    clvd_backlog_clear(b);
    free(b->queues);
    free(b->heap);
    free(b);
}

// MARK: In

static void push(clvd_backlog *b, queue *q, rd_kafka_message_t *m) {
    if (q->count == q->capacity) {
        size_t capacity = q->capacity ? 2 * q->capacity : 64;
        waiting *items = malloc(capacity * sizeof *items);
        for (size_t i = 0; i < q->count; i++) items[i] = q->items[(q->first + i) & (q->capacity - 1)];
        free(q->items);
        q->items = items;
        q->first = 0;
        q->capacity = capacity;
    }
    int64_t time = INT64_MIN;
    if (!m->err) {
        rd_kafka_timestamp_type_t type;
        time = rd_kafka_message_timestamp(m, &type);
        if (type == RD_KAFKA_TIMESTAMP_NOT_AVAILABLE) time = -1;
    }
    q->items[(q->first + q->count) & (q->capacity - 1)] = (waiting){.message = m, .time = time};
    q->next = m->offset + !m->err;
    q->missing_since = 0;
    b->bytes += size_of(m);
    b->records += !m->err;
    if (q->count++) return;
    b->heap[b->heap_count] = (size_t)(q - b->queues);
    rise(b, b->heap_count++);
}

/// Index of a message's topic among the subscribed ones, -1 for none of them.
static int32_t topic_index(clvd_topics *topics, const rd_kafka_topic_t *handle) {
    for (int32_t i = 0; i < topics->count; i++)
        if (topics->handles[i] == handle) return i;
    const char *name = rd_kafka_topic_name(handle);
    for (int32_t i = 0; i < topics->count; i++)
        if (strcmp(topics->names[i], name) == 0) {
            topics->handles[i] = handle;
            return i;
        }
    return -1;
}

/// Whether partitions are kept in step.
static int aligns(const clvd_backlog *b) { return b->wait_ms > 0 && b->count > 1; }

/// Takes what is there, as far as there is room.
static void fetch(
    rd_kafka_t *rk, clvd_client *client, clvd_topics *topics, clvd_backlog *b, int timeout_ms, clvd_batch *batch) {
    while (!client->rebalance
           && (aligns(b) ? b->bytes < most_waiting : b->records < batch->capacity && b->bytes < most_bytes)) {
        // Not a batch call: those lose records across rebalances in librdkafka 2.0.2.
        rd_kafka_message_t *m = rd_kafka_consumer_poll(rk, timeout_ms);
        if (!m) return;
        timeout_ms = 0;
        if (!m->err || m->err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
            queue *q = find(b, topic_index(topics, m->rkt), m->partition);
            if (q) push(b, q, m);
            else rd_kafka_message_destroy(m);    // of one that was given up: the next one reads it
            continue;
        }
        batch->error = m->err;
        strncpy(batch->error_text, rd_kafka_message_errstr(m), sizeof batch->error_text - 1);
        batch->error_text[sizeof batch->error_text - 1] = 0;
        rd_kafka_message_destroy(m);
        return;
    }
}

// MARK: Out

static void fill(clvd_record *r, rd_kafka_message_t *m, int32_t topic, int64_t time) {
    rd_kafka_headers_t *headers = NULL;
    r->key = m->key;
    r->value = m->payload;
    r->key_length = (uint32_t)m->key_len;
    r->value_length = (uint32_t)m->len;
    r->offset = m->offset;
    r->timestamp_ms = time;
    r->partition = m->partition;
    r->topic = topic;
    r->headers = rd_kafka_message_headers(m, &headers) ? NULL : headers;
}

/// Whether the log has records of a partition that have not come yet, and they are worth waiting for.
static int is_missing(rd_kafka_t *rk, const clvd_topics *topics, const clvd_backlog *b, queue *q, int64_t now) {
    if (q->count) return 0;
    int64_t low, high = -1;
    rd_kafka_get_watermark_offsets(rk, topics->names[q->topic], q->partition, &low, &high);
    if (high >= 0 && high <= q->next) return 0;
    if (!q->missing_since) q->missing_since = now;
    return now - q->missing_since < b->wait_ms;
}

/// Hands out the earliest, until it is a partition's turn that is behind and has nothing at hand.
static void hand_out(rd_kafka_t *rk, const clvd_topics *topics, clvd_backlog *b, clvd_batch *batch) {
    // What makes one batch needs no order.
    int waits = aligns(b) && b->records > batch->capacity && b->bytes < most_waiting;
    int64_t now = waits ? now_ms() : 0;
    for (size_t i = 0; waits && i < b->count; i++)
        if (is_missing(rk, topics, b, &b->queues[i], now)) return;
    size_t bytes = 0;
    while (b->heap_count && batch->count < batch->capacity && bytes < most_bytes && batch->ends < 256) {
        queue *q = &b->queues[b->heap[0]];
        waiting next = *head(q);
        rd_kafka_message_t *m = next.message;
        size_t size = size_of(m);
        q->first++;
        if (!--q->count) b->heap[0] = b->heap[--b->heap_count];
        sink(b, 0);
        b->bytes -= size;
        bytes += size;
        if (m->err) {
            batch->end_topic[batch->ends] = q->topic;
            batch->end_offset[batch->ends] = m->offset;
            batch->end_partition[batch->ends++] = m->partition;
            rd_kafka_message_destroy(m);
        } else {
            b->records--;
            fill(&batch->records[batch->count], m, q->topic, next.time);
            batch->messages[batch->count++] = m;
        }
        if (waits && is_missing(rk, topics, b, q, now)) return;
    }
}

void clvd_poll(
    rd_kafka_t *rk, clvd_client *client, clvd_topics *topics, clvd_backlog *backlog, int timeout_ms, clvd_batch *batch) {
    batch->count = 0;
    batch->ends = 0;
    batch->error = RD_KAFKA_RESP_ERR_NO_ERROR;
    fetch(rk, client, topics, backlog, backlog->heap_count ? 0 : timeout_ms, batch);
    hand_out(rk, topics, backlog, batch);
    if (batch->count || batch->ends || batch->error || client->rebalance || !backlog->heap_count) return;
    fetch(rk, client, topics, backlog, timeout_ms < backlog->wait_ms ? timeout_ms : backlog->wait_ms, batch);
    hand_out(rk, topics, backlog, batch);
}

void clvd_batch_release(clvd_batch *batch) {
    for (uint32_t i = 0; i < batch->count; i++) rd_kafka_message_destroy(batch->messages[i]);
    batch->count = 0;
}
