#include "include/CRdKafka.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

/// Limit of the bytes of held messages; the last message may exceed it.
static const size_t most_waiting = 32 << 20;
/// Bytes that librdkafka needs for a message, without key and value; an estimate.
static const size_t overhead = 256;
/// Records that are older by the wall clock are of a stretch that is being caught up with, ms.
static const int64_t latest_age = 60 * 1000;
/// Limit of the bytes of one batch: enough for a full batch of ordinary records, and for a few of the largest ones.
static const size_t most_bytes = 16 << 20;

typedef struct waiting {
    rd_kafka_message_t *message;    ///< a record, what stands for an unreadable batch, or the event that the log ends here
    int64_t time;                   ///< of the record, ms; what is none is handed out at once
    int64_t since;                  ///< when it came, ms; 0 where messages are not held back
} waiting;

/// Messages of a partition, in the order of its log: a ring.
typedef struct queue {
    int32_t topic;
    int32_t partition;
    int64_t next;                   ///< offset after the newest that was fetched
    int64_t missing_since;          ///< ms, since when other partitions wait for its messages; 0: none waits
    int seen;                       ///< whether any message has come since it was added
    rd_kafka_message_t *stop;       ///< the error that a batch cannot be read; nothing after it is taken
    int is_stop_told;
    int is_held;                    ///< it waits: nothing of it is taken, and nobody waits for it
    waiting *items;
    size_t first;
    size_t count;
    size_t capacity;                ///< 0 or a power of two
} queue;

struct clvd_alignment {
    int wait_ms;
    int holds;
    queue *queues;
    size_t count;
    size_t latest;                  ///< queue of the latest message: messages arrive in runs of one partition
    size_t *heap;                   ///< queues with messages; the one with the earliest message at the top
    size_t heap_count;
    size_t records;
    size_t bytes;
    size_t held;                    ///< partitions that wait
    int has_stop;                   ///< a partition has a stop that was not told
};

clvd_alignment *clvd_alignment_new(int wait_ms, int holds) {
    clvd_alignment *alignment = calloc(1, sizeof *alignment);
    alignment->wait_ms = wait_ms;
    alignment->holds = holds && wait_ms > 0;
    return alignment;
}

static size_t size_of(const rd_kafka_message_t *m) { return m->err ? 0 : m->len + m->key_len + overhead; }

/// Whether it is the event that the log ends here.
static int is_end(const rd_kafka_message_t *m) { return m->err == RD_KAFKA_RESP_ERR__PARTITION_EOF; }

static int64_t now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

// MARK: Heap

static waiting *head(const queue *q) { return &q->items[q->first & (q->capacity - 1)]; }

/// Among equal times, the lower topic and then the lower partition come first, whatever the order of assignment.
static int precedes(const clvd_alignment *a, size_t x, size_t y) {
    const queue *p = &a->queues[x], *q = &a->queues[y];
    int64_t s = head(p)->time, t = head(q)->time;
    if (s != t) return s < t;
    return p->topic != q->topic ? p->topic < q->topic : p->partition < q->partition;
}

static void sink(clvd_alignment *a, size_t i) {
    for (size_t child; (child = 2 * i + 1) < a->heap_count; i = child) {
        if (child + 1 < a->heap_count && precedes(a, a->heap[child + 1], a->heap[child])) child++;
        if (!precedes(a, a->heap[child], a->heap[i])) return;
        size_t other = a->heap[i];
        a->heap[i] = a->heap[child];
        a->heap[child] = other;
    }
}

static void rise(clvd_alignment *a, size_t i) {
    for (; i && precedes(a, a->heap[i], a->heap[(i - 1) / 2]); i = (i - 1) / 2) {
        size_t other = a->heap[i];
        a->heap[i] = a->heap[(i - 1) / 2];
        a->heap[(i - 1) / 2] = other;
    }
}

/// Rebuilds the heap after partitions were added or removed.
static void rebuild(clvd_alignment *a) {
    a->latest = 0;
    a->heap_count = 0;
    for (size_t i = 0; i < a->count; i++)
        if (a->queues[i].count) {
            a->heap[a->heap_count] = i;
            rise(a, a->heap_count++);
        }
}

// MARK: Partitions

static queue *find(clvd_alignment *a, int32_t topic, int32_t partition) {
    for (size_t n = 0; n < a->count; n++) {
        size_t i = a->latest + n < a->count ? a->latest + n : a->latest + n - a->count;
        if (a->queues[i].partition != partition || a->queues[i].topic != topic) continue;
        a->latest = i;
        return &a->queues[i];
    }
    return NULL;
}

static void empty(clvd_alignment *a, queue *q) {
    for (; q->count; q->count--, q->first++) {
        rd_kafka_message_t *m = head(q)->message;
        a->bytes -= size_of(m);
        a->records -= !is_end(m);
        rd_kafka_message_destroy(m);
    }
    if (q->stop) rd_kafka_message_destroy(q->stop);
    q->stop = NULL;
}

void clvd_alignment_remove(clvd_alignment *a, int32_t topic, int32_t partition) {
    queue *q = find(a, topic, partition);
    if (!q) return;
    empty(a, q);
    free(q->items);
    a->held -= q->is_held;
    *q = a->queues[--a->count];
    rebuild(a);
}

void clvd_alignment_add(clvd_alignment *a, int32_t topic, int32_t partition, int64_t offset) {
    clvd_alignment_remove(a, topic, partition);
    a->queues = realloc(a->queues, (a->count + 1) * sizeof *a->queues);
    a->heap = realloc(a->heap, (a->count + 1) * sizeof *a->heap);
    a->queues[a->count++] = (queue){.topic = topic, .partition = partition, .next = offset};
}

void clvd_alignment_hold(clvd_alignment *a, int32_t topic, int32_t partition, int64_t offset, int holds) {
    queue *q = find(a, topic, partition);
    if (!q) return;
    empty(a, q);
    a->held += !!holds - q->is_held;
    q->is_held = !!holds;
    q->next = offset;
    q->missing_since = 0;
    q->seen = 0;
    rebuild(a);
}

void clvd_alignment_clear(clvd_alignment *a) {
    for (size_t i = 0; i < a->count; i++) {
        empty(a, &a->queues[i]);
        free(a->queues[i].items);
    }
    a->count = a->held = 0;
    rebuild(a);
}

void clvd_alignment_free(clvd_alignment *a) {
    clvd_alignment_clear(a);
    free(a->queues);
    free(a->heap);
    free(a);
}

// MARK: In

static void push(clvd_alignment *a, queue *q, rd_kafka_message_t *m) {
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
    q->items[(q->first + q->count) & (q->capacity - 1)] = (waiting){
        .message = m, .time = time, .since = a->holds ? now_ms() : 0};
    q->next = m->offset + !is_end(m);
    q->missing_since = 0;
    q->seen = 1;
    a->bytes += size_of(m);
    a->records += !is_end(m);
    if (q->count++) return;
    a->heap[a->heap_count] = (size_t)(q - a->queues);
    rise(a, a->heap_count++);
}

/// Index of a message's topic among the subscribed ones; -1 when it is none of them.
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

/// Whether records are returned in the order of their timestamps.
static int aligns(const clvd_alignment *a) { return a->wait_ms > 0 && a->count - a->held > 1; }

/// Notes when a message is not the one that comes next in its partition.
static void note_jump(const queue *q, const rd_kafka_message_t *m, clvd_batch *batch) {
    // Where a partition begins at a name, such as the end of its log, no offset is expected.
    int64_t size = m->offset - q->next, most = batch->jump.found - batch->jump.expected;
    if (!size || q->next < 0 || (size < 0 && m->err)) return;
    batch->jumps++;
    if (size > 0) batch->skipped += (uint64_t)size;
    if (most < 0 || (size > 0 && size <= most)) return;
    batch->jump = (clvd_jump){.expected = q->next, .found = m->offset, .topic = q->topic, .partition = q->partition};
}

/// Whether an error says that a batch cannot be read. Of some of them librdkafka tries the batch again and again, after
/// others it goes on behind it.
static int is_of_batch(const rd_kafka_message_t *m) {
    switch (m->err) {
    case RD_KAFKA_RESP_ERR__BAD_COMPRESSION:
    case RD_KAFKA_RESP_ERR__BAD_MSG:
    case RD_KAFKA_RESP_ERR__NOT_IMPLEMENTED:
    case RD_KAFKA_RESP_ERR__CRIT_SYS_RESOURCE:
    case RD_KAFKA_RESP_ERR_INVALID_MSG:
    case RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE: return m->rkt && m->offset >= 0;
    default: return 0;
    }
}

/// Keeps a message that a poll brought; an error is noted in the batch, or in the partition that it stops.
static void take(clvd_topics *topics, clvd_alignment *a, rd_kafka_message_t *m, clvd_batch *batch) {
    int stops = is_of_batch(m);
    if (!m->err || is_end(m) || stops) {
        queue *q = find(a, topic_index(topics, m->rkt), m->partition);
        // Its partition was revoked, and the next owner reads it; or it comes after what cannot be read.
        if (!q || q->stop || q->is_held) rd_kafka_message_destroy(m);
        else if (stops) {
            q->stop = m;
            q->is_stop_told = 0;
            a->has_stop = 1;
        } else {
            note_jump(q, m, batch);
            push(a, q, m);
        }
        return;
    }
    batch->error = m->err;
    batch->error_topic = m->rkt ? topic_index(topics, m->rkt) : -1;
    batch->error_partition = m->partition;
    batch->error_offset = m->offset;
    strncpy(batch->error_text, rd_kafka_message_errstr(m), sizeof batch->error_text - 1);
    batch->error_text[sizeof batch->error_text - 1] = 0;
    rd_kafka_message_destroy(m);
}

/// Takes the messages that librdkafka has fetched, while there is room.
static void fetch(
    rd_kafka_t *rk, clvd_client *client, clvd_topics *topics, clvd_alignment *a, int timeout_ms, clvd_batch *batch) {
    while (!client->rebalance && !batch->error && !a->has_stop
           && (aligns(a) ? a->bytes < most_waiting : a->records < batch->capacity && a->bytes < most_bytes)) {
        // One message per call: batch calls lose records across rebalances in librdkafka 2.0.2.
        rd_kafka_message_t *m = rd_kafka_consumer_poll(rk, timeout_ms);
        if (!m) return;
        timeout_ms = 0;
        take(topics, a, m, batch);
    }
}

void clvd_keep_alive(rd_kafka_t *rk, clvd_topics *topics, clvd_alignment *alignment, clvd_batch *batch) {
    rd_kafka_message_t *m = rd_kafka_consumer_poll(rk, 0);
    if (m) take(topics, alignment, m, batch);
}

// MARK: Stops

int clvd_alignment_take_stop(clvd_alignment *a, clvd_stop *stop) {
    a->has_stop = 0;
    for (size_t i = 0; i < a->count; i++) {
        queue *q = &a->queues[i];
        if (!q->stop || q->is_stop_told) continue;
        q->is_stop_told = 1;
        *stop = (clvd_stop){.topic = q->topic, .partition = q->partition, .batch = q->stop->offset, .error = q->stop->err};
        stop->next = q->next > stop->batch ? q->next : stop->batch;
        strncpy(stop->text, rd_kafka_message_errstr(q->stop), sizeof stop->text - 1);
        return 1;
    }
    return 0;
}

void clvd_alignment_end_stop(clvd_alignment *a, int32_t topic, int32_t partition, int64_t last) {
    queue *q = find(a, topic, partition);
    if (!q || !q->stop) return;
    rd_kafka_message_t *m = q->stop;
    q->stop = NULL;
    if (last < 0) {
        rd_kafka_message_destroy(m);
        return;
    }
    // An error has no key. Here its length is the number of offsets that it stands for.
    m->key_len = (size_t)(last - (q->next > m->offset ? q->next : m->offset) + 1);
    m->offset = last;
    push(a, q, m);
}

// MARK: Out

static void fill(clvd_record *r, rd_kafka_message_t *m, int32_t topic, int64_t time) {
    if (m->err) {
        *r = (clvd_record){
            .offset = m->offset, .timestamp_ms = -1, .partition = m->partition, .topic = topic,
            .unreadable = (uint32_t)m->key_len};
        return;
    }
    rd_kafka_headers_t *headers = NULL;
    r->key = m->key;
    r->value = m->payload;
    r->key_length = (uint32_t)m->key_len;
    r->value_length = (uint32_t)m->len;
    r->offset = m->offset;
    r->timestamp_ms = time;
    r->partition = m->partition;
    r->topic = topic;
    r->unreadable = 0;
    r->headers = rd_kafka_message_headers(m, &headers) ? NULL : headers;
}

/// Whether the log of a partition has records that were not fetched yet.
static int is_missing(rd_kafka_t *rk, const clvd_topics *topics, const queue *q) {
    if (q->count || q->is_held) return 0;
    int64_t low, high = -1;
    rd_kafka_get_watermark_offsets(rk, topics->names[q->topic], q->partition, &low, &high);
    return high < 0 || high > q->next;
}

/// Whether one of the partitions is missing that may still be waited for. Time counts from the first poll that did not
/// bring its records: a batch before it may have taken longer than the whole wait.
static int is_any_missing(rd_kafka_t *rk, const clvd_topics *topics, clvd_alignment *a) {
    int64_t now = now_ms();
    for (size_t i = 0; i < a->count; i++) {
        queue *q = &a->queues[i];
        if (!is_missing(rk, topics, q)) continue;
        if (!q->missing_since) q->missing_since = now;
        if (now - q->missing_since < a->wait_ms) return 1;
    }
    return 0;
}

/// Whether the next records of a partition have to wait for those of others. In one batch, fresh records need no order:
/// waiting would only delay them. Where nothing has come yet of a partition, or the next are old, nobody knows how far
/// ahead of the missing ones they are.
static int are_to_wait(const clvd_alignment *a, const clvd_batch *batch) {
    if (!aligns(a) || a->bytes >= most_waiting) return 0;
    if (a->holds || a->records > batch->capacity) return 1;
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    int64_t fresh = (int64_t)t.tv_sec * 1000 - latest_age;
    for (size_t i = 0; i < a->count; i++) {
        const queue *q = &a->queues[i];
        if (q->is_held) continue;
        if (!q->seen || (q->count && head(q)->time >= 0 && head(q)->time < fresh)) return 1;
    }
    return 0;
}

/// Whether the earliest message is to wait, as one of another partition that is about to come may be earlier.
static int is_held_back(const clvd_alignment *a, int64_t now) {
    if (a->heap_count + a->held == a->count) return 0;
    const waiting *earliest = head(&a->queues[a->heap[0]]);
    return !is_end(earliest->message) && now - earliest->since < a->wait_ms;
}

/// Returns the earliest records, until a partition has none here although its log has more.
static void hand_out(rd_kafka_t *rk, const clvd_topics *topics, clvd_alignment *a, clvd_batch *batch) {
    int waits = are_to_wait(a, batch);
    if (waits && is_any_missing(rk, topics, a)) return;
    int64_t now = waits && a->holds ? now_ms() : 0;
    size_t bytes = 0;
    while (a->heap_count && batch->count < batch->capacity && bytes < most_bytes && batch->ends < 256) {
        if (waits && a->holds && is_held_back(a, now)) return;
        queue *q = &a->queues[a->heap[0]];
        waiting next = *head(q);
        rd_kafka_message_t *m = next.message;
        size_t size = size_of(m);
        q->first++;
        if (!--q->count) a->heap[0] = a->heap[--a->heap_count];
        sink(a, 0);
        a->bytes -= size;
        bytes += size;
        if (is_end(m)) {
            batch->end_topic[batch->ends] = q->topic;
            batch->end_offset[batch->ends] = m->offset;
            batch->end_partition[batch->ends++] = m->partition;
            rd_kafka_message_destroy(m);
        } else {
            a->records--;
            fill(&batch->records[batch->count], m, q->topic, next.time);
            batch->messages[batch->count++] = m;
        }
        if (waits && is_missing(rk, topics, q)) return;
    }
}

void clvd_poll(
    rd_kafka_t *rk, clvd_client *client, clvd_topics *topics, clvd_alignment *alignment, int timeout_ms,
    clvd_batch *batch) {
    batch->count = 0;
    batch->ends = 0;
    fetch(rk, client, topics, alignment, alignment->heap_count ? 0 : timeout_ms, batch);
    hand_out(rk, topics, alignment, batch);
    if (batch->count || batch->ends || batch->error || client->rebalance || !alignment->heap_count) return;
    fetch(rk, client, topics, alignment, timeout_ms < alignment->wait_ms ? timeout_ms : alignment->wait_ms, batch);
    hand_out(rk, topics, alignment, batch);
}

void clvd_batch_release(clvd_batch *batch) {
    for (uint32_t i = 0; i < batch->count; i++) rd_kafka_message_destroy(batch->messages[i]);
    batch->count = 0;
}
