/* The nine functions that TensorRT's Python bindings import, each giving null. Built three times, with -DINFER, -DONNX
   and -DPLUGIN, as libnvinfer, libnvonnxparser and libnvinfer_plugin. */
#include <stddef.h>

#ifdef INFER
void *createInferBuilder_INTERNAL(void) { return NULL; }
void *createInferRefitter_INTERNAL(void) { return NULL; }
void *createInferRuntime_INTERNAL(void) { return NULL; }
void *getBuilderPluginRegistry(void) { return NULL; }
void *getPluginRegistry(void) { return NULL; }
#endif
#ifdef ONNX
void *createNvOnnxParser_INTERNAL(void) { return NULL; }
void *createNvOnnxParserRefitter_INTERNAL(void) { return NULL; }
int getNvOnnxParserVersion(void) { return 0; }
#endif
#ifdef PLUGIN
int initLibNvInferPlugins(void) { return 0; }
#endif
