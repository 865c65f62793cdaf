// Gets small documents over HTTP, by libcurl.
#ifndef CLVD_HTTP_H
#define CLVD_HTTP_H

#include <stddef.h>

/// What came of a request. `error` is empty when there is an answer, of any status.
typedef struct clvd_http_answer {
    long status;
    char *body;          ///< NUL-terminated, or NULL; to be freed by `clvd_http_release`
    size_t length;
    char error[256];
} clvd_http_answer;

/// Gets `url` (http or https), and waits for it at most `timeout_ms`. `login` (`name:password`) is sent as basic
/// authentication, `token` as a bearer token; either may be NULL. Redirects are followed, and answers above
/// `most_bytes` refused. Safe in several threads.
void clvd_http_get(
    const char *url, const char *login, const char *token, long timeout_ms, size_t most_bytes, clvd_http_answer *answer);
void clvd_http_release(clvd_http_answer *answer);

#endif
