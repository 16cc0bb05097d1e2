// hit: sends HTTP requests over keep-alive connections, each as soon as the answer to the one before is there.
//
//   hit [-c CONNECTIONS] [-n REQUESTS] [-g GAP_MS] [-e STATUS] [-H HEADER]... PORT METHOD PATH [BODY]
//
// In HEADER, PATH and BODY these are replaced: {c} (the connection's number), {n} (the request's), {p} (that modulo 100) and
// {t} (CLOCK_MONOTONIC in nanoseconds). A PATH of @FILE takes a path from each line of the file, in turn. An answer needs a
// Content-Length, but for 204 and 304. It fails when an answer has another status than STATUS (or, without -e, none of 2xx).
// Prints its figures as JSON: seconds from the first request to the last answer, and latencies.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { HEAD = 16384, TEXT = 1 << 20, READ = 1 << 18, STALL_MS = 30000, MOST_CONNECTIONS = 4096 };

typedef struct {
  int fd, head_bytes, busy;
  long rest;  // bytes of the body that are still to come; -1 while the head is read
  unsigned long long sent, due;
  char head[HEAD + 1];
} Connection;

static Connection *all;
static int connections = 1, expected, epoll, port;
static long requests = 1, sent, done, lines;
static double gap_ms;
static const char *method, *path, *body = "";
static char headers[8192];
static float *latencies;
static long long bytes;
static char **paths;  // of a file; else there is `path` alone

static unsigned long long now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000000000ull + t.tv_nsec;
}

static int by_value(const void *a, const void *b) {
  float x = *(const float *)a, y = *(const float *)b;
  return (x > y) - (x < y);
}

static void fail(const char *what, const char *more) {
  fprintf(stderr, "hit: %s: %.600s\n", what, more);
  exit(1);
}

static int expand(char *out, int room, const char *text, int connection) {
  int used = 0;
  for (; *text; text++) {
    if (used > room - 32) fail("the request is too long", text);
    if (text[0] != '{' || !text[1] || text[2] != '}' || !strchr("cnpt", text[1])) { out[used++] = *text; continue; }
    switch (text[1]) {
      case 'c': used += sprintf(out + used, "%d", connection); break;
      case 'n': used += sprintf(out + used, "%ld", sent); break;
      case 'p': used += sprintf(out + used, "%ld", sent % 100); break;
      case 't': used += sprintf(out + used, "%llu", now_ns()); break;
    }
    text += 2;
  }
  out[used] = 0;
  return used;
}

static void ask(Connection *connection) {
  static char text[TEXT], where[HEAD], more[HEAD], content[TEXT];
  int number = connection - all, size = expand(content, sizeof content, body, number);
  expand(where, sizeof where, lines ? paths[sent % lines] : path, number);
  expand(more, sizeof more, headers, number);
  int length = snprintf(text, sizeof text, "%s %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n%s", method, where, port, more);
  if (strcmp(method, "GET")) length += snprintf(text + length, sizeof text - length, "Content-Length: %d\r\n", size);
  length += snprintf(text + length, sizeof text - length, "\r\n%s", content);
  connection->sent = now_ns(), connection->busy = 1, connection->rest = -1, connection->head_bytes = 0;
  sent++;
  if (send(connection->fd, text, length, MSG_NOSIGNAL) != length) fail("the request was not taken", strerror(errno));
}

static void answered(Connection *connection) {
  unsigned long long now = now_ns();
  latencies[done++] = (now - connection->sent) / 1e6f;
  connection->busy = 0, connection->due = now + (unsigned long long)(gap_ms * 1e6);
  if (gap_ms == 0 && sent < requests) ask(connection);
}

// Reads the head once it is whole; gives how many bytes of the body came with it, or -1.
static long read_head(Connection *connection) {
  char *end = strstr(connection->head, "\r\n\r\n");
  if (!end) {
    if (connection->head_bytes == HEAD) fail("the answer's head is too long", connection->head);
    return -1;
  }
  int status = atoi(connection->head + 9);
  if (expected ? status != expected : status / 100 != 2) fail("answered", connection->head);
  char *length = strcasestr(connection->head, "\ncontent-length:");
  if (status == 204 || status == 304) connection->rest = 0;
  else if (length && length < end) connection->rest = atol(length + 16);
  else fail("the answer has no Content-Length", connection->head);
  return connection->head_bytes - (end + 4 - connection->head);
}

static void take(Connection *connection) {
  static char buffer[READ];
  ssize_t got = recv(connection->fd, buffer, sizeof buffer, 0);
  if (got < 0 && errno == EAGAIN) return;
  if (got <= 0) fail("the server closed a connection", got < 0 ? strerror(errno) : "");
  bytes += got;
  if (connection->rest < 0) {
    int room = HEAD - connection->head_bytes, part = got < room ? got : room;
    memcpy(connection->head + connection->head_bytes, buffer, part);
    connection->head[connection->head_bytes += part] = 0;
    long came = read_head(connection);
    if (came < 0) return;
    got = came + (got - part);
  }
  connection->rest -= got;
  if (connection->rest <= 0) answered(connection);
}

static void open_all(void) {
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  for (int i = 0, on = 1; i < connections; i++) {
    all[i].fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(all[i].fd, (void *)&to, sizeof to)) fail("connect", strerror(errno));
    setsockopt(all[i].fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = i};
    epoll_ctl(epoll, EPOLL_CTL_ADD, all[i].fd, &event);
  }
}

static void run(void) {
  struct epoll_event events[256];
  for (int i = 0; i < connections && sent < requests; i++) ask(&all[i]);
  unsigned long long heard = now_ns();
  while (done < requests) {
    int found = epoll_wait(epoll, events, 256, gap_ms > 0 ? 1 : STALL_MS);
    unsigned long long now = now_ns();
    if (found > 0) heard = now;
    else if (now - heard > STALL_MS * 1000000ull + (unsigned long long)(gap_ms * 1e6)) fail("no answer", "for 30 s");
    for (int i = 0; i < found; i++) take(&all[events[i].data.u32]);
    for (int i = 0; gap_ms > 0 && i < connections && sent < requests; i++)
      if (!all[i].busy && now >= all[i].due) ask(&all[i]);
  }
}

static void read_paths(const char *name) {
  FILE *file = fopen(name, "r");
  if (!file) fail(name, strerror(errno));
  char *line = NULL;
  size_t size = 0;
  for (ssize_t length; (length = getline(&line, &size, file)) > 0;) {
    if (line[length - 1] == '\n') line[length - 1] = 0;
    if (!(lines & (lines - 1))) paths = realloc(paths, sizeof *paths * (lines ? 2 * lines : 1));
    paths[lines++] = strdup(line);
  }
  fclose(file);
  if (!lines) fail(name, "it has no lines");
}

static void read_arguments(int argc, char **argv) {
  for (int option; (option = getopt(argc, argv, "c:n:g:e:H:")) != -1;) {
    size_t used = strlen(headers);
    if (option == 'c') connections = atoi(optarg);
    else if (option == 'n') requests = atol(optarg);
    else if (option == 'g') gap_ms = atof(optarg);
    else if (option == 'e') expected = atoi(optarg);
    else if (option == 'H') snprintf(headers + used, sizeof headers - used, "%s\r\n", optarg);
    else exit(2);
  }
  if (argc - optind < 3 || connections < 1 || connections > MOST_CONNECTIONS || requests < 1) {
    fprintf(stderr, "usage: hit [-c CONNECTIONS] [-n REQUESTS] [-g GAP_MS] [-e STATUS] [-H HEADER]... "
                    "PORT METHOD PATH [BODY]\n");
    exit(2);
  }
  port = atoi(argv[optind]), method = argv[optind + 1], path = argv[optind + 2];
  if (argc - optind > 3) body = argv[optind + 3];
  if (*path == '@') read_paths(path + 1);
}

int main(int argc, char **argv) {
  read_arguments(argc, argv);
  all = calloc(connections, sizeof *all), latencies = malloc(requests * sizeof *latencies), epoll = epoll_create1(0);
  open_all();
  unsigned long long began = now_ns();
  run();
  double seconds = (now_ns() - began) / 1e9;
  qsort(latencies, done, sizeof *latencies, by_value);
  printf("{\"requests\":%ld,\"seconds\":%.6f,\"per_s\":%.1f,\"p50_ms\":%.4f,\"p99_ms\":%.4f,\"bytes\":%lld}\n", done, seconds,
         done / seconds, latencies[done / 2], latencies[(long)(done * .99)], bytes);
  return 0;
}
