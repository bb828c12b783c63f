/* An NVML with one card that never was, for the real nvidia-ml-py.
   EDGED_NVML_OLD: it does not know its power. EDGED_NVML_DOWN: its driver is not loaded. */
#include <stdlib.h>
#include <string.h>

enum { OK = 0, NOT_SUPPORTED = 3, INSUFFICIENT_SIZE = 7, DRIVER_NOT_LOADED = 9 };
static int card;
static int give(unsigned *to, unsigned value) { *to = value; return OK; }
int nvmlInitWithFlags(unsigned flags) { return getenv("EDGED_NVML_DOWN") ? DRIVER_NOT_LOADED : OK; }
int nvmlShutdown(void) { return OK; }
const char *nvmlErrorString(int code) { return code == NOT_SUPPORTED ? "Not Supported" : "Driver Not Loaded"; }
int nvmlSystemGetDriverVersion(char *text, unsigned length) { strncpy(text, "580.1", length); return OK; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **handle) { *handle = &card; return OK; }
int nvmlDeviceGetHandleByPciBusId_v2(const char *pci, void **handle) {
    *handle = &card;
    return strcmp(pci, "0000:01:00.0") ? 6 : OK;
}
int nvmlDeviceGetName(void *handle, char *text, unsigned length) { strncpy(text, "NVIDIA Pretend 1", length); return OK; }
int nvmlDeviceGetClockInfo(void *handle, int kind, unsigned *mhz) { return give(mhz, kind == 1 ? 1980 : 2619); }
int nvmlDeviceGetMaxClockInfo(void *handle, int kind, unsigned *mhz) { return give(mhz, 1980); }
int nvmlDeviceGetTemperature(void *handle, int sensor, unsigned *celsius) { return give(celsius, 41); }
int nvmlDeviceGetPowerUsage(void *handle, unsigned *mw) { return getenv("EDGED_NVML_OLD") ? NOT_SUPPORTED : give(mw, 71250); }
int nvmlDeviceGetEnforcedPowerLimit(void *handle, unsigned *mw) { return getenv("EDGED_NVML_OLD") ? NOT_SUPPORTED : give(mw, 700000); }
int nvmlDeviceGetMemoryInfo(void *handle, unsigned long long *total_free_used) {
    total_free_used[0] = 80ull << 30;
    total_free_used[1] = 79ull << 30;
    total_free_used[2] = 1ull << 30;
    return OK;
}
int nvmlDeviceGetUtilizationRates(void *handle, unsigned *gpu_memory) { gpu_memory[1] = 5; return give(gpu_memory, 37); }
int nvmlDeviceGetPersistenceMode(void *handle, unsigned *on) { return give(on, 1); }
int nvmlDeviceGetCurrentClocksThrottleReasons(void *handle, unsigned long long *reasons) { *reasons = 0x21; return OK; }
int nvmlDeviceGetComputeRunningProcesses_v3(void *handle, unsigned *count, void *processes) {
    unsigned there = getenv("EDGED_NVML_OLD") ? 0 : 2, room = *count;
    *count = there;
    if (getenv("EDGED_NVML_OLD")) return NOT_SUPPORTED;
    if (room < there) return INSUFFICIENT_SIZE;
    memset(processes, 0, there * 24); /* pid, memory, and two numbers of instances */
    return OK;
}
