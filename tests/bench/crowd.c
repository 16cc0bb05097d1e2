// crowd: opens many event streams at once and tells what arrived on them, and how late.
//
//   crowd [-s STALLED] [-m MARK] [-q SECONDS] [-H HEADER]... PORT PATH STREAMS EVENTS TIMEOUT
//
// An event is counted where the bytes hold "t":NUMBER; a number that is a time of CLOCK_MONOTONIC in nanoseconds gives its
// latency. {n} in a HEADER is the stream's number; each has a User-Agent of its own. The first STALLED streams read their
// response's head and nothing after it. MARK is a text that is counted too.
// It ends when every stream that reads has EVENTS events, after TIMEOUT seconds, on SIGTERM, or when nothing has arrived
// for -q seconds after the first event. Prints `READY seconds` when all streams are open and its figures as JSON when it
// ends, but keeps the streams open, without reading, until its standard input is closed.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { OPENING_AT_ONCE = 256, PORTS_OF_AN_ADDRESS = 20000, READY_AT_ONCE = 1024, MOST_LATENCIES = 1 << 24, MOST_STAMPS = 4096 };
static const char STAMP[] = "\"t\":";
enum { STAMP_BYTES = sizeof STAMP - 1 };

typedef struct {
  int fd, asked, answered, stamp_seen, in_number, mark_seen;
  unsigned long long number;
  long events;
} Stream;

static Stream *streams;
static int count, stalled, opened, opening, up, refused, closed, epoll;
static long each, wanted, total, marks, kept, room;
static long long bytes;
typedef struct { float ms; int event; } Latency;
static Latency *latencies;
static unsigned long long stamps[MOST_STAMPS];  // of the events so far; their places are the events' numbers
static int stamped;
static unsigned long long began, ready, first, last;
static char headers[8192];
static const char *path;
static const char *mark = "";
static struct sockaddr_in server;
static volatile sig_atomic_t told_to_end;

static void end(int number) { (void)number; told_to_end = 1; }

static unsigned long long now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000000000ull + t.tv_nsec;
}

static int by_value(const void *a, const void *b) {
  float x = ((const Latency *)a)->ms, y = ((const Latency *)b)->ms;
  return (x > y) - (x < y);
}

static int by_event(const void *a, const void *b) {
  int x = ((const Latency *)a)->event, y = ((const Latency *)b)->event;
  return x != y ? x - y : by_value(a, b);
}

static int event_of(unsigned long long stamp) {
  for (int i = stamped - 1; i >= 0; i--)
    if (stamps[i] == stamp) return i;
  if (stamped == MOST_STAMPS) return MOST_STAMPS - 1;
  stamps[stamped] = stamp;
  return stamped++;
}

static void fail(const char *what) { perror(what); exit(1); }

static void open_one(void) {
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), on = 1;
  struct sockaddr_in from = {.sin_family = AF_INET};
  from.sin_addr.s_addr = htonl(INADDR_LOOPBACK + opened / PORTS_OF_AN_ADDRESS);
  if (fd < 0) fail("socket");
  setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
  if (bind(fd, (void *)&from, sizeof from)) fail("bind");
  if (connect(fd, (void *)&server, sizeof server) && errno != EINPROGRESS) fail("connect");
  streams[opened].fd = fd;
  struct epoll_event event = {.events = EPOLLOUT | EPOLLIN, .data.u32 = opened};
  epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
  opened++, opening++;
}

static void ask(Stream *stream, unsigned number) {
  static char request[32768];
  int size = snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nAccept: text/event-stream\r\n"
                      "User-Agent: crowd/%u\r\n", path, ntohs(server.sin_port), number);
  for (const char *c = headers; *c; c++)
    if (!strncmp(c, "{n}", 3)) size += sprintf(request + size, "%u", number), c += 2;
    else request[size++] = *c;
  size += sprintf(request + size, "\r\n");
  if (send(stream->fd, request, size, MSG_NOSIGNAL) != size) {
    refused++, opening--;
    close(stream->fd);
    return;
  }
  stream->asked = 1;
  struct epoll_event event = {.events = EPOLLIN, .data.u32 = number};
  epoll_ctl(epoll, EPOLL_CTL_MOD, stream->fd, &event);
}

static void answered(Stream *stream, const char *head, ssize_t got) {
  stream->answered = 1, opening--;
  if (got < 12 || strncmp(head + 9, "200", 3)) {
    if (!refused++) fprintf(stderr, "refused: %.*s\n", (int)(got > 400 ? 400 : got), head);
  } else if (++up == count) {
    ready = now_ns();
    printf("READY %.3f\n", (ready - began) / 1e9);
    fflush(stdout);
  }
}

static void scan(Stream *stream, const char *buffer, ssize_t got, unsigned long long now) {
  for (ssize_t i = 0; i < got; i++) {
    char c = buffer[i];
    if (*mark) {
      stream->mark_seen = c == mark[stream->mark_seen] ? stream->mark_seen + 1 : c == mark[0];
      if (!mark[stream->mark_seen]) stream->mark_seen = 0, marks++;
    }
    if (stream->in_number && c >= '0' && c <= '9') {
      stream->number = stream->number * 10 + (c - '0');
      continue;
    }
    if (stream->in_number) {
      stream->in_number = 0, stream->events++, total++, last = now;
      if (!first) first = now;
      if (kept < room) latencies[kept++] = (Latency){(now - stream->number) / 1e6f, event_of(stream->number)};
    }
    stream->stamp_seen = c == STAMP[stream->stamp_seen] ? stream->stamp_seen + 1 : c == STAMP[0];
    if (stream->stamp_seen == STAMP_BYTES) stream->stamp_seen = 0, stream->in_number = 1, stream->number = 0;
  }
}

static void take(Stream *stream, unsigned number) {
  static char buffer[1 << 17];
  ssize_t got = recv(stream->fd, buffer, sizeof buffer, 0);
  if (got < 0 && errno == EAGAIN) return;
  if (got <= 0) {
    if (stream->answered) closed++; else refused++, opening--;
    close(stream->fd);
    return;
  }
  bytes += got;
  if (!stream->answered) answered(stream, buffer, got);
  if ((int)number < stalled) epoll_ctl(epoll, EPOLL_CTL_DEL, stream->fd, NULL);
  else scan(stream, buffer, got, now_ns());
}

static void run(double timeout, double quiet) {
  struct epoll_event events[READY_AT_ONCE];
  while (!told_to_end) {
    while (opened < count && opening < OPENING_AT_ONCE) open_one();
    int found = epoll_wait(epoll, events, READY_AT_ONCE, 20);
    for (int i = 0; i < found; i++) {
      unsigned number = events[i].data.u32;
      Stream *stream = &streams[number];
      if (!stream->asked && (events[i].events & EPOLLOUT)) ask(stream, number);
      else if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) take(stream, number);
    }
    unsigned long long now = now_ns();
    if ((wanted > 0 && total >= wanted) || refused + closed >= count) return;
    if ((now - (ready ? ready : began)) / 1e9 > timeout) return;
    if (quiet > 0 && first && now > last && (now - last) / 1e9 > quiet) return;
  }
}

// The p99 of each event's deliveries, and of these the median: one moment's hiccup of the machine does not show in it.
static float p99_of_an_event(void) {
  static Latency each_p99[MOST_STAMPS];
  int events = 0;
  qsort(latencies, kept, sizeof *latencies, by_event);
  for (long begin = 0, end; begin < kept; begin = end) {
    for (end = begin; end < kept && latencies[end].event == latencies[begin].event; end++) continue;
    each_p99[events++].ms = latencies[begin + (long)((end - begin) * .99)].ms;
  }
  qsort(each_p99, events, sizeof *each_p99, by_value);
  return events ? each_p99[events / 2].ms : 0;
}

static void tell(void) {
  long least = count > stalled ? 1l << 60 : 0;
  for (int i = stalled; i < count; i++)
    if (streams[i].events < least) least = streams[i].events;
  float of_an_event = p99_of_an_event();
  qsort(latencies, kept, sizeof *latencies, by_value);
  printf("{\"streams\":%d,\"refused\":%d,\"closed\":%d,\"events\":%ld,\"wanted\":%ld,\"least\":%ld,\"marks\":%ld,\"bytes\":%lld,"
         "\"span_s\":%.6f,\"p50_ms\":%.3f,\"p99_ms\":%.3f,\"max_ms\":%.3f,\"event_p99_ms\":%.3f}\n",
         up, refused, closed, total, wanted, least, marks, bytes, (last - (ready ? ready : began)) / 1e9,
         kept ? latencies[kept / 2].ms : 0, kept ? latencies[(long)(kept * .99)].ms : 0, kept ? latencies[kept - 1].ms : 0,
         of_an_event);
  fflush(stdout);
}

static void read_arguments(int argc, char **argv, double *timeout, double *quiet) {
  for (int option; (option = getopt(argc, argv, "s:m:q:H:")) != -1;) {
    if (option == 's') stalled = atoi(optarg);
    else if (option == 'm') mark = optarg;
    else if (option == 'q') *quiet = atof(optarg);
    else if (option == 'H') {
      size_t used = strlen(headers);
      snprintf(headers + used, sizeof headers - used, "%s\r\n", optarg);
    } else exit(2);
  }
  if (argc - optind != 5) {
    fprintf(stderr, "usage: crowd [-s STALLED] [-m MARK] [-q SECONDS] [-H HEADER]... PORT PATH STREAMS EVENTS TIMEOUT\n");
    exit(2);
  }
  server = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(atoi(argv[optind]))};
  server.sin_addr.s_addr = htonl(INADDR_LOOPBACK), path = argv[optind + 1];
  count = atoi(argv[optind + 2]), each = atol(argv[optind + 3]), *timeout = atof(argv[optind + 4]);
}

int main(int argc, char **argv) {
  double timeout = 0, quiet = 0;
  read_arguments(argc, argv, &timeout, &quiet);
  struct rlimit files;
  getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
  signal(SIGTERM, end);
  wanted = (long)(count - stalled) * each;
  room = wanted > MOST_LATENCIES ? MOST_LATENCIES : wanted > 1024 ? wanted : 1024;
  streams = calloc(count, sizeof *streams), latencies = malloc(room * sizeof *latencies);
  epoll = epoll_create1(0), began = now_ns();
  run(timeout, quiet);
  tell();
  for (char c; read(STDIN_FILENO, &c, 1) < 0 && errno == EINTR;) continue;
  return wanted > 0 && total < wanted;
}
