/* A Vulkan driver that is SwiftShader, until the file named by LOSE_IT is there: from then on its device is lost. */
#include <dlfcn.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { DEVICE_LOST = -4 };
typedef void (*function)(void);
typedef function (*by_name)(void *, const char *);

static by_name of_instance, of_device;
static int (*submit)(void *, uint32_t, const void *, void *);
static int (*wait_for)(void *, uint32_t, const void *, uint32_t, uint64_t);
static int (*status)(void *, void *);

static void *library(void) {
    static void *opened;
    return opened ? opened : (opened = dlopen(getenv("SWIFTSHADER"), RTLD_NOW | RTLD_LOCAL));
}
static int lost(void) { return access(getenv("LOSE_IT"), F_OK) == 0; }
static int our_submit(void *queue, uint32_t count, const void *batches, void *fence) {
    return lost() ? DEVICE_LOST : submit(queue, count, batches, fence);
}
static int our_wait(void *device, uint32_t count, const void *fences, uint32_t all, uint64_t ns) {
    return lost() ? DEVICE_LOST : wait_for(device, count, fences, all, ns);
}
static int our_status(void *device, void *fence) { return lost() ? DEVICE_LOST : status(device, fence); }

static function ours(const char *name, function theirs) {
    if (!theirs) return theirs;
    if (!strcmp(name, "vkQueueSubmit")) return submit = (void *)theirs, (function)our_submit;
    if (!strcmp(name, "vkWaitForFences")) return wait_for = (void *)theirs, (function)our_wait;
    if (!strcmp(name, "vkGetFenceStatus")) return status = (void *)theirs, (function)our_status;
    return theirs;
}
static function device_function(void *device, const char *name) { return ours(name, of_device(device, name)); }

/* What the loader asks of a driver. */
function vk_icdGetInstanceProcAddr(void *instance, const char *name) {
    if (!of_instance) of_instance = (by_name)dlsym(library(), "vk_icdGetInstanceProcAddr");
    function theirs = of_instance(instance, name);
    if (theirs && !strcmp(name, "vkGetDeviceProcAddr")) return of_device = (by_name)theirs, (function)device_function;
    return ours(name, theirs);
}
int vk_icdNegotiateLoaderICDInterfaceVersion(uint32_t *version) {
    return ((int (*)(uint32_t *))dlsym(library(), "vk_icdNegotiateLoaderICDInterfaceVersion"))(version);
}
function vk_icdGetPhysicalDeviceProcAddr(void *instance, const char *name) {
    return ((by_name)dlsym(library(), "vk_icdGetPhysicalDeviceProcAddr"))(instance, name);
}
