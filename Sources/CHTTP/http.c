#include "CHTTP.h"

#include <curl/curl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct body {
    char *bytes;
    size_t length, most;
} body;

static size_t append(char *part, size_t one, size_t count, void *context) {
    (void)one;
    body *into = context;
    if (count > into->most - into->length) return 0;
    char *grown = realloc(into->bytes, into->length + count + 1);
    if (grown == NULL) return 0;
    into->bytes = grown;
    memcpy(grown + into->length, part, count);
    into->length += count;
    grown[into->length] = '\0';
    return count;
}

static void begin(void) { curl_global_init(CURL_GLOBAL_DEFAULT); }

void clvd_http_get(
    const char *url, const char *login, const char *token, long timeout_ms, size_t most_bytes,
    clvd_http_answer *answer) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, begin);
    memset(answer, 0, sizeof *answer);
    char detail[CURL_ERROR_SIZE] = "";
    body into = {NULL, 0, most_bytes};
    CURL *curl = curl_easy_init();
    if (curl == NULL) {
        snprintf(answer->error, sizeof answer->error, "no memory");
        return;
    }
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 1L);
    curl_easy_setopt(curl, CURLOPT_MAXREDIRS, 3L);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, timeout_ms);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, timeout_ms);
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, detail);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, append);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, &into);
    if (login != NULL) {
        curl_easy_setopt(curl, CURLOPT_HTTPAUTH, CURLAUTH_BASIC);
        curl_easy_setopt(curl, CURLOPT_USERPWD, login);
    } else if (token != NULL) {
        curl_easy_setopt(curl, CURLOPT_HTTPAUTH, CURLAUTH_BEARER);
        curl_easy_setopt(curl, CURLOPT_XOAUTH2_BEARER, token);
    }
    CURLcode code = curl_easy_perform(curl);
    if (code == CURLE_OK) {
        curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &answer->status);
        answer->body = into.bytes;
        answer->length = into.length;
    } else {
        const char *text = code == CURLE_WRITE_ERROR ? "the answer is too large"
            : detail[0] != '\0'                      ? detail
                                                     : curl_easy_strerror(code);
        snprintf(answer->error, sizeof answer->error, "%s", text);
        free(into.bytes);
    }
    curl_easy_cleanup(curl);
}

void clvd_http_release(clvd_http_answer *answer) {
    free(answer->body);
    answer->body = NULL;
}
