// A Kafka broker on loopback for same-bits.sh: librdkafka's mock cluster, and what is needed to look into its topics.
//
//   mock-broker serve TOPIC...                        prints host:port; ends at SIGTERM or when its input ends
//   mock-broker wait SERVERS GROUP TOPIC SECONDS      until the group has committed all of partition 0
//   mock-broker dump SERVERS TOPIC FILE               partition 0 as bytes: for each record key, value, number of
//                                                     headers, and name and value of each header; every item but the
//                                                     number after its length (4 bytes, 0xffffffff: null)
#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { PARTITION = 0, TIMEOUT_MS = 10000, BROKERS = 1, WAIT_MS = 200 };

static void fail(const char *what, const char *why) {
    fprintf(stderr, "mock-broker: %s: %s\n", what, why);
    exit(1);
}

static void check(const char *what, rd_kafka_resp_err_t error) {
    if (error) fail(what, rd_kafka_err2str(error));
}

static rd_kafka_t *client(rd_kafka_type_t type, const char *const properties[][2]) {
    char error[512];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    for (int i = 0; properties[i][0]; i++)
        if (rd_kafka_conf_set(conf, properties[i][0], properties[i][1], error, sizeof error)) fail("setting", error);
    rd_kafka_t *rk = rd_kafka_new(type, conf, error, sizeof error);
    if (!rk) fail("client", error);
    return rk;
}

static void on_signal(int number) {
    (void)number;
    _exit(0);
}

static int serve(int count, char **topics) {
    const char *const properties[][2] = {{"log_level", "3"}, {NULL, NULL}};
    rd_kafka_t *rk = client(RD_KAFKA_PRODUCER, properties);
    rd_kafka_mock_cluster_t *cluster = rd_kafka_mock_cluster_new(rk, BROKERS);
    if (!cluster) fail("serve", "cannot listen on loopback");
    for (int i = 0; i < count; i++) check(topics[i], rd_kafka_mock_topic_create(cluster, topics[i], 1, BROKERS));
    signal(SIGTERM, on_signal);
    signal(SIGINT, on_signal);
    printf("%s\n", rd_kafka_mock_cluster_bootstraps(cluster));
    fflush(stdout);
    char byte;
    while (read(STDIN_FILENO, &byte, 1) > 0) {
    }
    _exit(0);
}

static int wait_for_group(const char *servers, const char *group, const char *topic, long seconds) {
    const char *const properties[][2] = {{"bootstrap.servers", servers}, {"group.id", group}, {NULL, NULL}};
    rd_kafka_t *rk = client(RD_KAFKA_CONSUMER, properties);
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_t *partition = rd_kafka_topic_partition_list_add(list, topic, PARTITION);
    time_t end = time(NULL) + seconds;
    int64_t low = 0, high = 0;
    while (1) {
        partition->offset = RD_KAFKA_OFFSET_INVALID;
        rd_kafka_resp_err_t error = rd_kafka_committed(rk, list, TIMEOUT_MS);
        if (!error) error = rd_kafka_query_watermark_offsets(rk, topic, PARTITION, &low, &high, TIMEOUT_MS);
        if (!error && partition->offset == high) return 0;
        if (time(NULL) >= end) {
            fprintf(stderr, "mock-broker: group %s has committed offset %lld of %lld of topic %s after %ld s (%s)\n", group,
                (long long)partition->offset, (long long)high, topic, seconds, rd_kafka_err2str(error));
            return 1;
        }
        usleep(WAIT_MS * 1000);
    }
}

static void put_count(FILE *file, uint32_t count) { fwrite(&count, sizeof count, 1, file); }

static void put(FILE *file, const void *bytes, size_t length) {
    put_count(file, bytes ? (uint32_t)length : UINT32_MAX);
    if (bytes) fwrite(bytes, 1, length, file);
}

static void put_record(FILE *file, rd_kafka_message_t *message) {
    put(file, message->key, message->key_len);
    put(file, message->payload, message->len);
    rd_kafka_headers_t *headers = NULL;
    rd_kafka_message_headers(message, &headers);
    size_t count = headers ? rd_kafka_header_cnt(headers) : 0;
    put_count(file, (uint32_t)count);
    for (size_t i = 0; i < count; i++) {
        const char *name;
        const void *value;
        size_t length;
        check("header", rd_kafka_header_get_all(headers, i, &name, &value, &length));
        put(file, name, strlen(name));
        put(file, value, length);
    }
}

static int dump(const char *servers, const char *topic, const char *path) {
    const char *const properties[][2] = {
        {"bootstrap.servers", servers}, {"group.id", "dump"}, {"enable.auto.commit", "false"},
        {"enable.partition.eof", "true"}, {NULL, NULL}};
    FILE *file = fopen(path, "wb");
    if (!file) fail(path, "cannot be written");
    rd_kafka_t *rk = client(RD_KAFKA_CONSUMER, properties);
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    // From the very first record: what the mock has thrown away would go unnoticed otherwise.
    rd_kafka_topic_partition_list_add(list, topic, PARTITION)->offset = RD_KAFKA_OFFSET_BEGINNING;
    check("assign", rd_kafka_assign(rk, list));
    int64_t expected = 0;
    while (1) {
        rd_kafka_message_t *message = rd_kafka_consumer_poll(rk, TIMEOUT_MS);
        if (!message) fail(topic, "no answer");
        if (message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF) break;
        check(topic, message->err);
        if (message->offset != expected) fail(topic, "the mock has thrown records away; replay fewer");
        expected++;
        put_record(file, message);
        rd_kafka_message_destroy(message);
    }
    if (fclose(file)) fail(path, "cannot be written");
    return 0;
}

int main(int argc, char **argv) {
    if (argc >= 3 && !strcmp(argv[1], "serve")) return serve(argc - 2, argv + 2);
    if (argc == 6 && !strcmp(argv[1], "wait")) return wait_for_group(argv[2], argv[3], argv[4], atol(argv[5]));
    if (argc == 5 && !strcmp(argv[1], "dump")) return dump(argv[2], argv[3], argv[4]);
    int asked = argc == 2 && !strcmp(argv[1], "--help");
    fprintf(asked ? stdout : stderr,
        "usage: mock-broker serve TOPIC... | wait SERVERS GROUP TOPIC SECONDS | dump SERVERS TOPIC FILE\n");
    return asked ? 0 : 2;
}
