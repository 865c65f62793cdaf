#include "include/CRdKafka.h"

#include <string.h>

static void on_log(const rd_kafka_t *rk, int level, const char *facility, const char *text) {
    clvd_client *client = rd_kafka_opaque(rk);
    if (client && client->log) client->log(client->log_context, level, facility, text);
}

static void on_error(rd_kafka_t *rk, int error, const char *reason, void *opaque) {
    clvd_client *client = opaque;
    // The generic code only says that there was a fatal error; the error itself gives the reason.
    if (error == RD_KAFKA_RESP_ERR__FATAL) error = rd_kafka_fatal_error(rk, client->error_text, sizeof client->error_text);
    else {
        strncpy(client->error_text, reason ? reason : "", sizeof client->error_text - 1);
        client->error_text[sizeof client->error_text - 1] = 0;
    }
    client->error = error;
    client->error_count++;
}

/// Only notes the event. The application answers it (assigns or unassigns) after it has processed the records polled
/// before.
static void on_rebalance(
    rd_kafka_t *rk, rd_kafka_resp_err_t kind, rd_kafka_topic_partition_list_t *partitions, void *opaque) {
    (void)rk;
    clvd_client *client = opaque;
    client->rebalance = kind;
    if (client->partitions) rd_kafka_topic_partition_list_destroy(client->partitions);
    client->partitions = rd_kafka_topic_partition_list_copy(partitions);
}

static void on_delivery(rd_kafka_t *rk, const rd_kafka_message_t *message, void *opaque) {
    (void)rk;
    clvd_client *client = opaque;
    if (!message->err) {
        client->delivered++;
        return;
    }
    const char *topic = message->rkt ? rd_kafka_topic_name(message->rkt) : "";
    if (!client->failed++) {
        client->first_failure = message->err;
        client->failed_bytes = 0;
        strncpy(client->failed_topic, topic, sizeof client->failed_topic - 1);
    }
    size_t bytes = message->len + message->key_len;
    if (message->err == client->first_failure && bytes > client->failed_bytes && !strcmp(topic, client->failed_topic))
        client->failed_bytes = bytes;
}

void clvd_client_install(clvd_client *client, rd_kafka_conf_t *conf, int is_consumer) {
    rd_kafka_conf_set_opaque(conf, client);
    rd_kafka_conf_set_log_cb(conf, on_log);
    rd_kafka_conf_set_error_cb(conf, on_error);
    if (is_consumer) rd_kafka_conf_set_rebalance_cb(conf, on_rebalance);
    else rd_kafka_conf_set_dr_msg_cb(conf, on_delivery);
}

const uint8_t *clvd_find_header(const void *headers, const char *name, uint32_t *length) {
    const void *value;
    size_t size;
    if (!headers || rd_kafka_header_get_last(headers, name, &value, &size)) return NULL;
    *length = (uint32_t)size;
    return value;
}

int clvd_find_header_or_null(const void *headers, const char *name, const uint8_t **value, uint32_t *length) {
    const void *found;
    size_t size;
    if (!headers || rd_kafka_header_get_last(headers, name, &found, &size)) return 0;
    *value = found;
    *length = (uint32_t)size;
    return 1;
}

// MARK: Reading

rd_kafka_resp_err_t clvd_pause(rd_kafka_t *rk, const char *topic, int32_t partition, int pauses) {
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_t *p = rd_kafka_topic_partition_list_add(list, topic, partition);
    rd_kafka_resp_err_t error = pauses ? rd_kafka_pause_partitions(rk, list) : rd_kafka_resume_partitions(rk, list);
    if (!error) error = p->err;
    rd_kafka_topic_partition_list_destroy(list);
    return error;
}

rd_kafka_resp_err_t clvd_seek(rd_kafka_t *rk, const char *topic, int32_t partition, int64_t offset, int timeout_ms) {
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_t *p = rd_kafka_topic_partition_list_add(list, topic, partition);
    p->offset = offset;
    rd_kafka_error_t *failure = rd_kafka_seek_partitions(rk, list, timeout_ms);
    rd_kafka_resp_err_t error = failure ? rd_kafka_error_code(failure) : p->err;
    if (failure) rd_kafka_error_destroy(failure);
    rd_kafka_topic_partition_list_destroy(list);
    return error;
}

// MARK: Producing

/// Produces a record that a batch call refused, waiting while the queue is full.
static rd_kafka_resp_err_t produce_again(rd_kafka_t *rk, rd_kafka_topic_t *topic, const rd_kafka_message_t *m) {
    while (rd_kafka_produce(topic, RD_KAFKA_PARTITION_UA, 0, m->payload, m->len, m->key, m->key_len, NULL)) {
        rd_kafka_resp_err_t error = rd_kafka_last_error();
        if (error != RD_KAFKA_RESP_ERR__QUEUE_FULL) return error;
        rd_kafka_poll(rk, 10);
    }
    return RD_KAFKA_RESP_ERR_NO_ERROR;
}

rd_kafka_resp_err_t clvd_produce(
    rd_kafka_t *rk, const clvd_outgoing *records, size_t count, rd_kafka_message_t *scratch) {
    for (size_t done = 0; done < count;) {
        // A run of one topic goes in one call.
        rd_kafka_topic_t *topic = records[done].topic;
        size_t n = 0;
        for (; done + n < count && records[done + n].topic == topic; n++) {
            const clvd_outgoing *r = &records[done + n];
            scratch[n] = (rd_kafka_message_t){
                .payload = (void *)r->value, .len = r->value_length, .key = (void *)r->key, .key_len = r->key_length};
        }
        int taken = rd_kafka_produce_batch(topic, RD_KAFKA_PARTITION_UA, 0, scratch, (int)n);
        for (size_t i = 0; taken < (int)n && i < n; i++) {
            if (!scratch[i].err) continue;
            rd_kafka_resp_err_t error = scratch[i].err;
            if (error == RD_KAFKA_RESP_ERR__QUEUE_FULL) error = produce_again(rk, topic, &scratch[i]);
            if (error) return error;
        }
        done += n;
    }
    return RD_KAFKA_RESP_ERR_NO_ERROR;
}

rd_kafka_resp_err_t clvd_produce_one(
    rd_kafka_t *rk, const clvd_outgoing *record, const clvd_header *headers, size_t count, int32_t partition,
    int64_t timestamp_ms) {
    rd_kafka_headers_t *list = count > 0 ? rd_kafka_headers_new(count) : NULL;
    for (size_t i = 0; i < count; i++) rd_kafka_header_add(list, headers[i].name, -1, headers[i].text, -1);
    rd_kafka_resp_err_t error = rd_kafka_producev(
        rk, RD_KAFKA_V_RKT(record->topic), RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
        RD_KAFKA_V_PARTITION(partition), RD_KAFKA_V_KEY((void *)record->key, record->key_length),
        RD_KAFKA_V_VALUE((void *)record->value, record->value_length), RD_KAFKA_V_TIMESTAMP(timestamp_ms),
        RD_KAFKA_V_HEADERS(list), RD_KAFKA_V_END);
    if (error && list) rd_kafka_headers_destroy(list);
    return error;
}

rd_kafka_resp_err_t clvd_produce_forwarded(
    rd_kafka_t *rk, const clvd_outgoing *record, int64_t timestamp_ms, const rd_kafka_headers_t *headers,
    const clvd_forwarded_headers *ours) {
    rd_kafka_headers_t *list = headers ? rd_kafka_headers_copy(headers) : rd_kafka_headers_new(4);
    // Of these names there are ours only.
    rd_kafka_header_remove(list, "clvd.origin");
    rd_kafka_header_remove(list, "clvd.from");
    rd_kafka_header_remove(list, "clvd.command");
    rd_kafka_header_remove(list, "clvd.key");
    if (ours->origin) rd_kafka_header_add(list, "clvd.origin", -1, ours->origin, -1);
    if (ours->passed_on) rd_kafka_header_add(list, "clvd.from", -1, ours->passed_on, -1);
    if (ours->mark) rd_kafka_header_add(list, ours->mark, -1, "1", 1);
    if (ours->has_original_key)
        rd_kafka_header_add(list, "clvd.key", -1, ours->original_key, (ssize_t)ours->original_key_length);
    rd_kafka_resp_err_t error = rd_kafka_producev(
        rk, RD_KAFKA_V_RKT(record->topic), RD_KAFKA_V_PARTITION(RD_KAFKA_PARTITION_UA), RD_KAFKA_V_MSGFLAGS(0),
        RD_KAFKA_V_KEY((void *)record->key, record->key_length),
        RD_KAFKA_V_VALUE((void *)record->value, record->value_length), RD_KAFKA_V_TIMESTAMP(timestamp_ms),
        RD_KAFKA_V_HEADERS(list), RD_KAFKA_V_END);
    if (error) rd_kafka_headers_destroy(list);
    return error;
}
