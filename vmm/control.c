/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory of operation.
 *
 * A client is a descriptor with two buffers. What it sends is gathered until a line end; the line
 * is served, the reply appended to what is to be sent. One callback serves one line, so a client
 * that sends ten thousand at once gets its turn as often as everybody else on the loop. While lines
 * wait in the buffer there may be nothing to read that would call us again; then we ask epoll for
 * writability, which is true at once, or when the client has taken what it was sent.
 *
 * Some methods take milliseconds (jsonrpc.h). Many clients that call these would still hold up one
 * that asks for the status. So they take turns (turns.h), which leaves half of the main loop's time to
 * the others.
 *
 * A client's end is handled in its own callback only: elsewhere it is shut down, and the callback
 * follows by itself. So a method, or a notification on its behalf, never frees whom it works for.
 *
 * A client that has closed its end is still served what it sent before: `echo ... | socat` works.
 *
 * Events of other threads wait in a small ring that is emptied on the main loop, woken by an
 * eventfd. That one is made when the first client subscribes: before, they are dropped, and a VM
 * that nobody watches pays nothing.
 */
#include "vmm/control.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "vmm/clock.h"
#include "vmm/fd.h"
#include "vmm/json_text.h"
#include "vmm/listener.h"
#include "vmm/log.h"
#include "vmm/turns.h"
#include "vmm/util.h"

#define EVENTS_MAX 64

/* Bytes [at, len) of @data are to be used; freed when empty. */
struct buffer {
	char *data;
	size_t at, len, size;
};

struct client {
	struct control *control; /* NULL: not in use */
	struct loop_source src;
	int fd;
	struct buffer in, out;
	size_t scanned; /* no line end in in.data[at .. at + scanned) */
	bool line;      /* there is a whole line in @in */
	bool eof;       /* nothing more will come */
	bool closing;   /* when all is sent */
	bool deferred;  /* the line is a slow request, which waits for its turn */
	bool granted;   /* it has its turn */
	bool subscribed;
	unsigned lost; /* notifications left out since the last that was sent */
	uint64_t active_ms;
};

struct event {
	char name[32], device[64], detail[192];
};

struct control {
	struct jsonrpc rpc;
	struct loop *loop;
	struct control_listener listener;
	struct listener accepting;
	struct log_limit limit;
	unsigned nr_clients, nr_subscribers;
	struct turns turns; /* of slow requests */
	unsigned turn;      /* in clients: who had the last one */
	struct client clients[CONTROL_CLIENTS_MAX];

	struct loop_source event_src;
	pthread_mutex_t lock; /* the fields below */
	int event_fd;         /* -1: nobody has subscribed yet */
	unsigned nr_events, events_lost;
	struct event events[EVENTS_MAX];
};

/* --- Buffers --- */

static void buffer_free(struct buffer *b)
{
	free(b->data);
	*b = (struct buffer){0};
}

/* Room for @more bytes behind what is there. */
static bool buffer_room(struct buffer *b, size_t more)
{
	size_t size = b->size ? b->size : 1024;
	char *data;

	if (b->at) {
		memmove(b->data, b->data + b->at, b->len - b->at);
		b->len -= b->at;
		b->at = 0;
	}
	while (size < b->len + more)
		size *= 2;
	if (size == b->size)
		return true;
	data = realloc(b->data, size);
	if (!data)
		return false;
	b->data = data;
	b->size = size;
	return true;
}

static size_t waiting(const struct client *c)
{
	return c->out.len - c->out.at;
}

/* Append @line and a line end to what is to be sent. */
static bool put_line(struct client *c, const char *line)
{
	size_t len = strlen(line);

	if (!buffer_room(&c->out, len + 1))
		return false;
	memcpy(c->out.data + c->out.len, line, len);
	c->out.data[c->out.len + len] = '\n';
	c->out.len += len + 1;
	return true;
}

/* --- A client --- */

/* It ends in its own callback, which this brings about. */
static void hang_up(struct client *c)
{
	shutdown(c->fd, SHUT_RDWR);
}

static void client_close(struct client *c)
{
	struct control *control = c->control;

	loop_remove(&c->src);
	fd_close(&c->fd);
	buffer_free(&c->in);
	buffer_free(&c->out);
	control->nr_subscribers -= c->subscribed;
	control->nr_clients--;
	c->control = NULL;
	listener_resume(&control->accepting); /* there may have been no descriptor */
}

/* As much as it takes now. False: it is gone. */
static bool send_waiting(struct client *c)
{
	while (waiting(c)) {
		ssize_t n = send(c->fd, c->out.data + c->out.at, waiting(c),
		                 MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN;
		c->out.at += (size_t)n;
	}
	buffer_free(&c->out);
	return true;
}

/* A reply, or an error of the connection; takes @line. */
static void reply(struct client *c, char *line)
{
	if (line && strlen(line) > CONTROL_REPLY_MAX) {
		free(line);
		line = jsonrpc_error_line(JSONRPC_TOO_MANY, "the reply would be too long");
	}
	if (line && !put_line(c, line))
		hang_up(c);
	free(line);
}

/* Look for a line end in what came; sets c->line. */
static void find_line(struct client *c)
{
	size_t have = c->in.len - c->in.at;
	const char *from = c->in.data + c->in.at;

	if (!have) {
		c->line = false;
		c->scanned = 0;
		buffer_free(&c->in);
		return;
	}
	c->line = memchr(from + c->scanned, '\n', have - c->scanned) != NULL;
	if (!c->line)
		c->scanned = have;
	/* Who hangs up need not end its last line. */
	if (!c->line && c->eof)
		c->line = true;
	if (!c->line && have >= CONTROL_LINE_MAX) {
		reply(c, jsonrpc_error_line(JSONRPC_TOO_MANY, "a line longer than 64 KiB"));
		c->closing = true;
	}
}

static bool receive(struct client *c)
{
	size_t have = c->in.len - c->in.at;
	size_t room = CONTROL_LINE_MAX - have;
	ssize_t n;

	room = min_u64(room, have < 4096 ? 4096 : have);
	if (!buffer_room(&c->in, room))
		return false;
	do
		n = recv(c->fd, c->in.data + c->in.len, room, MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == EAGAIN;
	c->eof = n == 0;
	c->in.len += (size_t)n;
	find_line(c);
	return true;
}

/* The line in @c's buffer with its end: *@len bytes, and without it *@text. */
static const char *line_of(const struct client *c, size_t *len, size_t *text)
{
	const char *line = c->in.data + c->in.at;
	size_t have = c->in.len - c->in.at;
	const char *end = memchr(line, '\n', have);

	*text = end ? (size_t)(end - line) : have;
	*len = end ? *text + 1 : have;
	if (*text && line[*text - 1] == '\r')
		--*text;
	return line;
}

static void serve_line(struct client *c)
{
	size_t len, text;
	const char *line = line_of(c, &len, &text);

	c->active_ms = clock_ms();
	if (text)
		reply(c, jsonrpc_serve(&c->control->rpc, c, line, text));
	c->in.at += len;
	c->scanned = 0;
	find_line(c);
}

/* --- Turns of slow requests --- */

/* The next client whose slow request waits, or NULL. */
static struct client *next_deferred(struct control *control)
{
	for (unsigned i = 0; i < CONTROL_CLIENTS_MAX; i++) {
		unsigned at = (control->turn + i) % CONTROL_CLIENTS_MAX;

		if (control->clients[at].control && control->clients[at].deferred)
			return &control->clients[at];
	}
	return NULL;
}

static bool grant_turn(void *opaque)
{
	struct control *control = opaque;
	struct client *c = next_deferred(control);

	if (!c)
		return false;
	control->turn = (unsigned)(c - control->clients) + 1;
	c->deferred = false;
	c->granted = true;
	loop_change(&c->src, EPOLLOUT); /* its callback serves it */
	return next_deferred(control) != NULL;
}

/* Serve @c's line, unless it is a slow request and others had the loop's time just now. */
static void serve_in_turn(struct client *c)
{
	struct control *control = c->control;
	uint64_t began = clock_us();
	size_t len, text;
	const char *line = line_of(c, &len, &text);
	bool slow = jsonrpc_is_slow(&control->rpc, line, text);

	if (slow && !c->granted && !turns_free(&control->turns)) {
		c->deferred = turns_wait(&control->turns);
		if (c->deferred)
			return;
	}
	c->granted = false;
	serve_line(c);
	if (slow)
		turns_used(&control->turns, began);
}

/* What the next callback has to be about. */
static void watch(struct client *c)
{
	bool full = waiting(c) != 0;
	uint32_t events = 0;

	if (full || (c->line && !c->closing && !c->deferred))
		events |= EPOLLOUT;
	if (!full && !c->line && !c->eof && !c->closing)
		events |= EPOLLIN;
	loop_change(&c->src, events);
}

static void on_client(struct loop_source *src, uint32_t events)
{
	struct client *c = container_of(src, struct client, src);
	/* A client that is gone while its request waits does not get the reply: it need not be made. */
	bool ok = !(events & EPOLLERR) && !(c->deferred && (events & EPOLLHUP));

	if (ok && !c->line && !c->eof && !c->closing && (events & (EPOLLIN | EPOLLHUP)))
		ok = receive(c);
	/* Not while replies wait: what a client does not read is not made, either. */
	if (ok && c->line && !c->closing && !c->deferred && !waiting(c))
		serve_in_turn(c);
	ok = ok && send_waiting(c);
	if (!ok || (!waiting(c) && (c->closing || (c->eof && !c->line)))) {
		client_close(c);
		return;
	}
	watch(c);
}

/* --- Accepting --- */

/* A place for one more, if need be by ending the connection that was silent for longest. */
static struct client *make_room(struct control *control)
{
	struct client *oldest = NULL;

	for (unsigned i = 0; i < CONTROL_CLIENTS_MAX; i++) {
		struct client *c = &control->clients[i];

		if (!c->control)
			return c;
		if (!c->subscribed && (!oldest || c->active_ms < oldest->active_ms))
			oldest = c;
	}
	if (!oldest || clock_ms() - oldest->active_ms < CONTROL_IDLE_MS)
		return NULL;
	client_close(oldest);
	return oldest;
}

static void refuse(int fd)
{
	char *line = jsonrpc_error_line(JSONRPC_TOO_MANY, "too many connections; try again");

	if (line) {
		size_t len = strlen(line);

		line[len] = '\n'; /* in place of its NUL: it is sent by its length */
		if (send(fd, line, len + 1, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
			log_debug("control: a refused client was told nothing");
	}
	free(line);
}

static void welcome(struct control *control, int fd)
{
	struct client *c = make_room(control);

	if (!c) {
		refuse(fd);
		fd_close(&fd);
		return;
	}
	memset(c, 0, sizeof(*c));
	c->fd = fd;
	c->active_ms = clock_ms();
	if (loop_add(control->loop, &c->src, fd, EPOLLIN, on_client) < 0) {
		fd_close(&c->fd);
		return;
	}
	c->control = control;
	control->nr_clients++;
}

static void on_accept(struct listener *l, int fd)
{
	welcome(container_of(l, struct control, accepting), fd);
}

/* --- Notifications --- */

static json_t *with_time(const char *event, json_t *fields)
{
	struct timespec t;

	if (!fields)
		fields = json_object();
	clock_gettime(CLOCK_REALTIME, &t);
	json_object_set_new(fields, "event", json_string(event));
	json_object_set_new(fields, "time",
	                    json_real((double)(t.tv_sec * 1000 + t.tv_nsec / 1000000) / 1000));
	return fields;
}

static bool has_room(const struct client *c, size_t len)
{
	return waiting(c) + len <= CONTROL_NOTIFY_MAX;
}

/* Before the next one that fits: how many did not. */
static void tell_lost(struct client *c)
{
	char *line = jsonrpc_notification(
		"event", with_time("lost", json_pack("{s:i}", "count", (int)c->lost)));

	if (line && put_line(c, line))
		c->lost = 0;
	free(line);
}

static void notify(struct client *c, const char *line)
{
	if (!has_room(c, strlen(line) + 256)) {
		if (++c->lost > CONTROL_LOST_MAX)
			hang_up(c);
		return;
	}
	if (c->lost)
		tell_lost(c);
	if (!put_line(c, line))
		hang_up(c);
	/* Sent by its callback, which may be the one that we are in. */
	loop_change(&c->src, c->src.events | EPOLLOUT);
}

bool control_heard(const struct control *control)
{
	return control && control->nr_subscribers;
}

void control_notify(struct control *control, const char *event, json_t *fields)
{
	char *line = NULL;

	if (control_heard(control))
		line = jsonrpc_notification("event", with_time(event, fields));
	else
		json_decref(fields);
	for (unsigned i = 0; line && i < CONTROL_CLIENTS_MAX; i++)
		if (control->clients[i].control && control->clients[i].subscribed)
			notify(&control->clients[i], line);
	free(line);
}

/* event_sink's post(): any thread. */
static void post(void *opaque, const char *event, const char *device, const char *detail)
{
	struct control *control = opaque;

	pthread_mutex_lock(&control->lock);
	if (control->event_fd >= 0 && control->nr_events == EVENTS_MAX) {
		control->events_lost++;
	} else if (control->event_fd >= 0) {
		struct event *e = &control->events[control->nr_events++];

		snprintf(e->name, sizeof(e->name), "%s", event);
		snprintf(e->device, sizeof(e->device), "%s", device ? device : "");
		snprintf(e->detail, sizeof(e->detail), "%s", detail ? detail : "");
		fd_signal(control->event_fd);
	}
	pthread_mutex_unlock(&control->lock);
}

static void notify_event(struct control *control, const struct event *e)
{
	json_t *fields = json_object();

	if (e->device[0])
		json_object_set_new(fields, "device", json_text(e->device));
	if (e->detail[0])
		json_object_set_new(fields, "detail", json_text(e->detail));
	control_notify(control, e->name, fields);
}

static void drain_events(struct control *control)
{
	struct event events[EVENTS_MAX];
	unsigned nr, lost;

	pthread_mutex_lock(&control->lock);
	nr = control->nr_events;
	lost = control->events_lost;
	memcpy(events, control->events, nr * sizeof(events[0]));
	control->nr_events = control->events_lost = 0;
	pthread_mutex_unlock(&control->lock);
	for (unsigned i = 0; i < nr; i++)
		notify_event(control, &events[i]);
	if (lost)
		control_notify(control, "lost", json_pack("{s:i}", "count", (int)lost));
}

static void on_events(struct loop_source *src, uint32_t events)
{
	struct control *control = container_of(src, struct control, event_src);

	(void)events;
	fd_drain(control->event_fd);
	drain_events(control);
}

struct event_sink control_sink(struct control *control)
{
	return (struct event_sink){.post = control ? post : NULL, .opaque = control};
}

static int open_events(struct control *control)
{
	int fd, rc;

	if (control->event_src.loop)
		return 0;
	fd = fd_eventfd();
	rc = fd < 0 ? fd : loop_add(control->loop, &control->event_src, fd, EPOLLIN, on_events);
	if (rc < 0) {
		fd_close(&fd);
		return rc;
	}
	pthread_mutex_lock(&control->lock);
	control->event_fd = fd;
	pthread_mutex_unlock(&control->lock);
	return 0;
}

int control_subscribe(struct control *control, void *opaque, bool on, struct err *err)
{
	struct client *c = opaque;
	int rc;

	if (c->subscribed == on)
		return 0;
	if (on && control->nr_subscribers == CONTROL_SUBSCRIBERS_MAX)
		return err_set(err, -EBUSY, "%u connections are subscribed already",
		               CONTROL_SUBSCRIBERS_MAX);
	rc = on ? open_events(control) : 0;
	if (rc < 0)
		return err_errno(err, rc, "events");
	c->subscribed = on;
	if (on)
		control->nr_subscribers++;
	else
		control->nr_subscribers--;
	return 0;
}

/* --- Life --- */

int control_open(struct control **out, struct loop *loop, const char *path,
                 const struct jsonrpc *rpc, struct err *err)
{
	struct control *control = calloc(1, sizeof(*control));
	int rc;

	if (!control)
		return err_errno(err, -ENOMEM, "control socket");
	control->rpc = *rpc;
	control->loop = loop;
	control->event_fd = -1;
	turns_init(&control->turns, loop, grant_turn, control);
	pthread_mutex_init(&control->lock, NULL);
	rc = control_listen(&control->listener, path, err);
	if (rc == 0) {
		rc = listener_start(&control->accepting, loop, control->listener.fd,
		                    "control socket", on_accept);
		if (rc < 0)
			err_errno(err, rc, "control socket");
	}
	if (rc < 0) {
		control_close(control);
		return rc;
	}
	*out = control;
	return 0;
}

void control_close(struct control *control)
{
	if (!control)
		return;
	drain_events(control);
	listener_stop(&control->accepting);
	control_unlisten(&control->listener);
	for (unsigned i = 0; i < CONTROL_CLIENTS_MAX; i++) {
		struct client *c = &control->clients[i];

		if (!c->control)
			continue;
		send_waiting(c);
		client_close(c);
	}
	turns_close(&control->turns);
	loop_remove(&control->event_src);
	fd_close(&control->event_fd);
	pthread_mutex_destroy(&control->lock);
	free(control);
}
