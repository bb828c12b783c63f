/* A libcuda on host memory, for real pycuda and real cuda-bindings. Nothing runs on a GPU.

   Work given to a stream is done when somebody synchronises, and not before: until then the target of a download holds
   POISON, as fresh and freed device memory does. Asynchronous copies from or to memory that is not page-locked, calls
   without a current context, and addresses that are not the device's are errors. While a stream is captured its work
   goes into the graph. A sticky error stays: from then on every call returns it. A green context has 2 or more of 8
   multiprocessors, an even number, and outlives its streams and the graphs that were captured on them.

   EDGED_CUDA_INIT       what cuInit returns (100: no device)
   EDGED_CUDA_DRIVER     what cuDriverGetVersion says (13000)
   EDGED_CUDA_INTEGRATED 1: GPU and CPU share their memory
   EDGED_CUDA_MIB        device memory (1024)
   Compiled with EDGED_OLD, it is a driver without green contexts.

   For tests, besides CUDA: edged_fail, edged_calls, edged_live, edged_left. */
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { OK = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, NO_DEVICE = 100, INVALID_CONTEXT = 201, INVALID_HANDLE = 400,
       NOT_READY = 600, CAPTURING = 900, NOT_SUPPORTED = 801, IN_USE = 709, RESOURCE_TYPE = 914, CONFIGURATION = 915 };
enum { POISON = 0xA5, DEVICE = 1, HOST = 2, MAPPED = 4, ATTRIBUTE_MAP_HOST = 19, MULTIPROCESSORS = 8 };
typedef void (*host_fn)(void *);
typedef struct event { int64_t ns; int done; } event;
typedef struct op {
    enum { COPY, CALL, RECORD } kind;
    char *to; const char *from; size_t size;
    host_fn call; void *data;
    event *mark;
    struct op *next;
} op;
typedef struct green { unsigned multiprocessors; int uses; } green; /* uses: its streams, and graphs captured on them */
typedef struct stream { op *first, *last; struct graph *recording; int priority; green *on; } stream;
typedef struct graph { op *first, *last; green *on; } graph;
typedef struct block { char *at; size_t size; int kind; struct block *next; } block;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static block *blocks;
static size_t used;
static int dead, left_streams, left_events, left_graphs, left_greens, primary;
static __thread int depth;
static struct { char call[64]; int code, lasts, after; } failing;
enum { ONCE, STICKY, ALWAYS };
static struct { char name[64]; int count; } counted[128];

static int number(const char *name, int otherwise) {
    const char *text = getenv(name);
    return text ? atoi(text) : otherwise;
}

/* ---- for tests ---- */
void edged_fail(const char *call, int code, int lasts, int after) {
    pthread_mutex_lock(&lock);
    strncpy(failing.call, call, sizeof failing.call - 1);
    failing.code = code; failing.lasts = lasts; failing.after = after;
    pthread_mutex_unlock(&lock);
}
static int *counter(const char *name) {
    for (int i = 0; i < 128; i++) {
        if (!counted[i].name[0]) strncpy(counted[i].name, name, sizeof counted[i].name - 1);
        if (!strcmp(counted[i].name, name)) return &counted[i].count;
    }
    abort();
}
int edged_calls(const char *name) {
    pthread_mutex_lock(&lock);
    int count = *counter(name);
    pthread_mutex_unlock(&lock);
    return count;
}
static block *holding(const char *at, size_t size, int kinds) {
    for (block *b = blocks; b; b = b->next)
        if ((b->kind & kinds) && at >= b->at && at + size <= b->at + b->size) return b;
    return NULL;
}
int edged_live(uintptr_t at, size_t size) {
    pthread_mutex_lock(&lock);
    int found = holding((char *)at, size, DEVICE | MAPPED) != NULL;
    pthread_mutex_unlock(&lock);
    return found;
}
int edged_left(const char *what) {
    int count = 0;
    if (!strcmp(what, "streams")) return left_streams;
    if (!strcmp(what, "events")) return left_events;
    if (!strcmp(what, "graphs")) return left_graphs;
    if (!strcmp(what, "greens")) return left_greens;
    for (block *b = blocks; b; b = b->next) count++;
    return count;
}

/* What every call goes through. */
static int enter(const char *name, int context) {
    pthread_mutex_lock(&lock);
    ++*counter(name);
    int code = dead;
    if (!code && !strcmp(failing.call, name) && failing.after-- <= 0) {
        code = failing.code;
        if (failing.lasts == STICKY) dead = code;
        if (failing.lasts != ALWAYS) failing.call[0] = 0;
    }
    pthread_mutex_unlock(&lock);
    return code ? code : context && !depth ? INVALID_CONTEXT : OK;
}
#define ENTER(context) do { int code_ = enter(__func__, context); if (code_) return code_; } while (0)

/* ---- streams ---- */
static void append(op **first, op **last, op item) {
    op *made = malloc(sizeof item);
    *made = item;
    made->next = NULL;
    if (*last) (*last)->next = made; else *first = made;
    *last = made;
}
static void enqueue(stream *s, op item) {
    pthread_mutex_lock(&lock);
    if (s->recording) append(&s->recording->first, &s->recording->last, item);
    else append(&s->first, &s->last, item);
    pthread_mutex_unlock(&lock);
}
static int64_t now(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return at.tv_sec * 1000000000LL + at.tv_nsec;
}
static void work_off(stream *s) {
    for (;;) {
        pthread_mutex_lock(&lock);
        op *item = s->first;
        if (item && !(s->first = item->next)) s->last = NULL;
        pthread_mutex_unlock(&lock);
        if (!item) return;
        switch (item->kind) {
        case COPY: memcpy(item->to, item->from, item->size); break;
        case CALL: item->call(item->data); break; /* unlocked: it may want the GIL of somebody who waits here */
        case RECORD: item->mark->ns = now(); item->mark->done = 1; break;
        }
        free(item);
    }
}
int cuStreamCreateWithPriority(stream **s, unsigned flags, int priority) {
    ENTER(1);
    *s = calloc(1, sizeof **s);
    (*s)->priority = priority;
    left_streams++;
    return OK;
}
int cuStreamCreate(stream **s, unsigned flags) { ENTER(1); left_streams++; return (*s = calloc(1, sizeof **s)) ? OK : OUT_OF_MEMORY; }
static green *take(green *on) { if (on) on->uses++; return on; }
static void leave(green *on) { if (on) on->uses--; }
int cuStreamDestroy_v2(stream *s) { ENTER(1); work_off(s); leave(s->on); free(s); left_streams--; return OK; }
int cuStreamGetPriority(stream *s, int *priority) { ENTER(1); *priority = s->priority; return OK; }
int cuCtxGetStreamPriorityRange(int *least, int *greatest) { ENTER(1); *least = 0; *greatest = -5; return OK; }
int cuStreamSynchronize(stream *s) { ENTER(1); if (s->recording) return CAPTURING; work_off(s); return OK; }
int cuStreamQuery(stream *s) { ENTER(1); return s->first ? NOT_READY : OK; }
int cuStreamWaitEvent(stream *s, event *e, unsigned flags) { ENTER(1); return OK; }
int cuLaunchHostFunc(stream *s, host_fn call, void *data) {
    ENTER(1);
    enqueue(s, (op){.kind = CALL, .call = call, .data = data});
    return OK;
}

/* ---- events ---- */
int cuEventCreate(event **e, unsigned flags) { ENTER(1); *e = calloc(1, sizeof **e); left_events++; return OK; }
int cuEventDestroy_v2(event *e) { ENTER(1); free(e); left_events--; return OK; }
int cuEventRecord(event *e, stream *s) {
    ENTER(1);
    if (!s) return INVALID_HANDLE; /* the default stream is nobody's here */
    e->done = 0;
    enqueue(s, (op){.kind = RECORD, .mark = e});
    return OK;
}
int cuEventQuery(event *e) { ENTER(1); return e->done ? OK : NOT_READY; }
int cuEventSynchronize(event *e) { ENTER(1); return e->done ? OK : NOT_READY; }
int cuEventElapsedTime_v2(float *ms, event *a, event *b) {
    ENTER(1);
    if (!a->done || !b->done) return NOT_READY;
    *ms = (float)((double)(b->ns - a->ns) / 1e6);
    return OK;
}
int cuEventElapsedTime(float *ms, event *a, event *b) { return cuEventElapsedTime_v2(ms, a, b); }

/* ---- memory ---- */
static int allocate(char **at, size_t size, int kind) {
    size_t total = (size_t)number("EDGED_CUDA_MIB", 1024) << 20;
    if (!size) return INVALID_VALUE;
    pthread_mutex_lock(&lock);
    int code = (kind & DEVICE) && used + size > total ? OUT_OF_MEMORY : OK;
    if (!code && posix_memalign((void **)at, 512, size)) code = OUT_OF_MEMORY;
    if (!code) {
        memset(*at, POISON, size);
        block *made = malloc(sizeof *made);
        *made = (block){*at, size, kind, blocks};
        blocks = made;
        if (kind & DEVICE) used += size;
    }
    pthread_mutex_unlock(&lock);
    return code;
}
static int release(char *at, int kinds) {
    int code = INVALID_VALUE;
    pthread_mutex_lock(&lock);
    for (block **b = &blocks; *b; b = &(*b)->next) {
        if ((*b)->at != at || !((*b)->kind & kinds)) continue;
        block *gone = *b;
        if (gone->kind & DEVICE) used -= gone->size;
        memset(gone->at, POISON, gone->size); /* and never given back: nothing else gets its address */
        *b = gone->next;
        free(gone);
        code = OK;
        break;
    }
    pthread_mutex_unlock(&lock);
    return code;
}
int cuMemAlloc_v2(char **at, size_t size) { ENTER(1); return allocate(at, size, DEVICE); }
int cuMemFree_v2(char *at) { ENTER(1); return release(at, DEVICE); }
int cuMemHostAlloc(void **at, size_t size, unsigned flags) { ENTER(1); return allocate((char **)at, size, flags & 2 ? MAPPED : HOST); }
int cuMemFreeHost(void *at) { ENTER(1); return release(at, HOST | MAPPED); }
int cuMemHostGetDevicePointer_v2(char **at, void *host, unsigned flags) {
    ENTER(1);
    *at = host;
    return holding(host, 1, MAPPED) ? OK : INVALID_VALUE;
}
int cuMemHostGetFlags(unsigned *flags, void *host) { ENTER(1); *flags = holding(host, 1, MAPPED) ? 2 : 0; return OK; }
int cuMemGetInfo_v2(size_t *unused, size_t *total) {
    ENTER(1);
    *total = (size_t)number("EDGED_CUDA_MIB", 1024) << 20;
    *unused = *total - used;
    return OK;
}
static int copy(stream *s, char *to, const char *from, size_t size, const char *device, const char *host, int down) {
    if (!s || !holding(device, size, DEVICE) || !holding(host, size, HOST | MAPPED)) return INVALID_VALUE;
    if (down && !s->recording) memset(to, POISON, size);
    enqueue(s, (op){.kind = COPY, .to = to, .from = from, .size = size});
    return OK;
}
int cuMemcpyHtoDAsync_v2(char *to, const void *from, size_t size, stream *s) { ENTER(1); return copy(s, to, from, size, to, from, 0); }
int cuMemcpyDtoHAsync_v2(void *to, char *from, size_t size, stream *s) { ENTER(1); return copy(s, to, from, size, from, to, 1); }
int cuMemcpyHtoD_v2(char *to, const void *from, size_t size) { ENTER(1); memcpy(to, from, size); return OK; }
int cuMemcpyDtoH_v2(void *to, char *from, size_t size) { ENTER(1); memcpy(to, from, size); return OK; }

/* ---- graphs ---- */
int cuStreamBeginCapture_v2(stream *s, int mode) {
    ENTER(1);
    if (s->first || s->recording || mode != 1) return CAPTURING; /* 1: thread local, so that others may go on */
    s->recording = calloc(1, sizeof(graph));
    s->recording->on = take(s->on);
    left_graphs++;
    return OK;
}
int cuThreadExchangeStreamCaptureMode(int *mode) {
    static _Thread_local int current = 0;
    ENTER(0);
    int before = current;
    current = *mode;
    *mode = before;
    return current == 1 ? OK : INVALID_VALUE; /* 1: thread local, a thread's own captures count and nobody else's */
}
int cuStreamEndCapture(stream *s, graph **g) {
    ENTER(1);
    *g = s->recording;
    s->recording = NULL;
    return *g ? OK : CAPTURING;
}
int cuGraphInstantiateWithFlags(graph **made, graph *g, uint64_t flags) {
    ENTER(1);
    *made = calloc(1, sizeof **made);
    (*made)->on = take(g->on);
    left_graphs++;
    for (op *item = g->first; item; item = item->next) append(&(*made)->first, &(*made)->last, *item);
    return OK;
}
static int drop(graph *g) {
    for (op *item = g->first; item;) { op *next = item->next; free(item); item = next; }
    leave(g->on);
    free(g);
    left_graphs--;
    return OK;
}
int cuGraphDestroy(graph *g) { ENTER(1); return drop(g); }
int cuGraphExecDestroy(graph *g) { ENTER(1); return drop(g); }
int cuGraphLaunch(graph *g, stream *s) {
    ENTER(1);
    for (op *item = g->first; item; item = item->next) enqueue(s, *item);
    return OK;
}

/* ---- green contexts ---- */
#ifndef EDGED_OLD
typedef struct { unsigned count, least, alignment; } multiprocessors;
typedef struct { int type; unsigned char split, padding[91]; union { multiprocessors sm; unsigned char room[48]; }; } resource;
int cuDeviceGetDevResource(int device, resource *whole, int type) {
    ENTER(0);
    if (type != 1) return RESOURCE_TYPE;
    *whole = (resource){.type = type, .sm = {MULTIPROCESSORS, 2, 2}};
    return device ? 101 : OK;
}
int cuDevSmResourceSplitByCount(resource *made, unsigned *count, const resource *whole, resource *rest, unsigned flags, unsigned least) {
    ENTER(0);
    if (flags || !made || !count || *count != 1 || !least) return INVALID_VALUE;
    if (whole->type != 1 || whole->split) return RESOURCE_TYPE;
    if (least > whole->sm.count) return CONFIGURATION;
    unsigned taken = least + least % 2;
    *made = (resource){.type = 1, .split = 1, .sm = {taken, 2, 2}};
    if (rest) *rest = (resource){.type = taken < whole->sm.count, .split = 1, .sm = {whole->sm.count - taken, 2, 2}};
    return OK;
}
int cuDevResourceGenerateDesc(void **described, resource *parts, unsigned count) {
    ENTER(0);
    if (count != 1 || parts->type != 1 || !parts->split) return CONFIGURATION;
    *described = (void *)(uintptr_t)parts->sm.count; /* nobody frees a description */
    return OK;
}
int cuGreenCtxCreate(green **made, void *described, int device, unsigned flags) {
    ENTER(1); /* without the primary context it would be made, and for this alone */
    if (!described || flags != 1) return INVALID_VALUE;
    *made = calloc(1, sizeof **made);
    (*made)->multiprocessors = (unsigned)(uintptr_t)described;
    left_greens++;
    return device ? 101 : OK;
}
int cuGreenCtxStreamCreate(stream **s, green *on, unsigned flags, int priority) {
    ENTER(1);
    if (!on || flags != 1) return INVALID_VALUE;
    *s = calloc(1, sizeof **s);
    (*s)->priority = priority;
    (*s)->on = take(on);
    left_streams++;
    return OK;
}
int cuGreenCtxDestroy(green *on) {
    ENTER(1);
    if (on->uses) return IN_USE; /* a real driver leaves them dangling */
    free(on);
    left_greens--;
    return OK;
}
#endif

/* ---- device and context ---- */
int cuInit(unsigned flags) { ENTER(0); return number("EDGED_CUDA_INIT", OK); }
int cuDriverGetVersion(int *version) { *version = number("EDGED_CUDA_DRIVER", 13000); return OK; }
int cuDeviceGetCount(int *count) { ENTER(0); *count = 1; return OK; }
int cuDeviceGet(int *device, int ordinal) { ENTER(0); *device = 0; return ordinal ? 101 : OK; }
int cuDeviceGetName(char *name, int length, int device) { ENTER(0); strncpy(name, "Host memory", (size_t)length); return OK; }
int cuDeviceGetPCIBusId(char *text, int length, int device) { ENTER(0); strncpy(text, "0000:01:00.0", (size_t)length); return OK; }
int cuDeviceTotalMem_v2(size_t *bytes, int device) { ENTER(0); *bytes = (size_t)number("EDGED_CUDA_MIB", 1024) << 20; return OK; }
int cuDeviceGetAttribute(int *value, int attribute, int device) {
    ENTER(0);
    switch (attribute) {
    case 16: *value = MULTIPROCESSORS; return OK;
    case 18: *value = number("EDGED_CUDA_INTEGRATED", 0); return OK;
    case ATTRIBUTE_MAP_HOST: *value = 1; return OK;
    case 75: *value = 9; return OK;
    default: *value = 0; return OK;
    }
}
int cuDevicePrimaryCtxRetain(void **context, int device) { ENTER(0); primary++; *context = &primary; return OK; }
int cuDevicePrimaryCtxRelease_v2(int device) { ENTER(0); primary--; return OK; }
int cuCtxPushCurrent_v2(void *context) { ENTER(0); depth++; return context == &primary ? OK : INVALID_CONTEXT; }
int cuCtxPopCurrent_v2(void **context) { ENTER(1); depth--; *context = &primary; return OK; }
int cuCtxGetDevice(int *device) { ENTER(1); *device = 0; return OK; }
int cuCtxSynchronize(void) { ENTER(1); return OK; }
int cuCtxGetApiVersion(void *context, unsigned *version) { *version = 3020; return OK; }
int cuGetErrorString(int code, const char **text) {
    *text = code == OUT_OF_MEMORY ? "out of memory" : code == NO_DEVICE ? "no CUDA-capable device is detected"
          : code == 700 ? "an illegal memory access was encountered" : code == 719 ? "unspecified launch failure"
          : code == 999 ? "unknown error" : code == INVALID_CONTEXT ? "invalid device context"
          : code == IN_USE ? "context is destroyed" : code == CONFIGURATION ? "invalid resource configuration"
          : code == NOT_READY ? "device not ready" : code == CAPTURING ? "operation not permitted when stream is capturing"
          : "invalid argument";
    return OK;
}
int cuGetErrorName(int code, const char **text) { *text = "CUDA_ERROR"; return OK; }

/* ---- what pycuda links and edged never calls ---- */
#define NONE(name) int name(void) { return NOT_SUPPORTED; }
NONE(cuArray3DCreate_v2) NONE(cuArray3DGetDescriptor_v2) NONE(cuArrayCreate_v2) NONE(cuArrayDestroy)
NONE(cuArrayGetDescriptor_v2) NONE(cuCtxAttach) NONE(cuCtxCreate_v2) NONE(cuCtxCreate_v4) NONE(cuCtxDetach)
NONE(cuCtxDisablePeerAccess) NONE(cuCtxEnablePeerAccess) NONE(cuCtxGetCacheConfig) NONE(cuCtxGetLimit)
NONE(cuCtxGetSharedMemConfig) NONE(cuCtxSetCacheConfig) NONE(cuCtxSetLimit) NONE(cuCtxSetSharedMemConfig)
NONE(cuDeviceCanAccessPeer) NONE(cuDeviceComputeCapability) NONE(cuDeviceGetByPCIBusId)
NONE(cuDevicePrimaryCtxRelease) NONE(cuFuncGetAttribute) NONE(cuFuncSetAttribute) NONE(cuFuncSetBlockShape)
NONE(cuFuncSetCacheConfig) NONE(cuFuncSetSharedMemConfig) NONE(cuFuncSetSharedSize) NONE(cuIpcCloseMemHandle)
NONE(cuIpcGetEventHandle) NONE(cuIpcGetMemHandle) NONE(cuIpcOpenEventHandle) NONE(cuIpcOpenMemHandle_v2) NONE(cuLaunch)
NONE(cuLaunchGrid) NONE(cuLaunchGridAsync) NONE(cuLaunchKernel) NONE(cuLinkAddData_v2) NONE(cuLinkAddFile_v2)
NONE(cuLinkComplete) NONE(cuLinkCreate_v2) NONE(cuLinkDestroy) NONE(cuMemAllocManaged) NONE(cuMemAllocPitch_v2)
NONE(cuMemGetAddressRange_v2) NONE(cuMemHostRegister_v2) NONE(cuMemHostUnregister) NONE(cuMemcpy2DAsync_v2)
NONE(cuMemcpy2DUnaligned_v2) NONE(cuMemcpy2D_v2) NONE(cuMemcpy3DAsync_v2) NONE(cuMemcpy3DPeer) NONE(cuMemcpy3DPeerAsync)
NONE(cuMemcpy3D_v2) NONE(cuMemcpyAtoA_v2) NONE(cuMemcpyAtoD_v2) NONE(cuMemcpyAtoH_v2) NONE(cuMemcpyDtoA_v2)
NONE(cuMemcpyDtoDAsync_v2) NONE(cuMemcpyDtoD_v2) NONE(cuMemcpyHtoA_v2) NONE(cuMemcpyPeer) NONE(cuMemcpyPeerAsync)
NONE(cuMemsetD16Async) NONE(cuMemsetD16_v2) NONE(cuMemsetD2D16Async) NONE(cuMemsetD2D16_v2) NONE(cuMemsetD2D32Async)
NONE(cuMemsetD2D32_v2) NONE(cuMemsetD2D8Async) NONE(cuMemsetD2D8_v2) NONE(cuMemsetD32Async) NONE(cuMemsetD32_v2)
NONE(cuMemsetD8Async) NONE(cuMemsetD8_v2) NONE(cuModuleGetFunction) NONE(cuModuleGetGlobal_v2) NONE(cuModuleGetSurfRef)
NONE(cuModuleGetTexRef) NONE(cuModuleLoad) NONE(cuModuleLoadData) NONE(cuModuleLoadDataEx) NONE(cuModuleUnload)
NONE(cuParamSetSize) NONE(cuParamSetTexRef) NONE(cuParamSetf) NONE(cuParamSeti) NONE(cuParamSetv)
NONE(cuProfilerInitialize) NONE(cuProfilerStart) NONE(cuProfilerStop) NONE(cuStreamAttachMemAsync)
NONE(cuSurfRefGetArray) NONE(cuSurfRefSetArray) NONE(cuTexRefCreate) NONE(cuTexRefDestroy) NONE(cuTexRefGetAddressMode)
NONE(cuTexRefGetAddress_v2) NONE(cuTexRefGetArray) NONE(cuTexRefGetFilterMode) NONE(cuTexRefGetFlags)
NONE(cuTexRefGetFormat) NONE(cuTexRefSetAddress2D_v3) NONE(cuTexRefSetAddressMode) NONE(cuTexRefSetAddress_v2)
NONE(cuTexRefSetArray) NONE(cuTexRefSetFilterMode) NONE(cuTexRefSetFlags) NONE(cuTexRefSetFormat)
