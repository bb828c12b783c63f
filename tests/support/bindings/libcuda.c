/* A libcuda that answers questions about a GPU; nothing runs on it. The environment says which GPU.
   FAKE_CUDA_SMS, FAKE_CUDA_MIB, FAKE_CUDA_INIT (what cuInit returns; 100 = no device). There are two, of which
   CUDA_VISIBLE_DEVICES may name one by number or UUID: GPU-aaaa at 0000:01:00.0 and GPU-bbbb at 0000:65:00.0. */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

static int number(const char *name, int otherwise) {
    const char *text = getenv(name);
    return text ? atoi(text) : otherwise;
}
static int seen(void) {
    const char *named = getenv("CUDA_VISIBLE_DEVICES");
    if (!named || !strcmp(named, "0") || !strcmp(named, "GPU-aaaa")) return 0;
    return !strcmp(named, "1") || !strcmp(named, "GPU-bbbb") ? 1 : -1;
}
int cuInit(unsigned flags) { return seen() < 0 ? 100 : number("FAKE_CUDA_INIT", 0); }
int cuDeviceGetPCIBusId(char *text, int length, int device) {
    strncpy(text, seen() ? "0000:65:00.0" : "0000:01:00.0", (size_t)length);
    return 0;
}
int cuDriverGetVersion(int *version) { *version = 13000; return 0; }
int cuDeviceGetName(char *name, int length, int device) {
    strncpy(name, "NVIDIA Pretend 1", (size_t)length);
    return 0;
}
int cuDeviceTotalMem_v2(size_t *bytes, int device) {
    *bytes = (size_t)number("FAKE_CUDA_MIB", 8192) << 20;
    return 0;
}
int cuDeviceGetAttribute(int *value, int attribute, int device) {
    switch (attribute) {
    case 16: *value = number("FAKE_CUDA_SMS", 16); return 0;
    case 18: *value = 0; return 0;
    case 75: *value = 8; return 0;
    case 76: *value = 7; return 0;
    default: return 1;
    }
}
int cuGetErrorName(int code, const char **text) { *text = code == 999 ? "CUDA_ERROR_UNKNOWN" : "CUDA_ERROR"; return 0; }
