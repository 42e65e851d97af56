/* A fake GPIO chip for LD_PRELOAD: 28 lines behind the kernel's GPIO character device, uapi v2.
 *
 * It answers the system calls that lgpio makes on /dev/gpiochip0: open, ioctl, read and close. Source of the
 * protocol: linux/gpio.h. It proves the code above it, not the kernel.
 *
 *   FAKE_GPIO_CONTROL  a FIFO to read orders from, one a line:
 *                        drive LINE LEVEL   hold the line from outside; an edge if the level changes
 *                        slip LINE LEVEL    the same, but the edge is lost
 *                        pause MICROSECONDS before the next order
 *   FAKE_GPIO_LOG      a file to append "SECONDS LINE LEVEL" to for every output (CLOCK_MONOTONIC)
 *   FAKE_GPIO_HELD     lines that are held low from the beginning, as "4,17"
 *   FAKE_GPIO_BUSY     lines that somebody else holds, as "4,17"
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/gpio.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CHIP "/dev/gpiochip0"
#define LINES 28
#define REQUESTS 64
#define FLOATING (-1)

/* One line. `driven`: the level from outside, or FLOATING. `request`: who claimed it, or NULL. */
struct request;
static struct line {
    int driven, output;
    __u64 flags;
    struct request *request;
} lines[LINES];

/* One claim of lines: the program holds `fd`, events are written to `events`. */
static struct request {
    int fd, events;
    unsigned count;
    __u32 offsets[GPIO_V2_LINES_MAX];
} requests[REQUESTS];

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int chip_fd = -1;

static __u64 now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000ull + t.tv_nsec;
}

/* Is the line in the environment's list? */
static int named(const char *variable, unsigned offset) {
    const char *at = getenv(variable);
    char *end;
    for (; at && *at; at = *end ? end + 1 : end) {
        unsigned long number = strtoul(at, &end, 10);
        if (end == at)
            return 0;
        if (number == offset)
            return 1;
    }
    return 0;
}

static int level(const struct line *line) {
    if (line->flags & GPIO_V2_LINE_FLAG_OUTPUT)
        return line->output;
    if (line->driven != FLOATING)
        return line->driven;
    return !!(line->flags & GPIO_V2_LINE_FLAG_BIAS_PULL_UP);
}

static void record(unsigned offset) {
    const char *path = getenv("FAKE_GPIO_LOG");
    FILE *file = path ? fopen(path, "a") : NULL;
    if (!file)
        return;
    fprintf(file, "%.6f %u %d\n", now_ns() / 1e9, offset, lines[offset].output);
    fclose(file);
}

static void put(unsigned offset, int value) {
    lines[offset].output = value;
    record(offset);
}

/* ---- from outside: the orders ---- */

static void drive(unsigned offset, int value, int report) {
    static __u32 seqno;
    struct line *line = &lines[offset];
    int before = level(line);
    line->driven = value;
    __u64 wanted = value ? GPIO_V2_LINE_FLAG_EDGE_RISING : GPIO_V2_LINE_FLAG_EDGE_FALLING;
    if (!report || level(line) == before || !line->request || !(line->flags & wanted))
        return;
    struct gpio_v2_line_event event = {
        .timestamp_ns = now_ns(),
        .id = value ? GPIO_V2_LINE_EVENT_RISING_EDGE : GPIO_V2_LINE_EVENT_FALLING_EDGE,
        .offset = offset,
        .seqno = ++seqno,
        .line_seqno = seqno,
    };
    /* Like the kernel's, a full queue loses events. */
    if (send(line->request->events, &event, sizeof event, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
        return;
}

static void obey(const char *order) {
    unsigned offset, value;
    char verb[8];
    if (sscanf(order, "pause %u", &value) == 1) {
        usleep(value);
    } else if (sscanf(order, "%7s %u %u", verb, &offset, &value) == 3 && offset < LINES) {
        pthread_mutex_lock(&lock);
        drive(offset, !!value, !strcmp(verb, "drive"));
        pthread_mutex_unlock(&lock);
    }
}

static void *listen_to_orders(void *path) {
    FILE *file = fopen(path, "r+"); /* r+: a FIFO that we also hold open for writing never ends */
    char order[64];
    while (file && fgets(order, sizeof order, file))
        obey(order);
    return NULL;
}

/* ---- from the program: the system calls ---- */

__attribute__((constructor)) static void begin(void) {
    for (int i = 0; i < LINES; i++)
        lines[i].driven = named("FAKE_GPIO_HELD", i) ? 0 : FLOATING;
}

static int open_chip(void) {
    static int listening;
    char *control = getenv("FAKE_GPIO_CONTROL");
    pthread_t thread;
    if (!listening && control)
        listening = !pthread_create(&thread, NULL, listen_to_orders, control);
    return chip_fd = memfd_create("gpiochip0", MFD_CLOEXEC);
}

#define OPEN(name)                                                    \
    int name(const char *path, int flags, ...) {                      \
        if (!strcmp(path, CHIP))                                      \
            return open_chip();                                       \
        int (*real)(const char *, int, ...) = dlsym(RTLD_NEXT, #name); \
        va_list rest;                                                 \
        va_start(rest, flags);                                        \
        int mode = va_arg(rest, int);                                 \
        va_end(rest);                                                 \
        return real(path, flags, mode);                               \
    }
OPEN(open)
OPEN(open64)

static int fail(int code) {
    errno = code;
    return -1;
}

static int chip_info(struct gpiochip_info *info) {
    *info = (struct gpiochip_info){.name = "gpiochip0", .label = "pinctrl-bcm2711", .lines = LINES};
    return 0;
}

static int line_info(struct gpio_v2_line_info *info) {
    unsigned offset = info->offset;
    if (offset >= LINES)
        return fail(EINVAL);
    struct line *line = &lines[offset];
    *info = (struct gpio_v2_line_info){.offset = offset, .flags = GPIO_V2_LINE_FLAG_INPUT};
    snprintf(info->name, sizeof info->name, "GPIO%u", offset);
    if (line->request || named("FAKE_GPIO_BUSY", offset)) {
        info->flags = line->flags | GPIO_V2_LINE_FLAG_USED;
        strcpy(info->consumer, line->request ? "lg" : "another");
    }
    return 0;
}

static void configure(const struct request *request, const struct gpio_v2_line_config *config) {
    for (unsigned i = 0; i < request->count; i++)
        lines[request->offsets[i]].flags = config->flags;
    for (unsigned a = 0; a < config->num_attrs; a++)
        for (unsigned i = 0; i < request->count; i++)
            if (config->attrs[a].attr.id == GPIO_V2_LINE_ATTR_ID_OUTPUT_VALUES && config->attrs[a].mask >> i & 1)
                put(request->offsets[i], config->attrs[a].attr.values >> i & 1);
}

static int claim(struct gpio_v2_line_request *wish) {
    struct request *request = requests;
    int ends[2];
    for (unsigned i = 0; i < wish->num_lines; i++)
        if (wish->offsets[i] >= LINES)
            return fail(EINVAL);
        else if (lines[wish->offsets[i]].request || named("FAKE_GPIO_BUSY", wish->offsets[i]))
            return fail(EBUSY);
    while (request < requests + REQUESTS && request->count)
        request++;
    if (request == requests + REQUESTS || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends))
        return fail(ENOMEM);
    *request = (struct request){.fd = ends[0], .events = ends[1], .count = wish->num_lines};
    memcpy(request->offsets, wish->offsets, sizeof request->offsets);
    for (unsigned i = 0; i < request->count; i++)
        lines[request->offsets[i]].request = request;
    configure(request, &wish->config);
    wish->fd = request->fd;
    return 0;
}

static int get_values(const struct request *request, struct gpio_v2_line_values *values) {
    values->bits = 0;
    for (unsigned i = 0; i < request->count; i++)
        if (values->mask >> i & 1)
            values->bits |= (__u64)level(&lines[request->offsets[i]]) << i;
    return 0;
}

static int set_values(const struct request *request, const struct gpio_v2_line_values *values) {
    for (unsigned i = 0; i < request->count; i++)
        if (values->mask >> i & 1)
            put(request->offsets[i], values->bits >> i & 1);
    return 0;
}

static int real_close(int fd) {
    int (*real)(int) = dlsym(RTLD_NEXT, "close");
    return real(fd);
}

static struct request *find(int fd) {
    for (struct request *request = requests; request < requests + REQUESTS; request++)
        if (request->count && request->fd == fd)
            return request;
    return NULL;
}

static int chip_call(unsigned long call, void *argument) {
    switch (call) {
    case GPIO_GET_CHIPINFO_IOCTL: return chip_info(argument);
    case GPIO_V2_GET_LINEINFO_IOCTL: return line_info(argument);
    case GPIO_V2_GET_LINE_IOCTL: return claim(argument);
    default: return fail(ENOTTY);
    }
}

static int request_call(const struct request *request, unsigned long call, void *argument) {
    switch (call) {
    case GPIO_V2_LINE_GET_VALUES_IOCTL: return get_values(request, argument);
    case GPIO_V2_LINE_SET_VALUES_IOCTL: return set_values(request, argument);
    case GPIO_V2_LINE_SET_CONFIG_IOCTL: configure(request, argument); return 0;
    default: return fail(ENOTTY);
    }
}

int ioctl(int fd, unsigned long call, ...) {
    va_list rest;
    va_start(rest, call);
    void *argument = va_arg(rest, void *);
    va_end(rest);
    pthread_mutex_lock(&lock);
    struct request *request = find(fd);
    int ours = request || (fd >= 0 && fd == chip_fd);
    int result = request ? request_call(request, call, argument) : ours ? chip_call(call, argument) : 0;
    pthread_mutex_unlock(&lock);
    int (*real)(int, unsigned long, void *) = dlsym(RTLD_NEXT, "ioctl");
    return ours ? result : real(fd, call, argument);
}

int close(int fd) {
    pthread_mutex_lock(&lock);
    struct request *request = find(fd);
    if (request) {
        for (unsigned i = 0; i < request->count; i++)
            lines[request->offsets[i]] = (struct line){.driven = lines[request->offsets[i]].driven};
        real_close(request->events);
        request->count = 0;
    }
    if (fd == chip_fd)
        chip_fd = -1;
    pthread_mutex_unlock(&lock);
    return real_close(fd);
}
