/* TensorRT's libraries as its Python bindings want them, over those of TensorRT for RTX, whose parser and builder work
   without a GPU. Each entry point is handed on with the version that the library behind it says it has. Built three
   times, with -DINFER, -DONNX and -DPLUGIN, as libnvinfer, libnvonnxparser and libnvinfer_plugin. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

static void *of(const char *library, const char *name) {
    static void *handle;
    if (!handle) handle = dlopen(library, RTLD_NOW | RTLD_LOCAL);
    void *found = handle ? dlsym(handle, name) : NULL;
    if (!found) {
        fprintf(stderr, "%s: %s\n", name, dlerror());
        abort();
    }
    return found;
}

#ifdef INFER
#define LIBRARY "libtensorrt_rtx.so.1"
static int own(void) { return ((int (*)(void))of(LIBRARY, "getInferLibVersion"))(); }
#define HAND_ON(name) \
    void *name(void *logger, int version) { \
        (void)version; \
        return ((void *(*)(void *, int))of(LIBRARY, #name))(logger, own()); \
    }
HAND_ON(createInferBuilder_INTERNAL)
HAND_ON(createInferRefitter_INTERNAL)
HAND_ON(createInferRuntime_INTERNAL)
void *getBuilderPluginRegistry(int kind) { return ((void *(*)(int))of(LIBRARY, "getBuilderPluginRegistry"))(kind); }
void *getPluginRegistry(void) { return ((void *(*)(void))of(LIBRARY, "getPluginRegistry"))(); }
#endif
#ifdef ONNX
#define LIBRARY "libtensorrt_onnxparser_rtx.so.1"
int getNvOnnxParserVersion(void) { return ((int (*)(void))of(LIBRARY, "getNvOnnxParserVersion"))(); }
#define HAND_ON(name) \
    void *name(void *first, void *second, int version) { \
        (void)version; \
        return ((void *(*)(void *, void *, int))of(LIBRARY, #name))(first, second, getNvOnnxParserVersion()); \
    }
HAND_ON(createNvOnnxParser_INTERNAL)
HAND_ON(createNvOnnxParserRefitter_INTERNAL)
#endif
#ifdef PLUGIN
int initLibNvInferPlugins(void *logger, const char *namespace) { return logger || namespace || 1; }
#endif
