// floor: what the kernel alone costs. A server that writes each posted body to every open stream with one send() each, with
// no routing, no log and no buffering: no fan-out that writes each event by itself can be cheaper on the same machine.
//
//   floor PORT      GET anything opens a stream; POST anything publishes its body, which has to come with a Content-Length
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MOST_STREAMS = 1 << 18, MOST_BYTES = 1 << 16, BACKLOG = 4096, READY_AT_ONCE = 256 };

static const char STREAM_HEAD[] =
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n6\r\n: ok\n\n\r\n";
static const char ACCEPTED[] = "HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n";

static int streams[MOST_STREAMS], open_streams;

static void drop(int fd) {
  close(fd);
  for (int i = 0; i < open_streams; i++)
    if (streams[i] == fd) { streams[i] = streams[--open_streams]; return; }
}

static int listening(int port) {
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), on = 1;
  struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (bind(fd, (void *)&at, sizeof at) || listen(fd, BACKLOG)) { perror("floor"); exit(1); }
  return fd;
}

static void watch(int epoll, int fd) {
  struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
  epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
}

// The body of a request of which `got` bytes are here; the rest is waited for.
static const char *body_of(int fd, char *request, ssize_t got) {
  for (;;) {
    char *body = strstr(request, "\r\n\r\n"), *length = strcasestr(request, "content-length:");
    if (body && length && got - (body + 4 - request) >= atoi(length + 15)) return body + 4;
    ssize_t more = recv(fd, request + got, MOST_BYTES - 1 - got, 0);
    if (more > 0) request[got += more] = 0;
  }
}

static void serve(int fd) {
  static char request[MOST_BYTES], frame[MOST_BYTES], chunk[MOST_BYTES + 32];
  static long sequence;
  ssize_t got = recv(fd, request, sizeof request - 1, 0);
  if (got < 16) { drop(fd); return; }
  request[got] = 0;
  if (!strncmp(request, "GET", 3)) {
    send(fd, STREAM_HEAD, sizeof STREAM_HEAD - 1, MSG_NOSIGNAL);
    if (open_streams < MOST_STREAMS) streams[open_streams++] = fd;
    return;
  }
  const char *body = body_of(fd, request, got);
  int framed = snprintf(frame, sizeof frame, "id: %ld\nevent: status\ndata: %s\n\n", ++sequence, body);
  int size = snprintf(chunk, sizeof chunk, "%x\r\n%s\r\n", framed, frame);
  for (int i = 0; i < open_streams; i++) send(streams[i], chunk, size, MSG_NOSIGNAL);
  send(fd, ACCEPTED, sizeof ACCEPTED - 1, MSG_NOSIGNAL);
}

int main(int argc, char **argv) {
  if (argc != 2) { fprintf(stderr, "usage: floor PORT\n"); return 2; }
  struct rlimit files;
  getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
  int listener = listening(atoi(argv[1])), epoll = epoll_create1(0);
  watch(epoll, listener);
  struct epoll_event ready[READY_AT_ONCE];
  for (;;) {
    int count = epoll_wait(epoll, ready, READY_AT_ONCE, -1);
    for (int i = 0; i < count; i++) {
      if (ready[i].data.fd != listener) { serve(ready[i].data.fd); continue; }
      for (int client; (client = accept4(listener, 0, 0, SOCK_NONBLOCK)) >= 0;) watch(epoll, client);
    }
  }
}
